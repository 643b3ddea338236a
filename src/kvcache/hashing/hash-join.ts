import type { MemoryBudget } from '../segments/memory-budget.ts'
import { mix } from '../segments/mix.ts'

export const PARTITIONS = 64
const PARTITION_SHIFT = 26
const FIRST_ENTRIES = 8
// Engine hash (lo, hi), our key (lo, hi), references. Keys are never (0, 0), so that marks an empty entry.
const INTS = 5

// How full each partition gets before it doubles, in 256ths: from 42 % to 84 %, so that they do not all grow at once.
const LIMITS = Uint8Array.from({ length: PARTITIONS }, (_, p) => 107 * 2 ** (p / PARTITIONS))

/**
 * Joins one engine's block hashes to our keys, and counts how often each hash is held. Bytes come from the budget;
 * its partitions grow one at a time, so that no growth takes long.
 */
export class HashJoin {
  readonly #budget: MemoryBudget
  readonly #tables: (Int32Array | undefined)[] = new Array(PARTITIONS)
  readonly #counts = new Int32Array(PARTITIONS)
  // Entries less one.
  readonly #masks = new Int32Array(PARTITIONS)
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
    const mixed = mix(lo, hi)
    const table = this.#tables[mixed >>> PARTITION_SHIFT]
    if (table === undefined) return false
    const at = this.#find(table, mixed, lo, hi)
    this.keyLo = table[at + 2]!
    this.keyHi = table[at + 3]!
    return (this.keyLo | this.keyHi) !== 0
  }

  /** Adds one reference; a hash that is known keeps its key. False without memory for a new one. */
  add(lo: number, hi: number, keyLo: number, keyHi: number): boolean {
    const mixed = mix(lo, hi)
    const partition = mixed >>> PARTITION_SHIFT
    let table = this.#tables[partition]
    if (table === undefined) {
      table = this.#grow(partition, FIRST_ENTRIES)
      if (table === undefined) return false
    }
    let at = this.#find(table, mixed, lo, hi)
    if ((table[at + 2]! | table[at + 3]!) !== 0) {
      table[at + 4]!++
      return true
    }
    const entries = this.#masks[partition]! + 1
    if ((this.#counts[partition]! + 1) * 256 > entries * LIMITS[partition]!) {
      table = this.#grow(partition, entries * 2)
      if (table === undefined) return false
      at = this.#find(table, mixed, lo, hi)
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
    const mixed = mix(lo, hi)
    const partition = mixed >>> PARTITION_SHIFT
    const table = this.#tables[partition]
    if (table === undefined) return
    let hole = this.#find(table, mixed, lo, hi)
    if ((table[hole + 2]! | table[hole + 3]!) === 0) return
    if (--table[hole + 4]! > 0) return
    this.#counts[partition]!--
    this.#size--
    const { length } = table
    const mask = this.#masks[partition]!
    let at = hole
    for (;;) {
      at = at + INTS === length ? 0 : at + INTS
      if ((table[at + 2]! | table[at + 3]!) === 0) break
      const home = (mix(table[at]!, table[at + 1]!) & mask) * INTS
      const fromHome = at >= home ? at - home : at - home + length
      const fromHole = at >= hole ? at - hole : at - hole + length
      if (fromHome >= fromHole) {
        for (let n = 0; n < INTS; n++) table[hole + n] = table[at + n]!
        hole = at
      }
    }
    for (let n = 0; n < INTS; n++) table[hole + n] = 0
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

  /**
   * Forgets the hashes in one of `PARTITIONS` parts whose keys are gone, and gives back memory that they do not need.
   *
   * @returns entries that were looked at
   */
  sweep(partition: number, isGone: (keyLo: number, keyHi: number) => boolean): number {
    const table = this.#tables[partition]
    if (table === undefined) return 0
    let gone = 0
    for (let at = 0; at < table.length; at += INTS) {
      const keyLo = table[at + 2]!
      const keyHi = table[at + 3]!
      if ((keyLo | keyHi) === 0 || !isGone(keyLo, keyHi)) continue
      table[at + 4] = 0
      gone++
    }
    const entries = table.length / INTS
    this.#counts[partition]! -= gone
    this.#size -= gone
    if (this.#counts[partition] === 0) {
      this.#budget.give(table.byteLength)
      this.#tables[partition] = undefined
      return entries
    }
    let needed = entries
    // Room for a third more, so that it does not grow again at once.
    const most = (this.#counts[partition]! * 4 * 256) / (3 * LIMITS[partition]!)
    while (needed > FIRST_ENTRIES && most < needed / 2) needed /= 2
    if (gone > 0 || needed < entries) this.#rebuild(partition, needed)
    this.#budget.give((entries - needed) * INTS * 4)
    return entries
  }

  /** Where the hash's entry is, or the empty one where it would be. */
  #find(table: Int32Array, mixed: number, lo: number, hi: number): number {
    let at = (mixed & this.#masks[mixed >>> PARTITION_SHIFT]!) * INTS
    for (;;) {
      if ((table[at + 2]! | table[at + 3]!) === 0) return at
      if (table[at] === lo && table[at + 1] === hi) return at
      at += INTS
      if (at === table.length) at = 0
    }
  }

  #grow(partition: number, entries: number): Int32Array | undefined {
    if (!this.#budget.take(entries * INTS * 4)) return undefined
    this.#budget.give(this.#tables[partition]?.byteLength ?? 0)
    return this.#rebuild(partition, entries)
  }

  /** Puts the entries that have references into a table of another size, whose bytes are taken elsewhere. */
  #rebuild(partition: number, entries: number): Int32Array {
    const old = this.#tables[partition]
    const table = new Int32Array(entries * INTS)
    this.#masks[partition] = entries - 1
    this.#tables[partition] = table
    if (old === undefined) return table
    for (let from = 0; from < old.length; from += INTS) {
      if (old[from + 4] === 0) continue
      const lo = old[from]!
      const hi = old[from + 1]!
      const to = this.#find(table, mix(lo, hi), lo, hi)
      for (let i = 0; i < INTS; i++) table[to + i] = old[from + i]!
    }
    return table
  }
}
