const NONE = Buffer.alloc(0)

/** The bytes of a body where they lie in the buffers that they came in; what is moved out is forgotten. */
export class BodyPieces {
  readonly #buffers: Buffer[] = []
  readonly #starts: number[] = []
  readonly #ends: number[] = []
  /** The pieces are `[#first, #count)`; the arrays stay as long as they were, since to cut them takes a call into V8. */
  #first = 0
  #count = 0
  /** Bytes that have not been moved out. */
  bytes = 0

  /** Adds `buffer[start, end)`. */
  add(buffer: Buffer, start: number, end: number): void {
    if (start === end) return
    const i = this.#count++
    this.#buffers[i] = buffer
    this.#starts[i] = start
    this.#ends[i] = end
    this.bytes += end - start
  }

  /** Moves the next `count` bytes, of those that there are, to `target[at, at + count)`. */
  moveTo(target: Buffer, at: number, count: number): void {
    this.bytes -= count
    for (const stop = at + count; at < stop; ) {
      const i = this.#first
      const start = this.#starts[i]!
      const end = Math.min(this.#ends[i]!, start + stop - at)
      this.#buffers[i]!.copy(target, at, start, end)
      at += end - start
      if (end === this.#ends[i]) this.#first++
      else this.#starts[i] = end
    }
    if (this.bytes === 0) this.clear()
  }

  clear(): void {
    for (let i = 0; i < this.#count; i++) this.#buffers[i] = NONE
    this.bytes = this.#first = this.#count = 0
  }
}
