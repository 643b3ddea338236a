import assert from 'node:assert/strict'
import { headerBlock } from '../../../src/extproc/http2/header-block.ts'
import { FLAG, FRAME, frame, SETTING } from '../../../src/extproc/http2/protocol.ts'
import { until } from '../fakes.ts'
import { EchoServer } from './echo-server.ts'
import { heldBytes } from './held-bytes.ts'
import { data, RawClient, REQUEST, request, reset, windowUpdate } from './raw-client.ts'

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

describe('Http2Connection, bounds of time and memory', () => {
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

  it('bounds what the headers of its streams take', async () => {
    const client = await RawClient.greet(server.port)
    const before = await heldBytes()
    const value = 'v'.repeat(15_000)
    const headers = [1, 2, 3, 4].map((i) => [`x-${i}`, value] as const)
    const block = headerBlock([...REQUEST, ...headers])
    for (let id = 1; id < 6000 && client.errorOf(0) === undefined; id += 2) {
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
    assert.ok(took < 140 * MIB, `${took / MIB} MiB of 3,000 streams`)
  })
})
