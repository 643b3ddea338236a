/** Part of the limit that is kept for what cannot wait, such as tables that must grow. */
const SPARE_SHARE = 1 / 32

/** Bytes that the structures of one index may take together. */
export class MemoryBudget {
  /** May change at any time; nothing is taken back by itself when it falls below what is used. */
  limitBytes: number
  /** True once something was refused; who makes room sets it back. */
  wasRefused = false
  #usedBytes = 0

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  /** Bytes of the limit that only `take` takes, not `takeUnspared`. */
  get spareBytes(): number {
    return this.limitBytes * SPARE_SHARE
  }

  /** Takes the bytes and answers true, or takes nothing and answers false. */
  take(bytes: number): boolean {
    if (this.#usedBytes + bytes > this.limitBytes) {
      this.wasRefused = true
      return false
    }
    this.#usedBytes += bytes
    return true
  }

  /** The same without touching what is spared. */
  takeUnspared(bytes: number): boolean {
    if (this.#usedBytes + bytes + this.spareBytes <= this.limitBytes) return this.take(bytes)
    this.wasRefused = true
    return false
  }

  give(bytes: number): void {
    this.#usedBytes -= bytes
  }
}
