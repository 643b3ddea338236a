/** Bytes that the structures of one index may take together. */
export class MemoryBudget {
  /** May change at any time; nothing is taken back when it falls below what is used. */
  limitBytes: number
  #usedBytes = 0

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  /** Takes the bytes and answers true, or takes nothing and answers false. */
  take(bytes: number): boolean {
    if (this.#usedBytes + bytes > this.limitBytes) return false
    this.#usedBytes += bytes
    return true
  }

  give(bytes: number): void {
    this.#usedBytes -= bytes
  }
}
