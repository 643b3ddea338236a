/** Bytes before each message: one that says whether it is compressed, four of its length. */
export const FRAME_HEAD_BYTES = 5

const EMPTY = Buffer.alloc(0)
/** A message of which a part has come gets as much room as it needs up to here, */
const SMALL_BYTES = 4 * 1024
/** then this, from those that are used again; it doubles as more comes. */
const ROOM_BYTES = 64 * 1024
const MAX_SPARE_ROOMS = 64
const spareRooms: Buffer[] = []

/**
 * Finds the messages of a gRPC stream in the bytes as they come. One that has come whole is left where it is; of one that
 * comes in parts the parts are put together, and take no more than 64 KiB or twice what has come.
 *
 *     reader.feed(chunk, start, end)
 *     while (reader.next()) use(reader.bytes, reader.start, reader.end)
 *
 * Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Length-Prefixed-Message"
 */
export class FrameReader {
  readonly #maxMessageBytes: number
  #chunk: Buffer = EMPTY
  #at = 0
  #stop = 0
  /** A frame, head and all, of which `#filled` bytes have come; that is none as long as frames come whole. */
  #part: Buffer = EMPTY
  #filled = 0
  /** The room that the message lies in, where it is used again. */
  #borrowed: Buffer | undefined
  /** The message is `bytes[start, end)`, until `next` is called; longer where `mayKeep` is true. */
  bytes: Buffer = EMPTY
  start = 0
  end = 0
  isCompressed = false
  mayKeep = true
  /** Length of a message that is longer than allowed; nothing is read after it. 0 while there was none. */
  tooLong = 0

  constructor(maxMessageBytes: number) {
    this.#maxMessageBytes = maxMessageBytes
  }

  /** Gives it the bytes that have come, `chunk[start, end)`; those before have all been read. */
  feed(chunk: Buffer, start: number, end: number): void {
    this.#chunk = chunk
    this.#at = start
    this.#stop = end
  }

  /** Moves to the next message; false when what has come holds no other whole one. */
  next(): boolean {
    if (this.#borrowed !== undefined) giveBack(this.#borrowed)
    this.#borrowed = undefined
    this.mayKeep = true
    if (this.#filled > 0 ? this.#complete() : this.#find()) return true
    // What is kept until more comes is the part alone, not the buffer that it came in.
    this.#chunk = this.bytes = EMPTY
    this.#at = this.#stop = 0
    return false
  }

  #find(): boolean {
    const chunk = this.#chunk
    const at = this.#at
    const left = this.#stop - at
    if (left < FRAME_HEAD_BYTES) {
      this.#take(FRAME_HEAD_BYTES)
      return false
    }
    const length = chunk.readUInt32BE(at + 1)
    if (!this.#allows(length)) return false
    if (left - FRAME_HEAD_BYTES < length) {
      this.#take(FRAME_HEAD_BYTES + length)
      return false
    }
    this.bytes = chunk
    this.isCompressed = chunk[at] !== 0
    this.start = at + FRAME_HEAD_BYTES
    this.end = this.#at = this.start + length
    return true
  }

  #allows(length: number): boolean {
    if (length > this.#maxMessageBytes) this.tooLong = length
    return this.tooLong === 0
  }

  #complete(): boolean {
    if (this.#filled < FRAME_HEAD_BYTES) {
      this.#take(FRAME_HEAD_BYTES)
      if (this.#filled < FRAME_HEAD_BYTES) return false
    }
    const length = this.#part.readUInt32BE(1)
    if (!this.#allows(length)) return false
    const frameBytes = FRAME_HEAD_BYTES + length
    this.#take(frameBytes)
    if (this.#filled < frameBytes) return false
    this.bytes = this.#part
    this.isCompressed = this.#part[0] !== 0
    this.start = FRAME_HEAD_BYTES
    this.end = frameBytes
    this.mayKeep = !isRoom(this.#part)
    if (!this.mayKeep) this.#borrowed = this.#part
    this.#part = EMPTY
    this.#filled = 0
    return true
  }

  /** Moves bytes to the part until it has `frameBytes`, or none are left. */
  #take(frameBytes: number): void {
    const count = Math.min(frameBytes - this.#filled, this.#stop - this.#at)
    const filled = this.#filled + count
    if (filled > this.#part.length) {
      const grown = roomFor(frameBytes, filled, this.#part.length)
      this.#part.copy(grown, 0, 0, this.#filled)
      if (isRoom(this.#part)) giveBack(this.#part)
      this.#part = grown
    }
    this.#chunk.copy(this.#part, this.#filled, this.#at, this.#at + count)
    this.#filled = filled
    this.#at += count
  }
}

function roomFor(frameBytes: number, filled: number, roomBytes: number): Buffer {
  if (frameBytes <= SMALL_BYTES) return Buffer.allocUnsafe(frameBytes)
  if (filled <= ROOM_BYTES) return spareRooms.pop() ?? Buffer.allocUnsafeSlow(ROOM_BYTES)
  const grownBytes = Math.max(filled, 2 * roomBytes, ROOM_BYTES + 1)
  return Buffer.allocUnsafe(Math.min(frameBytes, grownBytes))
}

/** Whether it is one of those that are used again; none other has their size. */
function isRoom(buffer: Buffer): boolean {
  return buffer.length === ROOM_BYTES
}

function giveBack(room: Buffer): void {
  if (spareRooms.length < MAX_SPARE_ROOMS) spareRooms.push(room)
}

/** One message with the head that says its length. */
export function framed(message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(FRAME_HEAD_BYTES + message.length)
  putFrameHead(frame, 0, message.length)
  frame.set(message, FRAME_HEAD_BYTES)
  return frame
}

/** Writes the head of a message of `length` bytes at `at`, and returns the position after it. */
export function putFrameHead(frame: Buffer, at: number, length: number): number {
  frame[at] = 0
  return frame.writeUInt32BE(length, at + 1)
}
