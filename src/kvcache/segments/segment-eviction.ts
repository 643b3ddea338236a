import type { HolderLists } from './holder-lists.ts'
import { type KeyTable, PARTITIONS } from './key-table.ts'
import * as layout from './segment-pages.ts'
import { headerAt, keyAt, pageOf, type SegmentPages, segmentSize } from './segment-pages.ts'
import type { SlotHashes } from './slot-hashes.ts'

const { FIRST_CHUNK, NEXT_SLOT, STATE, RECORDS, LENGTH_MASK, EPOCH_SHIFT, EPOCH_MASK } = layout
const UNIT_SLOTS = 32
const PAGE_SLOTS = 1 << 16
const MIN_SIZE = 4
/** Blocks that are forgotten in the time that it takes to look at some units. */
const BLOCKS_PER_UNIT = 8
/** Units that can be looked at in the time that it takes to make a partition of the tables smaller. */
const UNITS_PER_PARTITION = 8
/** An age beyond it is of a segment that was matched after the round began. */
const MAX_AGE = EPOCH_MASK >>> 1
const SAMPLED_UNITS = 2048
const MOST_AT_ONCE = 32
// Free slots are scattered over units of other sizes: as much of them can be counted on.
const USABLE_ROOM = 0.8

/** What a round of forgetting is to do. */
export interface EvictionRound {
  /** Part of the blocks to forget, in (0, 1]. */
  readonly share: number
  /** Pages to give back, if what is left of them fits into the others. */
  readonly pages: number
}

/**
 * Forgets the segments that were not matched for longest, in rounds that are made in small steps. One round goes once
 * through all segments: those older than the age that the share has go, whoever holds them. Who matches or stores a
 * segment marks all before it in its chain with the same epoch or a later one (see `SegmentIndex`), so a chain goes from
 * its end or whole. Among segments of exactly that age only such go as have none after them, until the share is reached.
 *
 * Pages that are to be given back are gone through last, and what stays of them moves into the room that the others have
 * got.
 */
export class SegmentEviction {
  readonly #segments: SegmentPages
  readonly #table: KeyTable
  readonly #holders: HolderLists
  readonly #hashes: SlotHashes
  /** Frees a segment; its holders are forgotten before. */
  readonly #free: (base: number) => void
  /** Forgets the holders of a segment that are gone; true when it is free now. */
  readonly #freeIfDead: (base: number) => boolean
  #isActive = false
  #pages: readonly number[] = []
  #closed: readonly number[] = []
  #closedChunks: readonly number[] = []
  #page = 0
  #unit = 0
  #partition = 0
  #beganAt = 0
  #age = 0
  #left = 0
  #evicted = 0

  constructor(parts: {
    readonly segments: SegmentPages
    readonly table: KeyTable
    readonly holders: HolderLists
    readonly hashes: SlotHashes
    readonly free: (base: number) => void
    readonly freeIfDead: (base: number) => boolean
  }) {
    this.#segments = parts.segments
    this.#table = parts.table
    this.#holders = parts.holders
    this.#hashes = parts.hashes
    this.#free = parts.free
    this.#freeIfDead = parts.freeIfDead
  }

  /** True within a round. */
  get isActive(): boolean {
    return this.#isActive
  }

  /** Blocks forgotten since the start. */
  get evicted(): number {
    return this.#evicted
  }

  /** Begins a round. @param epoch the present one */
  begin(epoch: number, { share, pages }: EvictionRound): void {
    const numbers = this.#segments.sparsest()
    this.#beganAt = epoch
    this.#left = this.#table.size * share
    this.#age = this.#ageOfShare(numbers, share)
    this.#closed = this.#closable(numbers, share, pages)
    for (const page of this.#closed) this.#segments.close(page)
    this.#closedChunks = pages > 0 ? this.#holders.closeSparse() : []
    this.#pages = [...numbers.slice(this.#closed.length), ...this.#closed]
    this.#page = 0
    this.#unit = 0
    this.#partition = 0
    this.#isActive = true
  }

  /** Goes through the next `units` units of 32 slots at most; answers how much work that was, in units without a find. */
  step(units: number): number {
    let done = 0
    while (done < units && this.#isActive) {
      const page = this.#pages[this.#page]
      if (page === undefined) {
        this.#settle(units - done)
        break
      }
      const left = this.#segments.unitsOf(page) - this.#unit
      const now = Math.min(left, Math.ceil(units - done), MOST_AT_ONCE)
      const forgotten = this.#evicted
      for (let i = 0; i < now; i++) this.#visit((page << 16) + this.#unit++ * UNIT_SLOTS)
      done += now + (this.#evicted - forgotten) / BLOCKS_PER_UNIT
      if (now < left) continue
      this.#page++
      this.#unit = 0
    }
    return done
  }

  /** Gives back what is not needed any more, a table at a time. */
  #settle(units: number): void {
    if (this.#partition === 0) {
      for (const page of this.#closed) {
        if (this.#segments.settle(page)) this.#hashes.dropPage(page)
      }
      this.#holders.settle(this.#closedChunks)
    }
    const partitions = Math.ceil(units / UNITS_PER_PARTITION)
    const end = Math.min(PARTITIONS, this.#partition + partitions)
    for (; this.#partition < end; this.#partition++) {
      this.#table.shrink(this.#partition)
      this.#hashes.shrink(this.#partition)
    }
    this.#isActive = this.#partition < PARTITIONS
  }

  #visit(first: number): void {
    const page = this.#segments.pages[pageOf(first)]!
    const size = segmentSize(page, first)
    if (size < MIN_SIZE) return
    // With its last segment freed, a unit is one piece again.
    for (let at = 0; at < UNIT_SLOTS && segmentSize(page, first) === size; at += size) {
      const base = first + at
      const h = headerAt(base)
      const state = page[h + STATE]!
      const length = state & LENGTH_MASK
      if (length === 0) continue
      if (this.#isToGo(page, h, state)) {
        this.#left -= length
        this.#evicted += length
        this.#holders.clear(base)
        this.#free(base)
      } else {
        if (this.#closedChunks.length > 0) this.#holders.leaveClosed(base)
        if (this.#segments.isClosed(pageOf(base))) this.#move(page, base, size, length)
      }
    }
  }

  #isToGo(page: Int32Array, h: number, state: number): boolean {
    const age = (this.#beganAt - (state >>> EPOCH_SHIFT)) & EPOCH_MASK
    if (age > MAX_AGE || age < this.#age) return false
    if (age > this.#age) return true
    return this.#left > 0 && this.#isLast(page[h + NEXT_SLOT]!)
  }

  /** True when nothing is at the slot that was stored after a segment. */
  #isLast(next: number): boolean {
    return next === 0 || this.#segments.holds(next, 0, 0)
  }

  #move(page: Int32Array, base: number, size: number, length: number): void {
    // A sweep that has been at the new place already would not come by again.
    if (this.#freeIfDead(base)) return
    const to = this.#segments.allocate(size, false)
    if (to === 0) return
    if (!this.#hashes.makeRoom(to)) {
      this.#segments.free(to)
      return
    }
    const target = this.#segments.pages[pageOf(to)]!
    const from = keyAt(base)
    const at = keyAt(to)
    for (let i = 0; i < length; i++) {
      const lo = page[from + (i << 1)]!
      const hi = page[from + (i << 1) + 1]!
      target[at + (i << 1)] = lo
      target[at + (i << 1) + 1] = hi
      this.#table.move(lo, hi, base + i, to + i)
      this.#hashes.move(base + i, to + i)
    }
    const h = headerAt(base)
    const g = headerAt(to)
    for (const int of [FIRST_CHUNK, NEXT_SLOT, STATE]) target[g + int] = page[h + int]!
    for (let int = RECORDS; int < size; int++) {
      target[g + int] = page[h + int]!
      page[h + int] = 0
    }
    page[h + FIRST_CHUNK] = 0
    this.#segments.free(base)
  }

  /** The age that about this share of the blocks have or exceed, in epochs, by a sample. */
  #ageOfShare(pages: readonly number[], share: number): number {
    let units = 0
    for (const page of pages) units += this.#segments.unitsOf(page)
    const stride = Math.max(1, Math.floor(units / SAMPLED_UNITS))
    const sample: number[] = []
    let slots = 0
    let unit = 0
    for (const number of pages) {
      const page = this.#segments.pages[number]!
      const end = this.#segments.unitsOf(number)
      for (; unit < end; unit += stride) {
        const first = unit * UNIT_SLOTS
        const size = segmentSize(page, first)
        for (let at = 0; size >= MIN_SIZE && at < UNIT_SLOTS; at += size) {
          const state = page[headerAt(first + at) + STATE]!
          const length = state & LENGTH_MASK
          if (length === 0) continue
          const age = (this.#beganAt - (state >>> EPOCH_SHIFT)) & EPOCH_MASK
          if (age <= MAX_AGE) sample.push(age * (LENGTH_MASK + 1) + length)
          slots += length
        }
      }
      unit -= end
    }
    const oldestFirst = Int32Array.from(sample).sort().reverse()
    let wanted = slots * share
    for (const one of oldestFirst) {
      wanted -= one & LENGTH_MASK
      if (wanted <= 0) return Math.floor(one / (LENGTH_MASK + 1))
    }
    return 0
  }

  /** Of the pages, the first ones whose segments will fit into the others. */
  #closable(sparsest: readonly number[], share: number, most: number): readonly number[] {
    let closedUsed = 0
    let room = this.#segments.freeSlots
    let used = this.#segments.slots - room
    let count = 0
    for (; count < Math.min(most, sparsest.length - 1); count++) {
      const own = this.#segments.usedOf(sparsest[count]!)
      closedUsed += own
      used -= own
      room -= PAGE_SLOTS - own
      if (closedUsed * (1 - share) > USABLE_ROOM * (room + used * share)) break
    }
    return sparsest.slice(0, count)
  }
}
