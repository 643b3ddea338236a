import * as bitSets from './bit-sets.ts'
import type { HolderLists } from './holder-lists.ts'
import * as holderLists from './holder-lists.ts'
import type { KeyTable } from './key-table.ts'
import { GPU as GPU_PLANE } from './planes.ts'
import type { SegmentPages } from './segment-pages.ts'
import * as layout from './segment-pages.ts'

// Constants and functions of the module itself are folded into compiled code, imported ones are looked up at every use.
const { FIRST_CHUNK, NEXT_SLOT, STATE, RECORDS, LENGTH_MASK } = layout
const { headerAt, keyAt, pageOf, segmentSize } = layout
const { chunkAt, chunkPageOf, hasOtherPlanes } = holderLists
const { countBits, firstBits, lowestBit, trailingOnes } = bitSets
const GPU = GPU_PLANE
const RECORD_INTS = 3
const CHUNK_INTS = 16
// More than a lookup can match, and how far the answers may go before they begin anew.
const LOOKUP_STEP = 2 ** 32
const MAX_ZERO = 2 ** 52

/**
 * How many of the blocks from `slot` on are those of `keys`, whose first is known to be: between 1 and `limit`, which
 * must not go beyond the slot's segment.
 */
export function commonRun(
  page: Int32Array,
  slot: number,
  keys: Int32Array,
  from: number,
  limit: number,
): number {
  const s = keyAt(slot)
  const q = from << 1
  const last = (limit - 1) << 1
  if (page[s + last] === keys[q + last] && page[s + last + 1] === keys[q + last + 1]) return limit
  // Keys are chained, so equality holds up to some block and never after it.
  let equal = 1
  let end = limit - 1
  while (equal < end) {
    const middle = (equal + end + 1) >>> 1
    const d = (middle - 1) << 1
    if (page[s + d] === keys[q + d] && page[s + d + 1] === keys[q + d + 1]) equal = middle
    else end = middle - 1
  }
  return equal
}

/**
 * Finds how many blocks of a chain every owner holds, in one walk along the segments of the chain. What holds for all
 * owners of a cohort costs one word operation a segment; the others cost their record.
 */
export class PrefixLookup {
  readonly #table: KeyTable
  readonly #pages: readonly Int32Array[]
  readonly #chunkPages: readonly Int32Array[]
  // Answers by owner, `#zero` more than they are: what earlier lookups left is below it and means 0.
  #matched = new Float64Array(64)
  #zero = LOOKUP_STEP
  #adjusted = new Float64Array(64)
  #hasAdjusted = false
  #found = new Int32Array(64)
  #foundCount = 0
  // Room to work: slots held, by `owner * 4 + plane`; the owners that hold some elsewhere than on the GPU.
  #planeSlots = new Int32Array(64 * 4)
  #touched = new Int32Array(64)
  // By group of 32 owners: those that hold everything so far, those that hold the segment looked at, those touched.
  #active = new Int32Array(2)
  #next = new Int32Array(2)
  #touchedBits = new Int32Array(2)
  #groups = new Int32Array(2)
  readonly #weights = new Float64Array([1, 0.8, 0.8, 1])
  readonly #byWeight = new Int32Array([0, 3, 1, 2])

  constructor(segments: SegmentPages, table: KeyTable, holders: HolderLists) {
    this.#table = table
    this.#pages = segments.pages
    this.#chunkPages = holders.chunkPages
  }

  /** Makes room for owners below `owners`. */
  resize(owners: number): void {
    const matched = new Float64Array(owners)
    matched.set(this.#matched)
    this.#matched = matched
    const adjusted = new Float64Array(owners)
    adjusted.set(this.#adjusted)
    this.#adjusted = adjusted
    const found = new Int32Array(owners)
    found.set(this.#found)
    this.#found = found
    this.#touched = new Int32Array(owners)
    this.#planeSlots = new Int32Array(owners * 4)
    const groups = owners >>> 5
    this.#active = new Int32Array(groups)
    this.#next = new Int32Array(groups)
    this.#touchedBits = new Int32Array(groups)
    this.#groups = new Int32Array(groups)
  }

  setWeights(gpu: number, cpu: number, disk: number, speculative: number): void {
    this.#weights.set([gpu, cpu, disk, speculative])
    this.#byWeight.set([0, 1, 2, 3].sort((a, b) => this.#weights[b]! - this.#weights[a]!))
  }

  matched(owner: number): number {
    const value = this.#matched[owner]! - this.#zero
    return value > 0 ? value : 0
  }

  weighted(owner: number): number {
    return this.matched(owner) * this.#weights[GPU]! + this.#adjusted[owner]!
  }

  found(place: number): number {
    return this.#found[place]!
  }

  /** See `SegmentIndex.lookup`. */
  lookup(keys: Int32Array, from: number, count: number): number {
    const matched = this.#matched
    const found = this.#found
    const active = this.#active
    const next = this.#next
    const groups = this.#groups
    const pages = this.#pages
    if (this.#zero >= MAX_ZERO) {
      this.#zero = 0
      matched.fill(0)
    }
    this.#zero += LOOKUP_STEP
    const zero = this.#zero
    if (this.#hasAdjusted) {
      this.#adjusted.fill(0)
      this.#hasAdjusted = false
    }
    let foundCount = 0
    let groupCount = 0
    let aliveGroups = 0
    let i = 0
    let slot = 0
    let pageNumber = -1
    let segment: Int32Array = keys
    while (i < count) {
      const q = (from + i) << 1
      const lo = keys[q]!
      const hi = keys[q + 1]!
      if (slot !== 0) {
        if (pageOf(slot) !== pageNumber) {
          pageNumber = pageOf(slot)
          segment = pages[pageNumber]!
        }
        const k = keyAt(slot)
        if (segment[k] !== lo || segment[k + 1] !== hi) slot = 0
      }
      if (slot === 0) {
        slot = this.#table.find(lo, hi)
        if (slot === 0) break
        pageNumber = pageOf(slot)
        segment = pages[pageNumber]!
      }
      const size = segmentSize(segment, slot)
      let offset = 0
      // A branch, so that what follows does not wait for the size: a slot known from the segment before is a first one.
      if ((slot & (size - 1)) !== 0) offset = slot & (size - 1)
      const h = headerAt(slot - offset)
      const state = segment[h + STATE]!
      const length = state & LENGTH_MASK
      let run = length - offset
      if (run > count - i) run = count - i
      run = commonRun(segment, slot, keys, from + i, run)
      if (aliveGroups !== 0 && !hasOtherPlanes(state)) {
        // Mostly all owners that are left go on, which shows by whole cohorts.
        const needed = firstBits(run) | 0
        const end = h + size - 2
        let open = aliveGroups
        for (let r = h + RECORDS; r < end; r += RECORD_INTS) {
          const tag = segment[r]!
          if (tag >= 0) {
            if (tag === 0) break
            continue
          }
          const members = active[-1 - tag]!
          if (members === 0 || (members & ~segment[r + 1]!) !== 0) continue
          if (((segment[r + 2]! >> offset) & needed) !== needed) break
          if (--open === 0) break
        }
        if (open === 0) {
          i += run
          slot = offset + run === length ? segment[h + NEXT_SLOT]! : 0
          continue
        }
      }
      const touched = hasOtherPlanes(state) ? this.#touch(segment, h, size) : 0
      const needed = firstBits(run) | 0
      let records = segment
      let r = h + RECORDS
      let end = h + size - 2
      let chunk = segment[h + FIRST_CHUNK]!
      for (;;) {
        for (; r < end; r += RECORD_INTS) {
          const tag = records[r]!
          if (tag >= 0) {
            if (tag === 0) break
            continue
          }
          const group = -1 - tag
          let members = records[r + 1]!
          const slots = records[r + 2]!
          if (touched !== 0) members = this.#withoutTouched(group, members, slots)
          if (i > 0) members &= active[group]!
          if (members === 0) continue
          const held = slots >> offset
          if ((held & needed) === needed) {
            if (i === 0 && next[group] === 0) groups[groupCount++] = group
            next[group]! |= members
            continue
          }
          const until = i + trailingOnes(held)
          if (until === 0) continue
          active[group]! &= ~members
          for (; members !== 0; members &= members - 1) {
            const owner = (group << 5) + lowestBit(members)
            found[foundCount++] = owner
            matched[owner] = zero + until
          }
        }
        if (chunk === 0) break
        records = this.#chunkPages[chunkPageOf(chunk)]!
        const c = chunkAt(chunk)
        r = c + 1
        end = c + CHUNK_INTS
        chunk = records[c]!
      }
      if (touched !== 0) {
        this.#foundCount = foundCount
        groupCount = this.#settleTouched(touched, offset, run, i, groupCount)
        foundCount = this.#foundCount
      }
      aliveGroups = 0
      for (let g = 0; g < groupCount; g++) {
        const group = groups[g]!
        const stay = next[group]!
        let gone = active[group]! & ~stay
        for (; gone !== 0; gone &= gone - 1) {
          const owner = (group << 5) + lowestBit(gone)
          found[foundCount++] = owner
          matched[owner] = zero + i
        }
        active[group] = stay
        next[group] = 0
        if (stay !== 0) aliveGroups++
      }
      i += run
      if (aliveGroups === 0) {
        this.#foundCount = foundCount
        return foundCount
      }
      slot = offset + run === length ? segment[h + NEXT_SLOT]! : 0
    }
    for (let g = 0; g < groupCount; g++) {
      const group = groups[g]!
      for (let stay = active[group]!; stay !== 0; stay &= stay - 1) {
        const owner = (group << 5) + lowestBit(stay)
        found[foundCount++] = owner
        matched[owner] = zero + i
      }
      active[group] = 0
    }
    this.#foundCount = foundCount
    return foundCount
  }

  /**
   * Gathers which slots of the segment are held elsewhere than on the GPU.
   *
   * @returns owners that hold some
   */
  #touch(page: Int32Array, h: number, size: number): number {
    let touched = 0
    let records = page
    let r = h + RECORDS
    let end = h + size - 2
    let chunk = page[h + FIRST_CHUNK]!
    for (;;) {
      for (; r < end; r += RECORD_INTS) {
        const tag = records[r]!
        if (tag === 0) break
        if (tag < 0 || (tag & 3) === GPU) continue
        const owner = tag >>> 2
        const bit = 1 << owner
        if ((this.#touchedBits[owner >>> 5]! & bit) === 0) {
          this.#touchedBits[owner >>> 5]! |= bit
          this.#touched[touched++] = owner
        }
        this.#planeSlots[tag]! |= records[r + 1]!
      }
      if (chunk === 0) return touched
      records = this.#chunkPages[chunkPageOf(chunk)]!
      const c = chunkAt(chunk)
      r = c + 1
      end = c + CHUNK_INTS
      chunk = records[c]!
    }
  }

  /** The members of a cohort without those touched, whose slots are noted instead. */
  #withoutTouched(group: number, members: number, slots: number): number {
    const touched = members & this.#touchedBits[group]!
    for (let bits = touched; bits !== 0; bits &= bits - 1) {
      this.#planeSlots[((group << 5) + lowestBit(bits)) << 2] = slots
    }
    return members & ~touched
  }

  /** Counts for the owners touched what they hold of the segment on all planes together. */
  #settleTouched(
    touched: number,
    offset: number,
    run: number,
    i: number,
    groupCount: number,
  ): number {
    const planes = this.#planeSlots
    for (let t = 0; t < touched; t++) {
      const owner = this.#touched[t]!
      const group = owner >>> 5
      const bit = 1 << owner
      const p = owner << 2
      this.#touchedBits[group] = 0
      if (i === 0 || (this.#active[group]! & bit) !== 0) {
        const union = planes[p]! | planes[p + 1]! | planes[p + 2]! | planes[p + 3]!
        const held = Math.min(trailingOnes(union >> offset), run)
        if (held > 0) this.#adjust(owner, offset, held)
        if (held === run) {
          if (i === 0 && this.#next[group] === 0) this.#groups[groupCount++] = group
          this.#next[group]! |= bit
        } else if (i > 0 || held > 0) {
          this.#active[group]! &= ~bit
          this.#found[this.#foundCount++] = owner
          this.#matched[owner] = this.#zero + i + held
        }
      }
      planes.fill(0, p, p + 4)
    }
    return groupCount
  }

  /** Takes note of what blocks of other planes than the GPU count more or less. */
  #adjust(owner: number, offset: number, held: number): void {
    let rest = firstBits(held) << offset
    const gpuWeight = this.#weights[GPU]!
    let sum = 0
    for (let p = 0; p < 4 && rest !== 0; p++) {
      const plane = this.#byWeight[p]!
      const bits = this.#planeSlots[(owner << 2) | plane]! & rest
      if (bits === 0) continue
      sum += countBits(bits) * (this.#weights[plane]! - gpuWeight)
      rest &= ~bits
    }
    if (sum === 0) return
    this.#hasAdjusted = true
    this.#adjusted[owner]! += sum
  }
}
