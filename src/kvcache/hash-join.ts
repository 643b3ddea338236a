import type { MemoryBudget } from './memory-budget.ts'

const PARTITIONS = 16
const PARTITION_SHIFT = 28
const FIRST_ENTRIES = 8
// Engine hash (lo, hi), our key (lo, hi), references. Keys are never (0, 0), so that marks an empty entry.
const INTS = 5

/** Spreads what engines give, which may be small numbers, over 32 bits. */
function mix(lo: number, hi: number): number {
  let h = Math.imul(lo ^ Math.imul(hi, 0x85ebca6b), 0x9e3779b1)
  h ^= h >>> 15
  return Math.imul(h, 0xc2b2ae35)
}

/**
 * Joins one engine's block hashes to our keys, and counts how often each hash is held. Bytes come from the budget;
 * sixteen partitions grow one at a time, so that no growth takes long.
 */
export class HashJoin {
  readonly #budget: MemoryBudget
  readonly #tables: (Int32Array | undefined)[] = new Array(PARTITIONS)
  readonly #counts = new Int32Array(PARTITIONS)
  #size = 0
  keyLo = 0
  keyHi = 0

  constructor(budget: MemoryBudget) {
    this.#budget = budget
  }

  /** Hashes known. */
  get size(): number {
    return this.#size
  }

  /** Looks a hash up; true leaves its key in `keyLo` and `keyHi`. */
  get(lo: number, hi: number): boolean {
    const table = this.#tables[mix(lo, hi) >>> PARTITION_SHIFT]
    if (table === undefined) return false
    const at = this.#find(table, lo, hi)
    this.keyLo = table[at + 2]!
    this.keyHi = table[at + 3]!
    return (this.keyLo | this.keyHi) !== 0
  }

  /** Adds one reference; a hash that is known keeps its key. False without memory for a new one. */
  add(lo: number, hi: number, keyLo: number, keyHi: number): boolean {
    const partition = mix(lo, hi) >>> PARTITION_SHIFT
    let table = this.#tables[partition]
    if (table === undefined) {
      table = this.#grow(partition, FIRST_ENTRIES)
      if (table === undefined) return false
    }
    let at = this.#find(table, lo, hi)
    if ((table[at + 2]! | table[at + 3]!) !== 0) {
      table[at + 4]!++
      return true
    }
    const entries = table.length / INTS
    if ((this.#counts[partition]! + 1) * 4 > entries * 3) {
      table = this.#grow(partition, entries * 2)
      if (table === undefined) return false
      at = this.#find(table, lo, hi)
    }
    table[at] = lo
    table[at + 1] = hi
    table[at + 2] = keyLo
    table[at + 3] = keyHi
    table[at + 4] = 1
    this.#counts[partition]!++
    this.#size++
    return true
  }

  /** Takes one reference away, and the hash with the last. */
  drop(lo: number, hi: number): void {
    const partition = mix(lo, hi) >>> PARTITION_SHIFT
    const table = this.#tables[partition]
    if (table === undefined) return
    let hole = this.#find(table, lo, hi)
    if ((table[hole + 2]! | table[hole + 3]!) === 0) return
    if (--table[hole + 4]! > 0) return
    this.#counts[partition]!--
    this.#size--
    const { length } = table
    let at = hole
    for (;;) {
      at = at + INTS === length ? 0 : at + INTS
      if ((table[at + 2]! | table[at + 3]!) === 0) break
      const home = this.#home(table, table[at]!, table[at + 1]!)
      const fromHome = at >= home ? at - home : at - home + length
      const fromHole = at >= hole ? at - hole : at - hole + length
      if (fromHome >= fromHole) {
        table.copyWithin(hole, at, at + INTS)
        hole = at
      }
    }
    table.fill(0, hole, hole + INTS)
  }

  /** Forgets everything and gives the bytes back. */
  clear(): void {
    for (let p = 0; p < PARTITIONS; p++) {
      this.#budget.give(this.#tables[p]?.byteLength ?? 0)
      this.#tables[p] = undefined
    }
    this.#counts.fill(0)
    this.#size = 0
  }

  #home(table: Int32Array, lo: number, hi: number): number {
    return (mix(lo, hi) & (table.length / INTS - 1)) * INTS
  }

  #find(table: Int32Array, lo: number, hi: number): number {
    let at = this.#home(table, lo, hi)
    for (;;) {
      if ((table[at + 2]! | table[at + 3]!) === 0) return at
      if (table[at] === lo && table[at + 1] === hi) return at
      at += INTS
      if (at === table.length) at = 0
    }
  }

  #grow(partition: number, entries: number): Int32Array | undefined {
    const old = this.#tables[partition]
    const grown = entries * INTS * 4
    if (!this.#budget.take(grown)) return undefined
    const table = new Int32Array(entries * INTS)
    if (old !== undefined) {
      for (let from = 0; from < old.length; from += INTS) {
        if ((old[from + 2]! | old[from + 3]!) === 0) continue
        const to = this.#find(table, old[from]!, old[from + 1]!)
        for (let i = 0; i < INTS; i++) table[to + i] = old[from + i]!
      }
      this.#budget.give(old.byteLength)
    }
    this.#tables[partition] = table
    return table
  }
}
