import assert from 'node:assert/strict'
import { ERROR, FLAG, FRAME } from '../../../src/extproc/http2/protocol.ts'
import { below, seeded } from '../../kvcache/random.ts'
import { until } from '../fakes.ts'
import { EchoServer } from './echo-server.ts'
import { data, padded, RawClient, request, reset } from './raw-client.ts'

const KIB = 1024
const MIB = 1024 * KIB
const EMPTY = Buffer.alloc(0)
const STREAM_WINDOW_BYTES = 16 * MIB
const CONNECTION_WINDOW_BYTES = 64 * MIB

describe('Http2Connection, flow control of what is received', () => {
  let server: EchoServer
  beforeEach(async () => {
    server = await EchoServer.start()
    server.data = () => {}
  })
  afterEach(() => server.stop())

  const greet = () => RawClient.greet(server.port)
  const bytes = Buffer.alloc(20_000, 'some text')
  const block = data(1, Buffer.alloc(16_384))
  const send = async (client: RawClient, count: number) => {
    for (let sent = 0; sent < count; sent++) {
      client.write(block)
      if (sent % 64 === 63) await client.caughtUp()
    }
    await client.caughtUp()
  }
  const sumOf = (client: RawClient, streamId: number) =>
    client
      .of(FRAME.windowUpdate, streamId)
      .reduce((sum, { payload }) => sum + payload.readUInt32BE(0), 0)

  it('widens a stream when half of its window is used, by what was used', async () => {
    const client = (await greet()).write(request(1))
    const half = STREAM_WINDOW_BYTES / 2 / 16_384
    await send(client, half)
    assert.equal(sumOf(client, 1), 0)
    client.write(data(1, padded(Buffer.of(1), 10), FLAG.padded))
    await client.caughtUp()
    assert.equal(sumOf(client, 1), STREAM_WINDOW_BYTES / 2 + 1)
    await send(client, 2 * half)
    assert.equal(client.of(FRAME.windowUpdate, 1).length, 2)
    assert.equal(client.errorOf(0), undefined)
  })

  it('widens no stream that the client has ended', async () => {
    const client = (await greet()).write(request(1))
    await client.caughtUp()
    server.streams.get(1)!.pause()
    await send(client, 600)
    client.write(data(1, EMPTY, FLAG.endStream))
    await client.caughtUp()
    server.streams.get(1)!.resume()
    await until(() => client.hasEnded(1), 'it is answered')
    assert.equal(client.of(FRAME.windowUpdate, 1).length, 0)
  })

  it('takes more than the window of the connection, as it is used', async () => {
    const client = (await greet()).write(request(1))
    await send(client, CONNECTION_WINDOW_BYTES / 16_384 + 100)
    assert.equal(client.errorOf(0), undefined)
    assert.equal(server.received(1).length, CONNECTION_WINDOW_BYTES + 100 * 16_384)
  })

  it('resets a stream that sends more than its window, and credits the connection', async () => {
    const client = (await greet()).write(request(1))
    await client.caughtUp()
    server.streams.get(1)!.pause()
    await send(client, STREAM_WINDOW_BYTES / 16_384)
    assert.equal(client.errorOf(1), undefined)
    client.write(data(1, Buffer.of(1)))
    assert.equal(await client.ended(1), ERROR.flowControl)
    assert.deepEqual(server.told.get(1), ['closed'])
    assert.equal(server.received(1).length, 0)
  })

  it('credits the connection for every byte once, whatever became of its stream', async () => {
    const client = await greet()
    await client.caughtUp()
    const start = sumOf(client, 0)
    assert.equal(start, CONNECTION_WINDOW_BYTES - 65_535)
    const random = below(seeded(21))
    let sent = 0
    const put = async (streamId: number, length: number, flags = 0) => {
      sent += length
      const isPadded = (flags & FLAG.padded) !== 0
      const payload = Buffer.alloc(isPadded ? length - 201 : length)
      client.write(data(streamId, isPadded ? padded(payload, 200) : payload, flags))
      if (sent % 7 === 0) await client.caughtUp()
    }
    const some = async (streamId: number) => {
      for (let i = 0; i < 5; i++) await put(streamId, 9000 + i, random(2) * FLAG.padded)
    }
    let streamId = 1
    for (; streamId < 200; streamId += 2) {
      client.write(request(streamId))
      await some(streamId)
      await client.caughtUp()
      const stream = server.streams.get(streamId)!
      const kind = random(5)
      if (kind === 0) stream.pause()
      await some(streamId)
      await client.caughtUp()
      if (kind === 0 && random(2) === 0) stream.resume()
      if (kind === 1) await put(streamId, 500, FLAG.endStream | FLAG.padded)
      else client.write(reset(streamId))
      await some(streamId)
    }
    // All is credited at once when it is more than half of the window.
    client.write(request(streamId))
    while (sent < CONNECTION_WINDOW_BYTES / 2 - 20_000) await put(streamId, 10_000)
    await client.caughtUp()
    assert.equal(sumOf(client, 0), start)
    await put(streamId, CONNECTION_WINDOW_BYTES / 2 - sent)
    await client.caughtUp()
    assert.equal(sumOf(client, 0), start)
    await put(streamId, 1)
    await client.caughtUp()
    assert.equal(sumOf(client, 0) - start, sent)
  })

  it('holds what comes on a stream that is paused, while others go on', async () => {
    server.data = undefined
    const client = (await greet()).write(request(1), request(3))
    await client.caughtUp()
    const stream = server.streams.get(1)!
    stream.pause()
    const body = bytes.subarray(0, 20_000)
    client.write(data(1, body.subarray(0, 9000)), data(3, Buffer.from('x')))
    client.write(data(1, body.subarray(9000), FLAG.endStream))
    await until(() => client.data(3).length === 1, 'the other goes on')
    assert.equal(server.received(1).length, 0)
    // It may be paused from within.
    server.data = () => stream.pause()
    let resumed = 0
    while (server.received(1).length < body.length) {
      assert.deepEqual(server.told.get(1), [])
      stream.resume()
      assert.ok(++resumed < 100)
    }
    assert.ok(resumed > 1 && server.received(1).equals(body))
    assert.deepEqual(server.told.get(1), [])
    stream.resume()
    assert.deepEqual(server.told.get(1), ['end'])
    await until(() => client.hasEnded(1), 'it ends')
  })
})
