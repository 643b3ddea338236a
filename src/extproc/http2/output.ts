import type { Socket } from 'node:net'
import { DEFAULT_FRAME_BYTES, DEFAULT_WINDOW_BYTES } from './protocol.ts'

/** What is written to a socket at once, and the largest part of it that one frame may take. */
const WRITE_BYTES = 64 * 1024
/** A write with less room than this leaves before it is full, rather than cut a frame short. */
const LEAST_ROOM_BYTES = 8 * 1024
/** Frames that answer others (settings, pings, resets), beyond which the other side is one that does not read them. */
const MAX_CONTROL_FRAMES = 10_000
/** Buffers that are kept for further writes, by all connections. */
const MAX_SPARE_BUFFERS = 16

/** A stream in the eyes of who sends its frames. */
export interface Sender {
  /** The next in the ring of those that have something to send; undefined when it is not in it. Set by `Output` alone. */
  nextSender: Sender | undefined
  /** True when nothing can be sent of it until the connection's window opens. */
  readonly needsWindow: boolean
  /**
   * Puts its next frames at `at` of `target`, where there are at least 8 KiB; no more than one of data.
   *
   * @param written takes functions to be called once those frames have left; nothing else may be called from here
   * @returns the position after them
   */
  put(target: Buffer, at: number, output: Output, written: (() => void)[]): number
  /** True while there is more that it may send. */
  readonly isReady: boolean
}

const spareBuffers: Buffer[] = []
const NOBODY: (() => void)[] = []

/**
 * Sends the frames of one connection: its own first, then those of each stream in turn. What is sent within one callback
 * leaves with one write.
 */
export class Output {
  readonly #socket: Socket
  readonly #overflowed: () => void
  #control: Buffer[] = []
  /** A ring of those that have something to send and may; its last one, whose next is the first. */
  #last: Sender | undefined
  #isPlanned = false
  #isHeld = false
  #isEnding = false
  /** Of writes that have not left yet, the oldest first. */
  readonly #buffers: Buffer[] = []
  readonly #written: (readonly (() => void)[])[] = []
  /** Bytes of data that the other side takes on the whole connection. */
  windowBytes = DEFAULT_WINDOW_BYTES
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

  /** `sender`, which is not in the ring, has something to send. */
  add(sender: Sender): void {
    const last = this.#last
    sender.nextSender = last === undefined ? sender : last.nextSender
    if (last !== undefined) last.nextSender = sender
    this.#last = sender
    this.plan()
  }

  /** Sends what there is after the callback that runs, or when `release` is called. */
  plan(): void {
    if (this.#isPlanned || this.#isHeld) return
    this.#isPlanned = true
    process.nextTick(this.#flushPlanned)
  }

  /** Nothing leaves before `release`. */
  hold(): void {
    this.#isHeld = true
  }

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
    this.#flush()
  }

  /** Writes until nothing is left, or the socket takes no more for now. */
  #flush(): void {
    const socket = this.#socket
    while (!socket.destroyed && socket.writableLength === 0 && this.#hasFrames()) {
      const buffer = spareBuffers.pop() ?? Buffer.allocUnsafeSlow(WRITE_BYTES)
      const written: (() => void)[] = []
      const end = this.#fill(buffer, written)
      this.#buffers.push(buffer)
      this.#written.push(written.length === 0 ? NOBODY : written)
      socket.write(buffer.subarray(0, end), this.#wrote)
    }
    if (this.#isEnding && !this.#hasFrames()) socket.destroySoon()
  }

  #hasFrames(): boolean {
    if (this.#control.length > 0) return true
    const first = this.#last?.nextSender
    return first !== undefined && !(first.needsWindow && this.windowBytes <= 0)
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
      const last = this.#last
      const first = last?.nextSender
      if (first === undefined || (first.needsWindow && this.windowBytes <= 0)) break
      at = first.put(buffer, at, this, written)
      // Its turn comes again after all others'.
      if (first.isReady) this.#last = first
      else {
        if (first === last) this.#last = undefined
        else last!.nextSender = first.nextSender
        first.nextSender = undefined
      }
    }
    return at
  }

  readonly #wrote = (error?: Error | null): void => {
    const buffer = this.#buffers.shift()!
    const written = this.#written.shift()!
    if (spareBuffers.length < MAX_SPARE_BUFFERS) spareBuffers.push(buffer)
    if (error) return
    for (const each of written) each()
    this.#flush()
  }
}
