import type { Clock, Logger, Metrics, Notices } from '../framework/services.ts'
import { PARTITIONS } from './hashing/hash-join.ts'
import { PAGE_BYTES } from './segments/segment-pages.ts'
import type { Owner, TrackedOwners } from './tracked-owners.ts'

/** Notice of an index that forgets blocks for want of memory. */
const INDEX_FULL = 'kv-index-full'
const MEBIBYTE = 1024 * 1024
const LEAST_SHARE = 1 / 8
const MOST_SHARE = 1 / 2
/** Where fewer slots are free, and no page can be had, a round begins. */
const FREE_PART = 1 / 16
// A unit of work is 32 slots or 32 entries of a join: about 2 microseconds.
const ENTRIES_PER_UNIT = 32
const UNITS_PER_BLOCK = 4
const MIN_UNITS = 16
const MAX_UNITS = 512
/** How long the notice stays after the last round. */
const SHOWN_MS = 60_000
/** Before another round where one has changed nothing. */
const RETRY_MS = 1000

/**
 * Keeps the index within its memory: where it is used up, the blocks that were not matched for longest are forgotten, in
 * rounds that are made in small steps as new blocks come. A round goes through the segments, then through the joins to
 * the engines' hashes, which lose what the index has lost.
 */
export class IndexEviction {
  readonly #owners: TrackedOwners
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #notices: Notices
  #joins: readonly Owner[] | undefined
  #join = 0
  #partition = 0
  #share = LEAST_SHARE
  #shownUntilMs = Number.NEGATIVE_INFINITY
  #notBeforeMs = Number.NEGATIVE_INFINITY
  #evictedBefore = 0
  #bytesBefore = 0

  constructor(
    owners: TrackedOwners,
    services: {
      readonly clock: Clock
      readonly logger: Logger
      readonly notices: Notices
      readonly metrics: Metrics
    },
  ) {
    this.#owners = owners
    this.#clock = services.clock
    this.#logger = services.logger
    this.#notices = services.notices
    const evicted = services.metrics.counter(
      'epp_kv_blocks_evicted_total',
      'Blocks that the prefix index forgot for want of memory, least recently matched first.',
    )
    this.#count = (blocks) => evicted.inc(blocks)
  }
  readonly #count: (blocks: number) => void

  /** Makes some room if there is too little, before blocks are stored; takes time in proportion to their number. */
  makeRoom(blocks: number): void {
    if (this.#isNeeded()) this.#step(Math.min(MIN_UNITS + blocks * UNITS_PER_BLOCK, MAX_UNITS))
  }

  /** Makes room as far as it is needed, for at most `budgetMs`. */
  run(budgetMs: number): void {
    const startedMs = performance.now()
    while (this.#isNeeded() && performance.now() - startedMs < budgetMs) this.#step(MIN_UNITS)
    if (this.#shownUntilMs < this.#clock.nowMs()) this.#hide()
  }

  /** The limit is another one: what there was to say of the old one is not true any more. */
  limitChanged(): void {
    this.#notBeforeMs = Number.NEGATIVE_INFINITY
    this.#hide()
  }

  /** Some blocks found no room. */
  overflowed(): void {
    this.#show()
  }

  get #isActive(): boolean {
    return this.#joins !== undefined
  }

  #isNeeded(): boolean {
    if (this.#isActive) return true
    const { budget, index } = this.#owners
    const left = budget.limitBytes - budget.usedBytes
    const { spareBytes } = budget
    if (left >= PAGE_BYTES + spareBytes) return false
    const isShort =
      budget.wasRefused || left < spareBytes / 2 || index.freeSlots < index.slots * FREE_PART
    return isShort && index.blocks > 0 && this.#clock.nowMs() >= this.#notBeforeMs
  }

  #step(units: number): void {
    if (!this.#isActive) this.#begin()
    const { eviction } = this.#owners.index
    let left = units
    if (eviction.isActive) {
      const before = eviction.evicted
      left -= eviction.step(left)
      if (eviction.evicted > before) this.#count(eviction.evicted - before)
      if (eviction.isActive) return
    }
    while (left > 0) {
      const owner = this.#joins![this.#join]
      if (owner === undefined) {
        this.#end()
        return
      }
      const looked = owner.join.sweep(this.#partition, this.#isGone)
      left -= 1 + looked / ENTRIES_PER_UNIT
      if (++this.#partition < PARTITIONS) continue
      this.#partition = 0
      this.#join++
    }
  }

  readonly #isGone = (keyLo: number, keyHi: number): boolean =>
    !this.#owners.index.contains(keyLo, keyHi)

  #begin(): void {
    const { budget, index } = this.#owners
    budget.wasRefused = false
    const wanted = this.#wantedBytes()
    // Bytes come back by whole pages, so where a round has not brought enough the next one takes more.
    const share = Math.max(this.#share, (wanted / budget.usedBytes) * 1.25)
    index.evict({ share: Math.min(share, MOST_SHARE), pages: Math.ceil(wanted / PAGE_BYTES) })
    this.#joins = this.#owners.list().flatMap(({ owners }) => owners)
    this.#join = 0
    this.#partition = 0
    this.#evictedBefore = index.eviction.evicted
    this.#bytesBefore = budget.usedBytes
    this.#show()
  }

  #end(): void {
    this.#joins = undefined
    const { budget, index } = this.#owners
    const isUseless =
      index.eviction.evicted === this.#evictedBefore && budget.usedBytes >= this.#bytesBefore
    if (isUseless) this.#notBeforeMs = this.#clock.nowMs() + RETRY_MS
    this.#share = this.#wantedBytes() > 0 ? Math.min(this.#share * 2, MOST_SHARE) : LEAST_SHARE
  }

  /** Bytes to give back, so that tables have something to grow with. */
  #wantedBytes(): number {
    const { usedBytes, limitBytes, spareBytes } = this.#owners.budget
    return Math.max(0, usedBytes + spareBytes - limitBytes)
  }

  #show(): void {
    const isShown = this.#shownUntilMs > Number.NEGATIVE_INFINITY
    this.#shownUntilMs = this.#clock.nowMs() + SHOWN_MS
    if (isShown) return
    const mebibytes = Math.round(this.#owners.budget.limitBytes / MEBIBYTE)
    const text = `the prefix index has reached its ${mebibytes} MiB: the blocks that were not matched for longest are forgotten, though engines hold them; raise maxMemoryMiB`
    this.#notices.set(INDEX_FULL, text)
    this.#logger.warnOnce(INDEX_FULL, text)
  }

  #hide(): void {
    if (this.#shownUntilMs === Number.NEGATIVE_INFINITY) return
    this.#shownUntilMs = Number.NEGATIVE_INFINITY
    this.#notices.set(INDEX_FULL, undefined)
  }
}
