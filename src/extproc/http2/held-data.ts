const BLOCK_BYTES = 64 * 1024

/**
 * Data that has come and must wait to be told. It is copied together: each piece, however short, would otherwise keep the whole
 * buffer that it came in.
 */
export class HeldData {
  readonly #blocks: Buffer[] = []
  #first = 0
  /** Bytes of the last block that are used. */
  #filled = 0
  #bytes = 0

  get isEmpty(): boolean {
    return this.#bytes === 0
  }

  /** Takes over `bytes[start, end)`. */
  add(bytes: Buffer, start: number, end: number): void {
    this.#bytes += end - start
    while (start < end) {
      if (this.#first === this.#blocks.length || this.#filled === BLOCK_BYTES) {
        this.#blocks.push(Buffer.allocUnsafe(BLOCK_BYTES))
        this.#filled = 0
      }
      const count = bytes.copy(this.#blocks[this.#blocks.length - 1]!, this.#filled, start, end)
      this.#filled += count
      start += count
    }
  }

  /** The bytes that came first, which are forgotten here; there are some. */
  take(): Buffer {
    const block = this.#blocks[this.#first]!
    const isLast = this.#first === this.#blocks.length - 1
    const taken = isLast ? block.subarray(0, this.#filled) : block
    this.#bytes -= taken.length
    if (isLast) this.clear()
    else this.#first++
    return taken
  }

  /** Forgets all, and returns how many bytes that was. */
  clear(): number {
    const bytes = this.#bytes
    this.#blocks.length = this.#first = this.#filled = this.#bytes = 0
    return bytes
  }
}
