import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2'
import { gunzip, inflate, type ZlibOptions } from 'node:zlib'
import { FrameReader } from './frames.ts'
import { STATUS, type Status, statusTrailers, timeoutMs } from './status.ts'

/** What a method does with one call. Its functions are called one at a time, and never throw. */
export interface CallHandler {
  /** Takes one message: `bytes[start, end)`, which may be kept, and of which nothing may be changed. */
  message(bytes: Buffer, start: number, end: number): void
  /** All messages that came together have been told. */
  pause?(): void
  /** The client has sent its last message. */
  halfClosed(): void
  /** The stream is no more, in whatever way it ended; called once, and nothing after it. */
  closed(): void
}

/** Bytes that wait to be sent on one stream past which nothing more is read from it. */
const MAX_UNSENT_BYTES = 1024 * 1024
/** So many bytes are faster copied together than written in parts. */
const MAX_JOINED_BYTES = 16 * 1024
/** How often it is looked whether a stream that is not read has been reset. */
const LOOK_MS = 1000
/** The longest time that a timer of Node takes, 25 days. */
const MAX_TIMER_MS = 2 ** 31 - 1

const RESPONSE_HEADERS = {
  ':status': 200,
  'content-type': 'application/grpc',
  'grpc-accept-encoding': 'identity,deflate,gzip',
} as const
const RESPONSE_OPTIONS = { waitForTrailers: true, sendDate: false } as const
const TRAILERS_ONLY_OPTIONS = { endStream: true, sendDate: false } as const

/**
 * One call of a client, on its HTTP/2 stream.
 *
 * Messages are told where they lie in the bytes that came. What is sent while messages are being told leaves with one
 * write at the end of them, anything else at once. While more than 1 MiB waits to be sent nothing is read.
 */
export class GrpcCall {
  readonly #stream: ServerHttp2Stream
  readonly #headers: IncomingHttpHeaders
  readonly #reader: FrameReader
  readonly #maxMessageBytes: number
  #handler: CallHandler | undefined
  #deadline: NodeJS.Timeout | undefined
  #lookout: NodeJS.Timeout | undefined
  /** Frames that leave with the next write, and who is told when it is done. */
  #unsent: Uint8Array[] = []
  #written: (() => void)[] = []
  #isTelling = false
  #isInflating = false
  /** True while too much waits to be sent. */
  #isBlocked = false
  #halfClosed = false
  #ended = false
  #trailers: Record<string, string> | undefined

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, maxMessageBytes: number) {
    this.#stream = stream
    this.#headers = headers
    this.#maxMessageBytes = maxMessageBytes
    this.#reader = new FrameReader(maxMessageBytes)
  }

  get authority(): string {
    return this.#headers[':authority'] ?? this.#headers.host ?? ''
  }

  /** The first value of a header of the call. */
  metadata(name: string): string | undefined {
    const value = this.#headers[name]
    const first = Array.isArray(value) ? value[0] : value
    return first?.split(',', 1).join().trim()
  }

  /** Begins to read; to be called once. */
  start(handler: CallHandler): void {
    this.#handler = handler
    const timeout = this.#headers['grpc-timeout']
    if (timeout !== undefined && !this.#startDeadline(String(timeout))) return
    const stream = this.#stream
    stream.on('data', (chunk: Buffer) => this.#read(chunk))
    stream.on('end', () => {
      this.#halfClosed = true
      this.#tellHalfClose()
    })
    stream.on('wantTrailers', () => stream.sendTrailers(this.#trailers!))
    stream.on('close', () => this.#close())
  }

  /**
   * Sends frames as `FrameReader` reads them, whole or in parts.
   *
   * @param written called when they have left the process's buffers; never if the stream breaks
   */
  send(frames: readonly Uint8Array[], written?: () => void): void {
    if (this.#ended) return
    for (const frame of frames) this.#unsent.push(frame)
    if (written !== undefined) this.#written.push(written)
    if (!this.#isTelling) this.#flush()
  }

  /** Ends the call; nothing happens where it has ended. */
  end(code: Status = STATUS.ok, details = ''): void {
    if (this.#ended) return
    this.#flush()
    this.#ended = true
    const stream = this.#stream
    const trailers = statusTrailers(code, details)
    if (stream.destroyed || stream.closed) return
    if (stream.headersSent) {
      this.#trailers = trailers
      stream.end()
    } else {
      stream.respond({ ...RESPONSE_HEADERS, ...trailers }, TRAILERS_ONLY_OPTIONS)
    }
    // What else the client sends is dropped.
    stream.resume()
  }

  #read(chunk: Buffer): void {
    if (this.#ended) return
    this.#reader.feed(chunk)
    this.#tell()
  }

  /** Tells the messages that have come, up to one that has to be decompressed first. */
  #tell(): void {
    const handler = this.#handler!
    const reader = this.#reader
    this.#isTelling = true
    while (!this.#ended && reader.next()) {
      if (reader.isCompressed) this.#inflate()
      else handler.message(reader.bytes, reader.start, reader.end)
      if (this.#isInflating) break
    }
    if (!this.#ended) handler.pause?.()
    this.#isTelling = false
    if (reader.tooLong > 0) {
      const details = `Received message larger than max (${reader.tooLong} vs ${this.#maxMessageBytes})`
      this.#fail(STATUS.resourceExhausted, details)
      return
    }
    this.#flush()
  }

  #tellHalfClose(): void {
    if (this.#isInflating || this.#ended) return
    this.#handler!.halfClosed()
  }

  #flush(): void {
    const frames = this.#unsent
    const stream = this.#stream
    if (frames.length === 0 || stream.destroyed || stream.closed) return
    const written = this.#written
    this.#unsent = []
    if (written.length > 0) this.#written = []
    if (!stream.headersSent) stream.respond(RESPONSE_HEADERS, RESPONSE_OPTIONS)
    const done =
      written.length === 0
        ? undefined
        : (error?: Error | null) => {
            if (!error && !stream.destroyed) for (const each of written) each()
          }
    let bytes = 0
    for (const frame of frames) bytes += frame.length
    if (frames.length === 1 || bytes <= MAX_JOINED_BYTES) {
      stream.write(frames.length === 1 ? frames[0] : Buffer.concat(frames, bytes), done)
    } else {
      stream.cork()
      const last = frames.length - 1
      for (let i = 0; i < last; i++) stream.write(frames[i])
      stream.write(frames[last], done)
      stream.uncork()
    }
    if (stream.writableLength > MAX_UNSENT_BYTES && !this.#isBlocked) {
      this.#isBlocked = true
      stream.pause()
      stream.once('drain', () => this.#unblock())
      // Node tells of a reset without an error only when all that came before it has been read.
      this.#lookout = setInterval(() => {
        if (stream.closed) this.#unblock()
      }, LOOK_MS).unref()
    }
  }

  #unblock(): void {
    clearInterval(this.#lookout)
    this.#isBlocked = false
    if (!this.#isInflating) this.#stream.resume()
  }

  /** Ends the call for what the client did, or did not do in time. */
  #fail(code: Status, details: string): void {
    this.end(code, details)
    this.#close()
  }

  #close(): void {
    clearTimeout(this.#deadline)
    clearInterval(this.#lookout)
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
      if (this.#ended) return
      if (error) {
        this.#failToInflate(error)
        return
      }
      this.#handler!.message(message, 0, message.length)
      if (this.#ended) return
      this.#tell()
      if (this.#isInflating || this.#ended) return
      if (this.#halfClosed) this.#tellHalfClose()
      else if (!this.#isBlocked) this.#stream.resume()
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
