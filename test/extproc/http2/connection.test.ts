import assert from 'node:assert/strict'
import {
  ERROR,
  FLAG,
  FRAME,
  frame,
  MAX_WINDOW_BYTES,
  numberFrame,
  PREFACE,
  SETTING,
} from '../../../src/extproc/http2/protocol.ts'
import { readSettings, settingsFrame } from '../../../src/extproc/http2/settings.ts'
import { until } from '../fakes.ts'
import { EchoServer } from './echo-server.ts'
import { assertServes, data, ping, RawClient, request, reset, windowUpdate } from './raw-client.ts'

const EMPTY = Buffer.alloc(0)
const SETTINGS = settingsFrame(new Map())
const PRIORITY = Buffer.of(0, 0, 0, 0, 16)

describe('Http2Connection', () => {
  let server: EchoServer
  beforeEach(async () => {
    server = await EchoServer.start()
  })
  afterEach(() => server.stop())

  const greet = (...settings: [number, number][]) => RawClient.greet(server.port, ...settings)
  const errorAfter = (...frames: Buffer[]) => RawClient.errorAfter(server.port, ...frames)
  const resetAfter = (...frames: Buffer[]) => RawClient.resetAfter(server.port, ...frames)

  describe('begins', () => {
    it('with settings of its own, and takes the client’s', async () => {
      const client = await greet([SETTING.maxHeaderListSize, 5])
      await client.caughtUp()
      const [first, second] = client.of(FRAME.settings)
      assert.equal(client.frames[0], first)
      const { payload } = first!
      assert.deepEqual(readSettings(payload, 0, payload.length), [
        [SETTING.maxConcurrentStreams, 100_000],
        [SETTING.initialWindowSize, 16 * 1024 * 1024],
        [SETTING.maxHeaderListSize, 64 * 1024],
      ])
      assert.deepEqual([second!.flags, second!.payload.length], [FLAG.ack, 0])
    })

    it('byte by byte', async () => {
      const client = await RawClient.connect(server.port)
      const bytes = Buffer.concat([PREFACE, SETTINGS, request(1), data(1, Buffer.from('hello'), 1)])
      for (const byte of bytes) {
        client.write(Buffer.of(byte))
        await new Promise(setImmediate)
      }
      await until(() => client.hasEnded(1), 'it is answered')
      assert.equal(client.data(1).toString(), 'hello')
    })

    it('with the preface of HTTP/2, and no other', async () => {
      for (const text of [
        'GET / HTTP/1.1\r\nhost: a\r\n\r\n',
        'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r',
        '\x16\x03\x01',
      ]) {
        const client = await RawClient.connect(server.port)
        client.write(Buffer.from(text))
        await client.closed()
        assert.equal(client.errorOf(0), ERROR.protocol)
      }
    })

    it('with settings, and no other frame', async () => {
      for (const first of [
        ping(),
        request(1),
        windowUpdate(0, 1),
        frame(FRAME.goAway, 0, 0, Buffer.alloc(8)),
        frame(200, 0, 0, EMPTY),
        data(1, EMPTY),
      ]) {
        const client = await RawClient.connect(server.port)
        client.write(PREFACE, first)
        await client.closed()
        assert.equal(client.errorOf(0), ERROR.protocol)
      }
    })
  })

  describe('settings', () => {
    const setting = (id: number, value: number) => settingsFrame(new Map([[id, value]]))

    it('out of range end the connection', async () => {
      assert.equal(await errorAfter(setting(SETTING.enablePush, 2)), ERROR.protocol)
      assert.equal(await errorAfter(setting(SETTING.maxFrameSize, 16_383)), ERROR.protocol)
      assert.equal(await errorAfter(setting(SETTING.maxFrameSize, 2 ** 24)), ERROR.protocol)
      assert.equal(await errorAfter(setting(SETTING.initialWindowSize, 2 ** 31)), ERROR.flowControl)
      assert.equal(await errorAfter(frame(FRAME.settings, 0, 1, EMPTY)), ERROR.protocol)
      assert.equal(await errorAfter(frame(FRAME.settings, 0, 0, Buffer.alloc(5))), ERROR.frameSize)
      assert.equal(
        await errorAfter(frame(FRAME.settings, FLAG.ack, 0, Buffer.alloc(6))),
        ERROR.frameSize,
      )
    })

    it('in range, unknown ones too, are each taken', async () => {
      const client = await greet()
      client.write(
        setting(SETTING.enablePush, 1),
        setting(SETTING.maxFrameSize, 2 ** 24 - 1),
        setting(SETTING.initialWindowSize, MAX_WINDOW_BYTES),
        setting(0xfff0, 2 ** 32 - 1),
        frame(FRAME.settings, FLAG.ack, 0, EMPTY),
      )
      await assertServes(client, 1)
      const acks = client.of(FRAME.settings).filter(({ flags }) => flags === FLAG.ack)
      assert.equal(acks.length, 5)
    })
  })

  describe('pings', () => {
    it('come back as they are, acknowledgements do not', async () => {
      const client = await greet()
      client.write(ping('12345678'), ping('ignored!', FLAG.ack), ping('abcdefgh'))
      await client.caughtUp()
      const echoes = client.of(FRAME.ping).map(({ flags, payload }) => [flags, payload.toString()])
      assert.deepEqual(echoes.slice(0, 2), [
        [FLAG.ack, '12345678'],
        [FLAG.ack, 'abcdefgh'],
      ])
      assert.equal(echoes.length, 3)
    })

    it('that are none end the connection', async () => {
      assert.equal(await errorAfter(ping('1234567')), ERROR.frameSize)
      assert.equal(await errorAfter(ping('12345678', 0, 1)), ERROR.protocol)
    })

    it('ask whether the client lives', async () => {
      const client = await greet()
      await client.caughtUp()
      const [connection] = server.connections
      assert.equal(connection!.askForLife(), true)
      assert.equal(connection!.askForLife(), false)
      await until(() => client.of(FRAME.ping).length === 2, 'it is asked')
      client.write(frame(FRAME.ping, FLAG.ack, 0, client.of(FRAME.ping).at(-1)!.payload))
      await client.caughtUp()
      assert.equal(connection!.askForLife(), true)
    })
  })

  describe('other frames', () => {
    it('of unknown types are ignored', async () => {
      const client = await greet()
      client.write(
        frame(10, 255, 0, EMPTY),
        request(1),
        frame(255, 255, 1, Buffer.alloc(16_384)),
        frame(77, 0, 2, EMPTY),
      )
      client.write(data(1, EMPTY, FLAG.endStream))
      await until(() => client.hasEnded(1), 'it is answered')
      await assertServes(client, 3)
    })

    it('that are longer than allowed end the connection', async () => {
      assert.equal(await errorAfter(frame(77, 0, 0, Buffer.alloc(16_385))), ERROR.frameSize)
    })

    it('of priority change nothing', async () => {
      const client = await greet()
      client.write(frame(FRAME.priority, 0, 5, PRIORITY), frame(FRAME.priority, 0, 1, PRIORITY))
      await assertServes(client, 1)
      client.write(frame(FRAME.priority, 0, 1, PRIORITY))
      await assertServes(client, 5)
      assert.equal(await errorAfter(frame(FRAME.priority, 0, 0, PRIORITY)), ERROR.protocol)
      assert.equal(
        await resetAfter(request(1), frame(FRAME.priority, 0, 1, Buffer.alloc(4))),
        ERROR.frameSize,
      )
    })

    it('that a client may not send end the connection', async () => {
      assert.equal(
        await errorAfter(frame(FRAME.pushPromise, FLAG.endHeaders, 1, Buffer.alloc(8))),
        ERROR.protocol,
      )
      assert.equal(await errorAfter(frame(FRAME.goAway, 0, 1, Buffer.alloc(8))), ERROR.protocol)
      assert.equal(
        await errorAfter(frame(FRAME.continuation, FLAG.endHeaders, 1, EMPTY)),
        ERROR.protocol,
      )
    })

    it('that reset a stream end it; one that was not opened ends the connection', async () => {
      const client = await greet()
      client.write(request(1), reset(1))
      await client.caughtUp()
      assert.deepEqual(server.told.get(1), ['closed'])
      client.write(reset(1), reset(1))
      await assertServes(client, 3)
      assert.equal(client.of(FRAME.resetStream).length, 0)
      for (const streamId of [0, 1, 2])
        assert.equal(await errorAfter(reset(streamId)), ERROR.protocol)
      assert.equal(
        await errorAfter(request(1), frame(FRAME.resetStream, 0, 1, Buffer.alloc(3))),
        ERROR.frameSize,
      )
    })

    it('that say goodbye leave streams as they are', async () => {
      const client = await greet()
      client.write(request(1), frame(FRAME.goAway, 0, 0, Buffer.alloc(8)))
      client.write(data(1, Buffer.from('hello'), FLAG.endStream))
      await until(() => client.hasEnded(1), 'it is answered')
      assert.equal(client.data(1).toString(), 'hello')
      assert.equal(client.isClosed, false)
    })
  })

  it('tells each stream that ends with it, once', async () => {
    const client = await greet()
    client.write(request(1), request(3), request(5, FLAG.endStream), numberFrame(FRAME.ping, 0, 0))
    await client.closed()
    await until(() => server.told.get(3)!.length > 0, 'they are told')
    assert.deepEqual(
      [1, 3].map((id) => server.told.get(id)),
      [['closed'], ['closed']],
    )
    assert.deepEqual(server.told.get(5), ['end', 'closed'])
  })
})
