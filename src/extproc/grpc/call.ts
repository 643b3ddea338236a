import { gunzip, inflate, type ZlibOptions } from 'node:zlib'
import { headerBlock } from '../http2/header-block.ts'
import type { Http2Stream, StreamReceiver } from '../http2/stream.ts'
import { FrameReader } from './frames.ts'
import { STATUS, type Status, statusTrailers, timeoutMs } from './status.ts'

/** What a method does with one call. Its functions are called one at a time, and never throw. */
export interface CallHandler {
  /**
   * Takes one message: `bytes[start, end)`, of which nothing may be changed.
   *
   * @param mayKeep false where those bytes are something else after the call
   */
  message(bytes: Buffer, start: number, end: number, mayKeep: boolean): void
  /** All messages that came together have been told. */
  pause?(): void
  /** The client has sent its last message. */
  halfClosed(): void
  /** The stream is no more, in whatever way it ended; called once, and nothing after it. */
  closed(): void
}

/** The longest time that a timer of Node takes, 25 days. */
const MAX_TIMER_MS = 2 ** 31 - 1

const RESPONSE_HEADERS = [
  [':status', '200'],
  ['content-type', 'application/grpc'],
  ['grpc-accept-encoding', 'identity,deflate,gzip'],
] as const
const RESPONSE_HEAD = headerBlock(RESPONSE_HEADERS)
const SUCCESS_TRAILERS = headerBlock(statusTrailers(STATUS.ok, ''))

/**
 * One call of a client, on its HTTP/2 stream.
 *
 * Messages are told where they lie in the bytes that came. What is sent leaves with one write at the end of the callback in
 * which it was sent. While more than 1 MiB waits to be sent nothing is read.
 */
export class GrpcCall implements StreamReceiver {
  readonly #stream: Http2Stream
  readonly #reader: FrameReader
  readonly #maxMessageBytes: number
  #handler: CallHandler | undefined
  #deadline: NodeJS.Timeout | undefined
  #isInflating = false
  #hasBegun = false
  #ended = false

  constructor(stream: Http2Stream, maxMessageBytes: number) {
    this.#stream = stream
    this.#maxMessageBytes = maxMessageBytes
    this.#reader = new FrameReader(maxMessageBytes)
  }

  get authority(): string {
    return this.#stream.headers.get(':authority') ?? this.#stream.headers.get('host') ?? ''
  }

  /** The first value of a header of the call. */
  metadata(name: string): string | undefined {
    return this.#stream.headers.get(name)?.split(',', 1).join().trim()
  }

  /** Begins to read; to be called once. */
  start(handler: CallHandler): void {
    this.#handler = handler
    const timeout = this.#stream.headers.get('grpc-timeout')
    if (timeout !== undefined && !this.#startDeadline(timeout)) return
    this.#stream.receive(this)
  }

  /**
   * Sends frames as `FrameReader` reads them, whole or in parts.
   *
   * @param written called when they have left the process's buffers; never if the stream breaks
   */
  send(frames: readonly Uint8Array[], written?: () => void): void {
    if (this.#ended) return
    if (!this.#hasBegun) this.#stream.begin(RESPONSE_HEAD)
    this.#hasBegun = true
    this.#stream.send(frames, written)
  }

  /** Ends the call; nothing happens where it has ended. What else the client sends is dropped. */
  end(code: Status = STATUS.ok, details = ''): void {
    if (this.#ended) return
    this.#ended = true
    if (!this.#hasBegun) {
      this.#stream.end(headerBlock([...RESPONSE_HEADERS, ...statusTrailers(code, details)]))
    } else if (code === STATUS.ok && details === '') this.#stream.end(SUCCESS_TRAILERS)
    else this.#stream.end(headerBlock(statusTrailers(code, details)))
  }

  data(bytes: Buffer, start: number, end: number): void {
    if (this.#ended) return
    this.#reader.feed(bytes, start, end)
    this.#tell()
  }

  halfClosed(): void {
    if (!this.#ended) this.#handler!.halfClosed()
  }

  closed(): void {
    this.#close()
  }

  /** Tells the messages that have come, up to one that has to be decompressed first. */
  #tell(): void {
    const handler = this.#handler!
    const reader = this.#reader
    while (!this.#ended && reader.next()) {
      if (reader.isCompressed) this.#inflate()
      else handler.message(reader.bytes, reader.start, reader.end, reader.mayKeep)
      if (this.#isInflating) break
    }
    if (!this.#ended) handler.pause?.()
    if (reader.tooLong > 0) {
      const details = `Received message larger than max (${reader.tooLong} vs ${this.#maxMessageBytes})`
      this.#fail(STATUS.resourceExhausted, details)
    }
  }

  /** Ends the call for what the client did, or did not do in time. */
  #fail(code: Status, details: string): void {
    this.end(code, details)
    this.#close()
  }

  #close(): void {
    clearTimeout(this.#deadline)
    this.#ended = true
    const handler = this.#handler
    this.#handler = undefined
    handler?.closed()
  }

  /** False where the header is none; the call has then ended. */
  #startDeadline(header: string): boolean {
    const ms = timeoutMs(header)
    if (ms === undefined) {
      this.#fail(STATUS.internal, `Invalid grpc-timeout value "${header}"`)
      return false
    }
    if (ms <= MAX_TIMER_MS) {
      const expire = () => this.#fail(STATUS.deadlineExceeded, 'Deadline exceeded')
      this.#deadline = setTimeout(expire, ms)
    }
    return true
  }

  /** Decompresses the message at hand and goes on after it; nothing is read meanwhile. */
  #inflate(): void {
    const encoding = this.metadata('grpc-encoding') ?? 'identity'
    const decompress = encoding === 'gzip' ? gunzip : encoding === 'deflate' ? inflate : undefined
    if (decompress === undefined) {
      const details = `Received message compressed with unsupported encoding "${encoding}"`
      this.#fail(encoding === 'identity' ? STATUS.internal : STATUS.unimplemented, details)
      return
    }
    const { bytes, start, end } = this.#reader
    const options: ZlibOptions = { maxOutputLength: this.#maxMessageBytes }
    this.#isInflating = true
    this.#stream.pause()
    decompress(bytes.subarray(start, end), options, (error, message) => {
      this.#isInflating = false
      if (error) this.#failToInflate(error)
      else if (!this.#ended) this.#handler!.message(message, 0, message.length, true)
      if (!this.#ended) this.#tell()
      if (!this.#isInflating) this.#stream.resume()
    })
  }

  #failToInflate(error: NodeJS.ErrnoException): void {
    if (error.code === 'ERR_BUFFER_TOO_LARGE') {
      const details = `Received message that decompresses to a size larger than ${this.#maxMessageBytes}`
      this.#fail(STATUS.resourceExhausted, details)
    } else {
      this.#fail(STATUS.internal, 'Failed to decompress message')
    }
  }
}
