import assert from 'node:assert/strict'
import { connect } from 'node:http2'
import { ERROR, FLAG, FRAME, frame } from '../../../src/extproc/http2/protocol.ts'
import { until } from '../fakes.ts'
import { EchoServer, TRAILERS } from './echo-server.ts'
import { data, RawClient, request } from './raw-client.ts'

const MAX_STREAM_ID = 2 ** 31 - 1

describe('Http2Connection.close', () => {
  let server: EchoServer
  beforeEach(async () => {
    server = await EchoServer.start()
  })
  afterEach(() => server.stop())

  const goodbyes = (client: RawClient) =>
    client.of(FRAME.goAway).map(({ payload }) => [payload.readUInt32BE(0), payload.readUInt32BE(4)])
  /** A client with stream 1 that has been told to go, and has not said that it knows. */
  const told = async () => {
    const client = (await RawClient.greet(server.port)).write(request(1))
    await client.caughtUp()
    server.connections[0]!.close()
    await until(() => client.of(FRAME.ping).some(({ flags }) => flags === 0), 'it is told')
    assert.deepEqual(goodbyes(client), [[MAX_STREAM_ID, ERROR.none]])
    return client
  }
  const know = (client: RawClient) => {
    const last = client.of(FRAME.ping).find(({ flags }) => flags === 0)!
    client.write(frame(FRAME.ping, FLAG.ack, 0, last.payload))
  }
  const finish = async (client: RawClient, streamId: number) => {
    client.write(data(streamId, Buffer.from('hello'), FLAG.endStream))
    await until(() => client.hasEnded(streamId), 'it is answered')
    assert.equal(client.data(streamId).toString(), 'hello')
  }

  it('serves what was opened before the client knew, nothing after, and ends after the last', async () => {
    const client = await told()
    client.write(request(3))
    know(client)
    client.write(request(5), request(7, FLAG.endStream))
    await client.caughtUp()
    assert.deepEqual(goodbyes(client).at(-1), [3, ERROR.none])
    assert.deepEqual([...server.streams.keys()], [1, 3])
    await finish(client, 1)
    assert.equal(client.isClosed, false)
    await finish(client, 3)
    await client.closed()
    assert.deepEqual(goodbyes(client), [
      [MAX_STREAM_ID, ERROR.none],
      [3, ERROR.none],
    ])
  })

  it('ends at once where there is no stream, and is asked once', async () => {
    const client = await RawClient.greet(server.port)
    await client.caughtUp()
    server.connections[0]!.close()
    server.connections[0]!.close()
    await until(() => client.of(FRAME.ping).length === 2, 'it is told')
    know(client)
    await client.closed()
    assert.deepEqual(goodbyes(client), [
      [MAX_STREAM_ID, ERROR.none],
      [0, ERROR.none],
    ])
  })

  it('is nothing that a client can answer before it is asked', async () => {
    const client = await RawClient.greet(server.port)
    client.write(frame(FRAME.ping, FLAG.ack, 0, Buffer.from('last-one')))
    client.write(request(1))
    await client.caughtUp()
    await finish(client, 1)
    assert.deepEqual(goodbyes(client), [])
  })

  it('is understood by node:http2, whose requests end', async () => {
    const session = connect(`http://127.0.0.1:${server.port}`)
    session.on('error', () => {})
    const answers = Array.from({ length: 200 }, (_, i) => {
      const stream = session.request({ ':method': 'POST', ':path': '/a.B/C' })
      stream.end(String(i))
      return new Promise<string>((resolve, reject) => {
        let text = ''
        stream.setEncoding('utf8').on('data', (more: string) => {
          text += more
        })
        stream.once('end', () => resolve(text)).once('error', reject)
      })
    })
    server.halfClosed = () => {}
    await until(() => server.streams.size === answers.length, 'all have come')
    server.connections[0]!.close()
    await until(() => session.closed, 'the client knows')
    for (const stream of server.streams.values()) stream.end(TRAILERS)
    assert.deepEqual(
      await Promise.all(answers),
      answers.map((_, i) => String(i)),
    )
    await until(() => session.destroyed, 'the connection ends')
  })

  it('destroy ends all streams at once', async () => {
    const client = (await RawClient.greet(server.port)).write(request(1), request(3))
    await client.caughtUp()
    server.connections[0]!.destroy()
    assert.deepEqual([server.told.get(1), server.told.get(3)], [['closed'], ['closed']])
    await client.closed()
    assert.deepEqual([server.told.get(1), server.told.get(3)], [['closed'], ['closed']])
    assert.equal(server.connections[0]!.askForLife(), true)
  })
})
