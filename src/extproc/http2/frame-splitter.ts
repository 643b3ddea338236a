import { ConnectionError, ERROR, FLAG, FRAME, FRAME_HEAD_BYTES } from './protocol.ts'

/** Who is told the data of a connection, frame by frame, and no other frame within one. */
export interface DataSink {
  /** A frame of data begins, with `payloadBytes` that are told in parts. */
  dataBegins(streamId: number, payloadBytes: number, flags: number): void
  /** Some of the data of that frame: `bytes[start, end)`, which may be kept. */
  data(bytes: Buffer, start: number, end: number): void
  /** All of its data has been told. */
  dataEnds(): void
}

/** Who is told the other frames of a connection. */
export interface FrameSink {
  /** Any frame but of data, or one of data with padding: its payload is `bytes[start, end)`, which is not used after the call. */
  frame(
    type: number,
    flags: number,
    streamId: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): void
}

const NO_BYTES = Buffer.alloc(0)

/**
 * Finds the frames of an HTTP/2 connection in the bytes as they come. Data is told where it lies, as far as it has come; of
 * other frames that come in parts the parts are put together.
 */
export class FrameSplitter {
  readonly #dataSink: DataSink
  readonly #frameSink: FrameSink
  readonly #maxPayloadBytes: number
  /** Bytes to come of the frame of data at hand; -1 when there is none. */
  #dataLeft = -1
  /** The beginning of a frame, of which `#filled` bytes have come. */
  #part: Buffer = NO_BYTES
  #filled = 0

  /** @param maxPayloadBytes of a frame, as was told to the other side */
  constructor(dataSink: DataSink, frameSink: FrameSink, maxPayloadBytes: number) {
    this.#dataSink = dataSink
    this.#frameSink = frameSink
    this.#maxPayloadBytes = maxPayloadBytes
  }

  /**
   * Tells what `chunk` brings from `at` on.
   *
   * @throws {ConnectionError} where a frame is longer than allowed, and what a sink throws; nothing can be read after it
   */
  read(chunk: Buffer, at: number): void {
    const end = chunk.length
    while (at < end) {
      if (this.#dataLeft > 0) at = this.#data(chunk, at)
      else if (this.#filled > 0 || end - at < FRAME_HEAD_BYTES) at = this.#collect(chunk, at)
      else at = this.#frame(chunk, at)
    }
  }

  #data(chunk: Buffer, start: number): number {
    const end = Math.min(start + this.#dataLeft, chunk.length)
    this.#dataLeft -= end - start
    this.#dataSink.data(chunk, start, end)
    if (this.#dataLeft === 0) this.#dataSink.dataEnds()
    return end
  }

  /** Reads the frame that begins at `at`, and returns where it ends; as much of it as there is where it is not whole. */
  #frame(chunk: Buffer, at: number): number {
    const payloadBytes = this.#payloadBytes(chunk, at)
    const type = chunk[at + 3]!
    const flags = chunk[at + 4]!
    const streamId = chunk.readUInt32BE(at + 5) & 0x7fffffff
    const start = at + FRAME_HEAD_BYTES
    if (type === FRAME.data && (flags & FLAG.padded) === 0) {
      this.#dataLeft = payloadBytes
      this.#dataSink.dataBegins(streamId, payloadBytes, flags)
      if (payloadBytes === 0) this.#dataSink.dataEnds()
      return start
    }
    const end = start + payloadBytes
    if (end > chunk.length) return this.#collect(chunk, at)
    this.#frameSink.frame(type, flags, streamId, chunk, start, end)
    return end
  }

  #payloadBytes(bytes: Buffer, at: number): number {
    const count = bytes.readUIntBE(at, 3)
    if (count > this.#maxPayloadBytes) {
      throw new ConnectionError(ERROR.frameSize, `a frame of ${count} bytes is longer than allowed`)
    }
    return count
  }

  /** Takes over as much of a frame as `chunk` has, and reads it when it is whole. */
  #collect(chunk: Buffer, at: number): number {
    at = this.#take(chunk, at, FRAME_HEAD_BYTES)
    if (this.#filled < FRAME_HEAD_BYTES) return at
    const head = this.#part
    const isData = head[3] === FRAME.data && (head[4]! & FLAG.padded) === 0
    const frameBytes = FRAME_HEAD_BYTES + (isData ? 0 : this.#payloadBytes(head, 0))
    at = this.#take(chunk, at, frameBytes)
    if (this.#filled < frameBytes) return at
    const whole = this.#part
    this.#part = NO_BYTES
    this.#filled = 0
    this.#frame(whole, 0)
    return at
  }

  /** Moves bytes to the part until it has `frameBytes`, or none are left. */
  #take(chunk: Buffer, at: number, frameBytes: number): number {
    if (this.#filled >= frameBytes) return at
    if (this.#part.length < frameBytes) {
      const grown = Buffer.allocUnsafe(frameBytes)
      this.#part.copy(grown, 0, 0, this.#filled)
      this.#part = grown
    }
    const end = Math.min(at + frameBytes - this.#filled, chunk.length)
    this.#filled += chunk.copy(this.#part, this.#filled, at, end)
    return end
  }
}
