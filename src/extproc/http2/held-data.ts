/** The first block is small, since most of what waits is; each further one has twice the room, up to the largest. */
const FIRST_BLOCK_BYTES = 1024
const LARGEST_BLOCK_BYTES = 64 * 1024

/**
 * Data that has come and must wait to be told. It is copied together: each piece, however short, would otherwise keep the whole
 * buffer that it came in.
 */
export class HeldData {
  readonly #blocks: Buffer[] = []
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
      let last = this.#blocks.at(-1)
      if (last === undefined || this.#filled === last.length) {
        const doubled = last === undefined ? FIRST_BLOCK_BYTES : 2 * last.length
        last = Buffer.allocUnsafe(Math.min(doubled, LARGEST_BLOCK_BYTES))
        this.#blocks.push(last)
        this.#filled = 0
      }
      const count = bytes.copy(last, this.#filled, start, end)
      this.#filled += count
      start += count
    }
  }

  /** The bytes that came first, which are forgotten here; there are some. */
  take(): Buffer {
    const block = this.#blocks.shift()!
    const taken = this.#blocks.length === 0 ? block.subarray(0, this.#filled) : block
    this.#bytes -= taken.length
    return taken
  }

  /** Forgets all, and returns how many bytes that was. */
  clear(): number {
    const bytes = this.#bytes
    this.#blocks.length = this.#bytes = 0
    return bytes
  }
}
