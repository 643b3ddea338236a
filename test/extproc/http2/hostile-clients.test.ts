import assert from 'node:assert/strict'
import { gzipSync } from 'node:zlib'
import type { GrpcCall } from '../../../src/extproc/grpc/call.ts'
import { framed } from '../../../src/extproc/grpc/frames.ts'
import { GrpcServer } from '../../../src/extproc/grpc/grpc-server.ts'
import { STATUS } from '../../../src/extproc/grpc/status.ts'
import { ERROR, FLAG, FRAME, frame, PREFACE, SETTING } from '../../../src/extproc/http2/protocol.ts'
import { until } from '../fakes.ts'
import { EchoServer } from './echo-server.ts'
import {
  data,
  headersFrame,
  ping,
  RawClient,
  REQUEST,
  request,
  reset,
  windowUpdate,
} from './raw-client.ts'

const KIB = 1024
const MIB = 1024 * KIB

describe('an HTTP/2 connection', () => {
  let server: EchoServer
  beforeEach(async () => {
    server = await EchoServer.start()
  })
  afterEach(() => server.stop())

  it('goes on where the client sends trailers on a stream that it was just refused', async () => {
    const client = await RawClient.greet(server.port)
    client.write(
      headersFrame(1, [...REQUEST, ['connection', 'close']]),
      data(1, Buffer.from('abc')),
      headersFrame(1, [['x-checksum', '1']], FLAG.endStream),
      request(3, FLAG.endStream),
    )
    await until(() => client.hasEnded(3) || client.isClosed, 'the other is answered')
    assert.deepEqual([client.errorOf(1), client.errorOf(0)], [ERROR.protocol, undefined])
  })

  it('goes on where the client sends trailers on a stream that it opened too late', async () => {
    const client = await RawClient.greet(server.port)
    client.write(request(1))
    await client.caughtUp()
    server.connections[0]!.close()
    await until(() => client.of(FRAME.ping).length > 0, 'the last ping')
    client.write(ping('last-one', FLAG.ack))
    await until(() => client.of(FRAME.goAway).length === 2, 'the last goodbye')
    client.write(
      request(3),
      data(3, Buffer.from('abc')),
      headersFrame(3, [['x-checksum', '1']], FLAG.endStream),
      data(1, Buffer.from('abc'), FLAG.endStream),
    )
    await client.closed()
    assert.equal(client.errorOf(0), ERROR.none)
    assert.ok(client.hasEnded(1))
    assert.equal(client.data(1).toString(), 'abc')
  })

  it('ends where a stream is opened a second time, or after one that came later', async () => {
    const client = (await RawClient.greet(server.port)).write(request(1, FLAG.endStream))
    await until(() => client.hasEnded(1), 'it is answered')
    await client.write(request(1)).closed()
    const again = client.errorOf(0)
    const late = await RawClient.errorAfter(server.port, request(5), request(3))
    assert.ok(again !== ERROR.none && late !== ERROR.none)
  })

  it('never says goodbye with a higher stream than before', async () => {
    const client = await RawClient.greet(server.port)
    client.write(request(1))
    await client.caughtUp()
    server.connections[0]!.close()
    await until(() => client.of(FRAME.ping).length > 0, 'the last ping')
    client.write(ping('last-one', FLAG.ack), request(3), ping('x'))
    await client.closed()
    const ids = client.of(FRAME.goAway).map(({ payload }) => payload.readUInt32BE(0))
    assert.deepEqual(ids, [2 ** 31 - 1, 1, 1])
  })

  it('refuses a frame of more settings than anybody has', async () => {
    const client = await RawClient.greet(server.port)
    const one = Buffer.of(0, SETTING.initialWindowSize, 0, 0, 255, 255)
    client.write(frame(FRAME.settings, 0, 0, Buffer.concat(new Array(2000).fill(one))))
    await client.closed()
    assert.equal(client.errorOf(0), ERROR.enhanceYourCalm)
  })

  it('sends what needs no window though the window is shut', async () => {
    const client = await RawClient.greet(server.port, [SETTING.initialWindowSize, MIB])
    server.data = () => {}
    client.write(request(1), request(3))
    await client.caughtUp()
    server.answer(1, Buffer.alloc(100 * KIB))
    await until(() => client.data(1).length === 65_535, 'the window is shut')
    server.answer(3)
    await client.caughtUp()
    assert.ok(client.hasEnded(3))
  })

  it('takes no acknowledgement as the first settings', async () => {
    const client = await RawClient.connect(server.port)
    client.write(PREFACE, frame(FRAME.settings, FLAG.ack, 0, Buffer.alloc(0)), request(1))
    await client.closed()
    assert.equal(client.errorOf(0), ERROR.protocol)
  })

  it('takes no line end within :path', async () => {
    const client = await RawClient.greet(server.port)
    const headers = REQUEST.map(
      ([name, value]) => [name, name === ':path' ? '/a\r\nb' : value] as const,
    )
    client.write(headersFrame(1, headers))
    await client.caughtUp()
    assert.equal(client.errorOf(1), ERROR.protocol)
  })

  /** A client whose stream 1 fills the sockets between both, of which it reads nothing. */
  const blocked = async (written?: () => void) => {
    const client = await RawClient.greet(server.port, [SETTING.initialWindowSize, 64 * MIB])
    server.data = () => {}
    client.write(windowUpdate(0, 64 * MIB), request(1))
    await client.caughtUp()
    return {
      client,
      fill: async () => {
        client.socket.pause()
        const stream = server.streams.get(1)!
        stream.begin(Buffer.of(0x88))
        while (server.sockets[0]!.writableLength === 0) {
          stream.send([Buffer.alloc(32 * KIB)], written)
          await new Promise(setImmediate)
        }
      },
    }
  }

  it('does not watch its socket again and again once it ends', async () => {
    const { client, fill } = await blocked()
    server.connections[0]!.close()
    await until(() => client.of(FRAME.ping).length > 1, 'the last ping')
    client.write(ping('last-one', FLAG.ack))
    await until(() => client.of(FRAME.goAway).length === 2, 'the last goodbye')
    await fill()
    const [socket] = server.sockets
    const before = socket!.listenerCount('finish')
    client.write(reset(1))
    for (let times = 0; times < 5; times++) {
      client.write(windowUpdate(0, 1))
      await until(() => socket!.bytesRead === client.socket.bytesWritten, 'it is read')
    }
    assert.ok(socket!.listenerCount('finish') <= before + 1)
  })

  it('says of a written answer only where the stream lives', async () => {
    let written = 0
    const { client, fill } = await blocked(() => written++)
    await fill()
    let atClose = 0
    server.sockets[0]!.once('close', () => {
      atClose = written
    })
    const before = written
    client.socket.resetAndDestroy()
    await until(() => server.told.get(1)!.includes('closed'), 'it is closed')
    await new Promise((resolve) => setTimeout(resolve, 50))
    assert.deepEqual([written, atClose], [before, before])
  })

  it('does so where it is destroyed itself', async () => {
    let written = 0
    const { fill } = await blocked(() => written++)
    await fill()
    const before = written
    server.connections[0]!.destroy()
    await new Promise((resolve) => setTimeout(resolve, 50))
    assert.equal(written, before)
  })
})

describe('a gRPC call that has ended', () => {
  it('takes what still comes, though a message was being decompressed', async () => {
    let call: GrpcCall | undefined
    let isClosed = false
    const server = new GrpcServer({
      methods: new Map([
        [
          '/a.B/C',
          (one) => {
            call = one
            return { message: () => {}, halfClosed: () => {}, closed: () => void (isClosed = true) }
          },
        ],
      ]),
      certificate: undefined,
      maxMessageBytes: 64 * MIB,
      maxConnections: 10,
      refused: () => {},
      failed: assert.ifError,
    })
    const client = await RawClient.greet(await server.listen('127.0.0.1', 0))
    try {
      const message = framed(gzipSync(Buffer.alloc(MIB)))
      message[0] = 1
      client.write(request(1, 0, [['grpc-encoding', 'gzip']]), data(1, message))
      await until(() => call !== undefined, 'it has begun')
      call!.end(STATUS.internal)
      const frames = Math.ceil((9 * MIB) / 16_000)
      for (let sent = 0; sent < frames; sent++) client.write(data(1, Buffer.alloc(16_000)))
      const goesOn = () => client.of(FRAME.windowUpdate, 1).length === 1
      await until(goesOn, 'the stream is told to go on')
      assert.equal(isClosed, false)
    } finally {
      client.socket.destroy()
      await server.close(0)
    }
  })
})
