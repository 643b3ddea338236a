import * as bitSets from './bit-sets.ts'
import type { MemoryBudget } from './memory-budget.ts'
import { PageRoom } from './page-room.ts'
import { GPU as GPU_PLANE, SPECULATIVE } from './planes.ts'
import type { SegmentPages } from './segment-pages.ts'
import * as layout from './segment-pages.ts'

// Constants and functions of the module itself are folded into compiled code, imported ones are looked up at every use.
const { FIRST_CHUNK, STATE, RECORDS, FLAGS_SHIFT, FLAGS_MASK } = layout
const { headerAt, pageOf, segmentSize } = layout
const { countBits, lowestBit } = bitSets
const GPU = GPU_PLANE
const RECORD_INTS = 3
// A chunk is 16 ints, one cache line: the next chunk, then 5 records.
const CHUNK_INTS = 16
const CHUNK_PAGE_LOG2 = 12
const CHUNK_PAGE = 1 << CHUNK_PAGE_LOG2
const CHUNK_PAGE_MASK = CHUNK_PAGE - 1
export const CHUNK_PAGE_BYTES = CHUNK_PAGE * CHUNK_INTS * 4
/** What is left of a page of chunks that was dropped. */
const DROPPED = new Int32Array(0)

// Flags of a segment's state.
const REPEATED = 1
const OTHER_PLANES = 2

/** True when somebody holds a slot of the segment elsewhere than on the GPU. */
export function hasOtherPlanes(state: number): boolean {
  return (state & (OTHER_PLANES << FLAGS_SHIFT)) !== 0
}

/** Number of the page that a chunk is in. */
export function chunkPageOf(chunk: number): number {
  return chunk >>> CHUNK_PAGE_LOG2
}

/** Where the chunk is in its page: the number of the next one, then its records, which end with the 16th int. */
export function chunkAt(chunk: number): number {
  return (chunk & CHUNK_PAGE_MASK) * CHUNK_INTS
}

/**
 * Who holds which slots of a segment, and how often: a list of records for each segment. A record is three ints, whose
 * first says what it is:
 *
 * - below 0: a *cohort*, (-1 - owner / 32, members, slots). Its members, of one group of 32 owners, hold these slots on
 *   the GPU. An owner is in one cohort of a segment at most. Owners with equal slots usually share a cohort.
 * - above 0: a *holding*, (owner * 4 + plane, slots, count): `count` references to each of these slots, on the GPU besides
 *   the one by the cohort.
 * - 0: no record, nor are there any after it.
 *
 * The first records lie in the segment's header, the others in chunks, of which only the first of a list may have room.
 */
export class HolderLists {
  readonly chunkPages: Int32Array[] = []
  readonly #pages: readonly Int32Array[]
  readonly #budget: MemoryBudget
  readonly #room = new PageRoom(CHUNK_PAGE)
  // Chunks in use by page.
  readonly #used: number[] = []
  #pageCount = 0
  // By owner: blocks held on any medium, and references lost by `clear`. Speculation counts for neither.
  #held = new Int32Array(64)
  #lost = new Float64Array(64)
  // Slots that the last call of `drop` lost besides.
  #forgotten = 0
  // Where the record is that was found last.
  #records: Int32Array = new Int32Array(0)
  #at = 0

  constructor(segments: SegmentPages, budget: MemoryBudget) {
    this.#pages = segments.pages
    this.#budget = budget
  }

  get bytes(): number {
    return this.#pageCount * CHUNK_PAGE_BYTES
  }

  /** Makes room for owners below `owners`. */
  resize(owners: number): void {
    const held = new Int32Array(owners)
    held.set(this.#held)
    this.#held = held
    const lost = new Float64Array(owners)
    lost.set(this.#lost)
    this.#lost = lost
  }

  /** An owner's number is another one's from now on, who holds nothing. */
  reset(owner: number): void {
    this.#held[owner] = 0
    this.#lost[owner] = 0
  }

  /** Blocks that the owner holds on any medium; speculation is none. */
  heldBy(owner: number): number {
    return this.#held[owner]!
  }

  /** References that the owner had in segments that were cleared. */
  lostBy(owner: number): number {
    return this.#lost[owner]!
  }

  isEmpty(base: number): boolean {
    const page = this.#pages[pageOf(base)]!
    const h = headerAt(base)
    if (page[h + FIRST_CHUNK] !== 0) return false
    return segmentSize(page, base) <= RECORDS || page[h + RECORDS] === 0
  }

  /**
   * Adds one reference to each of the slots.
   *
   * @returns false without memory; some of the references may have been added
   */
  add(base: number, owner: number, plane: number, slots: number): boolean {
    if (plane !== GPU) {
      const before = plane === SPECULATIVE ? -1 : this.#heldSlots(base, owner)
      if (!this.#addHolding(base, (owner << 2) | plane, slots, OTHER_PLANES)) return false
      this.#held[owner]! += countBits(slots & ~before)
      return true
    }
    const elsewhere = this.#hasFlag(base, OTHER_PLANES) ? this.#heldSlots(base, owner) : 0
    const cohort = -1 - (owner >>> 5)
    const member = 1 << owner
    if (!this.#find(base, cohort, member)) {
      if (!this.#join(base, cohort, member, slots)) return false
      this.#held[owner]! += countBits(slots & ~elsewhere)
      return true
    }
    const records = this.#records
    const at = this.#at
    const before = records[at + 2]!
    const after = before | slots
    if (after !== before) {
      if (records[at + 1] !== member) {
        records[at + 1]! ^= member
        if (!this.#join(base, cohort, member, after)) {
          records[at + 1]! |= member
          return false
        }
      } else if (this.#findCohort(base, cohort, after)) {
        this.#records[this.#at + 1]! |= member
        this.#takeLast(base, records, at)
      } else records[at + 2] = after
      this.#held[owner]! += countBits(after & ~before & ~elsewhere)
    }
    const again = before & slots
    return again === 0 || this.#addHolding(base, (owner << 2) | GPU, again, REPEATED)
  }

  /** Takes one reference from each of the slots that the owner holds; answers which ones it held. */
  drop(base: number, owner: number, plane: number, slots: number): number {
    this.#forgotten = 0
    if (plane === GPU && !this.#hasFlag(base, REPEATED | OTHER_PLANES)) {
      const dropped = this.#drop(base, owner, plane, slots)
      this.#held[owner]! -= countBits(dropped) + countBits(this.#forgotten)
      return dropped
    }
    const held = this.#heldSlots(base, owner)
    const dropped = this.#drop(base, owner, plane, slots)
    if (dropped !== 0) this.#held[owner]! -= countBits(held & ~this.#heldSlots(base, owner))
    return dropped
  }

  #drop(base: number, owner: number, plane: number, slots: number): number {
    let rest = slots | 0
    if (plane !== GPU || this.#hasFlag(base, REPEATED)) {
      rest = this.#dropHoldings(base, (owner << 2) | plane, rest)
    }
    const member = 1 << owner
    const cohort = -1 - (owner >>> 5)
    if (plane === GPU && rest !== 0 && this.#find(base, cohort, member)) {
      const records = this.#records
      const at = this.#at
      const before = records[at + 2]!
      const after = before & ~rest
      if (after !== before) {
        if (records[at + 1] !== member) {
          records[at + 1]! ^= member
          // Without memory for a cohort of its own, the owner's other slots are forgotten too.
          if (after !== 0 && !this.#append(base, cohort, member, after, 0)) this.#forgotten = after
        } else if (after !== 0) records[at + 2] = after
        else this.#takeLast(base, records, at)
        rest &= ~before
      }
    }
    return slots & ~rest
  }

  /** True when nobody but the owner holds anything of the segment. */
  isOnlyHolder(base: number, owner: number): boolean {
    const page = this.#pages[pageOf(base)]!
    const h = headerAt(base)
    let records = page
    let r = h + RECORDS
    let end = h + segmentSize(page, base) - 2
    let chunk = page[h + FIRST_CHUNK]!
    for (;;) {
      for (; r < end; r += RECORD_INTS) {
        const tag = records[r]!
        if (tag === 0) break
        if (tag > 0) {
          if (tag >>> 2 !== owner) return false
        } else if (-1 - tag !== owner >>> 5 || records[r + 1] !== 1 << owner) return false
      }
      if (chunk === 0) return true
      records = this.chunkPages[chunkPageOf(chunk)]!
      const c = chunkAt(chunk)
      r = c + 1
      end = c + CHUNK_INTS
      chunk = records[c]!
    }
  }

  /**
   * Forgets the holders among the owners in `dead`, a set as bits of words.
   *
   * @returns true when that leaves the segment without holders
   */
  forget(base: number, dead: Int32Array): boolean {
    const page = this.#pages[pageOf(base)]!
    const h = headerAt(base)
    let emptied = false
    let records = page
    let r = h + RECORDS
    let end = h + segmentSize(page, base) - 2
    let chunk = page[h + FIRST_CHUNK]!
    for (;;) {
      for (; r < end; r += RECORD_INTS) {
        const tag = records[r]!
        if (tag === 0) break
        if (tag < 0) records[r + 1]! &= ~dead[-1 - tag]!
        else if ((dead[tag >>> 7]! & (1 << (tag >>> 2))) !== 0) records[r + 1] = 0
        if (records[r + 1] === 0) emptied = true
      }
      if (chunk === 0) break
      records = this.chunkPages[chunkPageOf(chunk)]!
      const c = chunkAt(chunk)
      r = c + 1
      end = c + CHUNK_INTS
      chunk = records[c]!
    }
    if (!emptied) return false
    this.#compact(base)
    return this.isEmpty(base)
  }

  /** True when the owner holds a slot of the segment on a medium; speculation is none. */
  hasOwner(base: number, owner: number, slot: number): boolean {
    return (this.#heldSlots(base, owner) & slot) !== 0
  }

  /** Forgets all holders of a segment. */
  clear(base: number): void {
    this.#countLost(base)
    const page = this.#pages[pageOf(base)]!
    const h = headerAt(base)
    page.fill(0, h + RECORDS, h + segmentSize(page, base))
    for (let chunk = page[h + FIRST_CHUNK]!; chunk !== 0; ) {
      const records = this.chunkPages[chunkPageOf(chunk)]!
      const c = chunkAt(chunk)
      const next = records[c]!
      records.fill(0, c, c + CHUNK_INTS)
      this.#freeChunk(chunk)
      chunk = next
    }
    page[h + FIRST_CHUNK] = 0
  }

  /** Pages of chunks that are to run empty: the sparsest, as many as the free room of the others can take up. */
  closeSparse(): readonly number[] {
    const numbers = [...this.chunkPages.keys()].filter((n) => this.chunkPages[n] !== DROPPED)
    numbers.sort((a, b) => this.#used[a]! - this.#used[b]!)
    let room = numbers.reduce((sum, n) => sum + CHUNK_PAGE - this.#used[n]!, 0)
    const closed: number[] = []
    for (const n of numbers) {
      // A quarter of a page stays for lists that grow.
      room -= CHUNK_PAGE
      if (room < CHUNK_PAGE / 4) break
      this.#room.close(n)
      closed.push(n)
    }
    return closed
  }

  /** Moves what is in closed pages of chunks into others. */
  leaveClosed(base: number): void {
    let records = this.#pages[pageOf(base)]!
    let at = headerAt(base) + FIRST_CHUNK
    for (let chunk = records[at]!; chunk !== 0; chunk = records[at]!) {
      if (this.#room.isClosed(chunkPageOf(chunk))) {
        const to = this.#newChunk()
        if (to === 0) return
        const from = this.chunkPages[chunkPageOf(chunk)]!
        const c = chunkAt(chunk)
        this.chunkPages[chunkPageOf(to)]!.set(from.subarray(c, c + CHUNK_INTS), chunkAt(to))
        from.fill(0, c, c + CHUNK_INTS)
        this.#freeChunk(chunk)
        records[at] = to
        chunk = to
      }
      records = this.chunkPages[chunkPageOf(chunk)]!
      at = chunkAt(chunk)
    }
  }

  /** Gives closed pages of chunks back that are empty; the others are used on. */
  settle(closed: readonly number[]): void {
    for (const page of closed) {
      if (this.#used[page] !== 0) {
        this.#room.open(page)
        continue
      }
      this.chunkPages[page] = DROPPED
      this.#pageCount--
      this.#room.drop(page)
      this.#budget.give(CHUNK_PAGE_BYTES)
    }
  }

  /** The slots that the owner holds on any medium. */
  #heldSlots(base: number, owner: number): number {
    const cohort = -1 - (owner >>> 5)
    const member = 1 << owner
    const page = this.#pages[pageOf(base)]!
    const h = headerAt(base)
    // Without holdings the owner's cohort tells all.
    const isPlain = (page[h + STATE]! & FLAGS_MASK) === 0
    let held = 0
    let records = page
    let r = h + RECORDS
    let end = h + segmentSize(page, base) - 2
    let chunk = page[h + FIRST_CHUNK]!
    for (;;) {
      for (; r < end; r += RECORD_INTS) {
        const tag = records[r]!
        if (tag === 0) break
        if (tag < 0) {
          if (tag !== cohort || (records[r + 1]! & member) === 0) continue
          held |= records[r + 2]!
          if (isPlain) return held
        } else if (tag >>> 2 === owner && (tag & 3) !== SPECULATIVE) held |= records[r + 1]!
      }
      if (chunk === 0) return held
      records = this.chunkPages[chunkPageOf(chunk)]!
      const c = chunkAt(chunk)
      r = c + 1
      end = c + CHUNK_INTS
      chunk = records[c]!
    }
  }

  /** Takes note of what the holders of a segment lose with it. */
  #countLost(base: number): void {
    const page = this.#pages[pageOf(base)]!
    const h = headerAt(base)
    const lost = this.#lost
    const told = new Set<number>()
    let records = page
    let r = h + RECORDS
    let end = h + segmentSize(page, base) - 2
    let chunk = page[h + FIRST_CHUNK]!
    for (;;) {
      for (; r < end; r += RECORD_INTS) {
        const tag = records[r]!
        if (tag === 0) break
        if (tag < 0) {
          const blocks = countBits(records[r + 2]!)
          for (let bits = records[r + 1]!; bits !== 0; bits &= bits - 1) {
            const owner = ((-1 - tag) << 5) + lowestBit(bits)
            lost[owner]! += blocks
            told.add(owner)
          }
        } else if ((tag & 3) !== SPECULATIVE) {
          lost[tag >>> 2]! += countBits(records[r + 1]!) * records[r + 2]!
          told.add(tag >>> 2)
        }
      }
      if (chunk === 0) break
      records = this.chunkPages[chunkPageOf(chunk)]!
      const c = chunkAt(chunk)
      r = c + 1
      end = c + CHUNK_INTS
      chunk = records[c]!
    }
    for (const owner of told) this.#held[owner]! -= countBits(this.#heldSlots(base, owner))
  }

  /** Finds the record with this tag whose second int has one of the bits. */
  #find(base: number, tag: number, bits: number): boolean {
    const page = this.#pages[pageOf(base)]!
    const h = headerAt(base)
    let records = page
    let r = h + RECORDS
    let end = h + segmentSize(page, base) - 2
    let chunk = page[h + FIRST_CHUNK]!
    for (;;) {
      for (; r < end; r += RECORD_INTS) {
        const other = records[r]!
        if (other === 0) break
        if (other === tag && (records[r + 1]! & bits) !== 0) {
          this.#records = records
          this.#at = r
          return true
        }
      }
      if (chunk === 0) return false
      records = this.chunkPages[chunkPageOf(chunk)]!
      const c = chunkAt(chunk)
      r = c + 1
      end = c + CHUNK_INTS
      chunk = records[c]!
    }
  }

  /** Finds the group's cohort that holds exactly these slots. */
  #findCohort(base: number, cohort: number, slots: number): boolean {
    const page = this.#pages[pageOf(base)]!
    const h = headerAt(base)
    let records = page
    let r = h + RECORDS
    let end = h + segmentSize(page, base) - 2
    let chunk = page[h + FIRST_CHUNK]!
    for (;;) {
      for (; r < end; r += RECORD_INTS) {
        const other = records[r]!
        if (other === 0) break
        if (other === cohort && records[r + 2] === slots) {
          this.#records = records
          this.#at = r
          return true
        }
      }
      if (chunk === 0) return false
      records = this.chunkPages[chunkPageOf(chunk)]!
      const c = chunkAt(chunk)
      r = c + 1
      end = c + CHUNK_INTS
      chunk = records[c]!
    }
  }

  /** Puts an owner without a cohort into the one of its slots. */
  #join(base: number, cohort: number, member: number, slots: number): boolean {
    if (!this.#findCohort(base, cohort, slots | 0)) {
      return this.#append(base, cohort, member, slots, 0)
    }
    this.#records[this.#at + 1]! |= member
    return true
  }

  #addHolding(base: number, tag: number, slots: number, flag: number): boolean {
    const page = this.#pages[pageOf(base)]!
    const h = headerAt(base)
    // What one record has already goes to the next one.
    let rest = slots | 0
    let records = page
    let r = h + RECORDS
    let end = h + segmentSize(page, base) - 2
    let chunk = page[h + FIRST_CHUNK]!
    for (;;) {
      for (; r < end; r += RECORD_INTS) {
        const other = records[r]!
        if (other === 0) break
        if (other !== tag) continue
        const before = records[r + 1]!
        if (before === rest) {
          records[r + 2]!++
          return true
        }
        if (records[r + 2] !== 1) continue
        records[r + 1] = before | rest
        rest &= before
        if (rest === 0) return true
      }
      if (chunk === 0) break
      records = this.chunkPages[chunkPageOf(chunk)]!
      const c = chunkAt(chunk)
      r = c + 1
      end = c + CHUNK_INTS
      chunk = records[c]!
    }
    return this.#append(base, tag, rest, 1, flag)
  }

  /** Takes one reference from each of the slots that holdings with this tag have; answers which ones are left. */
  #dropHoldings(base: number, tag: number, slots: number): number {
    let rest = slots
    while (rest !== 0 && this.#find(base, tag, rest)) {
      const records = this.#records
      const at = this.#at
      const before = records[at + 1]!
      const both = before & rest
      const count = records[at + 2]!
      if (both !== before) {
        records[at + 1] = before & ~both
        // Without memory for those with one reference less, they are forgotten.
        if (count > 1) this.#append(base, tag, both, count - 1, 0)
      } else if (count > 1) records[at + 2] = count - 1
      else {
        this.#takeLast(base, records, at)
        this.#setFlags(base)
      }
      rest &= ~both
    }
    return rest
  }

  #hasFlag(base: number, flag: number): boolean {
    return (this.#pages[pageOf(base)]![headerAt(base) + STATE]! & (flag << FLAGS_SHIFT)) !== 0
  }

  #append(base: number, tag: number, second: number, third: number, flag: number): boolean {
    const page = this.#pages[pageOf(base)]!
    const h = headerAt(base)
    let records = page
    let r = h + RECORDS
    let end = h + segmentSize(page, base) - 2
    const chunk = page[h + FIRST_CHUNK]!
    if (chunk !== 0) {
      records = this.chunkPages[chunkPageOf(chunk)]!
      r = chunkAt(chunk) + 1
      end = r - 1 + CHUNK_INTS
    }
    while (r < end && records[r] !== 0) r += RECORD_INTS
    if (r >= end) {
      const added = this.#newChunk()
      if (added === 0) return false
      records = this.chunkPages[chunkPageOf(added)]!
      r = chunkAt(added) + 1
      records[r - 1] = chunk
      page[h + FIRST_CHUNK] = added
    }
    records[r] = tag
    records[r + 1] = second
    records[r + 2] = third
    if (flag !== 0) page[h + STATE]! |= flag << FLAGS_SHIFT
    return true
  }

  /** Drops empty records. */
  #compact(base: number): void {
    const page = this.#pages[pageOf(base)]!
    const h = headerAt(base)
    // Holes are filled from the end of the list. Chunks go first, and each from its end, so that what moves into a hole
    // has been looked at before.
    for (let chunk = page[h + FIRST_CHUNK]!; chunk !== 0; ) {
      const records = this.chunkPages[chunkPageOf(chunk)]!
      const c = chunkAt(chunk)
      chunk = records[c]!
      this.#compactRecords(base, records, c + 1, c + CHUNK_INTS)
    }
    this.#compactRecords(base, page, h + RECORDS, h + segmentSize(page, base) - 2)
    this.#setFlags(base)
  }

  #compactRecords(base: number, records: Int32Array, start: number, end: number): void {
    let r = start
    while (r < end) r += RECORD_INTS
    for (r -= RECORD_INTS; r >= start; r -= RECORD_INTS) {
      if (records[r] !== 0 && records[r + 1] === 0) this.#takeLast(base, records, r)
    }
  }

  /** Sets a segment's flags anew after records are gone. */
  #setFlags(base: number): void {
    const page = this.#pages[pageOf(base)]!
    const h = headerAt(base)
    let flags = 0
    let records = page
    let r = h + RECORDS
    let end = h + segmentSize(page, base) - 2
    let chunk = page[h + FIRST_CHUNK]!
    for (;;) {
      for (; r < end; r += RECORD_INTS) {
        const tag = records[r]!
        if (tag === 0) break
        if (tag > 0) flags |= (tag & 3) === GPU ? REPEATED : OTHER_PLANES
      }
      if (chunk === 0) break
      records = this.chunkPages[chunkPageOf(chunk)]!
      const c = chunkAt(chunk)
      r = c + 1
      end = c + CHUNK_INTS
      chunk = records[c]!
    }
    page[h + STATE] = (page[h + STATE]! & ~FLAGS_MASK) | (flags << FLAGS_SHIFT)
  }

  /** Fills the place `hole` with the last record of the list. */
  #takeLast(base: number, records: Int32Array, hole: number): void {
    const page = this.#pages[pageOf(base)]!
    const h = headerAt(base)
    const head = page[h + FIRST_CHUNK]!
    const list = head === 0 ? page : this.chunkPages[chunkPageOf(head)]!
    const first = head === 0 ? h + RECORDS : chunkAt(head) + 1
    const end = head === 0 ? h + segmentSize(page, base) - 2 : first - 1 + CHUNK_INTS
    let last = first
    while (last + RECORD_INTS < end && list[last + RECORD_INTS] !== 0) last += RECORD_INTS
    records[hole] = list[last]!
    records[hole + 1] = list[last + 1]!
    records[hole + 2] = list[last + 2]!
    list[last] = 0
    list[last + 1] = 0
    list[last + 2] = 0
    if (head !== 0 && last === first) {
      page[h + FIRST_CHUNK] = list[first - 1]!
      this.#freeChunk(head)
    }
  }

  #newChunk(): number {
    let page = this.#room.find()
    if (page < 0) {
      if (!this.#budget.take(CHUNK_PAGE_BYTES)) return 0
      page = this.#room.add()
      this.chunkPages[page] = new Int32Array(CHUNK_PAGE * CHUNK_INTS)
      this.#used[page] = 0
      this.#pageCount++
    }
    this.#used[page]!++
    const freed = this.#room.freed(page)
    if (freed === 0) return page * CHUNK_PAGE + this.#room.takeFresh(page)
    this.#room.setFreed(page, this.chunkPages[page]![chunkAt(freed)]!)
    return freed
  }

  /** Gives back a chunk without records. */
  #freeChunk(chunk: number): void {
    const page = chunkPageOf(chunk)
    this.#used[page]!--
    this.chunkPages[page]![chunkAt(chunk)] = this.#room.freed(page)
    this.#room.setFreed(page, chunk)
  }
}
