import assert from 'node:assert/strict'
import { connect } from 'node:http2'
import { FLAG, FRAME, SETTING } from '../../../src/extproc/http2/protocol.ts'
import { settingsFrame } from '../../../src/extproc/http2/settings.ts'
import { seeded } from '../../kvcache/random.ts'
import { until } from '../fakes.ts'
import { EchoServer, HEAD } from './echo-server.ts'
import { data, RawClient, request, reset, windowUpdate } from './raw-client.ts'

const KIB = 1024
const MIB = 1024 * KIB
const EMPTY = Buffer.alloc(0)

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

  it('of a stream whose answers are not taken not much is read, until they are', async () => {
    const client = (await greet([SETTING.initialWindowSize, 0])).write(request(1))
    const body = Buffer.concat(new Array(20).fill(bytes))
    for (let at = 0; at < body.length; at += 16_384) {
      client.write(data(1, body.subarray(at, at + 16_384)))
    }
    client.write(data(1, EMPTY, FLAG.endStream))
    await client.caughtUp()
    const read = server.received(1).length
    assert.ok(read > MIB && read < MIB + 128 * KIB, String(read))
    assert.deepEqual(server.told.get(1), [])
    client.write(windowUpdate(0, 100 * MIB), windowUpdate(1, 100 * MIB))
    await until(() => client.hasEnded(1), 'it is answered')
    assert.ok(client.data(1).equals(body))
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
