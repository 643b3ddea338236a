import { MemoryBudget } from './memory-budget.ts'

/**
 * Where an owner holds a block, as small numbers that index arrays. `SPECULATIVE` is not a medium: it holds what a
 * request just routed is about to bring.
 */
export const PLANES = ['gpu', 'cpu', 'disk', 'speculative'] as const
export const GPU = 0
export const CPU = 1
export const DISK = 2
export const SPECULATIVE = 3

// A unit is 32 aligned block slots, cut into segments of one size class: 4, 8, 16 or 32 slots.
const UNIT_SLOTS = 32
const MIN_CLASS = 2
const MAX_CLASS = 5
// A page of units is what memory grows by.
const PAGE_SLOTS_LOG2 = 16
const PAGE_SLOTS = 1 << PAGE_SLOTS_LOG2
const PAGE_SLOT_MASK = PAGE_SLOTS - 1
const PAGE_UNITS = PAGE_SLOTS / UNIT_SLOTS
// Per 4 slots, used at a segment's first slot only: head of the holders, slot that comes next, length and flags.
const META_INTS = 3
const META_HEAD = 0
const META_NEXT = 1
const META_STATE = 2
const LENGTH_MASK = 63
const FLAGS_SHIFT = 8
// Flag: the segment may have two records of one holder, so that a holder's blocks are the union of its records.
const SEVERAL = 1 << 4
// A chunk is 16 ints, one cache line: the next chunk, then 5 records of (tag, mask, count). A tag above 0 is a holder,
// `owner * 4 + plane`, whose mask has a bit per slot. A tag below 0 is a cohort, `-1 - owner / 32`, whose mask has a bit
// per owner that holds each slot of the segment once on the GPU. 0 is no record.
const CHUNK_INTS = 16
const CHUNK_RECORDS = 5
const RECORD_INTS = 3
const CHUNK_PAGE_LOG2 = 12
const CHUNK_PAGE = 1 << CHUNK_PAGE_LOG2
const CHUNK_PAGE_MASK = CHUNK_PAGE - 1
const PARTITIONS = 1024
const PARTITION_MASK = PARTITIONS - 1
const FIRST_PARTITION_ENTRIES = 16

const PAGE_BYTES = PAGE_SLOTS * 8 + (PAGE_SLOTS >> 2) * META_INTS * 4 + PAGE_UNITS * 10
const CHUNK_PAGE_BYTES = CHUNK_PAGE * CHUNK_INTS * 4

function allOf(length: number): number {
  return length === 32 ? -1 : (1 << length) - 1
}

function countBits(bits: number): number {
  bits -= (bits >>> 1) & 0x55555555
  bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333)
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}

function lowestBit(bits: number): number {
  return 31 - Math.clz32(bits & -bits)
}

function trailingOnes(bits: number): number {
  const inverse = ~bits
  return inverse === 0 ? 32 : 31 - Math.clz32(inverse & -inverse)
}

/**
 * Which owners hold which blocks, exact with holes and duplicates.
 *
 * Blocks are known by chained keys (pairs of 32-bit integers, never (0, 0)), so an equal key means an equal prefix.
 * Consecutive blocks of one chain share a *segment* of up to 32 slots. Owners that hold all of a segment are bits of a
 * word there, the others have a record each. A lookup costs one probe and one walk over those words and records per
 * segment, whatever the number of blocks.
 *
 * An owner is a small integer from `addOwner`. `retireOwner` forgets it at once; what it held is swept by later
 * calls of `sweep`, after which the number is used again. Nothing costs more for owners that are gone.
 *
 * A plane says where a block is held. Every `store` of a block adds one reference, every `remove` takes one away.
 * When the memory budget is used up, `store` takes no more blocks and says so.
 */
export class SegmentIndex {
  readonly #budget: MemoryBudget
  readonly #keyPages: Int32Array[] = []
  readonly #metaPages: Int32Array[] = []
  // Per unit: size class, free segments as bits, neighbours in the list of units of its class that have room.
  readonly #unitClass: Uint8Array[] = []
  readonly #unitFree: Uint8Array[] = []
  readonly #unitNext: Int32Array[] = []
  readonly #unitPrev: Int32Array[] = []
  readonly #roomy = new Int32Array(MAX_CLASS + 1)
  #freeUnit = 0
  #topUnit = 1
  readonly #chunkPages: Int32Array[] = []
  #freeChunk = 0
  #topChunk = 1
  readonly #tables: Int32Array[] = []
  readonly #tableCounts = new Int32Array(PARTITIONS)
  #blocks = 0

  #owners = 1
  readonly #freeOwners: number[] = []
  #dead = new Int32Array(2)
  #retired: number[] = []
  #sweeping: number[] = []
  #sweepUnit = 0
  #sweepEnd = 0

  // Answers of the last lookup, by owner, and room to work.
  #matched = new Int32Array(64)
  #adjusted = new Float64Array(64)
  #found = new Int32Array(64)
  #foundCount = 0
  #hasAdjusted = false
  #planeMasks = new Int32Array(64 * 4)
  #touched = new Int32Array(64)
  // By group of 32 owners: those that hold everything so far, those that hold the segment looked at, those touched.
  #active = new Int32Array(2)
  #next = new Int32Array(2)
  #touchedBits = new Int32Array(2)
  #groups = new Int32Array(2)
  readonly #weights = new Float64Array([1, 0.8, 0.8, 1])
  readonly #byWeight = new Int32Array([0, 3, 1, 2])

  constructor(budget: MemoryBudget = new MemoryBudget(Number.POSITIVE_INFINITY)) {
    this.#budget = budget
    budget.take(PARTITIONS * FIRST_PARTITION_ENTRIES * 8)
    for (let i = 0; i < PARTITIONS; i++) {
      this.#tables.push(new Int32Array(FIRST_PARTITION_ENTRIES * 2))
    }
  }

  /** Distinct blocks held by anyone. */
  get blocks(): number {
    return this.#blocks
  }

  /** Bytes of the arrays. */
  get bytes(): number {
    let table = 0
    for (const t of this.#tables) table += t.byteLength
    return table + this.#keyPages.length * PAGE_BYTES + this.#chunkPages.length * CHUNK_PAGE_BYTES
  }

  /** Sets what a matched block counts by plane; a block in several planes counts by the best of them. */
  setWeights(gpu: number, cpu: number, disk: number, speculative: number): void {
    this.#weights.set([gpu, cpu, disk, speculative])
    this.#byWeight.set([0, 1, 2, 3].sort((a, b) => this.#weights[b]! - this.#weights[a]!))
  }

  addOwner(): number {
    const free = this.#freeOwners.pop()
    if (free !== undefined) return free
    const owner = this.#owners++
    if (owner >= this.#matched.length) this.#growOwners()
    return owner
  }

  /** Forgets everything that the owner held, at once; the number must not be used again by the caller. */
  retireOwner(owner: number): void {
    this.#dead[owner >>> 5]! |= 1 << owner
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
      this.#sweepUnit = 1
      this.#sweepEnd = this.#topUnit
    }
    const end = Math.min(this.#sweepEnd, this.#sweepUnit + units)
    for (; this.#sweepUnit < end; this.#sweepUnit++) this.#sweepOne(this.#sweepUnit)
    if (this.#sweepUnit < this.#sweepEnd) return
    for (const owner of this.#sweeping) {
      this.#dead[owner >>> 5]! &= ~(1 << owner)
      this.#freeOwners.push(owner)
    }
    this.#sweeping = []
  }

  /**
   * Adds one reference to each of `count` consecutive blocks of a chain.
   *
   * @param keys pairs; the first block is pair number `from`
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
  ): number {
    const tag = (owner << 2) | plane
    let previous = (parentLo | parentHi) === 0 ? 0 : this.#find(parentLo, parentHi)
    let i = 0
    while (i < count) {
      const k = (from + i) << 1
      const lo = keys[k]!
      const hi = keys[k + 1]!
      let slot = 0
      if (previous !== 0) slot = this.#following(previous, lo, hi)
      if (slot === 0) slot = this.#find(lo, hi)
      let run: number
      if (slot !== 0) {
        run = this.#commonRun(slot, keys, from + i, count - i)
      } else {
        slot = this.#roomAfter(previous, count - i, owner)
        if (slot === 0) return i
        run = this.#append(slot, keys, from + i, count - i)
        if (run === 0) {
          this.#freeIfEmpty(slot)
          return i
        }
        const tail = previous === 0 ? 0 : this.#base(previous)
        if (tail !== 0 && tail !== this.#base(slot)) this.#setMeta(tail, META_NEXT, slot)
      }
      const base = this.#base(slot)
      const bits = allOf(run) << (slot - base)
      if (!this.#addReferences(base, tag, bits)) {
        this.#freeIfEmpty(base)
        return i
      }
      i += run
      previous = slot + run - 1
    }
    return count
  }

  /** Takes one reference from one block; false when the owner did not hold it in that plane. */
  remove(owner: number, plane: number, lo: number, hi: number): boolean {
    const slot = this.#find(lo, hi)
    if (slot === 0) return false
    const base = this.#base(slot)
    const bit = 1 << (slot - base)
    const removed = this.#dropReferences(base, (owner << 2) | plane, bit)
    return removed !== 0
  }

  /** Takes one reference from each of `count` blocks that the owner holds in that plane. */
  removeAll(owner: number, plane: number, keys: Int32Array, from: number, count: number): void {
    const tag = (owner << 2) | plane
    let i = 0
    let next = 0
    while (i < count) {
      const k = (from + i) << 1
      const lo = keys[k]!
      const hi = keys[k + 1]!
      const slot = next !== 0 && this.#holds(next, lo, hi) ? next : this.#find(lo, hi)
      if (slot === 0) {
        next = 0
        i++
        continue
      }
      const base = this.#base(slot)
      const run = this.#commonRun(slot, keys, from + i, count - i)
      const page = this.#metaPages[base >>> PAGE_SLOTS_LOG2]!
      next = page[((base & PAGE_SLOT_MASK) >>> 2) * META_INTS + META_NEXT]!
      this.#dropReferences(base, tag, allOf(run) << (slot - base))
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
    const matched = this.#matched
    const found = this.#found
    const active = this.#active
    const next = this.#next
    const groups = this.#groups
    const chunkPages = this.#chunkPages
    const keyPages = this.#keyPages
    const metaPages = this.#metaPages
    for (let f = 0; f < this.#foundCount; f++) matched[found[f]!] = 0
    if (this.#hasAdjusted) this.#clearAdjusted()
    let foundCount = 0
    let groupCount = 0
    let i = 0
    let hint = 0
    while (i < count) {
      const q = (from + i) << 1
      const lo = keys[q]!
      const hi = keys[q + 1]!
      let slot = 0
      let base = hint
      let state = 0
      if (hint !== 0 && this.#holds(hint, lo, hi)) {
        // A hint is the first slot of a segment, unless that one is gone and its memory is cut otherwise.
        slot = hint
        state =
          metaPages[hint >>> PAGE_SLOTS_LOG2]![
            ((hint & PAGE_SLOT_MASK) >>> 2) * META_INTS + META_STATE
          ]!
      }
      if (state === 0) {
        if (slot === 0) slot = this.#find(lo, hi)
        if (slot === 0) break
        base = this.#base(slot)
      }
      const offset = slot - base
      const page = metaPages[base >>> PAGE_SLOTS_LOG2]!
      const m = ((base & PAGE_SLOT_MASK) >>> 2) * META_INTS
      state = page[m + META_STATE]!
      const length = state & LENGTH_MASK
      let run = length - offset
      if (run > count - i) run = count - i
      const keyPage = keyPages[slot >>> PAGE_SLOTS_LOG2]!
      const k = ((slot & PAGE_SLOT_MASK) + run - 1) << 1
      const l = q + ((run - 1) << 1)
      if (keyPage[k] !== keys[l] || keyPage[k + 1] !== keys[l + 1]) {
        run = this.#commonRun(slot, keys, from + i, run)
      }
      if (state >>> FLAGS_SHIFT === 1) {
        const needed = allOf(run) | 0
        let chunk = page[m]!
        while (chunk !== 0) {
          const records = chunkPages[chunk >>> CHUNK_PAGE_LOG2]!
          const c = (chunk & CHUNK_PAGE_MASK) * CHUNK_INTS
          const end = c + 1 + CHUNK_RECORDS * RECORD_INTS
          for (let r = c + 1; r < end; r += RECORD_INTS) {
            const tag = records[r]!
            if (tag === 0) break
            let group: number
            let bits: number
            if (tag < 0) {
              group = -1 - tag
              bits = records[r + 1]!
              if (i > 0) bits &= active[group]!
            } else {
              const owner = tag >>> 2
              group = owner >>> 5
              bits = 1 << owner
              if (i > 0 && (active[group]! & bits) === 0) continue
              const held = records[r + 1]! >> offset
              if ((held & needed) !== needed) {
                const t = trailingOnes(held)
                if (i === 0 && t === 0) continue
                active[group]! &= ~bits
                found[foundCount++] = owner
                matched[owner] = i + t
                continue
              }
            }
            if (i === 0 && next[group] === 0 && bits !== 0) groups[groupCount++] = group
            next[group]! |= bits
          }
          chunk = records[c]!
        }
      } else {
        this.#foundCount = foundCount
        groupCount = this.#lookupUnited(page[m]!, length, offset, run, i, groupCount)
        foundCount = this.#foundCount
      }
      let alive = 0
      for (let g = 0; g < groupCount; g++) {
        const group = groups[g]!
        const stay = next[group]!
        let gone = active[group]! & ~stay
        for (; gone !== 0; gone &= gone - 1) {
          const owner = (group << 5) + lowestBit(gone)
          found[foundCount++] = owner
          matched[owner] = i
        }
        active[group] = stay
        next[group] = 0
        alive |= stay
      }
      i += run
      if (alive === 0) {
        this.#foundCount = foundCount
        return foundCount
      }
      hint = offset + run === length ? page[m + META_NEXT]! : 0
    }
    for (let g = 0; g < groupCount; g++) {
      const group = groups[g]!
      for (let stay = active[group]!; stay !== 0; stay &= stay - 1) {
        const owner = (group << 5) + lowestBit(stay)
        found[foundCount++] = owner
        matched[owner] = i
      }
      active[group] = 0
    }
    this.#foundCount = foundCount
    return foundCount
  }

  /** Consecutive blocks that the last lookup found at the owner. */
  matched(owner: number): number {
    return this.#matched[owner]!
  }

  /** The same with each block counted by the weight of its plane. */
  weighted(owner: number): number {
    return this.#matched[owner]! * this.#weights[GPU]! + this.#adjusted[owner]!
  }

  /** An owner that the last lookup found, by its place in [0, answer of the lookup). */
  found(place: number): number {
    return this.#found[place]!
  }

  #clearAdjusted(): void {
    this.#adjusted.fill(0, 0, this.#owners)
    this.#hasAdjusted = false
  }

  #growOwners(): void {
    const size = this.#matched.length * 2
    const grow = (from: Int32Array, to: number): Int32Array<ArrayBuffer> => {
      const grown = new Int32Array(to)
      grown.set(from)
      return grown
    }
    this.#matched = grow(this.#matched, size)
    this.#found = grow(this.#found, size)
    this.#touched = grow(this.#touched, size)
    this.#planeMasks = grow(this.#planeMasks, size * 4)
    const adjusted = new Float64Array(size)
    adjusted.set(this.#adjusted)
    this.#adjusted = adjusted
    this.#dead = grow(this.#dead, size >>> 5)
    this.#active = grow(this.#active, size >>> 5)
    this.#next = grow(this.#next, size >>> 5)
    this.#touchedBits = grow(this.#touchedBits, size >>> 5)
    this.#groups = grow(this.#groups, size >>> 5)
  }

  /** Ends an owner's run within a segment, `held` slots after the `i` blocks before it. */
  #settle(owner: number, i: number, held: number): void {
    if (i === 0 && held === 0) return
    this.#active[owner >>> 5]! &= ~(1 << owner)
    this.#found[this.#foundCount++] = owner
    this.#matched[owner] = i + held
  }

  /** The walk of `lookup` over a segment in which an owner's blocks are the union of several records. */
  #lookupUnited(
    head: number,
    length: number,
    offset: number,
    run: number,
    i: number,
    groupCount: number,
  ): number {
    let touched = 0
    for (let chunk = head; chunk !== 0; ) {
      const records = this.#chunkPages[chunk >>> CHUNK_PAGE_LOG2]!
      const c = (chunk & CHUNK_PAGE_MASK) * CHUNK_INTS
      const end = c + 1 + CHUNK_RECORDS * RECORD_INTS
      for (let r = c + 1; r < end; r += RECORD_INTS) {
        const tag = records[r]!
        if (tag === 0) break
        if (tag < 0) continue
        const owner = tag >>> 2
        const bit = 1 << owner
        if ((this.#touchedBits[owner >>> 5]! & bit) === 0) {
          this.#touchedBits[owner >>> 5]! |= bit
          this.#touched[touched++] = owner
        }
        this.#planeMasks[tag]! |= records[r + 1]!
      }
      chunk = records[c]!
    }
    for (let chunk = head; chunk !== 0; ) {
      const records = this.#chunkPages[chunk >>> CHUNK_PAGE_LOG2]!
      const c = (chunk & CHUNK_PAGE_MASK) * CHUNK_INTS
      const end = c + 1 + CHUNK_RECORDS * RECORD_INTS
      for (let r = c + 1; r < end; r += RECORD_INTS) {
        const tag = records[r]!
        if (tag === 0) break
        if (tag > 0) continue
        const group = -1 - tag
        const all = records[r + 1]!
        let both = all & this.#touchedBits[group]!
        for (; both !== 0; both &= both - 1) {
          this.#planeMasks[((group << 5) + lowestBit(both)) << 2] = allOf(length)
        }
        const bits = i === 0 ? all : all & this.#active[group]!
        if (i === 0 && this.#next[group] === 0) this.#groups[groupCount++] = group
        this.#next[group]! |= bits
      }
      chunk = records[c]!
    }
    for (let t = 0; t < touched; t++) {
      const owner = this.#touched[t]!
      const group = owner >>> 5
      const bit = 1 << owner
      this.#touchedBits[group] = 0
      if (i === 0 || (this.#active[group]! & bit) !== 0) {
        const p = owner << 2
        const masks = this.#planeMasks
        const union = masks[p]! | masks[p + 1]! | masks[p + 2]! | masks[p + 3]!
        const held = Math.min(trailingOnes(union >> offset), run)
        if (held > 0) this.#adjust(owner, offset, held)
        if (held === run) {
          if (i === 0 && this.#next[group] === 0) this.#groups[groupCount++] = group
          this.#next[group]! |= bit
        } else this.#settle(owner, i, held)
      }
      this.#planeMasks.fill(0, owner << 2, (owner << 2) + 4)
    }
    return groupCount
  }

  #adjust(owner: number, offset: number, held: number): void {
    let rest = allOf(held) << offset
    const gpuWeight = this.#weights[GPU]!
    let sum = 0
    for (let p = 0; p < 4 && rest !== 0; p++) {
      const plane = this.#byWeight[p]!
      const bits = this.#planeMasks[(owner << 2) | plane]! & rest
      if (bits === 0) continue
      sum += countBits(bits) * (this.#weights[plane]! - gpuWeight)
      rest &= ~bits
    }
    if (sum === 0) return
    this.#hasAdjusted = true
    this.#adjusted[owner]! += sum
  }

  #base(slot: number): number {
    const unit = slot >>> 5
    const log2 = this.#unitClass[unit >>> 11]![unit & (PAGE_UNITS - 1)]!
    return slot & -(1 << log2)
  }

  #setMeta(base: number, field: number, value: number): void {
    this.#metaPages[base >>> PAGE_SLOTS_LOG2]![
      ((base & PAGE_SLOT_MASK) >>> 2) * META_INTS + field
    ] = value
  }

  #holds(slot: number, lo: number, hi: number): boolean {
    const keys = this.#keyPages[slot >>> PAGE_SLOTS_LOG2]!
    const k = (slot & PAGE_SLOT_MASK) << 1
    return keys[k] === lo && keys[k + 1] === hi
  }

  /** The slot of the key if it is the one after `previous`: in its segment, or in the one stored last after it. */
  #following(previous: number, lo: number, hi: number): number {
    const base = this.#base(previous)
    const page = this.#metaPages[base >>> PAGE_SLOTS_LOG2]!
    const m = ((base & PAGE_SLOT_MASK) >>> 2) * META_INTS
    const length = page[m + META_STATE]! & LENGTH_MASK
    const slot = previous + 1 < base + length ? previous + 1 : page[m + META_NEXT]!
    return slot !== 0 && this.#holds(slot, lo, hi) ? slot : 0
  }

  /** How many of the next blocks are those in the slots from `slot` on: at least 1, since the first is. */
  #commonRun(slot: number, keys: Int32Array, from: number, count: number): number {
    const base = this.#base(slot)
    const state =
      this.#metaPages[base >>> PAGE_SLOTS_LOG2]![
        ((base & PAGE_SLOT_MASK) >>> 2) * META_INTS + META_STATE
      ]!
    let run = (state & LENGTH_MASK) - (slot - base)
    if (run > count) run = count
    if (run === 1) return 1
    const page = this.#keyPages[slot >>> PAGE_SLOTS_LOG2]!
    const s = (slot & PAGE_SLOT_MASK) << 1
    const q = from << 1
    const last = (run - 1) << 1
    if (page[s + last] === keys[q + last] && page[s + last + 1] === keys[q + last + 1]) return run
    // Keys are chained, so equality holds up to some block and never after it.
    let equal = 1
    let end = run - 1
    while (equal < end) {
      const middle = (equal + end + 1) >>> 1
      const d = (middle - 1) << 1
      if (page[s + d] === keys[q + d] && page[s + d + 1] === keys[q + d + 1]) equal = middle
      else end = middle - 1
    }
    return equal
  }

  /**
   * A slot for a new block: after `previous` if it ends a segment that has room and that nobody else holds, else the
   * first of a new segment; 0 without memory.
   */
  #roomAfter(previous: number, wanted: number, owner: number): number {
    let log2 = MIN_CLASS
    if (previous !== 0) {
      const unit = previous >>> 5
      const previousLog2 = this.#unitClass[unit >>> 11]![unit & (PAGE_UNITS - 1)]!
      const base = previous & -(1 << previousLog2)
      const page = this.#metaPages[base >>> PAGE_SLOTS_LOG2]!
      const m = ((base & PAGE_SLOT_MASK) >>> 2) * META_INTS
      const length = page[m + META_STATE]! & LENGTH_MASK
      if (previous === base + length - 1) {
        if (length < 1 << previousLog2) {
          if (this.#isOnlyHolder(page[m]!, owner, length)) return previous + 1
        } else {
          // A chain that goes on is likely to go on further: the next segment is twice as long.
          log2 = Math.min(previousLog2 + 1, MAX_CLASS)
        }
      }
    }
    while (log2 < MAX_CLASS && 1 << log2 < wanted) log2++
    return this.#newSegment(log2)
  }

  /**
   * True when all records are the owner's. Then it is also taken out of its cohort, since the segment, which is about
   * to grow, is no longer held as a whole.
   */
  #isOnlyHolder(head: number, owner: number, length: number): boolean {
    const records = this.#chunkPages[head >>> CHUNK_PAGE_LOG2]!
    const c = (head & CHUNK_PAGE_MASK) * CHUNK_INTS
    if (records[c] !== 0) return false
    const end = c + 1 + CHUNK_RECORDS * RECORD_INTS
    let cohort = 0
    for (let r = c + 1; r < end; r += RECORD_INTS) {
      const tag = records[r]!
      if (tag === 0) break
      if (tag > 0) {
        if (tag >>> 2 !== owner) return false
      } else {
        if (-1 - tag !== owner >>> 5 || records[r + 1] !== 1 << owner) return false
        cohort = r
      }
    }
    if (cohort !== 0) {
      records[cohort] = owner << 2
      records[cohort + 1] = allOf(length)
    }
    return true
  }

  /** Writes new blocks from `slot` on, until the segment is full or a block is known elsewhere. */
  #append(slot: number, keys: Int32Array, from: number, count: number): number {
    const unit = slot >>> 5
    const size = 1 << this.#unitClass[unit >>> 11]![unit & (PAGE_UNITS - 1)]!
    const base = slot & -size
    const room = Math.min(base + size - slot, count)
    const page = this.#keyPages[slot >>> PAGE_SLOTS_LOG2]!
    const s = (slot & PAGE_SLOT_MASK) << 1
    let run = 0
    for (; run < room; run++) {
      const k = (from + run) << 1
      const lo = keys[k]!
      const hi = keys[k + 1]!
      if (run > 0 && this.#find(lo, hi) !== 0) break
      page[s + (run << 1)] = lo
      page[s + (run << 1) + 1] = hi
      if (!this.#enter(lo, hi, slot + run)) {
        page[s + (run << 1)] = 0
        page[s + (run << 1) + 1] = 0
        break
      }
    }
    const meta = this.#metaPages[base >>> PAGE_SLOTS_LOG2]!
    meta[((base & PAGE_SLOT_MASK) >>> 2) * META_INTS + META_STATE]! += run
    return run
  }

  #find(lo: number, hi: number): number {
    const table = this.#tables[hi & PARTITION_MASK]!
    const mask = table.length - 1
    let j = (lo << 1) & mask
    for (;;) {
      const slot = table[j]!
      if (slot === 0) return 0
      if (
        table[j + 1] === lo &&
        this.#keyPages[slot >>> PAGE_SLOTS_LOG2]![((slot & PAGE_SLOT_MASK) << 1) + 1] === hi
      ) {
        return slot
      }
      j = (j + 2) & mask
    }
  }

  #enter(lo: number, hi: number, slot: number): boolean {
    const partition = hi & PARTITION_MASK
    let table = this.#tables[partition]!
    const entries = table.length >>> 1
    const count = this.#tableCounts[partition]!
    if (count * 4 >= entries * 3) {
      if (this.#budget.take(entries * 8)) table = this.#growTable(partition)
      else if (count * 16 >= entries * 15) return false
    }
    const mask = table.length - 1
    let j = (lo << 1) & mask
    while (table[j] !== 0) j = (j + 2) & mask
    table[j] = slot
    table[j + 1] = lo
    this.#tableCounts[partition] = count + 1
    this.#blocks++
    return true
  }

  #growTable(partition: number): Int32Array {
    const old = this.#tables[partition]!
    const grown = new Int32Array(old.length * 2)
    const mask = grown.length - 1
    for (let i = 0; i < old.length; i += 2) {
      if (old[i] === 0) continue
      let j = (old[i + 1]! << 1) & mask
      while (grown[j] !== 0) j = (j + 2) & mask
      grown[j] = old[i]!
      grown[j + 1] = old[i + 1]!
    }
    this.#tables[partition] = grown
    return grown
  }

  /** Deletes by shifting back what follows, so that no tombstones are left. */
  #leave(lo: number, hi: number): void {
    const partition = hi & PARTITION_MASK
    const table = this.#tables[partition]!
    const mask = table.length - 1
    let hole = (lo << 1) & mask
    for (;;) {
      const slot = table[hole]!
      if (slot === 0) return
      if (table[hole + 1] === lo && this.#holds(slot, lo, hi)) break
      hole = (hole + 2) & mask
    }
    this.#tableCounts[partition]!--
    this.#blocks--
    let j = hole
    for (;;) {
      j = (j + 2) & mask
      if (table[j] === 0) break
      const home = (table[j + 1]! << 1) & mask
      if (((j - home) & mask) >= ((j - hole) & mask)) {
        table[hole] = table[j]!
        table[hole + 1] = table[j + 1]!
        hole = j
      }
    }
    table[hole] = 0
    table[hole + 1] = 0
  }

  #newSegment(log2: number): number {
    let unit = this.#roomy[log2]!
    if (unit === 0) {
      unit = this.#newUnit()
      if (unit === 0) return 0
      const p = unit >>> 11
      const u = unit & (PAGE_UNITS - 1)
      this.#unitClass[p]![u] = log2
      this.#unitFree[p]![u] = (1 << (UNIT_SLOTS >>> log2)) - 1
      this.#linkUnit(unit, log2)
    }
    const free = this.#unitFree[unit >>> 11]!
    const u = unit & (PAGE_UNITS - 1)
    const bits = free[u]!
    const piece = 31 - Math.clz32(bits & -bits)
    free[u] = bits & (bits - 1)
    if (free[u] === 0) this.#unlinkUnit(unit, log2)
    return unit * UNIT_SLOTS + (piece << log2)
  }

  #newUnit(): number {
    const free = this.#freeUnit
    if (free !== 0) {
      this.#freeUnit = this.#unitNext[free >>> 11]![free & (PAGE_UNITS - 1)]!
      return free
    }
    const unit = this.#topUnit
    if (unit >>> 11 >= this.#keyPages.length) {
      if (!this.#budget.take(PAGE_BYTES)) return 0
      this.#keyPages.push(new Int32Array(PAGE_SLOTS * 2))
      this.#metaPages.push(new Int32Array((PAGE_SLOTS >> 2) * META_INTS))
      this.#unitClass.push(new Uint8Array(PAGE_UNITS))
      this.#unitFree.push(new Uint8Array(PAGE_UNITS))
      this.#unitNext.push(new Int32Array(PAGE_UNITS))
      this.#unitPrev.push(new Int32Array(PAGE_UNITS))
    }
    this.#topUnit++
    return unit
  }

  #linkUnit(unit: number, log2: number): void {
    const head = this.#roomy[log2]!
    this.#unitNext[unit >>> 11]![unit & (PAGE_UNITS - 1)] = head
    this.#unitPrev[unit >>> 11]![unit & (PAGE_UNITS - 1)] = 0
    if (head !== 0) this.#unitPrev[head >>> 11]![head & (PAGE_UNITS - 1)] = unit
    this.#roomy[log2] = unit
  }

  #unlinkUnit(unit: number, log2: number): void {
    const next = this.#unitNext[unit >>> 11]![unit & (PAGE_UNITS - 1)]!
    const previous = this.#unitPrev[unit >>> 11]![unit & (PAGE_UNITS - 1)]!
    if (previous === 0) this.#roomy[log2] = next
    else this.#unitNext[previous >>> 11]![previous & (PAGE_UNITS - 1)] = next
    if (next !== 0) this.#unitPrev[next >>> 11]![next & (PAGE_UNITS - 1)] = previous
  }

  #freeIfEmpty(slot: number): void {
    const base = this.#base(slot)
    const meta = this.#metaPages[base >>> PAGE_SLOTS_LOG2]!
    if (meta[((base & PAGE_SLOT_MASK) >>> 2) * META_INTS + META_HEAD] === 0) {
      this.#freeSegment(base)
    }
  }

  #freeSegment(base: number): void {
    const meta = this.#metaPages[base >>> PAGE_SLOTS_LOG2]!
    const m = ((base & PAGE_SLOT_MASK) >>> 2) * META_INTS
    const length = meta[m + META_STATE]! & LENGTH_MASK
    const keys = this.#keyPages[base >>> PAGE_SLOTS_LOG2]!
    const first = (base & PAGE_SLOT_MASK) << 1
    for (let i = 0; i < length; i++) {
      const k = first + (i << 1)
      this.#leave(keys[k]!, keys[k + 1]!)
      // A hint of another segment may still point here and must not match.
      keys[k] = 0
      keys[k + 1] = 0
    }
    meta[m + META_HEAD] = 0
    meta[m + META_NEXT] = 0
    meta[m + META_STATE] = 0
    const unit = base >>> 5
    const u = unit & (PAGE_UNITS - 1)
    const log2 = this.#unitClass[unit >>> 11]![u]!
    const free = this.#unitFree[unit >>> 11]!
    const before = free[u]!
    const after = before | (1 << ((base & (UNIT_SLOTS - 1)) >>> log2))
    free[u] = after
    if (after === (1 << (UNIT_SLOTS >>> log2)) - 1) {
      if (before !== 0) this.#unlinkUnit(unit, log2)
      free[u] = 0
      this.#unitClass[unit >>> 11]![u] = MAX_CLASS
      this.#unitNext[unit >>> 11]![u] = this.#freeUnit
      this.#freeUnit = unit
    } else if (before === 0) {
      this.#linkUnit(unit, log2)
    }
  }

  #newChunk(): number {
    const free = this.#freeChunk
    if (free !== 0) {
      const records = this.#chunkPages[free >>> CHUNK_PAGE_LOG2]!
      const c = (free & CHUNK_PAGE_MASK) * CHUNK_INTS
      this.#freeChunk = records[c]!
      records[c] = 0
      return free
    }
    const chunk = this.#topChunk
    if (chunk >>> CHUNK_PAGE_LOG2 >= this.#chunkPages.length) {
      if (!this.#budget.take(CHUNK_PAGE_BYTES)) return 0
      this.#chunkPages.push(new Int32Array(CHUNK_PAGE * CHUNK_INTS))
    }
    this.#topChunk++
    return chunk
  }

  /**
   * Adds one reference to each slot of `bits`. A record (tag, mask, count) stands for `count` references to each slot of
   * its mask, a bit in a cohort for one to each slot of the segment; a slot's references are the sum of all.
   */
  #addReferences(base: number, tag: number, bits: number): boolean {
    const meta = this.#metaPages[base >>> PAGE_SLOTS_LOG2]!
    const m = ((base & PAGE_SLOT_MASK) >>> 2) * META_INTS
    const all = allOf(meta[m + META_STATE]! & LENGTH_MASK) | 0
    const onGpu = (tag & 3) === GPU
    const cohort = -1 - (tag >>> 7)
    const member = 1 << (tag >>> 2)
    let rest = bits
    let seen = false
    let inCohort = false
    let cohortRecords: Int32Array | undefined
    let cohortAt = 0
    let wholeRecords: Int32Array | undefined
    let wholeAt = 0
    for (let chunk = meta[m + META_HEAD]!; chunk !== 0; ) {
      const records = this.#chunkPages[chunk >>> CHUNK_PAGE_LOG2]!
      const c = (chunk & CHUNK_PAGE_MASK) * CHUNK_INTS
      const end = c + 1 + CHUNK_RECORDS * RECORD_INTS
      for (let r = c + 1; r < end; r += RECORD_INTS) {
        const other = records[r]!
        if (other === 0) break
        if (other === cohort) {
          cohortRecords = records
          cohortAt = r
          inCohort = (records[r + 1]! & member) !== 0
          continue
        }
        if (other !== tag) continue
        seen = true
        if (rest === 0) continue
        const mask = records[r + 1]!
        if (mask === rest) {
          records[r + 2]!++
          rest = 0
        } else if (records[r + 2] === 1) {
          records[r + 1] = mask | rest
          rest &= mask
          if (records[r + 1] === all) {
            wholeRecords = records
            wholeAt = r
          }
        }
      }
      chunk = records[c]!
    }
    if (!onGpu || inCohort) {
      return rest === 0 || this.#addRecord(base, tag, rest, 1, seen || (onGpu && inCohort))
    }
    if (wholeRecords !== undefined) {
      if (cohortRecords === undefined) {
        wholeRecords[wholeAt] = cohort
        wholeRecords[wholeAt + 1] = member
      } else {
        cohortRecords[cohortAt + 1]! |= member
        this.#takeLast(m, meta, wholeRecords, wholeAt)
      }
    } else if (rest === all) {
      if (cohortRecords !== undefined) {
        cohortRecords[cohortAt + 1]! |= member
        if (seen) meta[m + META_STATE]! |= SEVERAL << FLAGS_SHIFT
        return true
      }
      return this.#addRecord(base, cohort, member, 1, seen)
    }
    return rest === 0 || this.#addRecord(base, tag, rest, 1, seen)
  }

  #addRecord(base: number, tag: number, mask: number, count: number, seen: boolean): boolean {
    const meta = this.#metaPages[base >>> PAGE_SLOTS_LOG2]!
    const m = ((base & PAGE_SLOT_MASK) >>> 2) * META_INTS
    let chunk = meta[m + META_HEAD]!
    let place = CHUNK_RECORDS
    if (chunk !== 0) {
      const records = this.#chunkPages[chunk >>> CHUNK_PAGE_LOG2]!
      const c = (chunk & CHUNK_PAGE_MASK) * CHUNK_INTS + 1
      for (place = 0; place < CHUNK_RECORDS && records[c + place * RECORD_INTS] !== 0; ) place++
    }
    // Only the first chunk of a list may have room.
    if (place === CHUNK_RECORDS) {
      const added = this.#newChunk()
      if (added === 0) return false
      const records = this.#chunkPages[added >>> CHUNK_PAGE_LOG2]!
      records[(added & CHUNK_PAGE_MASK) * CHUNK_INTS] = chunk
      meta[m + META_HEAD] = added
      chunk = added
      place = 0
    }
    const records = this.#chunkPages[chunk >>> CHUNK_PAGE_LOG2]!
    const r = (chunk & CHUNK_PAGE_MASK) * CHUNK_INTS + 1 + place * RECORD_INTS
    records[r] = tag
    records[r + 1] = mask
    records[r + 2] = count
    const plane = tag < 0 ? GPU : tag & 3
    meta[m + META_STATE]! |= ((1 << plane) | (seen ? SEVERAL : 0)) << FLAGS_SHIFT
    return true
  }

  /** Takes one reference from each slot of `bits` that the holder has; answers which ones it had. */
  #dropReferences(base: number, tag: number, bits: number): number {
    const meta = this.#metaPages[base >>> PAGE_SLOTS_LOG2]!
    const m = ((base & PAGE_SLOT_MASK) >>> 2) * META_INTS
    const cohort = (tag & 3) === GPU ? -1 - (tag >>> 7) : 0
    const member = 1 << (tag >>> 2)
    let rest = bits
    let emptied = false
    let seen = false
    let cohortRecords: Int32Array | undefined
    let cohortAt = 0
    for (let chunk = meta[m + META_HEAD]!; chunk !== 0 && rest !== 0; ) {
      const records = this.#chunkPages[chunk >>> CHUNK_PAGE_LOG2]!
      const c = (chunk & CHUNK_PAGE_MASK) * CHUNK_INTS
      const end = c + 1 + CHUNK_RECORDS * RECORD_INTS
      const next = records[c]!
      for (let r = c + 1; r < end && rest !== 0; r += RECORD_INTS) {
        const other = records[r]!
        if (other === 0) break
        if (other === cohort && (records[r + 1]! & member) !== 0) {
          cohortRecords = records
          cohortAt = r
          continue
        }
        if (other !== tag) continue
        seen = true
        const mask = records[r + 1]!
        const both = mask & rest
        if (both === 0) continue
        const count = records[r + 2]!
        if (count === 1) {
          records[r + 1] = mask & ~both
          if (mask === both) emptied = true
        } else if (both === mask) {
          records[r + 2] = count - 1
        } else {
          // The rest of the record keeps its count; what is taken from goes on with one less. Without memory for that,
          // the references of these slots are forgotten together.
          records[r + 1] = mask & ~both
          this.#addRecord(base, tag, both, count - 1, true)
        }
        rest &= ~both
      }
      chunk = next
    }
    if (cohortRecords !== undefined && rest !== 0) {
      cohortRecords[cohortAt + 1]! &= ~member
      const left = allOf(meta[m + META_STATE]! & LENGTH_MASK) & ~rest
      if (cohortRecords[cohortAt + 1] !== 0) {
        if (left !== 0) this.#addRecord(base, tag, left, 1, seen)
      } else if (left !== 0) {
        cohortRecords[cohortAt] = tag
        cohortRecords[cohortAt + 1] = left
      } else emptied = true
      rest = 0
    }
    if (emptied) this.#compact(base)
    return bits & ~rest
  }

  /** Drops empty records, sets the flags anew, and frees the segment when nobody is left. */
  #compact(base: number): void {
    const meta = this.#metaPages[base >>> PAGE_SLOTS_LOG2]!
    const m = ((base & PAGE_SLOT_MASK) >>> 2) * META_INTS
    let flags = 0
    for (let chunk = meta[m + META_HEAD]!; chunk !== 0; ) {
      const records = this.#chunkPages[chunk >>> CHUNK_PAGE_LOG2]!
      const c = (chunk & CHUNK_PAGE_MASK) * CHUNK_INTS
      const next = records[c]!
      for (let r = c + 1 + (CHUNK_RECORDS - 1) * RECORD_INTS; r > c; r -= RECORD_INTS) {
        if (records[r] === 0) continue
        if (records[r + 1] === 0) this.#takeLast(m, meta, records, r)
        // What was moved here from the end has been looked at already, or is looked at now.
        const tag = records[r]!
        if (tag !== 0) flags |= tag < 0 ? 1 << GPU : 1 << (tag & 3)
      }
      chunk = next
    }
    if (meta[m + META_HEAD] === 0) this.#freeSegment(base)
    else {
      const state = meta[m + META_STATE]!
      if (((state >>> FLAGS_SHIFT) & SEVERAL) !== 0 && this.#hasSeveral(meta[m + META_HEAD]!)) {
        flags |= SEVERAL
      }
      meta[m + META_STATE] = (state & LENGTH_MASK) | (flags << FLAGS_SHIFT)
    }
  }

  /** True when some owner is there twice on one plane, by two records or by one and a cohort. */
  #hasSeveral(head: number): boolean {
    const masks = this.#planeMasks
    let several = false
    for (let pass = 0; pass < 3; pass++) {
      for (let chunk = head; chunk !== 0; ) {
        const records = this.#chunkPages[chunk >>> CHUNK_PAGE_LOG2]!
        const c = (chunk & CHUNK_PAGE_MASK) * CHUNK_INTS
        const end = c + 1 + CHUNK_RECORDS * RECORD_INTS
        for (let r = c + 1; r < end; r += RECORD_INTS) {
          const tag = records[r]!
          if (tag === 0) break
          if (tag < 0) {
            if (pass !== 1) continue
            const group = (-1 - tag) << 5
            for (let bits = records[r + 1]!; bits !== 0; bits &= bits - 1) {
              if (masks[(group + lowestBit(bits)) << 2] !== 0) several = true
            }
          } else if (pass === 2) masks[tag] = 0
          else if (pass === 0) {
            if (masks[tag] !== 0) several = true
            masks[tag] = 1
          }
        }
        chunk = records[c]!
      }
    }
    return several
  }

  /** Fills the place `hole` with the last record of the first chunk, which alone may have room. */
  #takeLast(m: number, meta: Int32Array, records: Int32Array, hole: number): void {
    const head = meta[m + META_HEAD]!
    const first = this.#chunkPages[head >>> CHUNK_PAGE_LOG2]!
    const c = (head & CHUNK_PAGE_MASK) * CHUNK_INTS
    let last = c + 1 + (CHUNK_RECORDS - 1) * RECORD_INTS
    while (first[last] === 0) last -= RECORD_INTS
    records[hole] = first[last]!
    records[hole + 1] = first[last + 1]!
    records[hole + 2] = first[last + 2]!
    first[last] = 0
    first[last + 1] = 0
    first[last + 2] = 0
    if (last === c + 1) {
      meta[m + META_HEAD] = first[c]!
      first[c] = this.#freeChunk
      this.#freeChunk = head
    }
  }

  #sweepOne(unit: number): void {
    const u = unit & (PAGE_UNITS - 1)
    const log2 = this.#unitClass[unit >>> 11]![u]!
    const meta = this.#metaPages[unit >>> 11]!
    for (let slot = unit * UNIT_SLOTS; slot < (unit + 1) * UNIT_SLOTS; slot += 1 << log2) {
      const m = ((slot & PAGE_SLOT_MASK) >>> 2) * META_INTS
      let emptied = false
      for (let chunk = meta[m + META_HEAD]!; chunk !== 0; ) {
        const records = this.#chunkPages[chunk >>> CHUNK_PAGE_LOG2]!
        const c = (chunk & CHUNK_PAGE_MASK) * CHUNK_INTS
        const end = c + 1 + CHUNK_RECORDS * RECORD_INTS
        for (let r = c + 1; r < end; r += RECORD_INTS) {
          const tag = records[r]!
          if (tag === 0) break
          if (tag < 0) {
            const left = records[r + 1]! & ~this.#dead[-1 - tag]!
            records[r + 1] = left
            if (left === 0) emptied = true
          } else if ((this.#dead[tag >>> 7]! & (1 << (tag >>> 2))) !== 0) {
            records[r + 1] = 0
            emptied = true
          }
        }
        chunk = records[c]!
      }
      if (emptied) this.#compact(slot)
    }
  }
}
