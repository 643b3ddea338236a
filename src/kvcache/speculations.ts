import type { Clock, Speculation } from '../framework/services.ts'
import type { PromptKeys } from './hashing/request-keys.ts'
import type { IndexEviction } from './index-eviction.ts'
import { type SegmentIndex, SPECULATIVE } from './segments/segment-index.ts'
import type { Owner } from './tracked-owners.ts'

interface Held {
  readonly owner: Owner
  readonly epoch: number
  readonly keys: PromptKeys
  /** Blocks stored per prompt: less than asked when the index is full. */
  readonly stored: Int32Array
  dueMs: number
  gone: boolean
}

interface Due {
  readonly atMs: number
  readonly held: Held
}

/** Prompts counted as present before the engine has said so, each until its time is up. */
export class Speculations {
  readonly #index: SegmentIndex
  readonly #eviction: IndexEviction
  readonly #clock: Clock
  // A binary heap by time. An entry whose time is not its speculation's any more is passed over.
  readonly #heap: Due[] = []
  #count = 0

  constructor(index: SegmentIndex, eviction: IndexEviction, clock: Clock) {
    this.#index = index
    this.#eviction = eviction
    this.#clock = clock
  }

  /** Speculations that are alive. */
  get count(): number {
    return this.#count
  }

  /** @param ttlMs infinite until `expireIn` says otherwise */
  add(owner: Owner, keys: PromptKeys, ttlMs: number): Speculation {
    const stored = new Int32Array(keys.counts.length)
    let at = 0
    for (let p = 0; p < stored.length; p++) {
      const count = keys.counts[p]!
      this.#eviction.makeRoom(count)
      stored[p] = this.#index.store(owner.number, SPECULATIVE, keys.pairs, at, count, 0, 0)
      at += count
    }
    const held: Held = {
      owner,
      epoch: owner.epoch,
      keys,
      stored,
      dueMs: this.#clock.nowMs() + ttlMs,
      gone: false,
    }
    this.#count++
    if (Number.isFinite(ttlMs)) this.#push({ atMs: held.dueMs, held })
    return {
      expireIn: (delayMs) => {
        if (held.gone) return
        held.dueMs = this.#clock.nowMs() + delayMs
        this.#push({ atMs: held.dueMs, held })
      },
    }
  }

  /** Forgets those whose time is up. */
  expire(): void {
    const now = this.#clock.nowMs()
    while (this.#heap.length > 0 && this.#heap[0]!.atMs <= now) {
      const { atMs, held } = this.#pop()
      if (held.gone || held.dueMs !== atMs) continue
      held.gone = true
      this.#count--
      // A cleared owner has forgotten it already.
      if (held.owner.epoch !== held.epoch) continue
      let at = 0
      for (let p = 0; p < held.stored.length; p++) {
        this.#index.removeAll(held.owner.number, SPECULATIVE, held.keys.pairs, at, held.stored[p]!)
        at += held.keys.counts[p]!
      }
    }
  }

  #push(due: Due): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(due)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (heap[parent]!.atMs <= due.atMs) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = due
  }

  #pop(): Due {
    const heap = this.#heap
    const first = heap[0]!
    const last = heap.pop()!
    if (heap.length === 0) return first
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && heap[child + 1]!.atMs < heap[child]!.atMs) child++
      if (heap[child]!.atMs >= last.atMs) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
    return first
  }
}
