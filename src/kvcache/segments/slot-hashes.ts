import type { MemoryBudget } from './memory-budget.ts'
import * as mixing from './mix.ts'
import { moveUp } from './table-entries.ts'

// Constants and functions of the module itself are folded into compiled code, imported ones are looked up at every use.
const { mix } = mixing

export const HASH_PARTITIONS = 64
const PARTITION_SHIFT = 26
const FIRST_ENTRIES = 64
const ENTRY_BYTES = 8
const PAGE_SLOTS_LOG2 = 16
const SLOT_IN_PAGE = (1 << PAGE_SLOTS_LOG2) - 1
const PAGE_INTS = 2 << PAGE_SLOTS_LOG2
export const HASH_PAGE_BYTES = PAGE_INTS * 4

/**
 * The engines' own hashes of blocks, one for each slot: engines that hash alike name a block alike, so it is kept once for
 * all of them. Hashes are pairs of 32-bit integers; (0, 0) is none.
 *
 * A slot keeps the hash that it was given first, and a hash the slot. What is named otherwise must be kept elsewhere.
 */
export class SlotHashes {
  readonly #budget: MemoryBudget
  /** The hashes by slot, in pages as the segments have them. */
  readonly #pages: (Int32Array | undefined)[] = []
  /** Entries of a slot and its mixed hash. */
  readonly #tables: (Int32Array | undefined)[] = new Array(HASH_PARTITIONS)
  readonly #counts = new Int32Array(HASH_PARTITIONS)
  #bytes = 0

  constructor(budget: MemoryBudget) {
    this.#budget = budget
  }

  get bytes(): number {
    return this.#bytes
  }

  /** The slot with this hash; 0 without one. */
  find(lo: number, hi: number): number {
    const mixed = mix(lo, hi)
    const table = this.#tables[mixed >>> PARTITION_SHIFT]
    return table === undefined ? 0 : this.#find(table, mixed, lo, hi)
  }

  /** True when the slot has this hash. */
  has(slot: number, lo: number, hi: number): boolean {
    const page = this.#pages[slot >>> PAGE_SLOTS_LOG2]
    if (page === undefined) return false
    const k = (slot & SLOT_IN_PAGE) << 1
    return page[k] === lo && page[k + 1] === hi && (lo | hi) !== 0
  }

  /**
   * How many slots have the hashes one after the other, the first of which is known to be the slot's.
   *
   * @param step 1 for the slots after the first one, -1 for those before it
   * @param from number of the first hash
   * @param limit must not go beyond the slot's page
   */
  runFrom(slot: number, step: number, hashes: Int32Array, from: number, limit: number): number {
    const page = this.#pages[slot >>> PAGE_SLOTS_LOG2]!
    let k = (slot & SLOT_IN_PAGE) << 1
    let run = 1
    for (; run < limit; run++) {
      k += step * 2
      const lo = hashes[(from + run) << 1]!
      const hi = hashes[((from + run) << 1) + 1]!
      if (page[k] !== lo || page[k + 1] !== hi || (lo | hi) === 0) break
    }
    return run
  }

  /**
   * Gives up to 32 slots that follow one another their hashes.
   *
   * @param hashes pairs; the one of the first slot is pair number `from`
   * @returns those that are not named so, as bits: they have another hash, or it is another slot's, or there is no memory
   */
  enter(slot: number, hashes: Int32Array, from: number, count: number): number {
    let page = this.#pages[slot >>> PAGE_SLOTS_LOG2]
    if (page === undefined) {
      page = this.#newPage(slot >>> PAGE_SLOTS_LOG2)
      if (page === undefined) return count === 32 ? -1 : (1 << count) - 1
    }
    let others = 0
    for (let i = 0; i < count; i++) {
      const k = ((slot + i) & SLOT_IN_PAGE) << 1
      const lo = hashes[(from + i) << 1]!
      const hi = hashes[((from + i) << 1) + 1]!
      const isNamed = (page[k]! | page[k + 1]!) !== 0
      if (isNamed && page[k] === lo && page[k + 1] === hi) continue
      if (isNamed || (lo | hi) === 0 || !this.#insert(slot + i, lo, hi)) others |= 1 << i
      else {
        page[k] = lo
        page[k + 1] = hi
      }
    }
    return others
  }

  /** Takes the hashes of `count` slots away. */
  leave(slot: number, count: number): void {
    const page = this.#pages[slot >>> PAGE_SLOTS_LOG2]
    if (page === undefined) return
    for (let i = 0; i < count; i++) {
      const k = ((slot + i) & SLOT_IN_PAGE) << 1
      const lo = page[k]!
      const hi = page[k + 1]!
      if ((lo | hi) === 0) continue
      this.#delete(slot + i, mix(lo, hi))
      page[k] = 0
      page[k + 1] = 0
    }
  }

  /** Makes sure that hashes of the slot's page have a place; false without memory. */
  makeRoom(slot: number): boolean {
    const number = slot >>> PAGE_SLOTS_LOG2
    return this.#pages[number] !== undefined || this.#newPage(number) !== undefined
  }

  /** Gives the hash of a slot to another one, which has none and whose page has room. */
  move(from: number, to: number): void {
    const source = this.#pages[from >>> PAGE_SLOTS_LOG2]
    const k = (from & SLOT_IN_PAGE) << 1
    const lo = source?.[k] ?? 0
    const hi = source?.[k + 1] ?? 0
    if (source === undefined || (lo | hi) === 0) return
    const target = this.#pages[to >>> PAGE_SLOTS_LOG2]!
    target[(to & SLOT_IN_PAGE) << 1] = lo
    target[((to & SLOT_IN_PAGE) << 1) + 1] = hi
    source[k] = 0
    source[k + 1] = 0
    const mixed = mix(lo, hi)
    const table = this.#tables[mixed >>> PARTITION_SHIFT]!
    const mask = table.length - 1
    let j = (mixed << 1) & mask
    while (table[j] !== from) j = (j + 2) & mask
    table[j] = to
  }

  /** The page of segments is gone; none of its slots has a hash. */
  dropPage(number: number): void {
    if (this.#pages[number] === undefined) return
    this.#pages[number] = undefined
    this.#give(HASH_PAGE_BYTES)
  }

  /** Gives memory of a partition back that is mostly empty. */
  shrink(partition: number): void {
    const table = this.#tables[partition]
    if (table === undefined) return
    const entries = table.length >>> 1
    const count = this.#counts[partition]!
    if (count === 0) {
      this.#tables[partition] = undefined
      this.#give(entries * ENTRY_BYTES)
      return
    }
    let fewer = entries
    while (fewer > FIRST_ENTRIES && count * 5 < fewer) fewer >>>= 1
    if (fewer === entries) return
    this.#resize(partition, fewer)
    this.#give((entries - fewer) * ENTRY_BYTES)
  }

  #find(table: Int32Array, mixed: number, lo: number, hi: number): number {
    const mask = table.length - 1
    let j = (mixed << 1) & mask
    for (;;) {
      const slot = table[j]!
      if (slot === 0) return 0
      if (table[j + 1] === mixed) {
        const page = this.#pages[slot >>> PAGE_SLOTS_LOG2]!
        const k = (slot & SLOT_IN_PAGE) << 1
        if (page[k] === lo && page[k + 1] === hi) return slot
      }
      j = (j + 2) & mask
    }
  }

  /** False where the hash is another slot's, or without memory. */
  #insert(slot: number, lo: number, hi: number): boolean {
    const mixed = mix(lo, hi)
    const partition = mixed >>> PARTITION_SHIFT
    let table = this.#tables[partition]
    const entries = table === undefined ? 0 : table.length >>> 1
    const count = this.#counts[partition]!
    if (table === undefined || count * 8 >= entries * 5) {
      const more = Math.max(entries, FIRST_ENTRIES)
      if (this.#take(more * ENTRY_BYTES)) table = this.#resize(partition, entries + more)
      else if (table === undefined || count * 16 >= entries * 15) return false
    }
    const mask = table.length - 1
    let j = (mixed << 1) & mask
    for (;;) {
      const other = table[j]!
      if (other === 0) break
      if (table[j + 1] === mixed && this.has(other, lo, hi)) return false
      j = (j + 2) & mask
    }
    table[j] = slot
    table[j + 1] = mixed
    this.#counts[partition] = count + 1
    return true
  }

  /** Shifts back what follows, so that no tombstones are left. */
  #delete(slot: number, mixed: number): void {
    const partition = mixed >>> PARTITION_SHIFT
    const table = this.#tables[partition]!
    const mask = table.length - 1
    let hole = (mixed << 1) & mask
    while (table[hole] !== slot) hole = (hole + 2) & mask
    this.#counts[partition]!--
    let j = hole
    for (;;) {
      j = (j + 2) & mask
      const other = table[j]!
      if (other === 0) break
      const home = (table[j + 1]! << 1) & mask
      if (((j - home) & mask) >= ((j - hole) & mask)) {
        table[hole] = other
        table[hole + 1] = table[j + 1]!
        hole = j
      }
    }
    table[hole] = 0
    table[hole + 1] = 0
  }

  #resize(partition: number, entries: number): Int32Array {
    const old = this.#tables[partition]
    const resized = new Int32Array(entries * 2)
    const mask = resized.length - 1
    const end = old === undefined ? 0 : moveUp(old)
    for (let i = 0; i < end; i += 2) {
      let j = (old![i + 1]! << 1) & mask
      while (resized[j] !== 0) j = (j + 2) & mask
      resized[j] = old![i]!
      resized[j + 1] = old![i + 1]!
    }
    this.#tables[partition] = resized
    return resized
  }

  #newPage(number: number): Int32Array | undefined {
    if (!this.#take(HASH_PAGE_BYTES)) return undefined
    return (this.#pages[number] = new Int32Array(PAGE_INTS))
  }

  #take(bytes: number): boolean {
    if (!this.#budget.take(bytes)) return false
    this.#bytes += bytes
    return true
  }

  #give(bytes: number): void {
    this.#budget.give(bytes)
    this.#bytes -= bytes
  }
}
