import type { Socket } from 'node:net'
import { type FrameSink, FrameSplitter } from './frame-splitter.ts'
import { HeaderBlocks } from './header-blocks.ts'
import {
  CONNECTION_WINDOW_BYTES,
  MAX_HEADER_BYTES,
  MAX_STREAMS,
  STREAM_WINDOW_BYTES,
} from './limits.ts'
import { Output } from './output.ts'
import { unpadded } from './padding.ts'
import {
  ConnectionError,
  DEFAULT_FRAME_BYTES,
  DEFAULT_TABLE_BYTES,
  DEFAULT_WINDOW_BYTES,
  ERROR,
  type ErrorCode,
  FLAG,
  FRAME,
  frame,
  MAX_STREAM_ID,
  MAX_WINDOW_BYTES,
  need,
  numberFrame,
  PREFACE,
  SETTING,
} from './protocol.ts'
import { readSettings, settingsFrame } from './settings.ts'
import { type Opened, Streams } from './streams.ts'

const SETTINGS = settingsFrame(
  new Map([
    [SETTING.maxConcurrentStreams, MAX_STREAMS],
    [SETTING.initialWindowSize, STREAM_WINDOW_BYTES],
    [SETTING.maxHeaderListSize, MAX_HEADER_BYTES],
  ]),
)
const WIDER_WINDOW = numberFrame(
  FRAME.windowUpdate,
  0,
  CONNECTION_WINDOW_BYTES - DEFAULT_WINDOW_BYTES,
)
const SETTINGS_TAKEN = frame(FRAME.settings, FLAG.ack, 0, Buffer.alloc(0))
const PING_BYTES = 8
const LIFE_PING = frame(FRAME.ping, 0, 0, Buffer.from('are-you?'))
const LAST_PING = frame(FRAME.ping, 0, 0, Buffer.from('last-one'))
const PRIORITY_BYTES = 5

/** The server's end of one HTTP/2 connection. Source: RFC 9113. */
export class Http2Connection implements FrameSink {
  /** Where its frames leave, and those of its streams. */
  readonly output: Output
  readonly #socket: Socket
  readonly #misspoken: (first: Buffer) => void
  readonly #blocks = new HeaderBlocks(MAX_HEADER_BYTES)
  readonly #streams: Streams
  readonly #splitter: FrameSplitter
  /** Bytes of the preface that have come. */
  #prefaceBytes = 0
  #sawSettings = false
  /** True until a sign of life that was asked for has come. */
  #isAsked = false
  #isClosing = false
  /** True when a rule was broken, for which nothing is read any more. */
  #isBroken = false

  /**
   * @param socket just connected, from which nothing has been read
   * @param opened told of each stream that is taken
   * @param misspoken told of the first bytes of a client that does not speak HTTP/2
   */
  constructor(socket: Socket, opened: Opened, misspoken: (first: Buffer) => void = () => {}) {
    this.#socket = socket
    this.#misspoken = misspoken
    // Who reads no answers would not read a goodbye either.
    this.output = new Output(socket, () => {
      this.#isBroken = true
      this.destroy()
    })
    this.#streams = new Streams(this.output, this.#blocks, opened)
    this.#splitter = new FrameSplitter(this.#streams, this, DEFAULT_FRAME_BYTES)
    socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    // A socket closes after its error.
    socket.on('error', () => {})
    socket.once('close', () => this.#streams.close())
    this.output.control(SETTINGS)
    this.output.control(WIDER_WINDOW)
  }

  /** Asks the other side for a sign of life; false where it gave none since it was asked last. */
  askForLife(): boolean {
    if (this.#isAsked || this.#isBroken) return false
    this.#isAsked = true
    this.output.control(LIFE_PING)
    return true
  }

  /** Takes no stream any more, but for those on their way, and closes when the last one has ended. */
  close(): void {
    if (this.#isClosing || this.#isBroken) return
    this.#isClosing = true
    // Its answer comes after all streams that were opened before the client knew.
    this.output.control(goAway(MAX_STREAM_ID, ERROR.none, ''))
    this.output.control(LAST_PING)
  }

  /** Ends all streams now. */
  destroy(): void {
    this.#streams.close()
    this.#socket.destroy()
  }

  /** @throws {ConnectionError} where it breaks a rule */
  frame(
    type: number,
    flags: number,
    streamId: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): void {
    this.#blocks.expect(type, streamId)
    const isSettings = type === FRAME.settings && (flags & FLAG.ack) === 0
    need(this.#sawSettings || isSettings, ERROR.protocol, 'the first frame is not settings')
    switch (type) {
      case FRAME.data:
        this.#streams.paddedData(flags, streamId, bytes, start, end)
        break
      case FRAME.headers:
      case FRAME.continuation:
        this.#headers(type, flags, streamId, bytes, start, end)
        break
      case FRAME.resetStream:
        need(end - start === 4, ERROR.frameSize, 'a reset is not four bytes')
        this.#streams.wasReset(streamId)
        break
      case FRAME.settings:
        this.#settings(flags, streamId, bytes, start, end)
        break
      case FRAME.ping:
        this.#ping(flags, streamId, bytes, start, end)
        break
      case FRAME.windowUpdate: {
        need(end - start === 4, ERROR.frameSize, 'a window update is not four bytes')
        const addedBytes = bytes.readUInt32BE(start) & MAX_WINDOW_BYTES
        if (streamId === 0) this.#widen(addedBytes)
        else this.#streams.widen(streamId, addedBytes)
        break
      }
      case FRAME.priority:
        need(streamId !== 0, ERROR.protocol, 'a priority is of no stream')
        if (end - start !== PRIORITY_BYTES) this.#streams.reset(streamId, ERROR.frameSize)
        break
      case FRAME.goAway:
        need(streamId === 0, ERROR.protocol, 'a goodbye is of one stream')
        break
      case FRAME.pushPromise:
        throw new ConnectionError(ERROR.protocol, 'a client promised a push')
    }
  }

  #read(chunk: Buffer): void {
    if (this.#isBroken) return
    this.output.hold()
    try {
      const at = this.#prefaceBytes < PREFACE.length ? this.#readPreface(chunk) : 0
      this.#splitter.read(chunk, at)
      this.#streams.lookAtWindows()
    } catch (error) {
      if (!(error instanceof ConnectionError)) throw error
      this.#fail(error.code, error.message)
    } finally {
      this.output.release()
    }
  }

  #readPreface(chunk: Buffer): number {
    const from = this.#prefaceBytes
    const count = Math.min(PREFACE.length - from, chunk.length)
    const isPreface = chunk.compare(PREFACE, from, from + count, 0, count) === 0
    if (!isPreface && from === 0) this.#misspoken(chunk)
    need(isPreface, ERROR.protocol, 'this is not HTTP/2')
    this.#prefaceBytes += count
    return count
  }

  #headers(
    type: number,
    flags: number,
    streamId: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): void {
    if (streamId % 2 === 0) {
      throw new ConnectionError(ERROR.protocol, `no client opens a stream ${streamId}`)
    }
    if (type === FRAME.headers) {
      ;[start, end] = unpadded(flags, bytes, start, end)
      // On whom a stream depends is of no use any more: RFC 9113, section 5.3.
      if ((flags & FLAG.priority) !== 0) start += PRIORITY_BYTES
      need(start <= end, ERROR.frameSize, 'headers are cut short')
    }
    const decoded = this.#blocks.add(type, flags, streamId, bytes, start, end)
    if (decoded === undefined) return
    if (streamId > this.#streams.lastId) this.#streams.open(streamId, decoded)
    else this.#streams.trailers(streamId, decoded)
  }

  #settings(flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    need(streamId === 0, ERROR.protocol, 'settings are of one stream')
    this.#sawSettings = true
    if ((flags & FLAG.ack) !== 0) {
      need(start === end, ERROR.frameSize, 'settings are taken and made at once')
      return
    }
    for (const [id, value] of readSettings(bytes, start, end)) {
      if (id === SETTING.maxFrameSize) this.output.maxPayloadBytes = value
      else if (id === SETTING.initialWindowSize) this.#streams.changeInitialWindow(value)
      else if (id === SETTING.headerTableSize && value < DEFAULT_TABLE_BYTES) {
        this.output.mustShrinkTable = true
      }
    }
    this.output.control(SETTINGS_TAKEN)
  }

  #widen(bytes: number): void {
    need(bytes > 0, ERROR.protocol, 'a window is widened by nothing')
    const isTooWide = this.output.windowBytes + bytes > MAX_WINDOW_BYTES
    need(!isTooWide, ERROR.flowControl, 'a window is too large')
    this.output.widen(bytes)
  }

  #ping(flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    need(streamId === 0, ERROR.protocol, 'a ping is of one stream')
    need(end - start === PING_BYTES, ERROR.frameSize, 'a ping is not eight bytes')
    const payload = bytes.subarray(start, end)
    if ((flags & FLAG.ack) === 0) this.output.control(frame(FRAME.ping, FLAG.ack, 0, payload))
    else if (payload.equals(LIFE_PING.subarray(-PING_BYTES))) this.#isAsked = false
    else if (payload.equals(LAST_PING.subarray(-PING_BYTES)) && this.#isClosing) {
      this.#streams.takeNoMore()
      this.output.control(goAway(this.#streams.lastTakenId, ERROR.none, ''))
    }
  }

  /** Says why, and ends the connection. */
  #fail(code: ErrorCode, details: string): void {
    if (this.#isBroken) return
    this.#isBroken = true
    this.#streams.close()
    this.output.control(goAway(this.#streams.lastTakenId, code, details))
    this.output.end()
  }
}

function goAway(lastId: number, code: ErrorCode, details: string): Buffer {
  const text = Buffer.from(details)
  const payload = Buffer.allocUnsafe(8 + text.length)
  payload.writeUInt32BE(lastId)
  payload.writeUInt32BE(code, 4)
  text.copy(payload, 8)
  return frame(FRAME.goAway, 0, 0, payload)
}
