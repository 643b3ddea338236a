import type { MemoryBudget } from './memory-budget.ts'
import { PageRoom } from './page-room.ts'

// A unit is 32 block slots, cut into segments of one size: 4, 8, 16 or 32 slots.
const UNIT_SLOTS = 32
const SLOT_IN_UNIT = UNIT_SLOTS - 1
const MIN_SIZE_LOG2 = 2
const MAX_SIZE_LOG2 = 5
// Per unit: the keys as pairs, then as many ints of headers as there are slots. See `headerAt`.
const KEY_INTS = UNIT_SLOTS * 2
const UNIT_INTS_PER_SLOT = 3
const UNIT_WORD = KEY_INTS + 3
const SIZE_MASK = 7
const FREE_SHIFT = 8
// A page of units is what memory grows by. Behind the units: neighbours in the list that each is in.
const PAGE_SLOTS_LOG2 = 16
const PAGE_SLOTS = 1 << PAGE_SLOTS_LOG2
const UNIT_IN_PAGE = PAGE_SLOTS - UNIT_SLOTS
const PAGE_UNITS_LOG2 = 11
const PAGE_UNITS = PAGE_SLOTS / UNIT_SLOTS
const LINKS_AT = PAGE_SLOTS * UNIT_INTS_PER_SLOT
const PAGE_INTS = LINKS_AT + PAGE_UNITS * 2
export const PAGE_BYTES = PAGE_INTS * 4
/** What is left of a page that was dropped: a hint that points to it finds no key. */
const DROPPED = new Int32Array(PAGE_INTS)

// Ints of a header: see `headerAt`.
export const FIRST_CHUNK = 0
export const NEXT_SLOT = 1
export const STATE = 2
export const RECORDS = 4
// Of the state.
export const LENGTH_MASK = 63
export const FLAGS_SHIFT = 8
export const FLAGS_MASK = 3 << FLAGS_SHIFT
/** When the segment was last matched or stored, in epochs that wrap around: the highest bits of the state. */
export const EPOCH_SHIFT = 10
export const EPOCH_MASK = (1 << (32 - EPOCH_SHIFT)) - 1

/** Number of the page that a slot is in. */
export function pageOf(slot: number): number {
  return slot >>> PAGE_SLOTS_LOG2
}

/** Where a slot's key (lo, hi) is in its page. */
export function keyAt(slot: number): number {
  return (slot & UNIT_IN_PAGE) * UNIT_INTS_PER_SLOT + ((slot & SLOT_IN_UNIT) << 1)
}

/**
 * Where the header of the segment that begins at a slot is in its page. A header has as many ints as its segment has
 * slots: the first chunk of further holders, the slot stored last after this segment, its state (length, flags, epoch), a
 * word of the unit's, and then room for records of holders.
 */
export function headerAt(base: number): number {
  return (base & UNIT_IN_PAGE) * UNIT_INTS_PER_SLOT + KEY_INTS + (base & SLOT_IN_UNIT)
}

/** Slots of the segments in the unit of a slot. */
export function segmentSize(page: Int32Array, slot: number): number {
  return 1 << (page[(slot & UNIT_IN_PAGE) * UNIT_INTS_PER_SLOT + UNIT_WORD]! & SIZE_MASK)
}

/**
 * The memory of segments: pages of ints that hold keys and headers side by side, since who reads one reads the other.
 * Slots are numbers that go through all pages; 0 is none.
 */
export class SegmentPages {
  readonly pages: Int32Array[] = []
  readonly #budget: MemoryBudget
  // Heads of the lists of units with a free segment by size. Units without any segment are in `#room`.
  readonly #withRoom = new Int32Array(MAX_SIZE_LOG2 + 1)
  readonly #room = new PageRoom(PAGE_UNITS)
  // Slots of segments by page.
  readonly #used: number[] = []
  #usedSlots = 0
  #pageCount = 0

  constructor(budget: MemoryBudget) {
    this.#budget = budget
  }

  get bytes(): number {
    return this.#pageCount * PAGE_BYTES
  }

  /** Slots that the pages have. */
  get slots(): number {
    return this.#pageCount * PAGE_SLOTS
  }

  /** Slots that are not part of a segment. */
  get freeSlots(): number {
    return this.slots - this.#usedSlots
  }

  /** First slot that was never used. */
  get topSlot(): number {
    const last = this.pages.length - 1
    return last < 0 ? 0 : last * PAGE_SLOTS + this.#room.reached(last) * UNIT_SLOTS
  }

  /** True when the slot's block has this key. A slot that was freed has none. */
  holds(slot: number, lo: number, hi: number): boolean {
    const page = this.pages[pageOf(slot)]!
    const k = keyAt(slot)
    return page[k] === lo && page[k + 1] === hi
  }

  /** First slot of the segment that a slot is in. */
  baseOf(slot: number): number {
    return slot & -segmentSize(this.pages[pageOf(slot)]!, slot)
  }

  /**
   * First slot of a new segment of at least `slots` slots if that many fit into one; 0 without memory.
   *
   * @param mayGrow false for a segment in the pages that there are
   */
  allocate(slots: number, mayGrow = true): number {
    let log2 = MIN_SIZE_LOG2
    while (log2 < MAX_SIZE_LOG2 && 1 << log2 < slots) log2++
    let unit = this.#withRoom[log2]!
    if (unit === 0) {
      unit = this.#newUnit(mayGrow)
      if (unit === 0) return 0
      this.#setWord(unit, log2 | (firstPieces(log2) << FREE_SHIFT))
      this.#link(unit, log2)
    }
    const word = this.#word(unit)
    const free = word >>> FREE_SHIFT
    const left = free & (free - 1)
    this.#use(unit, 1 << log2)
    this.#setWord(unit, log2 | (left << FREE_SHIFT))
    if (left === 0) this.#unlink(unit, log2)
    return unit * UNIT_SLOTS + ((31 - Math.clz32(free & -free)) << log2)
  }

  /** Gives back a segment without holders. */
  free(base: number): void {
    const page = this.pages[pageOf(base)]!
    const h = headerAt(base)
    const k = keyAt(base)
    // A hint of another segment may still point here and must not match.
    page.fill(0, k, k + ((page[h + STATE]! & LENGTH_MASK) << 1))
    page[h + NEXT_SLOT] = 0
    page[h + STATE] = 0
    const unit = base >>> 5
    const word = this.#word(unit)
    const log2 = word & SIZE_MASK
    const before = word >>> FREE_SHIFT
    const after = before | (1 << ((base & SLOT_IN_UNIT) >>> log2))
    this.#use(unit, -1 << log2)
    const isListed = !this.#room.isClosed(pageOf(base))
    if (after === firstPieces(log2)) {
      if (before !== 0 && isListed) this.#unlink(unit, log2)
      this.#freeUnit(unit)
    } else {
      this.#setWord(unit, log2 | (after << FREE_SHIFT))
      if (before === 0 && isListed) this.#link(unit, log2)
    }
  }

  /** Pages that are there, those with the fewest slots in use first. */
  sparsest(): number[] {
    const numbers = [...this.pages.keys()].filter((page) => this.pages[page] !== DROPPED)
    return numbers.sort((a, b) => this.#used[a]! - this.#used[b]!)
  }

  /** Units of a page that were used ever: its first ones. */
  unitsOf(page: number): number {
    return this.#room.reached(page)
  }

  /** Slots in use of a page. */
  usedOf(page: number): number {
    return this.#used[page]!
  }

  isClosed(page: number): boolean {
    return this.#room.isClosed(page)
  }

  /** Makes no more segments in a page that is to run empty. */
  close(page: number): void {
    this.#room.close(page)
    this.#eachWithRoom(page, (unit, log2) => this.#unlink(unit, log2))
  }

  /** Gives a closed page back if it is empty, and answers true, else makes segments in it again. */
  settle(page: number): boolean {
    if (this.#used[page] === 0) {
      this.pages[page] = DROPPED
      this.#pageCount--
      this.#room.drop(page)
      this.#budget.give(PAGE_BYTES)
      return true
    }
    this.#room.open(page)
    this.#eachWithRoom(page, (unit, log2) => this.#link(unit, log2))
    return false
  }

  /** Calls back for the units of a page that have segments and room for another. */
  #eachWithRoom(page: number, visit: (unit: number, log2: number) => void): void {
    const first = page * PAGE_UNITS
    const end = first + this.#room.reached(page)
    for (let unit = first; unit < end; unit++) {
      const word = this.#word(unit)
      if (word >>> FREE_SHIFT !== 0) visit(unit, word & SIZE_MASK)
    }
  }

  #use(unit: number, slots: number): void {
    this.#used[unit >>> PAGE_UNITS_LOG2]! += slots
    this.#usedSlots += slots
  }

  #newUnit(mayGrow: boolean): number {
    let page = this.#room.find()
    if (page < 0) {
      if (!mayGrow || !this.#budget.takeUnspared(PAGE_BYTES)) return 0
      page = this.#room.add()
      this.pages[page] = new Int32Array(PAGE_INTS)
      this.#used[page] = 0
      this.#pageCount++
    }
    const freed = this.#room.freed(page)
    if (freed === 0) return page * PAGE_UNITS + this.#room.takeFresh(page)
    this.#room.setFreed(page, this.#linked(freed, 0))
    return freed
  }

  #freeUnit(unit: number): void {
    const page = unit >>> PAGE_UNITS_LOG2
    this.#setWord(unit, MAX_SIZE_LOG2)
    this.#setLink(unit, 0, this.#room.freed(page))
    this.#room.setFreed(page, unit)
  }

  #link(unit: number, log2: number): void {
    const head = this.#withRoom[log2]!
    this.#setLink(unit, 0, head)
    this.#setLink(unit, 1, 0)
    if (head !== 0) this.#setLink(head, 1, unit)
    this.#withRoom[log2] = unit
  }

  #unlink(unit: number, log2: number): void {
    const next = this.#linked(unit, 0)
    const previous = this.#linked(unit, 1)
    if (previous === 0) this.#withRoom[log2] = next
    else this.#setLink(previous, 0, next)
    if (next !== 0) this.#setLink(next, 1, previous)
  }

  /** Size of the unit's segments, and which of them are free. */
  #word(unit: number): number {
    return this.pages[unit >>> PAGE_UNITS_LOG2]![
      (unit & (PAGE_UNITS - 1)) * UNIT_SLOTS * UNIT_INTS_PER_SLOT + UNIT_WORD
    ]!
  }

  #setWord(unit: number, word: number): void {
    this.pages[unit >>> PAGE_UNITS_LOG2]![
      (unit & (PAGE_UNITS - 1)) * UNIT_SLOTS * UNIT_INTS_PER_SLOT + UNIT_WORD
    ] = word
  }

  /** The unit after (0) or before (1) the given one in its list. */
  #linked(unit: number, side: number): number {
    return this.pages[unit >>> PAGE_UNITS_LOG2]![LINKS_AT + (unit & (PAGE_UNITS - 1)) * 2 + side]!
  }

  #setLink(unit: number, side: number, other: number): void {
    this.pages[unit >>> PAGE_UNITS_LOG2]![LINKS_AT + (unit & (PAGE_UNITS - 1)) * 2 + side] = other
  }
}

/** All segments of a unit, as bits. */
function firstPieces(log2: number): number {
  return (1 << (UNIT_SLOTS >>> log2)) - 1
}
