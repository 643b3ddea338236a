import type { Socket } from 'node:net'
import { type FrameSink, FrameSplitter } from './frame-splitter.ts'
import { HeaderBlocks } from './header-blocks.ts'
import type { DecodedHeaders } from './header-decoder.ts'
import { Output } from './output.ts'
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
  MAX_WINDOW_BYTES,
  numberFrame,
  PREFACE,
  SETTING,
} from './protocol.ts'
import { malformation, RequestHeaders, trailerMalformation } from './request-headers.ts'
import { readSettings, settingsFrame } from './settings.ts'
import { Http2Stream, type StreamOwner } from './stream.ts'

/** What clients may do on one connection. */
const MAX_STREAMS = 100_000
const MAX_HEADER_BYTES = 64 * 1024
/** Of the headers of all open streams. */
const MAX_OPEN_HEADER_BYTES = 64 * 1024 * 1024
/** With the protocol's 64 KiB a long prompt waits for a round trip each 64 KiB. */
const STREAM_WINDOW_BYTES = 16 * 1024 * 1024
const CONNECTION_WINDOW_BYTES = 64 * 1024 * 1024

const SETTINGS = settingsFrame(
  new Map([
    [SETTING.maxConcurrentStreams, MAX_STREAMS],
    [SETTING.initialWindowSize, STREAM_WINDOW_BYTES],
    [SETTING.maxHeaderListSize, MAX_HEADER_BYTES],
  ]),
)
const WIDER = numberFrame(FRAME.windowUpdate, 0, CONNECTION_WINDOW_BYTES - DEFAULT_WINDOW_BYTES)
const SETTINGS_TAKEN = frame(FRAME.settings, FLAG.ack, 0, Buffer.alloc(0))
const LIFE_PING = frame(FRAME.ping, 0, 0, Buffer.from('are-you?'))
const LAST_PING = frame(FRAME.ping, 0, 0, Buffer.from('last-one'))
/** Frames on their way, past which frames of streams that have ended are not answered. */
const MAX_LATE_ANSWERS = 1000
const PING_BYTES = 8
const PRIORITY_BYTES = 5
const MAX_STREAM_ID = 2 ** 31 - 1

/** Begins to read a stream that a client opened. */
export type Opened = (stream: Http2Stream) => void

/** The server's end of one HTTP/2 connection. Source: RFC 9113. */
export class Http2Connection implements FrameSink, StreamOwner {
  readonly output: Output
  readonly #socket: Socket
  readonly #opened: Opened
  readonly #splitter = new FrameSplitter(this, DEFAULT_FRAME_BYTES)
  readonly #blocks = new HeaderBlocks(MAX_HEADER_BYTES)
  readonly #streams = new Map<number, Http2Stream>()
  /** Bytes of the preface that have come. */
  #prefaceBytes = 0
  #sawSettings = false
  /** The last stream that the client opened. */
  #lastId = 0
  /** Streams above are not taken. */
  #maxId = MAX_STREAM_ID
  initialWindowBytes = DEFAULT_WINDOW_BYTES
  /** True when that has changed and what it makes of the streams' windows has not been looked at. */
  #haveWindowsMoved = false
  #receiveWindowBytes = CONNECTION_WINDOW_BYTES
  #unacknowledgedBytes = 0
  #openHeaderBytes = 0
  /** The stream of the frame of data that is being read; undefined drops it. */
  #dataStream: Http2Stream | undefined
  #dataEndsStream = false
  #isAsked = false
  #isClosing = false
  #isBroken = false

  constructor(socket: Socket, opened: Opened) {
    this.#socket = socket
    this.#opened = opened
    this.output = new Output(socket, () =>
      this.#fail(ERROR.enhanceYourCalm, 'answers are not read'),
    )
    socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    // It is closed with it.
    socket.on('error', () => {})
    socket.once('close', () => this.#closeStreams())
    this.output.control(SETTINGS)
    this.output.control(WIDER)
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
    this.#closeStreams()
    this.#socket.destroy()
  }

  consumed(stream: Http2Stream, bytes: number): void {
    this.#consumed(bytes)
    if (stream.isClosed || stream.isHalfClosed) return
    stream.unacknowledgedBytes += bytes
    if (stream.unacknowledgedBytes <= STREAM_WINDOW_BYTES / 2) return
    this.output.control(numberFrame(FRAME.windowUpdate, stream.id, stream.unacknowledgedBytes))
    stream.receiveWindowBytes += stream.unacknowledgedBytes
    stream.unacknowledgedBytes = 0
  }

  sentAll(stream: Http2Stream): void {
    stream.isAnswered = true
    if (stream.isHalfClosed) this.#forget(stream)
  }

  dataBegins(streamId: number, payloadBytes: number, flags: number): void {
    this.#blocks.expect(FRAME.data, streamId)
    const stream = this.#streams.get(streamId)
    this.#receiveWindowBytes -= payloadBytes
    if (this.#receiveWindowBytes < 0) {
      throw new ConnectionError(ERROR.flowControl, 'more data than the connection takes')
    }
    this.#dataStream = undefined
    this.#dataEndsStream = (flags & FLAG.endStream) !== 0
    if (stream === undefined) {
      this.#known(streamId, 'data')
      this.#isOver(streamId)
    } else if (stream.isHalfClosed) this.#reset(streamId, ERROR.streamClosed)
    else if ((stream.receiveWindowBytes -= payloadBytes) < 0) {
      this.#reset(streamId, ERROR.flowControl)
    } else this.#dataStream = stream
  }

  data(bytes: Buffer, start: number, end: number): void {
    const stream = this.#dataStream
    if (stream === undefined) this.#consumed(end - start)
    else stream.received(bytes, start, end)
  }

  dataEnds(): void {
    const stream = this.#dataStream
    this.#dataStream = undefined
    if (stream !== undefined && this.#dataEndsStream) this.#halfClosed(stream)
  }

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
        this.#paddedData(flags, streamId, bytes, start, end)
        break
      case FRAME.headers:
      case FRAME.continuation:
        this.#block(type, flags, streamId, bytes, start, end)
        break
      case FRAME.resetStream:
        need(end - start === 4, ERROR.frameSize, 'a reset is not four bytes')
        this.#wasReset(streamId)
        break
      case FRAME.settings:
        this.#settings(flags, streamId, bytes, start, end)
        break
      case FRAME.ping:
        this.#ping(flags, streamId, bytes, start, end)
        break
      case FRAME.windowUpdate:
        need(end - start === 4, ERROR.frameSize, 'a window update is not four bytes')
        this.#widen(streamId, bytes.readUInt32BE(start) & MAX_WINDOW_BYTES)
        break
      case FRAME.priority:
        need(streamId !== 0, ERROR.protocol, 'a priority is of no stream')
        if (end - start !== PRIORITY_BYTES) this.#reset(streamId, ERROR.frameSize)
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
      if (this.#haveWindowsMoved) this.#lookAtWindows()
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
    need(isPreface, ERROR.protocol, 'this is not HTTP/2')
    this.#prefaceBytes += count
    return count
  }

  #paddedData(flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    this.dataBegins(streamId, end - start, flags)
    const [from, to] = unpadded(flags, bytes, start, end)
    const stream = this.#dataStream
    if (stream === undefined) this.#consumed(end - start)
    else {
      if (from < to) stream.received(bytes, from, to)
      this.consumed(stream, end - start - (to - from))
    }
    this.dataEnds()
  }

  #block(
    type: number,
    flags: number,
    streamId: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): void {
    need(streamId % 2 === 1, ERROR.protocol, `no client opens a stream ${streamId}`)
    if (type === FRAME.headers) {
      ;[start, end] = unpadded(flags, bytes, start, end)
      // On whom a stream depends is of no use any more: RFC 9113, section 5.3.
      if ((flags & FLAG.priority) !== 0) start += PRIORITY_BYTES
      need(start <= end, ERROR.frameSize, 'headers are cut short')
    }
    const decoded = this.#blocks.add(type, flags, streamId, bytes, start, end)
    if (decoded === undefined) return
    if (streamId > this.#lastId) this.#open(streamId, decoded)
    else this.#trailers(streamId, decoded)
  }

  #open(streamId: number, { headers, bytes, isTooLarge }: DecodedHeaders): void {
    this.#lastId = streamId
    // What comes after the last goodbye is not ours any more; the client tries it elsewhere.
    if (streamId > this.#maxId) return
    const isFull = this.#openHeaderBytes + bytes > MAX_OPEN_HEADER_BYTES
    if (this.#streams.size >= MAX_STREAMS || isFull) {
      this.#reset(streamId, ERROR.refusedStream)
      return
    }
    if (isTooLarge || malformation(headers) !== undefined) {
      this.#reset(streamId, isTooLarge ? ERROR.enhanceYourCalm : ERROR.protocol)
      return
    }
    const stream = new Http2Stream(
      streamId,
      new RequestHeaders(headers, bytes),
      this,
      STREAM_WINDOW_BYTES,
    )
    this.#streams.set(streamId, stream)
    this.#openHeaderBytes += bytes
    const { endsStream } = this.#blocks
    this.#opened(stream)
    if (endsStream) this.#halfClosed(stream)
  }

  #trailers(streamId: number, { headers }: DecodedHeaders): void {
    const stream = this.#streams.get(streamId)
    const mayComeLate = headers[0]?.[0].startsWith(':') !== true
    if (stream === undefined || stream.isHalfClosed) {
      need(mayComeLate, ERROR.streamClosed, 'a stream is opened again')
    }
    if (stream === undefined) this.#isOver(streamId)
    else if (stream.isHalfClosed) this.#reset(streamId, ERROR.streamClosed)
    else if (!this.#blocks.endsStream || trailerMalformation(headers) !== undefined) {
      this.#reset(streamId, ERROR.protocol)
    } else this.#halfClosed(stream)
  }

  #halfClosed(stream: Http2Stream): void {
    stream.receivedAll()
    if (stream.isAnswered) this.#forget(stream)
  }

  #wasReset(streamId: number): void {
    const stream = this.#known(streamId, 'a reset')
    if (stream !== undefined) this.#forget(stream)
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
      else if (id === SETTING.initialWindowSize) {
        this.initialWindowBytes = value
        this.#haveWindowsMoved = true
      } else if (id === SETTING.headerTableSize && value < DEFAULT_TABLE_BYTES) {
        this.output.mustShrinkTable = true
      }
    }
    this.output.control(SETTINGS_TAKEN)
  }

  /** Once for all that came together: there may be many streams, and many settings. */
  #lookAtWindows(): void {
    this.#haveWindowsMoved = false
    for (const stream of this.#streams.values()) {
      const isTooWide = stream.windowBytes > MAX_WINDOW_BYTES
      need(!isTooWide, ERROR.flowControl, 'a window is too large')
      this.output.add(stream)
    }
  }

  #widen(streamId: number, bytes: number): void {
    if (streamId === 0) {
      need(bytes > 0, ERROR.protocol, 'a window is widened by nothing')
      const isTooWide = this.output.windowBytes + bytes > MAX_WINDOW_BYTES
      need(!isTooWide, ERROR.flowControl, 'a window is too large')
      this.output.widen(bytes)
      return
    }
    const stream = this.#known(streamId, 'a window update')
    if (stream === undefined) return
    if (bytes === 0) this.#reset(streamId, ERROR.protocol)
    else if (stream.windowBytes + bytes > MAX_WINDOW_BYTES) this.#reset(streamId, ERROR.flowControl)
    else stream.widen(bytes)
  }

  #ping(flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    need(streamId === 0, ERROR.protocol, 'a ping is of one stream')
    need(end - start === PING_BYTES, ERROR.frameSize, 'a ping is not eight bytes')
    const payload = bytes.subarray(start, end)
    if ((flags & FLAG.ack) === 0) this.output.control(frame(FRAME.ping, FLAG.ack, 0, payload))
    else if (payload.equals(LIFE_PING.subarray(-PING_BYTES))) this.#isAsked = false
    else if (payload.equals(LAST_PING.subarray(-PING_BYTES)) && this.#isClosing) {
      this.#maxId = this.#lastId
      this.output.control(goAway(this.#lastId, ERROR.none, ''))
      this.#endIfIdle()
    }
  }

  /**
   * The stream of a frame that may come when it has ended; undefined then.
   *
   * @throws {ConnectionError} where it was never opened
   */
  #known(streamId: number, what: string): Http2Stream | undefined {
    const isOpened = streamId % 2 === 1 && streamId <= this.#lastId
    need(isOpened, ERROR.protocol, `${what} of a stream that was not opened`)
    return this.#streams.get(streamId)
  }

  /** Something has come of a stream that has ended, maybe sent before the client knew: it is dropped, and mostly answered. */
  #isOver(streamId: number): void {
    if (streamId > this.#maxId || this.output.controlFrames > MAX_LATE_ANSWERS) return
    this.output.control(numberFrame(FRAME.resetStream, streamId, ERROR.streamClosed))
  }

  /** Ends a stream for what came on it. */
  #reset(streamId: number, code: ErrorCode): void {
    this.output.control(numberFrame(FRAME.resetStream, streamId, code))
    const stream = this.#streams.get(streamId)
    if (stream !== undefined) this.#forget(stream)
  }

  #forget(stream: Http2Stream): void {
    if (this.#streams.delete(stream.id)) this.#openHeaderBytes -= stream.headers.bytes
    stream.close()
    this.#endIfIdle()
  }

  #consumed(bytes: number): void {
    this.#unacknowledgedBytes += bytes
    if (this.#unacknowledgedBytes <= CONNECTION_WINDOW_BYTES / 2) return
    this.output.control(numberFrame(FRAME.windowUpdate, 0, this.#unacknowledgedBytes))
    this.#receiveWindowBytes += this.#unacknowledgedBytes
    this.#unacknowledgedBytes = 0
  }

  #endIfIdle(): void {
    const isLast = this.#maxId < MAX_STREAM_ID && this.#streams.size === 0
    if (isLast && !this.#isBroken) this.output.end()
  }

  /** Says why, and ends the connection. */
  #fail(code: ErrorCode, details: string): void {
    if (this.#isBroken) return
    this.#isBroken = true
    this.#closeStreams()
    this.output.control(goAway(Math.min(this.#lastId, this.#maxId), code, details))
    this.output.end()
  }

  #closeStreams(): void {
    for (const stream of this.#streams.values()) stream.close()
    this.#streams.clear()
  }
}

/** @throws {ConnectionError} unless `isSo` */
function need(isSo: boolean, code: ErrorCode, otherwise: string): asserts isSo {
  if (!isSo) throw new ConnectionError(code, otherwise)
}

/** Where the payload `bytes[start, end)` begins and ends without its padding. Source: RFC 9113, section 6.1. */
function unpadded(
  flags: number,
  bytes: Buffer,
  start: number,
  end: number,
): [start: number, end: number] {
  if ((flags & FLAG.padded) === 0) return [start, end]
  const paddingBytes = start < end ? bytes[start]! : 0
  need(start + 1 + paddingBytes <= end, ERROR.protocol, 'there is more padding than payload')
  return [start + 1, end - paddingBytes]
}

function goAway(lastId: number, code: ErrorCode, details: string): Buffer {
  const text = Buffer.from(details)
  const payload = Buffer.allocUnsafe(8 + text.length)
  payload.writeUInt32BE(lastId)
  payload.writeUInt32BE(code, 4)
  text.copy(payload, 8)
  return frame(FRAME.goAway, 0, 0, payload)
}
