import assert from 'node:assert/strict'
import { connect } from 'node:http2'
import { ERROR, FLAG, FRAME, SETTING } from '../../../src/extproc/http2/protocol.ts'
import { settingsFrame } from '../../../src/extproc/http2/settings.ts'
import { below, seeded } from '../../kvcache/random.ts'
import { until } from '../fakes.ts'
import { EchoServer, HEAD } from './echo-server.ts'
import { data, padded, RawClient, request, reset, windowUpdate } from './raw-client.ts'

const KIB = 1024
const MIB = 1024 * KIB
const STREAM_WINDOW_BYTES = 16 * MIB
const CONNECTION_WINDOW_BYTES = 64 * MIB

describe('Http2Connection, flow control', () => {
  let server: EchoServer
  beforeEach(async () => {
    server = await EchoServer.start()
  })
  afterEach(() => server.stop())

  const greet = (...settings: [number, number][]) => RawClient.greet(server.port, ...settings)
  const initialWindow = (bytes: number) =>
    settingsFrame(new Map([[SETTING.initialWindowSize, bytes]]))
  const bytes = Buffer.alloc(200 * KIB)
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 7919) >> 3

  describe('of what is sent', () => {
    beforeEach(() => {
      server.data = () => {}
    })
    /** A client with one stream, which nothing has been sent on. */
    const open = async (...settings: [number, number][]) => {
      const client = (await greet(...settings)).write(request(1))
      await client.caughtUp()
      return client
    }

    it('keeps to a tiny window, byte by byte', async () => {
      const client = await open([SETTING.initialWindowSize, 1])
      server.answer(1, Buffer.from('hel'), Buffer.from('lo'))
      for (let sent = 1; sent <= 5; sent++) {
        await client.caughtUp()
        assert.equal(client.data(1).toString(), 'hello'.slice(0, sent))
        assert.equal(client.hasEnded(1), sent === 5)
        if (sent < 5) client.write(windowUpdate(1, 1))
      }
      assert.ok(client.of(FRAME.data).every(({ payload }) => payload.length === 1))
    })

    it('sends the head, and an answer without data, in no window at all', async () => {
      const client = await open([SETTING.initialWindowSize, 0])
      server.answer(1, Buffer.from('a'))
      client.write(request(3))
      await client.caughtUp()
      server.streams.get(3)!.end(Buffer.of(0x88))
      await until(() => client.hasEnded(3), 'the one without data is answered')
      assert.equal(client.of(FRAME.headers, 1).length, 1)
      assert.equal(client.data(1).length, 0)
      client.write(windowUpdate(1, 100))
      await until(() => client.hasEnded(1), 'the other too')
    })

    it('follows a window that settings make smaller and larger while data waits', async () => {
      const client = await open([SETTING.initialWindowSize, 1000])
      server.answer(1, bytes.subarray(0, 5000))
      await client.caughtUp()
      assert.equal(client.data(1).length, 1000)
      client.write(initialWindow(100), windowUpdate(1, 900))
      await client.caughtUp()
      assert.equal(client.data(1).length, 1000, 'there is nothing in it yet')
      client.write(windowUpdate(1, 7))
      await client.caughtUp()
      assert.equal(client.data(1).length, 1007)
      client.write(initialWindow(2100))
      await client.caughtUp()
      assert.equal(client.data(1).length, 3007)
      client.write(initialWindow(0), initialWindow(1_000_000))
      await until(() => client.hasEnded(1), 'the rest')
      assert.ok(client.data(1).equals(bytes.subarray(0, 5000)))
    })

    it('gives a new stream the window of the last settings', async () => {
      const client = await open()
      client.write(initialWindow(10), request(3))
      await client.caughtUp()
      server.answer(3, bytes.subarray(0, 100))
      await client.caughtUp()
      assert.equal(client.data(3).length, 10)
    })

    it('keeps to the window of the connection, and gives all streams their turn', async () => {
      const client = await open([SETTING.initialWindowSize, MIB])
      client.write(request(3), request(5))
      await client.caughtUp()
      for (const id of [1, 3, 5]) server.answer(id, bytes)
      await client.caughtUp()
      const lengths = () => [1, 3, 5].map((id) => client.data(id).length)
      const total = () => lengths().reduce((sum, length) => sum + length)
      assert.equal(total(), 65_535)
      assert.ok(Math.min(...lengths()) > 0, String(lengths()))
      client.write(windowUpdate(0, 1))
      await client.caughtUp()
      assert.equal(total(), 65_536)
      client.write(windowUpdate(0, 300_000))
      await until(() => total() >= 365_536, 'it is filled')
      await client.caughtUp()
      assert.equal(total(), 365_536)
      assert.ok(Math.max(...lengths()) - Math.min(...lengths()) < 64 * KIB, String(lengths()))
      client.write(windowUpdate(0, MIB))
      await until(() => [1, 3, 5].every((id) => client.hasEnded(id)), 'all end')
      for (const id of [1, 3, 5]) assert.ok(client.data(id).equals(bytes))
    })

    it('a stream that is reset gives its turn away', async () => {
      const client = await open([SETTING.initialWindowSize, MIB])
      client.write(request(3))
      await client.caughtUp()
      for (const id of [1, 3]) server.answer(id, bytes)
      await client.caughtUp()
      client.write(reset(1), windowUpdate(0, MIB))
      await until(() => client.hasEnded(3), 'the other ends')
      assert.ok(client.data(3).equals(bytes))
      assert.ok(!client.hasEnded(1))
    })

    it('sends no longer frames than the client takes', async () => {
      const client = await open([SETTING.initialWindowSize, MIB])
      client.write(windowUpdate(0, MIB))
      server.answer(1, bytes)
      await until(() => client.hasEnded(1), 'it ends')
      assert.equal(Math.max(...client.of(FRAME.data).map(({ payload }) => payload.length)), 16_384)
      assert.ok(client.data(1).equals(bytes))
    })
  })

  describe('of what is received', () => {
    beforeEach(() => {
      server.data = () => {}
    })
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

  it('20 MiB there and back, read slowly at both ends, are the same', async () => {
    const body = Buffer.alloc(20 * MIB)
    const random = seeded(4)
    for (let at = 0; at < body.length; at += 4) body.writeInt32LE(random() * 2 ** 31, at)
    const session = connect(`http://127.0.0.1:${server.port}`)
    try {
      const stream = session.request({ ':method': 'POST', ':path': '/a.B/C' })
      const received: Buffer[] = []
      let chunks = 0
      stream.on('data', (chunk: Buffer) => {
        received.push(chunk)
        if (++chunks % 20 > 0) return
        stream.pause()
        setImmediate(() => stream.resume())
      })
      const ended = new Promise((resolve, reject) =>
        stream.once('end', resolve).once('error', reject),
      )
      let turns = 0
      server.data = (one, part) => {
        if (turns === 0) one.begin(HEAD)
        one.send([part])
        if (++turns % 10 > 0) return
        one.pause()
        setImmediate(() => one.resume())
      }
      stream.end(body)
      await ended
      assert.ok(Buffer.concat(received).equals(body))
    } finally {
      session.destroy()
    }
  })
})
