import * as bitSets from './bit-sets.ts'
import { HolderLists } from './holder-lists.ts'
import { ENTERED, KeyTable } from './key-table.ts'
import { MemoryBudget } from './memory-budget.ts'
import * as prefixLookup from './prefix-lookup.ts'
import { PrefixLookup } from './prefix-lookup.ts'
import { type EvictionRound, SegmentEviction } from './segment-eviction.ts'
import * as layout from './segment-pages.ts'
import { SegmentPages } from './segment-pages.ts'
import { SlotHashes } from './slot-hashes.ts'

export { CPU, DISK, GPU, SPECULATIVE } from './planes.ts'

// Constants and functions of the module itself are folded into compiled code, imported ones are looked up at every use.
const { NEXT_SLOT, STATE, LENGTH_MASK, EPOCH_SHIFT, EPOCH_MASK } = layout
const { headerAt, keyAt, pageOf, segmentSize } = layout
const { countBits, firstBits, lowestBit } = bitSets
const { commonRun } = prefixLookup
/** What became of a reference that was to be taken away. */
export const REMOVED = 2
export const HELD_ELSEWHERE = 1
export const UNKNOWN = 0
const UNIT_SLOTS = 32
const STATE_MASK = (1 << EPOCH_SHIFT) - 1
// An epoch ends with this part of all blocks stored or marked anew, and not before as many.
const EPOCH_PARTS_LOG2 = 7
const MIN_EPOCH_BLOCKS = 32
const FIRST_OWNERS = 64

/**
 * Which owners hold which blocks, exact with holes and duplicates.
 *
 * Blocks are known by chained keys (pairs of 32-bit integers, never (0, 0)), so an equal key means an equal prefix.
 * Consecutive blocks of one chain share a *segment* of up to 32 slots. Owners that hold the same slots of a segment share
 * a record, in which they are bits of a word. A lookup costs one compare and one walk over those records per segment,
 * whatever the number of its blocks. The parts: `SegmentPages` is the memory, `KeyTable` finds the slot of a key,
 * `HolderLists` keeps who holds what, `PrefixLookup` walks along a chain.
 *
 * An owner is a small integer from `addOwner`. `retireOwner` forgets it at once; what it held is swept by later
 * calls of `sweep`, after which the number is used again. Nothing costs more for owners that are gone.
 *
 * A plane says where a block is held. Every `store` of a block adds one reference, every `remove` takes one away.
 * When the memory budget is used up, `store` takes no more blocks and says so; `eviction` makes room.
 *
 * Every segment is marked with the epoch in which it was last matched (`touch`), or stored without a parent. Blocks that
 * are stored after a parent take over its mark. So along a chain marks never grow newer, and what is forgotten first is
 * its end. Lookups mark nothing.
 */
export class SegmentIndex {
  readonly #segments: SegmentPages
  readonly #table: KeyTable
  readonly #holders: HolderLists
  readonly #lookup: PrefixLookup
  readonly #hashes: SlotHashes
  // Engines store a chain in several events and remove it from its end: these are likely to be asked for next.
  #lastStored = 0
  #nextRemoved = 0

  #owners = 1
  #ownerRoom = FIRST_OWNERS
  readonly #freeOwners: number[] = []
  #dead = new Int32Array(FIRST_OWNERS >>> 5)
  #retired: number[] = []
  #sweeping: number[] = []
  #sweepSlot = 0
  #sweepEnd = 0
  #epoch = 0
  // Blocks stored or marked anew in it, and how many end it.
  #epochBlocks = 0
  #epochEnd = MIN_EPOCH_BLOCKS
  /** Blocks of the last call of `store` that go by other hashes than it gave: the first `unnamedCount`, in order. */
  unnamed = new Int32Array(64)
  unnamedCount = 0
  /** Key of the block that `findNamed` found. */
  keyLo = 0
  keyHi = 0
  /** Blocks that the last `removeNamedRun` took a reference from, and those that the owner does not hold at all. */
  removedOfRun = 0
  unknownOfRun = 0
  /** Forgets what was not matched for longest; idle until a round is begun with `evict`. */
  readonly eviction: SegmentEviction

  constructor(budget: MemoryBudget = new MemoryBudget(Number.POSITIVE_INFINITY)) {
    this.#segments = new SegmentPages(budget)
    this.#table = new KeyTable(this.#segments, budget)
    this.#holders = new HolderLists(this.#segments, budget)
    this.#lookup = new PrefixLookup(this.#segments, this.#table, this.#holders)
    this.#hashes = new SlotHashes(budget)
    this.eviction = new SegmentEviction({
      segments: this.#segments,
      table: this.#table,
      holders: this.#holders,
      hashes: this.#hashes,
      free: (base) => this.#free(base),
      freeIfDead: (base) => {
        const isDead = this.#sweeping.length > 0 && this.#holders.forget(base, this.#dead)
        if (isDead) this.#free(base)
        return isDead
      },
    })
  }

  /** Distinct blocks held by anyone. */
  get blocks(): number {
    return this.#table.size
  }

  /** Bytes of the arrays. */
  get bytes(): number {
    return this.#table.bytes + this.#segments.bytes + this.#holders.bytes + this.#hashes.bytes
  }

  /** Slots for blocks that are there, and those of them that are free. */
  get slots(): number {
    return this.#segments.slots
  }
  get freeSlots(): number {
    return this.#segments.freeSlots
  }

  /** Begins a round of `eviction`. */
  evict(round: EvictionRound): void {
    this.eviction.begin(this.#epoch, round)
  }

  /** Sets what a matched block counts by plane; a block in several planes counts by the best of them. */
  setWeights(gpu: number, cpu: number, disk: number, speculative: number): void {
    this.#lookup.setWeights(gpu, cpu, disk, speculative)
  }

  addOwner(): number {
    const free = this.#freeOwners.pop()
    if (free !== undefined) {
      this.#holders.reset(free)
      return free
    }
    const owner = this.#owners++
    if (owner >= this.#ownerRoom) {
      this.#ownerRoom *= 2
      this.#lookup.resize(this.#ownerRoom)
      this.#holders.resize(this.#ownerRoom)
      const dead = new Int32Array(this.#ownerRoom >>> 5)
      dead.set(this.#dead)
      this.#dead = dead
    }
    return owner
  }

  /** Forgets everything that the owner held, at once; the number must not be used again by the caller. */
  retireOwner(owner: number): void {
    this.#retired.push(owner)
  }

  /** True while something of retired owners is left to sweep. */
  get sweepPending(): boolean {
    return this.#retired.length > 0 || this.#sweeping.length > 0
  }

  /** Frees what retired owners held in the next `units` units of 32 slots. */
  sweep(units: number): void {
    if (this.#sweeping.length === 0) {
      if (this.#retired.length === 0) return
      this.#sweeping = this.#retired
      this.#retired = []
      for (const owner of this.#sweeping) this.#dead[owner >>> 5]! |= 1 << owner
      this.#sweepSlot = UNIT_SLOTS
      this.#sweepEnd = this.#segments.topSlot
    }
    const end = Math.min(this.#sweepEnd, this.#sweepSlot + units * UNIT_SLOTS)
    for (; this.#sweepSlot < end; this.#sweepSlot += UNIT_SLOTS) this.#sweepUnit(this.#sweepSlot)
    if (this.#sweepSlot < this.#sweepEnd) return
    for (const owner of this.#sweeping) {
      this.#dead[owner >>> 5]! &= ~(1 << owner)
      this.#freeOwners.push(owner)
    }
    this.#sweeping = []
  }

  /** Blocks that the owner holds on any medium; speculation is none. */
  heldBy(owner: number): number {
    return this.#holders.heldBy(owner)
  }

  /** References of the owner's that were lost by eviction. */
  lostBy(owner: number): number {
    return this.#holders.lostBy(owner)
  }

  /**
   * Adds one reference to each of `count` consecutive blocks of a chain.
   *
   * @param keys pairs; the first block is pair number `from`
   * @param hashes the engine's own of these blocks, pairs from the first on: a block that has none takes it over. Those
   *   with another one are in `unnamed` until the next call
   * @param parentLo with `parentHi` the key of the block before, (0, 0) when there is none or it is not known
   * @returns blocks stored: less than `count` when the memory budget is used up
   */
  store(
    owner: number,
    plane: number,
    keys: Int32Array,
    from: number,
    count: number,
    parentLo: number,
    parentHi: number,
    hashes?: Int32Array,
  ): number {
    this.unnamedCount = 0
    let previous = 0
    if ((parentLo | parentHi) !== 0) {
      previous = this.#lastStored
      if (previous === 0 || !this.#segments.holds(previous, parentLo, parentHi)) {
        previous = this.#table.find(parentLo, parentHi)
      }
    }
    const parent = previous
    // It may change on the way: all blocks get the mark of the first.
    const epoch = this.#epoch
    let i = 0
    while (i < count) {
      const k = (from + i) << 1
      const lo = keys[k]!
      const hi = keys[k + 1]!
      let slot = previous === 0 ? 0 : this.#following(previous, lo, hi)
      if (slot === 0) slot = this.#table.find(lo, hi)
      const isNew = slot === 0
      if (isNew) {
        slot = this.#roomAfter(previous, count - i, owner)
        if (slot === 0) break
      }
      const page = this.#segments.pages[pageOf(slot)]!
      const offset = slot & (segmentSize(page, slot) - 1)
      const base = slot - offset
      let run: number
      if (isNew) {
        run = this.#append(page, slot, keys, from + i, count - i)
        if (run === 0) {
          if (offset === 0) this.#free(base)
          break
        }
        if (offset === 0) {
          page[headerAt(base) + STATE]! |= this.#markAfter(parent, epoch) << EPOCH_SHIFT
          if (previous !== 0) this.#setNext(previous, slot)
        }
        this.#epochBlocks += run
        if (this.#epochBlocks >= this.#epochEnd) this.#nextEpoch()
      } else {
        const h = headerAt(base)
        const length = page[h + STATE]! & LENGTH_MASK
        run = commonRun(page, slot, keys, from + i, Math.min(length - offset, count - i))
        if (offset === 0 || slot !== previous + 1) {
          this.#mark(page, h, this.#markAfter(parent, epoch), length)
        }
      }
      if (!this.#holders.add(base, owner, plane, firstBits(run) << offset)) {
        if (this.#holders.isEmpty(base)) this.#free(base)
        break
      }
      if (hashes !== undefined) {
        let others = this.#hashes.enter(slot, hashes, i, run)
        for (; others !== 0; others &= others - 1) this.#noteUnnamed(i + lowestBit(others))
      }
      i += run
      previous = slot + run - 1
    }
    if (i > 0) this.#lastStored = previous
    return i
  }

  /** Marks the blocks of a chain as matched, from the first one to the last that anybody holds. */
  touch(keys: Int32Array, from: number, count: number): void {
    const mark = this.#epoch
    let previous = 0
    for (let i = 0; i < count; ) {
      const lo = keys[(from + i) << 1]!
      const hi = keys[((from + i) << 1) + 1]!
      let slot = previous === 0 ? 0 : this.#following(previous, lo, hi)
      if (slot === 0) slot = this.#table.find(lo, hi)
      if (slot === 0) return
      const page = this.#segments.pages[pageOf(slot)]!
      const offset = slot & (segmentSize(page, slot) - 1)
      const h = headerAt(slot - offset)
      const length = page[h + STATE]! & LENGTH_MASK
      this.#mark(page, h, mark, length)
      const run = commonRun(page, slot, keys, from + i, Math.min(length - offset, count - i))
      i += run
      previous = slot + run - 1
    }
  }

  /** True when anybody holds the block. */
  contains(lo: number, hi: number): boolean {
    return this.#table.find(lo, hi) !== 0
  }

  /** True when the owner holds the block on some medium; speculation is none. */
  holds(owner: number, lo: number, hi: number): boolean {
    const slot = this.#table.find(lo, hi)
    if (slot === 0) return false
    const base = this.#segments.baseOf(slot)
    return this.#holders.hasOwner(base, owner, 1 << (slot - base))
  }

  /** Takes one reference from one block; false when the owner did not hold it in that plane. */
  remove(owner: number, plane: number, lo: number, hi: number): boolean {
    let slot = this.#nextRemoved
    if (slot === 0 || !this.#segments.holds(slot, lo, hi)) slot = this.#table.find(lo, hi)
    if (slot === 0) return false
    this.#nextRemoved = slot - 1
    const base = this.#segments.baseOf(slot)
    if (this.#holders.drop(base, owner, plane, 1 << (slot - base)) === 0) return false
    if (this.#holders.isEmpty(base)) this.#free(base)
    return true
  }

  /** Looks for the block with this hash that the owner holds on some medium; true leaves its key in `keyLo`, `keyHi`. */
  findNamed(owner: number, lo: number, hi: number): boolean {
    const slot = this.#hashes.find(lo, hi)
    if (slot === 0) return false
    const base = this.#segments.baseOf(slot)
    if (!this.#holders.hasOwner(base, owner, 1 << (slot - base))) return false
    const page = this.#segments.pages[pageOf(slot)]!
    this.keyLo = page[keyAt(slot)]!
    this.keyHi = page[keyAt(slot) + 1]!
    return true
  }

  /**
   * Takes one reference from the block with this hash.
   *
   * @returns `REMOVED`; `HELD_ELSEWHERE` when the owner holds it in other planes only; `UNKNOWN` when it does not hold it
   */
  removeNamed(owner: number, plane: number, lo: number, hi: number): number {
    let slot = this.#nextRemoved
    if (slot === 0 || !this.#hashes.has(slot, lo, hi)) slot = this.#hashes.find(lo, hi)
    if (slot === 0) return UNKNOWN
    this.#nextRemoved = slot - 1
    const base = this.#segments.baseOf(slot)
    const bit = 1 << (slot - base)
    if (this.#holders.drop(base, owner, plane, bit) === 0) {
      return this.#holders.hasOwner(base, owner, bit) ? HELD_ELSEWHERE : UNKNOWN
    }
    if (this.#holders.isEmpty(base)) this.#free(base)
    return REMOVED
  }

  /**
   * Takes one reference from each of the blocks with these hashes that are slots of one segment, one after the other from
   * the first hash on, in either direction. What became of them is in `removedOfRun` and `unknownOfRun`.
   *
   * @param hashes pairs; the first one is pair number `from`
   * @param count most blocks
   * @returns blocks that were looked at, at least one
   */
  removeNamedRun(
    owner: number,
    plane: number,
    hashes: Int32Array,
    from: number,
    count: number,
  ): number {
    this.removedOfRun = 0
    this.unknownOfRun = 1
    const lo = hashes[2 * from]!
    const hi = hashes[2 * from + 1]!
    let slot = this.#nextRemoved
    if (slot === 0 || !this.#hashes.has(slot, lo, hi)) slot = this.#hashes.find(lo, hi)
    if (slot === 0) return 1
    const base = this.#segments.baseOf(slot)
    // Engines mostly remove a chain from its end.
    let first =
      slot - this.#hashes.runFrom(slot, -1, hashes, from, Math.min(count, slot - base + 1))
    let run = slot - first
    first++
    if (run === 1) {
      const page = this.#segments.pages[pageOf(slot)]!
      const end = base + (page[headerAt(base) + STATE]! & LENGTH_MASK)
      run = this.#hashes.runFrom(slot, 1, hashes, from, Math.min(count, end - slot))
    }
    this.#nextRemoved = first - 1
    const slots = firstBits(run) << (first - base)
    const dropped = this.#holders.drop(base, owner, plane, slots)
    this.removedOfRun = countBits(dropped)
    this.unknownOfRun = 0
    for (let rest = slots & ~dropped; rest !== 0; rest &= rest - 1) {
      if (!this.#holders.hasOwner(base, owner, rest & -rest)) this.unknownOfRun++
    }
    if (this.#holders.isEmpty(base)) this.#free(base)
    return run
  }

  /** Takes one reference from each of `count` blocks that the owner holds in that plane. */
  removeAll(owner: number, plane: number, keys: Int32Array, from: number, count: number): void {
    let i = 0
    let slot = 0
    while (i < count) {
      const k = (from + i) << 1
      const lo = keys[k]!
      const hi = keys[k + 1]!
      if (slot === 0 || !this.#segments.holds(slot, lo, hi)) slot = this.#table.find(lo, hi)
      if (slot === 0) {
        i++
        continue
      }
      const page = this.#segments.pages[pageOf(slot)]!
      const offset = slot & (segmentSize(page, slot) - 1)
      const base = slot - offset
      const h = headerAt(base)
      let run = Math.min((page[h + STATE]! & LENGTH_MASK) - offset, count - i)
      run = commonRun(page, slot, keys, from + i, run)
      slot = page[h + NEXT_SLOT]!
      this.#holders.drop(base, owner, plane, firstBits(run) << offset)
      if (this.#holders.isEmpty(base)) this.#free(base)
      i += run
    }
  }

  /**
   * Finds, for every owner, how many of the `count` blocks it holds without a hole from the first one. The answer is
   * read by `matched`, `weighted`, `found` until the next lookup. Owners retired but not swept may be among it.
   *
   * @returns owners that hold at least the first block
   */
  lookup(keys: Int32Array, from: number, count: number): number {
    return this.#lookup.lookup(keys, from, count)
  }

  /** Consecutive blocks that the last lookup found at the owner. */
  matched(owner: number): number {
    return this.#lookup.matched(owner)
  }

  /** The same with each block counted by the weight of its plane. */
  weighted(owner: number): number {
    return this.#lookup.weighted(owner)
  }

  /** An owner that the last lookup found, by its place in [0, answer of the lookup). */
  found(place: number): number {
    return this.#lookup.found(place)
  }

  /** The mark for what is stored after a parent, whose slot is given; 0 for none: then it is the epoch's. */
  #markAfter(parent: number, epoch: number): number {
    if (parent === 0) return epoch
    const page = this.#segments.pages[pageOf(parent)]!
    return page[headerAt(this.#segments.baseOf(parent)) + STATE]! >>> EPOCH_SHIFT
  }

  /** Marks a segment, unless it has a newer mark. */
  #mark(page: Int32Array, h: number, mark: number, length: number): void {
    const state = page[h + STATE]!
    const before = state >>> EPOCH_SHIFT
    if (before === mark) return
    if (((this.#epoch - before) & EPOCH_MASK) < ((this.#epoch - mark) & EPOCH_MASK)) return
    page[h + STATE] = (state & STATE_MASK) | (mark << EPOCH_SHIFT)
    this.#epochBlocks += length
    if (this.#epochBlocks >= this.#epochEnd) this.#nextEpoch()
  }

  #nextEpoch(): void {
    this.#epoch = (this.#epoch + 1) & EPOCH_MASK
    this.#epochBlocks = 0
    this.#epochEnd = Math.max(MIN_EPOCH_BLOCKS, this.#table.size >>> EPOCH_PARTS_LOG2)
  }

  #noteUnnamed(block: number): void {
    if (this.unnamedCount === this.unnamed.length) {
      const more = new Int32Array(this.unnamedCount * 2)
      more.set(this.unnamed)
      this.unnamed = more
    }
    this.unnamed[this.unnamedCount++] = block
  }

  /** The slot of the key if it is the one after `previous`: in its segment, or in the one stored last after it. */
  #following(previous: number, lo: number, hi: number): number {
    const page = this.#segments.pages[pageOf(previous)]!
    const offset = previous & (segmentSize(page, previous) - 1)
    const h = headerAt(previous - offset)
    const length = page[h + STATE]! & LENGTH_MASK
    const slot = offset + 1 < length ? previous + 1 : page[h + NEXT_SLOT]!
    return slot !== 0 && this.#segments.holds(slot, lo, hi) ? slot : 0
  }

  /** Takes note in the segment of `previous` that `slot` comes after it. */
  #setNext(previous: number, slot: number): void {
    const page = this.#segments.pages[pageOf(previous)]!
    page[headerAt(previous & -segmentSize(page, previous)) + NEXT_SLOT] = slot
  }

  /**
   * A slot for a new block: after `previous` if it ends a segment that has room and that nobody else holds, else the
   * first of a new segment; 0 without memory.
   */
  #roomAfter(previous: number, wanted: number, owner: number): number {
    let slots = wanted
    if (previous !== 0) {
      const page = this.#segments.pages[pageOf(previous)]!
      const size = segmentSize(page, previous)
      const offset = previous & (size - 1)
      const base = previous - offset
      if (offset + 1 === (page[headerAt(base) + STATE]! & LENGTH_MASK)) {
        if (offset + 1 < size) {
          if (this.#holders.isOnlyHolder(base, owner)) return previous + 1
          // A chain that goes on is likely to go on further: the next segment is twice as long.
        } else slots = Math.max(slots, size * 2)
      }
    }
    return this.#segments.allocate(slots)
  }

  /** Writes new blocks from `slot` on, until the segment is full or a block is known elsewhere. */
  #append(page: Int32Array, slot: number, keys: Int32Array, from: number, count: number): number {
    const size = segmentSize(page, slot)
    const offset = slot & (size - 1)
    const room = Math.min(size - offset, count)
    const s = keyAt(slot)
    let run = 0
    for (; run < room; run++) {
      const k = (from + run) << 1
      const lo = keys[k]!
      const hi = keys[k + 1]!
      if (this.#table.enter(lo, hi, slot + run) !== ENTERED) break
      page[s + (run << 1)] = lo
      page[s + (run << 1) + 1] = hi
    }
    page[headerAt(slot - offset) + STATE]! += run
    return run
  }

  #sweepUnit(first: number): void {
    const page = this.#segments.pages[pageOf(first)]!
    const size = segmentSize(page, first)
    // With its last segment freed, a unit is one piece again.
    for (let at = 0; at < UNIT_SLOTS && segmentSize(page, first) === size; at += size) {
      if (this.#holders.forget(first + at, this.#dead)) this.#free(first + at)
    }
  }

  /** Forgets the keys of a segment that nobody holds, and gives it back. */
  #free(base: number): void {
    const page = this.#segments.pages[pageOf(base)]!
    const first = keyAt(base)
    const length = page[headerAt(base) + STATE]! & LENGTH_MASK
    for (let i = 0; i < length; i++) {
      this.#table.leave(page[first + (i << 1)]!, page[first + (i << 1) + 1]!, base + i)
    }
    this.#hashes.leave(base, length)
    this.#segments.free(base)
  }
}
