import assert from 'node:assert/strict'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { Http2Connection } from '../../../src/extproc/http2/connection.ts'
import { headerBlock } from '../../../src/extproc/http2/header-block.ts'
import { FLAG, FRAME, frame, SETTING } from '../../../src/extproc/http2/protocol.ts'
import { settingsFrame } from '../../../src/extproc/http2/settings.ts'
import type { Http2Stream } from '../../../src/extproc/http2/stream.ts'
import { below, seeded } from '../../kvcache/random.ts'
import { until } from '../fakes.ts'
import { HEAD, TRAILERS } from './echo-server.ts'
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

const CONNECTIONS = 400

describe('Http2Connection, whatever comes', () => {
  const random = below(seeded(31))
  let server: Server
  /** Of each stream: what it was told after it was closed, or out of turn. */
  let faults: string[]
  let open: Set<Http2Stream>
  before(async () => {
    faults = []
    open = new Set()
    server = createServer((socket) => {
      const connection = new Http2Connection(socket, (stream) => serve(stream))
      if (random(10) === 0) setImmediate(() => connection.close())
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  })
  after(() => new Promise<void>((resolve) => void server.close(() => resolve())))

  /** Sends back what comes, and does whatever a handler may do at any time. */
  const serve = (stream: Http2Stream) => {
    let state: 'open' | 'half' | 'closed' = 'open'
    open.add(stream)
    const act = () => {
      const kind = random(12)
      if (kind === 0) stream.end(TRAILERS)
      else if (kind === 1) stream.pause()
      else if (kind < 4) setImmediate(() => stream.resume())
      else if (kind === 4) stream.send([Buffer.alloc(1 + random(200_000))], () => stream.resume())
    }
    stream.begin(HEAD)
    act()
    stream.receive({
      data: (bytes, start, end) => {
        if (state !== 'open') faults.push(`data when ${state}`)
        if (end > start) stream.send([bytes.subarray(start, end)])
        act()
      },
      halfClosed: () => {
        if (state !== 'open') faults.push(`half-closed when ${state}`)
        state = 'half'
        if (random(3) > 0) stream.end(TRAILERS)
        act()
      },
      closed: () => {
        if (state === 'closed') faults.push('closed twice')
        state = 'closed'
        open.delete(stream)
        act()
      },
    })
  }

  const anyFrame = (): Buffer => {
    const streamId = random(3) === 0 ? random(12) : 2 * random(8) + 1
    const flags = random(4) === 0 ? random(256) : 0
    const payload = Buffer.alloc([0, random(20), random(200), random(16_385)][random(4)]!)
    switch (random(14)) {
      case 0:
        return frame(random(11), flags, streamId, payload)
      case 1:
        return frame(random(3) === 0 ? FRAME.continuation : FRAME.headers, flags, streamId, payload)
      case 2:
        return settingsFrame(
          new Map([[SETTING.initialWindowSize, [0, 1, 100_000, 2 ** 31 - 1][random(4)]!]]),
        )
      case 3:
        return windowUpdate(
          random(2) * streamId,
          [1, 1000, 1_000_000, 2 ** 31 - 1][random(30) === 0 ? 3 : random(3)]!,
        )
      case 4:
        return reset(streamId)
      case 5:
        return ping(random(2) === 0 ? 'last-one' : 'are-you?', random(2))
      case 6:
        return headersFrame(streamId, [['x', '1']], FLAG.endStream)
      case 7:
      case 8:
        return data(streamId, payload, random(3) === 0 ? FLAG.endStream : flags & FLAG.padded)
      case 9: {
        const block = headerBlock(REQUEST)
        const at = random(block.length)
        return Buffer.concat([
          frame(FRAME.headers, random(2), streamId, block.subarray(0, at)),
          frame(
            FRAME.continuation,
            random(8) === 0 ? 0 : FLAG.endHeaders,
            streamId,
            block.subarray(at),
          ),
        ])
      }
      default:
        return data(streamId, payload)
    }
  }

  it('throws nothing, tells streams in order, and leaves none behind', async () => {
    const { port } = server.address() as AddressInfo
    let broken = 0
    for (let run = 0; run < CONNECTIONS; run++) {
      const client = await RawClient.greet(port)
      let nextId = 1
      for (let sent = 3 + random(40); sent > 0 && !client.isClosed; sent--) {
        const frames: Buffer[] = []
        for (let i = random(8); i >= 0; i--) {
          if (random(3) === 0 && nextId < 16) {
            frames.push(request(nextId, random(4) === 0 ? FLAG.endStream : 0))
            nextId += 2
          }
          frames.push(
            random(12) === 0
              ? anyFrame()
              : data(Math.max(1, nextId - 2), Buffer.alloc(random(5000))),
          )
          if (random(3) === 0) frames.push(windowUpdate(0, 1 + random(100_000)))
        }
        client.write(...frames)
        if (random(4) === 0) await new Promise(setImmediate)
      }
      await new Promise(setImmediate)
      if (client.errorOf(0) !== undefined) broken++
      if (random(2) === 0) client.socket.resetAndDestroy()
      else client.socket.destroy()
    }
    await until(() => open.size === 0, 'all streams are closed')
    assert.deepEqual(faults, [])
    assert.ok(broken > CONNECTIONS / 10 && broken < CONNECTIONS, `${broken} broken`)
  })
})
