/** Bits that the number of an epoch takes. */
export const EPOCH_BITS = 11
const EPOCHS = 1 << EPOCH_BITS
/** The ghost's capacity is at most so many times the other one, which bounds how many epochs are in use. */
export const GHOST_CAPACITIES = 4
/** Epochs that the blocks of one capacity fill. */
const EPOCHS_PER_CAPACITY = 64

/** Bytes of one instance's counts. */
export const EPOCHS_BYTES = EPOCHS * Int32Array.BYTES_PER_ELEMENT

/** New numbers of epochs; never in use beyond one call of `renumber` and its caller. */
const renumbered = new Int32Array(EPOCHS)

/**
 * When the blocks of one endpoint were last sent, in epochs of a few blocks, and how many blocks are in which epoch: those
 * of the latest epochs that together hold no more than a capacity are what an LRU of that capacity would hold, to within
 * one epoch. There are two capacities, the longer one for the ghost.
 *
 * Epoch 0 means never. Blocks themselves are kept elsewhere, each with the number of its epoch.
 */
export class Epochs {
  readonly recentCapacity: number
  readonly ghostCapacity: number
  readonly #counts = new Int32Array(EPOCHS)
  /** Blocks after which an epoch ends. */
  #size = 1
  #now = 1
  #recentFrom = 1
  #ghostFrom = 1
  /** Blocks in the epochs from `recentFrom` on. */
  #recent = 0
  /** Blocks in the epochs from `ghostFrom` on. */
  #ghost = 0

  /**
   * @param recentCapacity blocks, at least 1
   * @param ghostCapacity blocks, 1 to GHOST_CAPACITIES times `recentCapacity`
   */
  constructor(recentCapacity: number, ghostCapacity: number) {
    this.recentCapacity = recentCapacity
    this.ghostCapacity = ghostCapacity
  }

  get now(): number {
    return this.#now
  }

  /** The oldest epoch within the shorter capacity. */
  get recentFrom(): number {
    return this.#recentFrom
  }

  /** The oldest epoch within the longer capacity; those before it are forgotten. */
  get ghostFrom(): number {
    return this.#ghostFrom
  }

  /** Blocks that are not forgotten. */
  get remembered(): number {
    return this.#ghost
  }

  /** Sets the length of epochs for a table that can hold so many blocks: fewer of them need finer epochs. */
  fit(slots: number): void {
    const most = Math.min(this.recentCapacity, slots / GHOST_CAPACITIES)
    this.#size = Math.ceil(most / EPOCHS_PER_CAPACITY)
  }

  /** True while so many blocks can be entered without `renumber`. */
  hasRoomFor(blocks: number): boolean {
    return this.#now + Math.ceil(blocks / this.#size) < EPOCHS
  }

  /** Counts a block as sent now, and answers the epoch. */
  enter(): number {
    const counts = this.#counts
    if (counts[this.#now]! >= this.#size) this.#now++
    counts[this.#now]!++
    this.#ghost++
    this.#recent++
    while (this.#recent > this.recentCapacity) this.#recent -= counts[this.#recentFrom++]!
    while (this.#ghost > this.ghostCapacity) this.#ghost -= counts[this.#ghostFrom++]!
    return this.#now
  }

  /** A block of the epoch is no longer in it. */
  leave(epoch: number): void {
    if (epoch < this.#ghostFrom) return
    this.#counts[epoch]!--
    this.#ghost--
    if (epoch >= this.#recentFrom) this.#recent--
  }

  /**
   * Joins neighbouring epochs that are small by now and numbers all anew.
   *
   * @returns new numbers by old ones, 0 for those that are forgotten; good until the next call of any instance's `renumber`
   */
  renumber(): Int32Array {
    const counts = this.#counts
    renumbered.fill(0)
    let last = 0
    let recentFrom = 0
    for (let epoch = this.#ghostFrom; epoch <= this.#now; epoch++) {
      const blocks = counts[epoch]!
      const isFirstRecent = epoch === this.#recentFrom
      if (last === 0 || isFirstRecent || counts[last]! + blocks > this.#size)
        counts[++last] = blocks
      else counts[last]! += blocks
      if (isFirstRecent) recentFrom = last
      renumbered[epoch] = last
    }
    counts.fill(0, last + 1)
    this.#ghostFrom = 1
    this.#recentFrom = recentFrom
    this.#now = last
    return renumbered
  }
}
