import type { MemoryBudget } from '../segments/memory-budget.ts'
import { EPOCH_BITS, EPOCHS_BYTES, type Epochs } from './epochs.ts'

const EPOCH_MASK = (1 << EPOCH_BITS) - 1
const WAY_BITS = 3
/** Blocks of a bucket: 8 halves of keys and 8 words fill one line of the processor's cache. */
const WAYS = 1 << WAY_BITS
const BUCKET_SHIFT = WAY_BITS + 1
/** Blocks whose buckets are fetched into the processor's cache together. */
const FETCHED = 32
const BYTES_PER_SLOT = 8
const LEAST_SLOTS = 512
/** A word has the epoch and as many low bits of the key's other half, by which buckets are chosen. */
const MOST_SLOTS = WAYS << (32 - EPOCH_BITS)
/** What was read ahead: kept, so that reading is not left out as useless. */
const lastRead = new Int32Array(1)
/** Load beyond which the table doubles. */
const FULL = 1 / 4
/** Load of a table that cannot double any more: what overflows from buckets then is the oldest. */
const LARGEST_LOAD = 0.6

/**
 * The blocks that one endpoint was last sent, found by their keys: a set-associative table in which a block that finds its
 * bucket full takes the place of the longest unused one there. It doubles as the endpoint is used, within the memory there is.
 *
 * Blocks of a prompt are refreshed from the last to the first, so that none is younger than the one before it in its chain:
 * where a chain is known, it is known from its beginning on, but for blocks that lost their place in a full bucket.
 */
export class SentBlocks {
  readonly epochs: Epochs
  readonly #budget: MemoryBudget
  readonly #slotsNeeded: number
  #table = new Int32Array(LEAST_SLOTS * 2)
  #mask = LEAST_SLOTS / WAYS - 1
  /** What the last `search` found: blocks within the engine's own capacity. */
  recent = 0
  /** What the last `search` found: blocks within the ghost's capacity. */
  ghost = 0
  #lastEpoch = 0

  private constructor(epochs: Epochs, budget: MemoryBudget) {
    this.epochs = epochs
    this.#budget = budget
    this.#slotsNeeded = Math.min(MOST_SLOTS, epochs.ghostCapacity / LARGEST_LOAD)
    epochs.fit(LEAST_SLOTS)
  }

  /** Remembers blocks as `epochs` says; undefined when there is no memory for the least table. */
  static within(budget: MemoryBudget, epochs: Epochs): SentBlocks | undefined {
    const bytes = LEAST_SLOTS * BYTES_PER_SLOT + EPOCHS_BYTES
    return budget.take(bytes) ? new SentBlocks(epochs, budget) : undefined
  }

  get #slots(): number {
    return this.#table.length / 2
  }

  /** Gives the memory back; it must not be used any more. */
  release(): void {
    this.#budget.give(this.#slots * BYTES_PER_SLOT + EPOCHS_BYTES)
  }

  /**
   * Makes blocks of a prompt, from its first on, the most recent ones; of more than are remembered, the first.
   *
   * @param pairs keys (lo, hi), those of the prompt from position `from` on
   */
  record(pairs: Int32Array, from: number, blocks: number): void {
    const { epochs } = this
    const asked = Math.min(blocks, epochs.ghostCapacity)
    this.#growFor(asked)
    const count = Math.min(asked, this.#slots)
    if (!epochs.hasRoomFor(count)) this.#renumber()
    for (let end = from + count; end > from; end -= FETCHED) {
      this.#refresh(pairs, Math.max(from, end - FETCHED), end)
    }
  }

  /** Makes blocks of a prompt the most recent ones, the last of them first. */
  #refresh(pairs: Int32Array, from: number, end: number): void {
    const { epochs } = this
    const table = this.#table
    this.#fetch(pairs, from, end)
    for (let i = 2 * (end - 1); i >= 2 * from; i -= 2) {
      const lo = pairs[i]!
      const hi = pairs[i + 1]!
      let way = this.#find(lo, hi)
      if (way < 0) {
        way = this.#oldest(lo)
        table[way] = hi
      } else if ((table[way + WAYS]! & EPOCH_MASK) === epochs.now) continue
      epochs.leave(table[way + WAYS]! & EPOCH_MASK)
      table[way + WAYS] = (lo << EPOCH_BITS) | epochs.enter()
    }
  }

  /** Reads the buckets that are needed next: unlike the updates, reads need not wait for each other. */
  #fetch(pairs: Int32Array, from: number, end: number): void {
    const table = this.#table
    const mask = this.#mask
    let read = 0
    for (let i = 2 * from; i < 2 * end; i += 2) {
      const first = (pairs[i]! & mask) << BUCKET_SHIFT
      read ^= table[first]! ^ table[first + 2 * WAYS - 1]!
    }
    lastRead[0] = read
  }

  /**
   * Sets `recent` and `ghost`: how many blocks from the first on are remembered. Where blocks have lost their places the answer
   * depends on where it looks; it is the same whenever it is asked, and whatever other endpoints hold.
   *
   * @param pairs keys (lo, hi), those of the prompt from position `from` on
   */
  search(pairs: Int32Array, from: number, blocks: number): void {
    const { ghostFrom, recentFrom } = this.epochs
    this.ghost = this.#leading(pairs, from, blocks, ghostFrom)
    const isAllRecent = this.#lastEpoch >= recentFrom
    this.recent = isAllRecent ? this.ghost : this.#leading(pairs, from, this.ghost, recentFrom)
  }

  /** How many blocks from the first on were sent in the epoch or later; `lastEpoch` is that of the last of them. */
  #leading(pairs: Int32Array, from: number, blocks: number, least: number): number {
    let known = 0
    let end = blocks
    let step = 1
    let at = 0
    while (known < end) {
      let epoch = this.#epochOf(pairs, from + at)
      // One block that has lost its place is not the end. The first of a chain is the last to lose it.
      if (epoch < least && at > 0 && at + 1 < end) epoch = this.#epochOf(pairs, from + at + 1)
      if (epoch >= least) {
        this.#lastEpoch = epoch
        if (known > 0) step *= 2
        known = at + 1
      } else {
        step = 0
        end = at
      }
      at = step > 0 ? Math.min(known + step, end) - 1 : (known + end) >>> 1
    }
    return known
  }

  /** The epoch of the block at a position; 0 when it is not in the table. */
  #epochOf(pairs: Int32Array, position: number): number {
    const way = this.#find(pairs[2 * position]!, pairs[2 * position + 1]!)
    return way < 0 ? 0 : this.#table[way + WAYS]! & EPOCH_MASK
  }

  #find(lo: number, hi: number): number {
    const table = this.#table
    const key = lo << EPOCH_BITS
    const first = (lo & this.#mask) << BUCKET_SHIFT
    for (let way = first; way < first + WAYS; way++) {
      if (table[way] === hi && (table[way + WAYS]! ^ key) >>> EPOCH_BITS === 0) return way
    }
    return -1
  }

  /** The place in the key's bucket that was not used for longest. */
  #oldest(lo: number): number {
    const table = this.#table
    const first = (lo & this.#mask) << BUCKET_SHIFT
    // Epoch and way in one number, whose least is found without branches: the processor would guess half of them wrong.
    let least = (table[first + WAYS]! & EPOCH_MASK) << WAY_BITS
    for (let way = 1; way < WAYS; way++) {
      const other = ((table[first + WAYS + way]! & EPOCH_MASK) << WAY_BITS) | way
      const difference = other - least
      least += difference & (difference >> 31)
    }
    return first + (least & (WAYS - 1))
  }

  #renumber(): void {
    const table = this.#table
    const renumbered = this.epochs.renumber()
    for (let bucket = WAYS; bucket < table.length; bucket += 2 * WAYS) {
      for (let at = bucket; at < bucket + WAYS; at++) {
        const word = table[at]!
        table[at] = (word & ~EPOCH_MASK) | renumbered[word & EPOCH_MASK]!
      }
    }
  }

  /** Doubles the table until so many more blocks have room, or memory is short. */
  #growFor(blocks: number): void {
    const wanted = (this.epochs.remembered + blocks) / FULL
    while (this.#slots < wanted && this.#slots < this.#slotsNeeded) {
      if (!this.#budget.takeUnspared(this.#slots * BYTES_PER_SLOT)) return
      this.#double()
    }
  }

  #double(): void {
    const old = this.#table
    const table = new Int32Array(old.length * 2)
    const mask = this.#mask * 2 + 1
    for (let bucket = 0; bucket < old.length; bucket += 2 * WAYS) {
      for (let way = bucket; way < bucket + WAYS; way++) {
        const word = old[way + WAYS]!
        // Blocks keep their way: those of one new bucket come from one old bucket.
        const to = (((word >>> EPOCH_BITS) & mask) << BUCKET_SHIFT) + way - bucket
        table[to] = old[way]!
        table[to + WAYS] = word
      }
    }
    this.#table = table
    this.#mask = mask
    this.epochs.fit(this.#slots)
  }
}
