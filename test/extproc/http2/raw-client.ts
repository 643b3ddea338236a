import assert from 'node:assert/strict'
import { connect, type Socket } from 'node:net'
import { FrameSplitter } from '../../../src/extproc/http2/frame-splitter.ts'
import { headerBlock } from '../../../src/extproc/http2/header-block.ts'
import { HeaderDecoder } from '../../../src/extproc/http2/header-decoder.ts'
import { FLAG, FRAME, frame, numberFrame, PREFACE } from '../../../src/extproc/http2/protocol.ts'
import { settingsFrame } from '../../../src/extproc/http2/settings.ts'
import type { Header } from '../../../src/extproc/http2/static-table.ts'
import { until } from '../fakes.ts'

const MAX_PAYLOAD_BYTES = 16_384

/** One frame that came. */
export interface Frame {
  readonly type: number
  readonly flags: number
  readonly streamId: number
  readonly payload: Buffer
}

/** A client of HTTP/2 that writes whatever frames it is told to, and keeps those that come. */
export class RawClient {
  readonly socket: Socket
  readonly frames: Frame[] = []
  isClosed = false
  /** True to answer when asked for a sign of life. */
  answersPings = false
  readonly #decoder = new HeaderDecoder(64 * 1024)
  #data: { flags: number; streamId: number; parts: Buffer[] } | undefined

  private constructor(socket: Socket) {
    this.socket = socket
    const splitter = new FrameSplitter(
      {
        dataBegins: (streamId, _bytes, flags) => {
          this.#data = { flags, streamId, parts: [] }
        },
        data: (bytes, start, end) => void this.#data!.parts.push(bytes.subarray(start, end)),
        dataEnds: () => {
          const { flags, streamId, parts } = this.#data!
          this.frames.push({ type: FRAME.data, flags, streamId, payload: Buffer.concat(parts) })
        },
      },
      {
        frame: (type, flags, streamId, bytes, start, end) => {
          const payload = Buffer.from(bytes.subarray(start, end))
          this.frames.push({ type, flags, streamId, payload })
          if (type !== FRAME.ping || flags !== 0 || !this.answersPings) return
          this.write(frame(FRAME.ping, FLAG.ack, 0, payload))
        },
      },
      MAX_PAYLOAD_BYTES,
    )
    socket.on('data', (chunk: Buffer) => splitter.read(chunk, 0))
    socket.on('error', () => {})
    socket.once('close', () => {
      this.isClosed = true
    })
  }

  /** A connection on which nothing has been sent. */
  static async connect(port: number): Promise<RawClient> {
    const socket = connect(port, '127.0.0.1')
    await new Promise((resolve) => socket.once('connect', resolve))
    return new RawClient(socket.setNoDelay(true))
  }

  /** A connection that has been greeted with `settings`. */
  static async greet(port: number, ...settings: [number, number][]): Promise<RawClient> {
    const client = await RawClient.connect(port)
    return client.write(PREFACE, settingsFrame(new Map(settings)))
  }

  /** The connection's error after these frames, once it has ended. */
  static async errorAfter(
    port: number,
    ...frames: readonly Uint8Array[]
  ): Promise<number | undefined> {
    const client = (await RawClient.greet(port)).write(...frames)
    await client.closed()
    return client.errorOf(0)
  }

  /** The error of stream 1 after these frames; the connection goes on. */
  static async resetAfter(
    port: number,
    ...frames: readonly Uint8Array[]
  ): Promise<number | undefined> {
    const client = (await RawClient.greet(port)).write(...frames)
    const code = await client.ended(1)
    await assertServes(client, 99)
    return code
  }

  write(...frames: readonly Uint8Array[]): this {
    this.socket.write(Buffer.concat(frames))
    return this
  }

  /** Frames of one type that came, of one stream where it is given. */
  of(type: number, streamId?: number): Frame[] {
    return this.frames.filter(
      (one) => one.type === type && (streamId === undefined || one.streamId === streamId),
    )
  }

  /** All data that came on a stream. */
  data(streamId: number): Buffer {
    return Buffer.concat(this.of(FRAME.data, streamId).map(({ payload }) => payload))
  }

  /** The header blocks that came on a stream; to be asked once, since they are decoded in their order. */
  headers(streamId: number): Header[] {
    return this.of(FRAME.headers, streamId).flatMap(({ payload }) => [
      ...this.#decoder.decode(payload, 0, payload.length).headers,
    ])
  }

  /** True when our side of the stream has been told that the other is done. */
  hasEnded(streamId: number): boolean {
    return this.frames.some(
      ({ type, flags, streamId: id }) =>
        id === streamId &&
        (type === FRAME.data || type === FRAME.headers) &&
        (flags & FLAG.endStream) !== 0,
    )
  }

  /** The code of the reset of a stream, or of the connection's (0); undefined where there was none. */
  errorOf(streamId: number): number | undefined {
    return streamId === 0
      ? this.of(FRAME.goAway).at(-1)?.payload.readUInt32BE(4)
      : this.of(FRAME.resetStream, streamId)[0]?.payload.readUInt32BE(0)
  }

  /** Resolves when a reset of the stream, or of the connection (0), has come. */
  async ended(streamId: number): Promise<number> {
    await until(() => this.errorOf(streamId) !== undefined, `an error of ${streamId}`)
    return this.errorOf(streamId)!
  }

  /** Resolves when all that was written before has been read and answered. */
  async caughtUp(): Promise<void> {
    const payload = Buffer.alloc(8)
    payload.writeUInt32BE(++pings)
    this.write(frame(FRAME.ping, 0, 0, payload))
    const isEcho = (one: Frame) => one.flags === FLAG.ack && one.payload.equals(payload)
    await until(() => this.of(FRAME.ping).some(isEcho), 'the ping comes back')
  }

  async closed(): Promise<void> {
    await until(() => this.isClosed, 'the connection is closed')
  }
}

let pings = 0

/** The frames of a request's headers to `path`, by default one that the server knows. */
export function request(streamId: number, flags = 0, more: readonly Header[] = []): Buffer {
  return headersFrame(streamId, [...REQUEST, ...more], flags)
}

export const REQUEST: readonly Header[] = [
  [':method', 'POST'],
  [':scheme', 'http'],
  [':path', '/a.B/C'],
  ['content-type', 'application/grpc'],
  ['te', 'trailers'],
]

export function headersFrame(streamId: number, headers: readonly Header[], flags = 0): Buffer {
  return frame(FRAME.headers, FLAG.endHeaders | flags, streamId, headerBlock(headers))
}

export function data(streamId: number, bytes: Uint8Array, flags = 0): Buffer {
  return frame(FRAME.data, flags, streamId, bytes)
}

/** `payload` with `paddingBytes` of padding, as DATA and HEADERS have it. */
export function padded(payload: Uint8Array, paddingBytes: number): Buffer {
  return Buffer.concat([Buffer.of(paddingBytes), payload, Buffer.alloc(paddingBytes)])
}

export function reset(streamId: number, code = 8): Buffer {
  return numberFrame(FRAME.resetStream, streamId, code)
}

export function windowUpdate(streamId: number, bytes: number): Buffer {
  return numberFrame(FRAME.windowUpdate, streamId, bytes)
}

export function ping(payload = 'abcdefgh', flags = 0, streamId = 0): Buffer {
  return frame(FRAME.ping, flags, streamId, Buffer.from(payload))
}

/** A new stream of a server that sends back what it gets is answered in full. */
export async function assertServes(client: RawClient, streamId: number): Promise<void> {
  client.write(request(streamId), data(streamId, Buffer.from('hello'), FLAG.endStream))
  await until(() => client.hasEnded(streamId), 'it is answered')
  assert.equal(client.data(streamId).toString(), 'hello')
  assert.equal(client.headers(streamId).at(-1)?.[1], '0')
}
