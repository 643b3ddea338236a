import type { DataSink } from './frame-splitter.ts'
import type { HeaderBlocks } from './header-blocks.ts'
import type { DecodedHeaders } from './header-decoder.ts'
import {
  CONNECTION_WINDOW_BYTES,
  MAX_OPEN_HEADER_BYTES,
  MAX_STREAMS,
  STREAM_WINDOW_BYTES,
} from './limits.ts'
import type { Output } from './output.ts'
import { unpadded } from './padding.ts'
import {
  ConnectionError,
  DEFAULT_WINDOW_BYTES,
  ERROR,
  type ErrorCode,
  FLAG,
  FRAME,
  MAX_STREAM_ID,
  MAX_WINDOW_BYTES,
  need,
  numberFrame,
} from './protocol.ts'
import { malformation, RequestHeaders, trailerMalformation } from './request-headers.ts'
import { Http2Stream, type StreamOwner } from './stream.ts'

/** Frames on their way, past which late frames are not answered. */
const MAX_LATE_ANSWERS = 1000

/** Begins to read a stream that a client opened. */
export type Opened = (stream: Http2Stream) => void

/** The open streams of one connection. Source: RFC 9113, sections 5, 6.1, 6.4, 6.9 and 8.1. */
export class Streams implements DataSink, StreamOwner {
  readonly output: Output
  readonly #blocks: HeaderBlocks
  readonly #opened: Opened
  /** Those that are open. */
  readonly #byId = new Map<number, Http2Stream>()
  #openHeaderBytes = 0
  #lastId = 0
  /** Streams above are not taken. */
  #maxId = MAX_STREAM_ID
  initialWindowBytes = DEFAULT_WINDOW_BYTES
  /** True when that has changed and what it makes of the streams' windows has not been looked at. */
  #haveWindowsMoved = false
  /** Bytes of data that the other side may send, on all streams together. */
  #receiveWindowBytes = CONNECTION_WINDOW_BYTES
  /** Bytes of data that need no room any more, of which the other side has not been told. */
  #unacknowledgedBytes = 0
  /** The stream of the frame of data that is being read; undefined drops it. */
  #dataStream: Http2Stream | undefined
  #dataEndsStream = false

  /**
   * @param blocks has read the headers that `open` and `trailers` are given
   * @param opened told of each stream that is taken
   */
  constructor(output: Output, blocks: HeaderBlocks, opened: Opened) {
    this.output = output
    this.#blocks = blocks
    this.#opened = opened
  }

  /** The last stream that the client opened, taken or not; 0 when there was none. */
  get lastId(): number {
    return this.#lastId
  }

  /** The last stream that was taken, or may have been; 0 when there was none. */
  get lastTakenId(): number {
    return Math.min(this.#lastId, this.#maxId)
  }

  /** What the other side takes of each stream at first is another now: `bytes` of data, up to MAX_WINDOW_BYTES. */
  changeInitialWindow(bytes: number): void {
    this.initialWindowBytes = bytes
    this.#haveWindowsMoved = true
  }

  /**
   * Sees what `changeInitialWindow` makes of the streams' windows, once for all changes that came together: there may be
   * many streams, and many changes.
   *
   * @throws {ConnectionError} where a window gets too large
   */
  lookAtWindows(): void {
    if (!this.#haveWindowsMoved) return
    this.#haveWindowsMoved = false
    for (const stream of this.#byId.values()) {
      const isTooWide = stream.windowBytes > MAX_WINDOW_BYTES
      need(!isTooWide, ERROR.flowControl, 'a window is too large')
      this.output.add(stream)
    }
  }

  /** Takes or refuses the stream that these headers open; its id, an odd one, is above `lastId`. */
  open(streamId: number, { headers, bytes, isTooLarge }: DecodedHeaders): void {
    this.#lastId = streamId
    // What comes after the last goodbye is not ours any more; the client tries it elsewhere.
    if (streamId > this.#maxId) return
    const isFull = this.#openHeaderBytes + bytes > MAX_OPEN_HEADER_BYTES
    if (this.#byId.size >= MAX_STREAMS || isFull) {
      this.reset(streamId, ERROR.refusedStream)
      return
    }
    if (isTooLarge || malformation(headers) !== undefined) {
      this.reset(streamId, isTooLarge ? ERROR.enhanceYourCalm : ERROR.protocol)
      return
    }
    const request = new RequestHeaders(headers, bytes)
    const stream = new Http2Stream(streamId, request, this, STREAM_WINDOW_BYTES)
    this.#byId.set(streamId, stream)
    this.#openHeaderBytes += bytes
    const { endsStream } = this.#blocks
    this.#opened(stream)
    if (endsStream) this.#halfClosed(stream)
  }

  /**
   * Ends what the client sends on a stream, whose id is an odd one up to `lastId`.
   *
   * @throws {ConnectionError} where the headers would open a stream again
   */
  trailers(streamId: number, { headers }: DecodedHeaders): void {
    const stream = this.#byId.get(streamId)
    const mayComeLate = headers[0]?.[0].startsWith(':') !== true
    if (stream === undefined || stream.isHalfClosed) {
      need(mayComeLate, ERROR.streamClosed, 'a stream is opened again')
    }
    if (stream === undefined) this.#cameLate(streamId)
    else if (stream.isHalfClosed) this.reset(streamId, ERROR.streamClosed)
    else if (!this.#blocks.endsStream || trailerMalformation(headers) !== undefined) {
      this.reset(streamId, ERROR.protocol)
    } else this.#halfClosed(stream)
  }

  /** @throws {ConnectionError} where it is of no stream, within a header block, or more than the connection's window */
  dataBegins(streamId: number, payloadBytes: number, flags: number): void {
    this.#blocks.expect(FRAME.data, streamId)
    const stream = this.#byId.get(streamId)
    this.#receiveWindowBytes -= payloadBytes
    if (this.#receiveWindowBytes < 0) {
      throw new ConnectionError(ERROR.flowControl, 'more data than the connection takes')
    }
    this.#dataStream = undefined
    this.#dataEndsStream = (flags & FLAG.endStream) !== 0
    if (stream === undefined) {
      this.#known(streamId, 'data')
      this.#cameLate(streamId)
    } else if (stream.isHalfClosed) this.reset(streamId, ERROR.streamClosed)
    else if ((stream.receiveWindowBytes -= payloadBytes) < 0) {
      this.reset(streamId, ERROR.flowControl)
    } else this.#dataStream = stream
  }

  data(bytes: Buffer, start: number, end: number): void {
    const stream = this.#dataStream
    if (stream === undefined) this.#needNoRoom(end - start)
    else stream.received(bytes, start, end)
  }

  dataEnds(): void {
    const stream = this.#dataStream
    this.#dataStream = undefined
    if (stream !== undefined && this.#dataEndsStream) this.#halfClosed(stream)
  }

  /**
   * A whole frame of data with the payload `bytes[start, end)`, padding included.
   *
   * @throws {ConnectionError} as `dataBegins`, and where there is more padding than payload
   */
  paddedData(flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    this.dataBegins(streamId, end - start, flags)
    const [from, to] = unpadded(flags, bytes, start, end)
    const stream = this.#dataStream
    if (stream === undefined) this.#needNoRoom(end - start)
    else {
      if (from < to) stream.received(bytes, from, to)
      this.consumed(stream, end - start - (to - from))
    }
    this.dataEnds()
  }

  /**
   * The client takes more data of a stream than before, by `bytes`.
   *
   * @throws {ConnectionError} where the stream was never opened
   */
  widen(streamId: number, bytes: number): void {
    const stream = this.#known(streamId, 'a window update')
    if (stream === undefined) return
    if (bytes === 0) this.reset(streamId, ERROR.protocol)
    else if (stream.windowBytes + bytes > MAX_WINDOW_BYTES) this.reset(streamId, ERROR.flowControl)
    else stream.widen(bytes)
  }

  /**
   * The client has ended a stream, both ways.
   *
   * @throws {ConnectionError} where it was never opened
   */
  wasReset(streamId: number): void {
    const stream = this.#known(streamId, 'a reset')
    if (stream !== undefined) this.#forget(stream)
  }

  /** Ends a stream for what came on it; one that is not open is only answered. */
  reset(streamId: number, code: ErrorCode): void {
    this.output.control(numberFrame(FRAME.resetStream, streamId, code))
    const stream = this.#byId.get(streamId)
    if (stream !== undefined) this.#forget(stream)
  }

  consumed(stream: Http2Stream, bytes: number): void {
    this.#needNoRoom(bytes)
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

  /** Takes no stream after `lastId`, and ends the connection when the last one that is open has ended. */
  takeNoMore(): void {
    this.#maxId = this.lastTakenId
    this.#endIfIdle()
  }

  /** Ends all streams now, without a word to the client. */
  close(): void {
    for (const stream of this.#byId.values()) stream.close()
    this.#byId.clear()
  }

  /** Bytes of data, whatever stream they were of, need no room any more. */
  #needNoRoom(bytes: number): void {
    this.#unacknowledgedBytes += bytes
    if (this.#unacknowledgedBytes <= CONNECTION_WINDOW_BYTES / 2) return
    this.output.control(numberFrame(FRAME.windowUpdate, 0, this.#unacknowledgedBytes))
    this.#receiveWindowBytes += this.#unacknowledgedBytes
    this.#unacknowledgedBytes = 0
  }

  #halfClosed(stream: Http2Stream): void {
    stream.receivedAll()
    if (stream.isAnswered) this.#forget(stream)
  }

  /**
   * The stream of a frame that may come when it has ended; undefined then.
   *
   * @throws {ConnectionError} where it was never opened
   */
  #known(streamId: number, what: string): Http2Stream | undefined {
    if (streamId % 2 === 1 && streamId <= this.#lastId) return this.#byId.get(streamId)
    throw new ConnectionError(ERROR.protocol, `${what} of a stream that was not opened`)
  }

  /** Something has come of a stream that has ended, maybe sent before the client knew: it is dropped, and mostly answered. */
  #cameLate(streamId: number): void {
    if (streamId > this.#maxId || this.output.controlFrames > MAX_LATE_ANSWERS) return
    this.output.control(numberFrame(FRAME.resetStream, streamId, ERROR.streamClosed))
  }

  #forget(stream: Http2Stream): void {
    if (this.#byId.delete(stream.id)) this.#openHeaderBytes -= stream.headers.bytes
    stream.close()
    this.#endIfIdle()
  }

  #endIfIdle(): void {
    if (this.#maxId < MAX_STREAM_ID && this.#byId.size === 0) this.output.end()
  }
}
