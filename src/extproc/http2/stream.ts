import { HeldData } from './held-data.ts'
import type { Output, Sender } from './output.ts'
import { FLAG, FRAME, FRAME_HEAD_BYTES, putFrameHead } from './protocol.ts'
import type { RequestHeaders } from './request-headers.ts'
import type { Linked, Ring } from './ring.ts'

/** Who is told what comes on one stream. Its functions are called one at a time, and never throw. */
export interface StreamReceiver {
  /** Some of the body: `bytes[start, end)`, which may be kept, and of which nothing may be changed. */
  data(bytes: Buffer, start: number, end: number): void
  /** All of the body has been told. */
  halfClosed(): void
  /** The stream is no more, in whatever way it ended; called once, and nothing after it. */
  closed(): void
}

/** What a stream asks of its connection. */
export interface StreamOwner {
  readonly output: Output
  /** Bytes of data that the other side takes of each stream at first. */
  readonly initialWindowBytes: number
  /** So many bytes of data that came on `stream` need no room any more. */
  consumed(stream: Http2Stream, bytes: number): void
  /** The last frame of `stream` has left. */
  sentAll(stream: Http2Stream): void
}

/** Says that a table holds nothing. Source: RFC 7541, section 6.3. */
const EMPTY_TABLE = 0x20
/** Bytes that wait to be sent on one stream past which nothing more is told of it. */
const MAX_UNSENT_BYTES = 1024 * 1024

/** One request of a client, with its answer. */
export class Http2Stream implements Sender {
  /** Odd: clients open it. */
  readonly id: number
  readonly headers: RequestHeaders
  readonly #owner: StreamOwner
  #receiver: StreamReceiver | undefined
  ring: Ring | undefined
  previous: Linked | undefined
  next: Linked | undefined

  /** The header block with which the answer begins, until it is sent. */
  #head: Buffer | undefined
  /** What is left to send; of the first part, what comes after `#sentOfPart`. */
  #parts: Uint8Array[] = []
  #sentOfPart = 0
  /** Who is told when a part has left; as long as `#parts`. */
  #told: ((() => void) | undefined)[] = []
  /** The header block with which the answer ends. */
  #trailers: Buffer | undefined
  #isEnded = false
  /** Bytes of data that the other side takes besides what it takes of each stream; less than none when some were sent. */
  #addedWindowBytes = 0
  #unsentBytes = 0
  /** True while too much waits to be sent. */
  #isFull = false

  #isPaused = false
  readonly #held = new HeldData()
  /** True when the other side has sent its last byte. */
  isHalfClosed = false
  /** True when the other side has been sent our last byte. */
  isAnswered = false
  #toldHalfClosed = false
  /** True when it has ended, in whatever way. */
  isClosed = false
  /** Bytes of data that need no room any more, of which the other side has not been told. */
  unacknowledgedBytes = 0
  /** Bytes of data that the other side may send. */
  receiveWindowBytes: number

  constructor(id: number, headers: RequestHeaders, owner: StreamOwner, receiveWindowBytes: number) {
    this.id = id
    this.headers = headers
    this.#owner = owner
    this.receiveWindowBytes = receiveWindowBytes
  }

  /** Begins to tell what comes; what comes on a stream without a receiver is dropped. */
  receive(receiver: StreamReceiver): void {
    this.#receiver = receiver
  }

  /** Tells nothing more until `resume`; of data, the receive window is what can come meanwhile. */
  pause(): void {
    this.#isPaused = true
  }

  /** Tells what has come meanwhile, unless too much waits to be sent, and goes on telling. */
  resume(): void {
    this.#isPaused = false
    this.#tellHeld()
  }

  /** Begins the answer, once, with a header block of at most 8,000 bytes. */
  begin(head: Buffer): void {
    this.#head = head
    this.#owner.output.add(this)
  }

  /**
   * Sends parts of the answer's body, after `begin`; none of them is empty.
   *
   * @param written called when they have left the process's buffers; never if the stream breaks
   */
  send(parts: readonly Uint8Array[], written?: () => void): void {
    if (this.isClosed || this.#isEnded) return
    const last = parts.length - 1
    let bytes = 0
    for (let i = 0; i <= last; i++) {
      bytes += parts[i]!.length
      this.#parts.push(parts[i]!)
      this.#told.push(i === last ? written : undefined)
    }
    this.#unsentBytes += bytes
    if (this.#unsentBytes > MAX_UNSENT_BYTES) this.#isFull = true
    this.#owner.output.add(this, bytes)
  }

  /** Ends the answer with a header block of at most 8,000 bytes; an answer that has not begun is this block alone. */
  end(trailers: Buffer): void {
    if (this.isClosed || this.#isEnded) return
    this.#isEnded = true
    this.#trailers = trailers
    this.#owner.output.add(this)
  }

  get isReady(): boolean {
    if (this.isClosed) return false
    if (this.#head !== undefined) return true
    return this.#unsentBytes > 0 ? this.windowBytes > 0 : this.#trailers !== undefined
  }

  /** Bytes of data that the other side takes; less than none where it changed its mind. */
  get windowBytes(): number {
    return this.#owner.initialWindowBytes + this.#addedWindowBytes
  }

  get needsWindow(): boolean {
    return this.#head === undefined && this.#unsentBytes > 0 && !this.isClosed
  }

  put(target: Buffer, at: number, output: Output, written: (() => void)[]): number {
    if (this.isClosed) return at
    if (this.#head !== undefined) {
      at = this.#putBlock(target, at, this.#head, 0, output)
      this.#head = undefined
    }
    const roomBytes = target.length - at - FRAME_HEAD_BYTES
    const bytes = Math.min(
      this.#unsentBytes,
      this.windowBytes,
      output.windowBytes,
      output.maxPayloadBytes,
      roomBytes,
    )
    if (bytes > 0) {
      at = putFrameHead(target, at, bytes, FRAME.data, 0, this.id)
      this.#putData(target, at, bytes, written)
      at += bytes
      this.#addedWindowBytes -= bytes
      output.sent(bytes)
      this.#unsentBytes -= bytes
    }
    const trailers = this.#trailers
    if (trailers !== undefined && this.#unsentBytes === 0 && fits(target, at, trailers)) {
      at = this.#putBlock(target, at, trailers, FLAG.endStream, output)
      this.#trailers = undefined
      written.push(() => this.#owner.sentAll(this))
    }
    return at
  }

  /** More may be sent, by `bytes`. */
  widen(bytes: number): void {
    this.#addedWindowBytes += bytes
    this.#owner.output.add(this)
  }

  /** Told by the connection: data has come. */
  received(bytes: Buffer, start: number, end: number): void {
    if (this.#mayTell()) this.#tell(bytes, start, end)
    else this.#held.add(bytes, start, end)
  }

  /** Told by the connection: all data has come. */
  receivedAll(): void {
    this.isHalfClosed = true
    this.#tellHeld()
  }

  /** Told by the connection: nothing more comes, nothing more can be sent. */
  close(): void {
    if (this.isClosed) return
    this.isClosed = true
    this.#parts = this.#told = []
    this.#head = this.#trailers = undefined
    this.#unsentBytes = 0
    this.#owner.output.remove(this)
    this.#owner.consumed(this, this.#held.clear())
    const receiver = this.#receiver
    this.#receiver = undefined
    receiver?.closed()
  }

  #tell(bytes: Buffer, start: number, end: number): void {
    this.#receiver?.data(bytes, start, end)
    this.#owner.consumed(this, end - start)
  }

  #mayTell(): boolean {
    return !this.#isPaused && !this.#isFull && this.#held.isEmpty
  }

  /** Tells what was held, as long as nothing stops it, then the end. */
  #tellHeld(): void {
    while (!this.#held.isEmpty && !this.#isPaused && !this.#isFull) {
      const block = this.#held.take()
      this.#tell(block, 0, block.length)
    }
    if (!this.isHalfClosed || this.#toldHalfClosed || !this.#mayTell()) return
    this.#toldHalfClosed = true
    this.#receiver?.halfClosed()
  }

  readonly #drained = (): void => {
    this.#isFull = false
    this.#tellHeld()
  }

  #putBlock(target: Buffer, at: number, block: Buffer, flags: number, output: Output): number {
    const prefixBytes = output.mustShrinkTable ? 1 : 0
    const start = putFrameHead(
      target,
      at,
      prefixBytes + block.length,
      FRAME.headers,
      flags | FLAG.endHeaders,
      this.id,
    )
    if (output.mustShrinkTable) {
      target[start] = EMPTY_TABLE
      output.mustShrinkTable = false
    }
    return start + prefixBytes + block.copy(target, start + prefixBytes)
  }

  #putData(target: Buffer, at: number, bytes: number, written: (() => void)[]): void {
    const end = at + bytes
    const parts = this.#parts
    let done = 0
    while (at < end) {
      const part = parts[done]!
      const count = Math.min(part.length - this.#sentOfPart, end - at)
      target.set(part.subarray(this.#sentOfPart, this.#sentOfPart + count), at)
      at += count
      this.#sentOfPart += count
      if (this.#sentOfPart < part.length) break
      const told = this.#told[done]
      if (told !== undefined) written.push(told)
      this.#sentOfPart = 0
      done++
    }
    if (done === parts.length) {
      this.#parts = []
      this.#told = []
    } else if (done > 0) {
      parts.splice(0, done)
      this.#told.splice(0, done)
    }
    if (this.#isFull && this.#unsentBytes - bytes <= MAX_UNSENT_BYTES) written.push(this.#drained)
  }
}

function fits(target: Buffer, at: number, block: Buffer): boolean {
  return target.length - at >= FRAME_HEAD_BYTES + block.length
}
