import assert from 'node:assert/strict'
import { gzipSync } from 'node:zlib'
import type { GrpcCall } from '../../../src/extproc/grpc/call.ts'
import { framed } from '../../../src/extproc/grpc/frames.ts'
import { GrpcServer } from '../../../src/extproc/grpc/grpc-server.ts'
import { STATUS } from '../../../src/extproc/grpc/status.ts'
import { headerBlock } from '../../../src/extproc/http2/header-block.ts'
import { ERROR, FLAG, FRAME, frame, PREFACE, SETTING } from '../../../src/extproc/http2/protocol.ts'
import { until } from '../fakes.ts'
import { EchoServer } from './echo-server.ts'
import { heldBytes } from './held-bytes.ts'
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

/** Frames of one byte of data each. */
function crumbs(streamId: number, count: number): Buffer {
  return Buffer.concat(new Array(count).fill(data(streamId, Buffer.of(120))))
}

/** Milliseconds of CPU that this process took. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

describe('an HTTP/2 connection', () => {
  let server: EchoServer
  beforeEach(async () => {
    server = await EchoServer.start()
  })
  afterEach(() => server.stop())

  it('tells what it held in a time that grows with it, not with its square', async () => {
    const client = await RawClient.greet(server.port)
    server.data = () => {}
    client.write(request(1))
    await client.caughtUp()
    const stream = server.streams.get(1)!
    const took = async (count: number) => {
      stream.pause()
      client.write(crumbs(1, count))
      await client.caughtUp()
      const before = cpuMs()
      stream.resume()
      return cpuMs() - before
    }
    await took(2000)
    const ms = await took(100_000)
    assert.equal(server.received(1).length, 102_000)
    assert.ok(ms < 300, `${ms} ms`)
  })

  it('holds no more than what came on a stream that is not told, however it came', async () => {
    const client = await RawClient.greet(server.port)
    client.write(request(1))
    await client.caughtUp()
    server.streams.get(1)!.pause()
    const unknown = frame(200, 0, 0, Buffer.alloc(16_000))
    const crumb = Buffer.concat([data(1, Buffer.of(120)), unknown, unknown, unknown, unknown])
    const before = await heldBytes()
    for (let times = 0; times < 1600; times++) {
      client.write(crumb)
      if (times % 100 === 99) await client.caughtUp()
    }
    const took = (await heldBytes()) - before
    assert.ok(took < 10 * MIB, `${took / MIB} MiB for 1,600 bytes`)
  })

  it('forgets streams that were reset, though the other side reads nothing', async () => {
    const client = await RawClient.greet(server.port, [SETTING.initialWindowSize, 64 * MIB])
    client.write(windowUpdate(0, 64 * MIB), request(1))
    await client.caughtUp()
    client.socket.pause()
    server.streams.get(1)!.send([Buffer.alloc(32 * MIB)])
    const header = ['x', 'x'.repeat(2 * KIB)] as const
    const before = await heldBytes()
    for (let id = 3; id < 10_000 && !client.isClosed; id += 2) {
      client.write(request(id, 0, [header]), reset(id))
      server.streams.clear()
      if (id % 200 === 1) await new Promise(setImmediate)
    }
    await until(() => client.isClosed || server.told.has(9_999), 'all have been read')
    const took = (await heldBytes()) - before
    assert.ok(took < 5 * MIB, `${took / MIB} MiB`)
  })

  it('keeps nothing of what it has told of a stream, though more and more comes', async () => {
    const client = await RawClient.greet(server.port)
    client.write(request(1))
    await client.caughtUp()
    const stream = server.streams.get(1)!
    server.data = () => stream.pause()
    server.keepsBodies = false
    stream.pause()
    const part = Buffer.concat(new Array(4).fill(data(1, Buffer.alloc(16_384))))
    client.write(part, part)
    await client.caughtUp()
    const before = await heldBytes()
    for (let times = 0; times < 1000; times++) {
      client.write(part)
      await client.caughtUp()
      stream.resume()
    }
    const took = (await heldBytes()) - before
    assert.ok(took < 20 * MIB, `${took / MIB} MiB`)
  })

  it('holds a byte in little room', async () => {
    const client = await RawClient.greet(server.port)
    server.data = () => {}
    const count = 500
    const before = await heldBytes()
    for (let i = 0; i < count; i++) {
      client.write(request(2 * i + 1))
      await client.caughtUp()
      server.streams.get(2 * i + 1)!.pause()
      client.write(data(2 * i + 1, Buffer.of(1)))
    }
    await client.caughtUp()
    const took = (await heldBytes()) - before
    assert.ok(took < count * 8 * KIB, `${took / count} bytes each`)
  })

  it('takes settings of many streams in little time', async () => {
    const client = await RawClient.greet(server.port)
    server.data = () => {}
    const count = 20_000
    for (let i = 0; i < count; i += 500) {
      client.write(...Array.from({ length: 500 }, (_, j) => request(2 * (i + j) + 1)))
      await client.caughtUp()
    }
    const settings = (value: number) => Buffer.of(0, SETTING.initialWindowSize, 0, 0, 0, value)
    const one = frame(
      FRAME.settings,
      0,
      0,
      Buffer.concat(new Array(16).fill(Buffer.concat([settings(1), settings(2)]))),
    )
    const chunk = Buffer.concat(new Array(100).fill(one))
    const before = cpuMs()
    client.write(chunk)
    await client.caughtUp()
    const ms = cpuMs() - before
    assert.ok(ms < 200, `${ms} ms for ${chunk.length} bytes`)
  })

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
    const again = await RawClient.errorAfter(server.port, request(1, FLAG.endStream), request(1))
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

  it('bounds what the headers of its streams take', async () => {
    const client = await RawClient.greet(server.port)
    const before = await heldBytes()
    const value = 'v'.repeat(15_000)
    const headers = [1, 2, 3, 4].map((i) => [`x-${i}`, value] as const)
    const block = headerBlock([...REQUEST, ...headers])
    for (let id = 1; id < 4000 && client.errorOf(0) === undefined; id += 2) {
      for (let at = 0; at < block.length; at += 16_000) {
        const flags = at + 16_000 >= block.length ? FLAG.endHeaders : 0
        client.write(
          frame(
            at === 0 ? FRAME.headers : FRAME.continuation,
            flags,
            id,
            block.subarray(at, at + 16_000),
          ),
        )
      }
      if (id % 64 === 63) await client.caughtUp()
    }
    const took = (await heldBytes()) - before
    assert.ok(took < 90 * MIB, `${took / MIB} MiB of 2,000 streams`)
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
