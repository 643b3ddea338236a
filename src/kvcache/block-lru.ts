const NONE = -1

/**
 * The blocks that one endpoint was last sent, the most recent ones up to a capacity. Typed arrays sized by use; a block
 * is a pair of integers that is never (0, 0).
 */
export class BlockLru {
  readonly capacity: number
  #table = new Int32Array(64)
  #keys = new Int32Array(64)
  #older = new Int32Array(32)
  #newer = new Int32Array(32)
  #size = 0
  #newest = NONE
  #oldest = NONE
  /** The pair that the last `touch` dropped. */
  droppedLo = 0
  droppedHi = 0

  /** @param capacity blocks, at least 1 */
  constructor(capacity: number) {
    this.capacity = capacity
    this.#table.fill(NONE)
  }

  get size(): number {
    return this.#size
  }

  /**
   * Makes a block the most recent one.
   *
   * @returns 'known', 'added', or 'replaced' when another was dropped for it (`droppedLo`, `droppedHi`)
   */
  touch(lo: number, hi: number): 'known' | 'added' | 'replaced' {
    const known = this.#find(lo, hi)
    if (known !== NONE) {
      if (known !== this.#newest) {
        this.#unlink(known)
        this.#linkNewest(known)
      }
      return 'known'
    }
    if (this.#size < this.capacity) {
      if (this.#size === this.#older.length) this.#grow()
      this.#put(this.#size++, lo, hi)
      return 'added'
    }
    const reused = this.#oldest
    this.droppedLo = this.#keys[2 * reused]!
    this.droppedHi = this.#keys[2 * reused + 1]!
    this.#erase(reused)
    this.#unlink(reused)
    this.#put(reused, lo, hi)
    return 'replaced'
  }

  #put(entry: number, lo: number, hi: number): void {
    this.#keys[2 * entry] = lo
    this.#keys[2 * entry + 1] = hi
    this.#linkNewest(entry)
    this.#enter(entry)
  }

  #linkNewest(entry: number): void {
    this.#older[entry] = this.#newest
    this.#newer[entry] = NONE
    if (this.#newest !== NONE) this.#newer[this.#newest] = entry
    else this.#oldest = entry
    this.#newest = entry
  }

  #unlink(entry: number): void {
    const older = this.#older[entry]!
    const newer = this.#newer[entry]!
    if (older === NONE) this.#oldest = newer
    else this.#newer[older] = newer
    if (newer === NONE) this.#newest = older
    else this.#older[newer] = older
  }

  #enter(entry: number): void {
    const mask = this.#table.length - 1
    let at = this.#keys[2 * entry]! & mask
    while (this.#table[at] !== NONE) at = (at + 1) & mask
    this.#table[at] = entry
  }

  #find(lo: number, hi: number): number {
    const mask = this.#table.length - 1
    for (let at = lo & mask; ; at = (at + 1) & mask) {
      const entry = this.#table[at]!
      if (entry === NONE || (this.#keys[2 * entry] === lo && this.#keys[2 * entry + 1] === hi)) {
        return entry
      }
    }
  }

  #erase(entry: number): void {
    const table = this.#table
    const mask = table.length - 1
    let hole = this.#keys[2 * entry]! & mask
    while (table[hole] !== entry) hole = (hole + 1) & mask
    for (let at = (hole + 1) & mask; table[at] !== NONE; at = (at + 1) & mask) {
      const home = this.#keys[2 * table[at]!]! & mask
      if (((at - home) & mask) >= ((at - hole) & mask)) {
        table[hole] = table[at]!
        hole = at
      }
    }
    table[hole] = NONE
  }

  #grow(): void {
    const entries = this.#older.length * 2
    const grow = (from: Int32Array, to: number) => {
      const grown = new Int32Array(to)
      grown.set(from)
      return grown
    }
    this.#older = grow(this.#older, entries)
    this.#newer = grow(this.#newer, entries)
    this.#keys = grow(this.#keys, entries * 2)
    this.#table = new Int32Array(entries * 2).fill(NONE)
    for (let entry = 0; entry < this.#size; entry++) this.#enter(entry)
  }
}
