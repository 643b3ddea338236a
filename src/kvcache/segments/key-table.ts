import type { MemoryBudget } from './memory-budget.ts'
import type { SegmentPages } from './segment-pages.ts'
import * as layout from './segment-pages.ts'
import { moveUp } from './table-entries.ts'

// Constants and functions of the module itself are folded into compiled code, imported ones are looked up at every use.
const { keyAt, pageOf } = layout

export const PARTITIONS = 128
const PARTITION_MASK = PARTITIONS - 1
const FIRST_ENTRIES = 64
const ENTRY_BYTES = 8

/** What became of a key that was to be entered. */
export const ENTERED = 1
export const KNOWN = 2
export const NO_MEMORY = 0

/**
 * Finds the slot of a key. An entry is (slot, lo), the other half of the key is in the slot itself. The partitions grow
 * one at a time, so that no growth takes long.
 */
export class KeyTable {
  readonly #pages: readonly Int32Array[]
  readonly #budget: MemoryBudget
  readonly #tables: Int32Array[] = []
  readonly #counts = new Int32Array(PARTITIONS)
  #size = 0

  constructor(segments: SegmentPages, budget: MemoryBudget) {
    this.#pages = segments.pages
    this.#budget = budget
    budget.take(PARTITIONS * FIRST_ENTRIES * ENTRY_BYTES)
    for (let i = 0; i < PARTITIONS; i++) this.#tables.push(new Int32Array(FIRST_ENTRIES * 2))
  }

  /** Keys known. */
  get size(): number {
    return this.#size
  }

  get bytes(): number {
    let bytes = 0
    for (const table of this.#tables) bytes += table.byteLength
    return bytes
  }

  /** The slot of the key; 0 when it is not known. */
  find(lo: number, hi: number): number {
    const table = this.#tables[hi & PARTITION_MASK]!
    const mask = table.length - 1
    let j = (lo << 1) & mask
    for (;;) {
      const slot = table[j]!
      if (slot === 0) return 0
      if (table[j + 1] === lo && this.#pages[pageOf(slot)]![keyAt(slot) + 1] === hi) return slot
      j = (j + 2) & mask
    }
  }

  /** Enters a key for a slot, unless it is known. The key must be written to the slot before the next call. */
  enter(lo: number, hi: number, slot: number): number {
    const partition = hi & PARTITION_MASK
    let table = this.#tables[partition]!
    const entries = table.length >>> 1
    const count = this.#counts[partition]!
    if (count * 8 >= entries * 5) {
      if (this.#budget.take(entries * ENTRY_BYTES)) table = this.#resize(partition, entries * 2)
      else if (count * 16 >= entries * 15) return NO_MEMORY
    }
    const mask = table.length - 1
    let j = (lo << 1) & mask
    for (;;) {
      const other = table[j]!
      if (other === 0) break
      if (table[j + 1] === lo && this.#pages[pageOf(other)]![keyAt(other) + 1] === hi) return KNOWN
      j = (j + 2) & mask
    }
    table[j] = slot
    table[j + 1] = lo
    this.#counts[partition] = count + 1
    this.#size++
    return ENTERED
  }

  /** Forgets a key by shifting back what follows, so that no tombstones are left. */
  leave(lo: number, hi: number, slot: number): void {
    const partition = hi & PARTITION_MASK
    const table = this.#tables[partition]!
    const mask = table.length - 1
    let hole = (lo << 1) & mask
    while (table[hole] !== slot) {
      if (table[hole] === 0) return
      hole = (hole + 2) & mask
    }
    this.#counts[partition]!--
    this.#size--
    let j = hole
    for (;;) {
      j = (j + 2) & mask
      const other = table[j]!
      if (other === 0) break
      const otherLo = table[j + 1]!
      const home = (otherLo << 1) & mask
      if (((j - home) & mask) >= ((j - hole) & mask)) {
        table[hole] = other
        table[hole + 1] = otherLo
        hole = j
      }
    }
    table[hole] = 0
    table[hole + 1] = 0
  }

  /** Tells that a known key's block is at another slot. */
  move(lo: number, hi: number, from: number, to: number): void {
    const table = this.#tables[hi & PARTITION_MASK]!
    const mask = table.length - 1
    let j = (lo << 1) & mask
    while (table[j] !== from) j = (j + 2) & mask
    table[j] = to
  }

  /** Gives memory of a partition back that is mostly empty. */
  shrink(partition: number): void {
    const entries = this.#tables[partition]!.length >>> 1
    let fewer = entries
    while (fewer > FIRST_ENTRIES && this.#counts[partition]! * 5 < fewer) fewer >>>= 1
    if (fewer === entries) return
    this.#resize(partition, fewer)
    this.#budget.give((entries - fewer) * ENTRY_BYTES)
  }

  #resize(partition: number, entries: number): Int32Array {
    const old = this.#tables[partition]!
    const grown = new Int32Array(entries * 2)
    const mask = grown.length - 1
    const end = moveUp(old)
    for (let i = 0; i < end; i += 2) {
      let j = (old[i + 1]! << 1) & mask
      while (grown[j] !== 0) j = (j + 2) & mask
      grown[j] = old[i]!
      grown[j + 1] = old[i + 1]!
    }
    this.#tables[partition] = grown
    return grown
  }
}
