import type { Socket } from 'node:net'
import { DEFAULT_FRAME_BYTES, DEFAULT_WINDOW_BYTES } from './protocol.ts'
import { type Linked, Ring } from './ring.ts'

/** What is written to a socket at once, and the largest part of it that one frame may take. */
const WRITE_BYTES = 64 * 1024
/** A write with less room than this leaves before it is full, rather than cut a frame short. */
const LEAST_ROOM_BYTES = 8 * 1024
/** Frames that answer others (settings, pings, resets), beyond which the other side is one that does not read them. */
const MAX_CONTROL_FRAMES = 10_000
/** Buffers that are kept for further writes, by all connections. */
const MAX_SPARE_BUFFERS = 16

/** A stream in the eyes of who sends its frames. */
export interface Sender extends Linked {
  /** True while there is something that it may send, as far as its own window goes. */
  readonly isReady: boolean
  /** True when nothing can be sent of it while the connection's window is shut. */
  readonly needsWindow: boolean
  /**
   * Puts its next frames at `at` of `target`, where there are at least 8 KiB; no more than one of data.
   *
   * @param written takes functions to be called once those frames have left; nothing else may be called from here
   * @returns the position after them
   */
  put(target: Buffer, at: number, output: Output, written: (() => void)[]): number
}

const spareBuffers: Buffer[] = []
/** Who is told of a write in which no stream had all of something sent. */
const NOBODY: (() => void)[] = []

/**
 * Sends the frames of one connection: its own first, then those of each stream in turn. What is sent within one turn of the
 * event loop leaves together, as far as it fits into one write.
 */
export class Output {
  readonly #socket: Socket
  readonly #overflowed: () => void
  #control: Buffer[] = []
  /** Those that have something to send. */
  readonly #ready = new Ring<Sender>()
  /** Those of them that wait for the connection's window. */
  readonly #shut = new Ring<Sender>()
  #isPlanned = false
  #isUrgent = false
  #isHeld = false
  /** Bytes of data that came to what waits since the last flush. */
  #newBytes = 0
  #isEnding = false
  /** Of writes that have not left yet, the oldest first. */
  readonly #buffers: Buffer[] = []
  /** Who is told when they have left. */
  readonly #written: (readonly (() => void)[])[] = []
  #windowBytes = DEFAULT_WINDOW_BYTES
  /** The largest payload of a frame that the other side takes. */
  maxPayloadBytes = DEFAULT_FRAME_BYTES
  /** True until the other side is told that its table for our headers is empty, which it has to be told when it wants a small one. */
  mustShrinkTable = false

  /** @param overflowed called where the other side makes us answer and does not read the answers */
  constructor(socket: Socket, overflowed: () => void) {
    this.#socket = socket
    this.#overflowed = overflowed
  }

  /** Sends a frame of the connection itself, of at most 8 KiB. */
  control(frame: Buffer): void {
    if (this.#control.push(frame) > MAX_CONTROL_FRAMES) this.#overflowed()
    this.plan()
  }

  /** Bytes of data that the other side takes on the whole connection. */
  get windowBytes(): number {
    return this.#windowBytes
  }

  /** Frames of the connection itself that wait. */
  get controlFrames(): number {
    return this.#control.length
  }

  /** So many bytes of data are on their way. */
  sent(bytes: number): void {
    this.#windowBytes -= bytes
  }

  /** The other side takes more than before, by `bytes`. */
  widen(bytes: number): void {
    this.#windowBytes += bytes
    if (this.#windowBytes <= 0) return
    for (let shut = this.#shut.first; shut !== undefined; shut = this.#shut.first) {
      this.#shut.remove(shut)
      this.#ready.push(shut)
    }
    this.plan()
  }

  /** `sender` may have something to send, `bytes` of data more than before. */
  add(sender: Sender, bytes = 0): void {
    this.#newBytes += bytes
    if (sender.ring === undefined) {
      if (!sender.isReady) return
      this.#ready.push(sender)
    }
    this.plan()
  }

  /** `sender` has nothing to send any more. */
  remove(sender: Sender): void {
    sender.ring?.remove(sender)
  }

  /**
   * Sends what there is when this turn of the event loop has seen all that came; after the callback that runs, while its bytes
   * are still in the processor's caches, where they fill a write; or when `release` is called.
   */
  plan(): void {
    if (this.#isHeld) return
    if (!this.#isPlanned) {
      this.#isPlanned = true
      setImmediate(this.#flushPlanned)
    }
    if (this.#newBytes >= WRITE_BYTES && !this.#isUrgent) {
      this.#isUrgent = true
      process.nextTick(this.#flushPlanned)
    }
  }

  /** Nothing leaves before `release`. */
  hold(): void {
    this.#isHeld = true
  }

  /** Sends what has been held. */
  release(): void {
    this.#isHeld = false
    this.#flush()
  }

  /** Ends the connection when all has been written. */
  end(): void {
    this.#isEnding = true
    this.plan()
  }

  readonly #flushPlanned = (): void => {
    this.#isPlanned = false
    this.#isUrgent = false
    this.#flush()
  }

  /** Writes until nothing is left, or the socket takes no more for now. */
  #flush(): void {
    this.#newBytes = 0
    const socket = this.#socket
    while (socket.writable && socket.writableLength === 0 && this.#hasFrames()) {
      const buffer = spareBuffers.pop() ?? Buffer.allocUnsafeSlow(WRITE_BYTES)
      const written: (() => void)[] = []
      const end = this.#fill(buffer, written)
      this.#buffers.push(buffer)
      this.#written.push(written.length === 0 ? NOBODY : written)
      socket.write(buffer.subarray(0, end), this.#wrote)
    }
    if (this.#isEnding && !this.#hasFrames() && socket.writable) socket.destroySoon()
  }

  #hasFrames(): boolean {
    return this.#control.length > 0 || this.#next() !== undefined
  }

  /** Whose turn it is. */
  #next(): Sender | undefined {
    for (let first = this.#ready.first; first !== undefined; first = this.#ready.first) {
      const isShut = first.needsWindow && this.#windowBytes <= 0
      if (first.isReady && !isShut) return first
      this.#ready.remove(first)
      if (first.isReady) this.#shut.push(first)
    }
    return undefined
  }

  #fill(buffer: Buffer, written: (() => void)[]): number {
    const most = WRITE_BYTES - LEAST_ROOM_BYTES
    let at = 0
    let sent = 0
    const control = this.#control
    while (sent < control.length && at <= most) at += control[sent++]!.copy(buffer, at)
    if (sent === control.length) this.#control = sent === 0 ? control : []
    else control.splice(0, sent)
    while (at <= most) {
      const sender = this.#next()
      if (sender === undefined) break
      at = sender.put(buffer, at, this, written)
      // Its turn comes again after all others'.
      this.#ready.remove(sender)
      if (sender.isReady) this.#ready.push(sender)
    }
    return at
  }

  readonly #wrote = (error?: Error | null): void => {
    const buffer = this.#buffers.shift()!
    const written = this.#written.shift()!
    if (spareBuffers.length < MAX_SPARE_BUFFERS) spareBuffers.push(buffer)
    if (error || this.#socket.destroyed) return
    for (const each of written) each()
    this.#flush()
  }
}
