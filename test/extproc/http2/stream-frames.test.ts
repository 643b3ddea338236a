import assert from 'node:assert/strict'
import {
  ERROR,
  FLAG,
  FRAME,
  frame,
  MAX_WINDOW_BYTES,
  SETTING,
} from '../../../src/extproc/http2/protocol.ts'
import { settingsFrame } from '../../../src/extproc/http2/settings.ts'
import { until } from '../fakes.ts'
import { EchoServer } from './echo-server.ts'
import { assertServes, data, padded, RawClient, request, windowUpdate } from './raw-client.ts'

const EMPTY = Buffer.alloc(0)

describe('Http2Connection, frames of streams', () => {
  let server: EchoServer
  beforeEach(async () => {
    server = await EchoServer.start()
  })
  afterEach(() => server.stop())

  const greet = () => RawClient.greet(server.port)
  const errorAfter = (...frames: Buffer[]) => RawClient.errorAfter(server.port, ...frames)
  const resetAfter = (...frames: Buffer[]) => RawClient.resetAfter(server.port, ...frames)

  describe('window updates', () => {
    it('of nothing, or too much, end the stream or the connection', async () => {
      assert.equal(await errorAfter(windowUpdate(0, 0)), ERROR.protocol)
      assert.equal(await errorAfter(windowUpdate(0, MAX_WINDOW_BYTES)), ERROR.flowControl)
      assert.equal(await resetAfter(request(1), windowUpdate(1, 0)), ERROR.protocol)
      assert.equal(
        await resetAfter(request(1), windowUpdate(1, MAX_WINDOW_BYTES)),
        ERROR.flowControl,
      )
      assert.equal(
        await errorAfter(
          request(1),
          windowUpdate(1, MAX_WINDOW_BYTES - 65_535),
          settingsFrame(new Map([[SETTING.initialWindowSize, 65_536]])),
        ),
        ERROR.flowControl,
      )
      assert.equal(
        await errorAfter(frame(FRAME.windowUpdate, 0, 0, Buffer.alloc(5))),
        ERROR.frameSize,
      )
    })

    it('of a stream that was not opened end the connection; of one that has ended, nothing', async () => {
      assert.equal(await errorAfter(windowUpdate(1, 1)), ERROR.protocol)
      assert.equal(await errorAfter(request(1), windowUpdate(2, 1)), ERROR.protocol)
      const client = await greet()
      await assertServes(client, 1)
      client.write(windowUpdate(1, 1), windowUpdate(1, 0), windowUpdate(1, MAX_WINDOW_BYTES))
      await assertServes(client, 3)
    })
  })

  describe('frames of data', () => {
    const padding = FLAG.padded

    it('with padding are read without it', async () => {
      const client = await greet()
      client.write(
        request(1),
        data(1, padded(Buffer.from('ab'), 0), padding),
        data(1, padded(EMPTY, 255), padding),
        data(1, padded(Buffer.from('cd'), 9), padding),
        data(1, EMPTY),
        data(1, padded(Buffer.from('e'), 1), padding | FLAG.endStream),
      )
      await until(() => client.hasEnded(1), 'it is answered')
      assert.equal(client.data(1).toString(), 'abcde')
    })

    it('with more padding than payload end the connection', async () => {
      assert.equal(await errorAfter(request(1), data(1, Buffer.of(1), padding)), ERROR.protocol)
      assert.equal(
        await errorAfter(request(1), data(1, Buffer.of(9, 0, 0), padding)),
        ERROR.protocol,
      )
      assert.equal(await errorAfter(request(1), data(1, EMPTY, padding)), ERROR.protocol)
    })

    it('on a stream that the client has ended reset it', async () => {
      const ended = request(1, FLAG.endStream)
      server.halfClosed = () => {}
      assert.equal(await errorOf1(ended, data(1, Buffer.from('a'))), ERROR.streamClosed)
      assert.equal(
        await errorOf1(request(1), data(1, EMPTY, 1), data(1, EMPTY)),
        ERROR.streamClosed,
      )
    })

    it('on a stream that was not opened end the connection', async () => {
      for (const streamId of [0, 1, 2]) {
        assert.equal(await errorAfter(data(streamId, Buffer.from('a'))), ERROR.protocol)
      }
      assert.equal(await errorAfter(request(3), data(5, Buffer.from('a'))), ERROR.protocol)
    })

    const errorOf1 = async (...frames: Buffer[]) => (await greet()).write(...frames).ended(1)
  })
})
