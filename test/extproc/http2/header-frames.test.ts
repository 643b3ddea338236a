import assert from 'node:assert/strict'
import { connect, type IncomingHttpHeaders } from 'node:http2'
import { headerBlock } from '../../../src/extproc/http2/header-block.ts'
import { ERROR, FLAG, FRAME, frame } from '../../../src/extproc/http2/protocol.ts'
import type { Header } from '../../../src/extproc/http2/static-table.ts'
import { below, seeded } from '../../kvcache/random.ts'
import { until } from '../fakes.ts'
import { cut } from '../raw-call.ts'
import { EchoServer } from './echo-server.ts'
import {
  assertServes,
  data,
  headersFrame,
  padded,
  ping,
  RawClient,
  REQUEST,
  request,
} from './raw-client.ts'

const EMPTY = Buffer.alloc(0)
const KIB = 1024

describe('Http2Connection, headers', () => {
  let server: EchoServer
  beforeEach(async () => {
    server = await EchoServer.start()
  })
  afterEach(() => server.stop())

  const greet = () => RawClient.greet(server.port)
  const errorAfter = (...frames: Buffer[]) => RawClient.errorAfter(server.port, ...frames)
  const continued = (streamId: number, bytes: Buffer, flags = 0) =>
    frame(FRAME.continuation, flags, streamId, bytes)
  /** A request in parts. */
  const parts = (streamId: number, pieces: readonly Buffer[], flags: number) =>
    pieces.map((piece, i) => {
      const last = i === pieces.length - 1 ? FLAG.endHeaders : 0
      return i === 0
        ? frame(FRAME.headers, flags | last, streamId, piece)
        : continued(streamId, piece, last)
    })

  it('come in any number of parts', async () => {
    const random = below(seeded(9))
    const client = await greet()
    const block = headerBlock([...REQUEST, ['x-value', 'v'.repeat(100)]])
    let streamId = 1
    const take = (pieces: readonly Buffer[]) => {
      client.write(...parts(streamId, pieces, FLAG.endStream))
      streamId += 2
    }
    for (let at = 0; at <= block.length; at++) take([block.subarray(0, at), block.subarray(at)])
    take([...cut(block, () => 1)])
    take([EMPTY, EMPTY, block, EMPTY])
    for (let run = 0; run < 50; run++) take(cut(block, () => 1 + random(40)))
    await until(() => client.hasEnded(streamId - 2), 'all are answered')
    for (let id = 1; id < streamId; id += 2) {
      assert.ok(client.hasEnded(id))
      assert.equal(server.streams.get(id)!.headers.get('x-value'), 'v'.repeat(100))
    }
  })

  it('are not mixed with other frames', async () => {
    const begun = frame(FRAME.headers, 0, 1, headerBlock(REQUEST))
    const others = [
      ping(),
      request(3),
      data(1, EMPTY),
      data(1, padded(EMPTY, 1), FLAG.padded),
      continued(3, EMPTY),
      frame(200, 0, 1, EMPTY),
      frame(FRAME.priority, 0, 1, Buffer.alloc(5)),
      frame(FRAME.headers, FLAG.endHeaders, 1, EMPTY),
    ]
    for (const other of others) assert.equal(await errorAfter(begun, other), ERROR.protocol)
    const whole = [begun, continued(1, EMPTY, FLAG.endHeaders)]
    assert.equal(await errorAfter(...whole, continued(1, EMPTY)), ERROR.protocol)
  })

  it('with padding and a priority are read without them', async () => {
    const client = await greet()
    const priority = Buffer.of(0, 0, 0, 3, 16)
    const block = headerBlock(REQUEST)
    const flags = FLAG.endHeaders | FLAG.endStream
    const payload = Buffer.concat([priority, block])
    client.write(
      frame(FRAME.headers, flags | FLAG.priority, 1, payload),
      frame(FRAME.headers, flags | FLAG.padded, 3, padded(block, 0)),
      frame(FRAME.headers, flags | FLAG.padded | FLAG.priority, 5, padded(payload, 255)),
      frame(FRAME.headers, FLAG.endStream | FLAG.padded, 7, padded(block.subarray(0, 20), 7)),
      continued(7, block.subarray(20), FLAG.endHeaders),
    )
    await until(() => client.hasEnded(7), 'they are answered')
    for (const id of [1, 3, 5, 7]) {
      assert.equal(server.streams.get(id)!.headers.get(':path'), '/a.B/C')
    }
  })

  it('with more padding than there is end the connection', async () => {
    const bad = (flags: number, ...bytes: number[]) =>
      errorAfter(frame(FRAME.headers, FLAG.endHeaders | flags, 1, Buffer.from(bytes)))
    assert.equal(await bad(FLAG.padded, 1), ERROR.protocol)
    assert.equal(await bad(FLAG.padded), ERROR.protocol)
    assert.equal(await bad(FLAG.padded, 200, 0x82), ERROR.protocol)
    assert.equal(await bad(FLAG.priority, 0, 0, 0, 0), ERROR.frameSize)
    assert.equal(await bad(FLAG.priority | FLAG.padded, 1, 0, 0, 0, 0, 0), ERROR.frameSize)
  })

  it('that cannot be decoded end the connection', async () => {
    const block = frame(FRAME.headers, FLAG.endHeaders, 1, Buffer.of(0x80))
    assert.equal(await errorAfter(block), ERROR.compression)
  })

  it('of a stream that a client cannot open end the connection', async () => {
    assert.equal(await errorAfter(request(0)), ERROR.protocol)
    assert.equal(await errorAfter(request(2)), ERROR.protocol)
  })

  describe('that are none of a request', () => {
    const without = (name: string) => REQUEST.filter(([other]) => other !== name)
    const bad: Record<string, readonly Header[]> = {
      'no method': without(':method'),
      'no scheme': without(':scheme'),
      'no path': without(':path'),
      'an empty path': [...without(':path').slice(0, 1), [':path', ''], [':scheme', 'http']],
      'a second path': [[':path', '/'], ...REQUEST],
      'a pseudo header that comes late': [...without(':path'), [':path', '/']],
      'an unknown pseudo header': [[':protocol', 'x'], ...REQUEST],
      'one of a response': [[':status', '200'], ...REQUEST],
      'an upper case name': [...REQUEST, ['X-Name', 'v']],
      'an empty name': [...REQUEST, ['', 'v']],
      'a blank in a name': [...REQUEST, ['x name', 'v']],
      connection: [...REQUEST, ['connection', 'close']],
      'transfer-encoding': [...REQUEST, ['transfer-encoding', 'chunked']],
      'another te': [...without('te'), ['te', 'gzip']],
      'a line end': [...REQUEST, ['x-name', 'a\r\nb']],
      'a zero byte': [...REQUEST, ['x-name', 'a\0b']],
    }
    for (const [what, headers] of Object.entries(bad)) {
      it(`reset it: ${what}`, async () => {
        const client = (await greet()).write(headersFrame(1, headers))
        assert.equal(await client.ended(1), ERROR.protocol)
        assert.equal(server.streams.size, 0)
        await assertServes(client, 3)
      })
    }
  })

  it('that are too many reset the stream, and the next are read with the table as it is', async () => {
    const client = await greet()
    const kept = (name: string, value: string) =>
      Buffer.from([0x40, name.length, ...Buffer.from(name), value.length, ...Buffer.from(value)])
    const large: Header = ['x-large', 'v'.repeat(16_000)]
    const block = Buffer.concat([
      headerBlock(REQUEST),
      kept('x-a', 'first'),
      headerBlock([large, large, large]),
      ...new Array(600).fill(Buffer.of(0xbe)),
      kept('x-b', 'second'),
    ])
    const many = Buffer.concat([headerBlock(REQUEST), Buffer.alloc(16_000, 0x82)])
    client.write(
      ...parts(
        1,
        cut(block, () => 16_384),
        0,
      ),
      frame(FRAME.headers, 4, 3, many),
    )
    assert.equal(await client.ended(1), ERROR.enhanceYourCalm)
    assert.equal(await client.ended(3), ERROR.enhanceYourCalm)
    const next = Buffer.concat([headerBlock(REQUEST), Buffer.of(0xbe, 0xbf)])
    client.write(frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, 5, next))
    await until(() => client.hasEnded(5), 'the next is answered')
    const { headers } = server.streams.get(5)!
    assert.deepEqual([headers.get('x-a'), headers.get('x-b')], ['first', 'second'])
  })

  it('in parts without end are an attack', async () => {
    const begun = frame(FRAME.headers, 0, 1, headerBlock(REQUEST))
    const long = continued(1, Buffer.alloc(16_384, 0x82))
    assert.equal(await errorAfter(begun, ...new Array(5).fill(long)), ERROR.enhanceYourCalm)
    const client = (await greet()).write(begun)
    const before = process.memoryUsage().rss
    for (let i = 0; i < 200 && !client.isClosed; i++) {
      client.write(...new Array(1000).fill(continued(1, EMPTY)))
      await new Promise(setImmediate)
    }
    await client.closed()
    assert.ok(process.memoryUsage().rss - before < 64 * KIB * KIB)
    assert.equal(server.streams.size, 0)
  })

  describe('after the data', () => {
    const trailers = (flags: number, ...headers: Header[]) => headersFrame(1, headers, flags)
    const body = data(1, Buffer.from('abc'))

    it('end the stream', async () => {
      const client = await greet()
      client.write(request(1), body, trailers(FLAG.endStream, ['x-checksum', '1']))
      await until(() => client.hasEnded(1), 'it is answered')
      assert.equal(client.data(1).toString(), 'abc')
      assert.deepEqual(server.told.get(1), ['end', 'closed'])
    })

    it('that do not end it, or are none, reset it', async () => {
      for (const bad of [
        trailers(0, ['x-checksum', '1']),
        trailers(FLAG.endStream, [':path', '/']),
        trailers(FLAG.endStream, ['X', '1']),
      ]) {
        const client = (await greet()).write(request(1), body, bad)
        assert.equal(await client.ended(1), ERROR.protocol)
        assert.deepEqual(server.told.get(1), ['closed'])
        await assertServes(client, 3)
      }
    })

    it('of a stream that the client has ended reset it', async () => {
      server.halfClosed = () => {}
      const client = (await greet()).write(request(1, FLAG.endStream))
      client.write(trailers(FLAG.endStream, ['x', '1']))
      assert.equal(await client.ended(1), ERROR.streamClosed)
      server.halfClosed = undefined
      await assertServes(client, 3)
    })
  })

  it('for a client that keeps no table are read by it', async () => {
    const session = connect(`http://127.0.0.1:${server.port}`, { settings: { headerTableSize: 0 } })
    try {
      for (let times = 0; times < 3; times++) {
        const stream = session.request({ ':method': 'POST', ':path': '/a.B/C' })
        stream.end('hello')
        const status = await new Promise((resolve, reject) =>
          stream.once('response', (headers) => resolve(headers[':status'])).once('error', reject),
        )
        const trailers = new Promise<IncomingHttpHeaders>((resolve) =>
          stream.once('trailers', resolve),
        )
        stream.resume()
        assert.equal(status, 200)
        assert.equal((await trailers)['grpc-status'], '0')
        session.settings({ headerTableSize: [100, 4096, 0][times]! })
      }
    } finally {
      session.destroy()
    }
  })
})
