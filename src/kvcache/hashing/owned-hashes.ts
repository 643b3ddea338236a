import type { MemoryBudget } from '../segments/memory-budget.ts'
import { REMOVED, type SegmentIndex, UNKNOWN } from '../segments/segment-index.ts'
import { HashJoin } from './hash-join.ts'

/** No owner has this number. */
const NOBODY = 0

/** What became of the blocks of one event. */
export interface StoredBlocks {
  /** Blocks that the cache holds once more. */
  readonly entered: number
  /** Those whose hash is known to be another block's. */
  readonly conflicts: number
  /** Those for which there is no memory. */
  readonly full: number
}

/**
 * The blocks that one cache holds, by the hashes that its engine gives them.
 *
 * Where engines hash alike, the index knows a block by its hash, once for all of them. Where they do not, the first one's
 * hash is the block's there, and the others have tables of their own.
 */
export class OwnedHashes {
  readonly #index: SegmentIndex
  /** Hashes by which the index does not know the blocks. */
  readonly #own: HashJoin
  #owner = NOBODY
  /** More or less than what the index has lost. */
  #forgotten = 0
  /** Key of the block that `get` found. */
  keyLo = 0
  keyHi = 0

  constructor(index: SegmentIndex, budget: MemoryBudget) {
    this.#index = index
    this.#own = new HashJoin(budget)
  }

  /** Begins as an owner of the index that holds nothing. */
  begin(owner: number): void {
    this.#owner = owner
  }

  /** Forgets everything; its owner is retired. */
  end(): void {
    this.#owner = NOBODY
    this.#own.clear()
    this.#forgotten = 0
  }

  /** Blocks held. */
  get size(): number {
    return this.#index.heldBy(this.#owner)
  }

  /**
   * References to blocks that the engine has and that are not known here for want of memory: their removals are still to
   * come, and what is stored after them cannot be placed.
   */
  get forgotten(): number {
    return this.#index.lostBy(this.#owner) + this.#forgotten
  }

  /** Takes note of references to blocks that cannot be known. */
  forget(references: number): void {
    this.#forgotten += references
  }

  /** Looks a block up that is held; true leaves its key in `keyLo` and `keyHi`. */
  get(lo: number, hi: number): boolean {
    const own = this.#own
    if (own.size > 0 && own.get(lo, hi)) {
      this.keyLo = own.keyLo
      this.keyHi = own.keyHi
      return this.#index.holds(this.#owner, own.keyLo, own.keyHi)
    }
    if (!this.#index.findNamed(this.#owner, lo, hi)) return false
    this.keyLo = this.#index.keyLo
    this.keyHi = this.#index.keyHi
    return true
  }

  /**
   * Adds one reference to each block of a chain.
   *
   * @param hashes the engine's, pairs as `keys`
   * @param parentLo with `parentHi` the key of the block before, (0, 0) when there is none
   */
  store(
    plane: number,
    hashes: Int32Array,
    keys: Int32Array,
    count: number,
    parentLo: number,
    parentHi: number,
  ): StoredBlocks {
    const index = this.#index
    const stored = index.store(this.#owner, plane, keys, 0, count, parentLo, parentHi, hashes)
    const { unnamed, unnamedCount } = index
    let conflicts = 0
    let refused = 0
    let next = 0
    const areAllNamed = this.#own.size === 0 && unnamedCount === 0
    for (let i = 0; i < stored && !areAllNamed; i++) {
      const isUnnamed = next < unnamedCount && unnamed[next] === i
      if (isUnnamed) next++
      const lo = hashes[2 * i]!
      const hi = hashes[2 * i + 1]!
      const keyLo = keys[2 * i]!
      const keyHi = keys[2 * i + 1]!
      const isOwn = this.#own.get(lo, hi)
      if (!isOwn && !isUnnamed) continue
      // One hash is one block: what it was first taken for stays, so that its removals find it.
      const isOther = isOwn
        ? this.#own.keyLo !== keyLo || this.#own.keyHi !== keyHi
        : index.findNamed(this.#owner, lo, hi)
      if (!isOther && this.#own.add(lo, hi, keyLo, keyHi)) continue
      index.remove(this.#owner, plane, keyLo, keyHi)
      if (isOther) conflicts++
      else refused++
    }
    const full = count - stored + refused
    this.#forgotten += full
    return { entered: stored - conflicts - refused, conflicts, full }
  }

  /** Adds one reference to a block by its hash alone; false when it is not known. */
  storeKnown(plane: number, lo: number, hi: number): boolean {
    if (!this.get(lo, hi)) {
      if (this.forgotten === 0) return false
      this.#forgotten++
      return true
    }
    const key = Int32Array.of(this.keyLo, this.keyHi)
    const { entered, full } = this.store(plane, Int32Array.of(lo, hi), key, 1, 0, 0)
    this.#forgotten -= full
    return entered > 0
  }

  /** Takes one reference away, also one that was forgotten; false when the cache is not known to have it. */
  remove(plane: number, lo: number, hi: number): boolean {
    const own = this.#own
    if (own.size > 0 && own.get(lo, hi)) {
      const { keyLo, keyHi } = own
      if (!this.#index.remove(this.#owner, plane, keyLo, keyHi)) {
        if (this.#index.holds(this.#owner, keyLo, keyHi)) return false
        if (this.forgotten > 0) this.#forgotten--
      }
      own.drop(lo, hi)
      return true
    }
    const result = this.#index.removeNamed(this.#owner, plane, lo, hi)
    if (result === REMOVED) return true
    if (result !== UNKNOWN || this.forgotten === 0) return false
    this.#forgotten--
    return true
  }

  /**
   * The same for many hashes.
   *
   * @param hashes pairs
   * @returns how many references were taken away
   */
  removeAll(plane: number, hashes: Int32Array, count: number): number {
    let removed = 0
    for (let i = 0; i < count; ) {
      if (this.#own.size > 0) {
        if (this.remove(plane, hashes[2 * i]!, hashes[2 * i + 1]!)) removed++
        i++
        continue
      }
      i += this.#index.removeNamedRun(this.#owner, plane, hashes, i, count - i)
      const forgotten = Math.min(this.#index.unknownOfRun, this.forgotten)
      this.#forgotten -= forgotten
      removed += this.#index.removedOfRun + forgotten
    }
    return removed
  }

  /**
   * Forgets the hashes in one of the parts of its own table whose blocks are gone.
   *
   * @returns entries that were looked at
   */
  sweep(partition: number, isGone: (keyLo: number, keyHi: number) => boolean): number {
    return this.#own.sweep(partition, isGone)
  }
}
