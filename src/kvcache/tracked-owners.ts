import { type Endpoint, sharesPort } from '../framework/endpoint.ts'
import type { Endpoints } from '../framework/services.ts'
import { canonicalAddress } from './events/topic.ts'
import type { HashAlignment } from './hashing/hash-alignment.ts'
import { OwnedHashes } from './hashing/owned-hashes.ts'
import { MemoryBudget } from './segments/memory-budget.ts'
import { SegmentIndex } from './segments/segment-index.ts'

/**
 * Where blocks are whose beginning is known by the engine's hash of it alone: `root` for the first block of a chain,
 * `anywhere` for blocks behind it too.
 */
export type Anchors = 'root' | 'anywhere'

/** What all caches share. */
interface Shared {
  readonly index: SegmentIndex
  readonly budget: MemoryBudget
  /** Those that have anchors. */
  readonly anchored: Set<Owner>
}

/** One cache: what one data-parallel rank of one endpoint holds. */
export class Owner {
  readonly endpoint: TrackedEndpoint
  readonly rank: number
  readonly #index: SegmentIndex
  /** Engine hashes of the blocks that the rank holds. */
  readonly join: OwnedHashes
  /** Tokens per block as the rank's events say; undefined before the first. */
  blockTokens: number | undefined
  /** True when a publisher feeds it; false when it holds only speculation. */
  fed = false
  /** How its publisher's blocks are hashed; undefined before it has one. */
  alignment: HashAlignment | undefined
  #number: number
  #epoch = 0
  readonly #anchored: Set<Owner>
  #anchors: Anchors | undefined

  constructor(endpoint: TrackedEndpoint, rank: number, shared: Shared) {
    const { index, budget, anchored } = shared
    this.endpoint = endpoint
    this.rank = rank
    this.#index = index
    this.#anchored = anchored
    this.join = new OwnedHashes(index, budget)
    this.#number = index.addOwner()
    this.join.begin(this.#number)
  }

  /** Its number in the index; another one after `clear`. */
  get number(): number {
    return this.#number
  }

  /** Counts the times that it was cleared. */
  get epoch(): number {
    return this.#epoch
  }

  /** Undefined when requests find all its blocks by their tokens. */
  get anchors(): Anchors | undefined {
    return this.#anchors
  }

  /** It holds blocks now that are found by the engine's hashes alone. */
  anchor(where: Anchors): void {
    if (this.#anchors !== 'anywhere') this.#anchors = where
    this.#anchored.add(this)
  }

  /** Forgets all it held. */
  clear(): void {
    this.retire()
    this.#number = this.#index.addOwner()
    this.join.begin(this.#number)
  }

  /** Forgets all it held, for good. */
  retire(): void {
    this.#index.retireOwner(this.#number)
    this.join.end()
    this.#anchors = undefined
    this.#anchored.delete(this)
    this.#epoch++
  }
}

/** An endpoint and the caches behind it. */
export class TrackedEndpoint {
  readonly endpoint: Endpoint
  readonly address: string
  /** True for one of several ranks behind one port: it has no cache but that rank's. */
  readonly isRank: boolean
  readonly owners: Owner[] = []

  constructor(endpoint: Endpoint) {
    this.endpoint = endpoint
    this.address = canonicalAddress(endpoint.address)
    this.isRank = sharesPort(endpoint)
  }

  /** Tokens per block as its events say; undefined before the first. */
  get blockTokens(): number | undefined {
    for (const owner of this.owners) {
      if (owner.blockTokens !== undefined) return owner.blockTokens
    }
    return undefined
  }
}

/** The endpoints that discovery knows, each with the caches behind it, and the index that they share. */
export class TrackedOwners {
  readonly budget: MemoryBudget
  readonly index: SegmentIndex
  /** Caches with blocks that are found by the engine's hashes alone. */
  readonly anchored = new Set<Owner>()
  readonly #bySlot: (TrackedEndpoint | undefined)[] = []
  readonly #byAddress = new Map<string, TrackedEndpoint[]>()
  readonly #additions: ((added: TrackedEndpoint) => void)[] = []
  readonly #removals: ((removed: TrackedEndpoint) => void)[] = []
  readonly #stop: () => void

  constructor(endpoints: Endpoints, maxMemoryBytes: number) {
    this.budget = new MemoryBudget(maxMemoryBytes)
    this.index = new SegmentIndex(this.budget)
    this.#stop = endpoints.listen({
      added: (endpoint) => this.#add(endpoint),
      removed: (endpoint) => this.#remove(endpoint),
    })
  }

  /** Undefined when the endpoint is gone. */
  of(endpoint: Endpoint): TrackedEndpoint | undefined {
    const tracked = this.#bySlot[endpoint.slot]
    return tracked?.endpoint.id === endpoint.id ? tracked : undefined
  }

  /** Those at an IP address in the form of `canonicalAddress`, in no order. */
  at(address: string): readonly TrackedEndpoint[] {
    return this.#byAddress.get(address) ?? []
  }

  list(): readonly TrackedEndpoint[] {
    return this.#bySlot.filter((tracked) => tracked !== undefined)
  }

  /** Adds a cache to the endpoint. */
  add(tracked: TrackedEndpoint, rank: number): Owner {
    const owner = new Owner(tracked, rank, this)
    tracked.owners.push(owner)
    return owner
  }

  /** Calls back when an endpoint has come; not for those already there. */
  onAdded(callback: (added: TrackedEndpoint) => void): void {
    this.#additions.push(callback)
  }

  /** Calls back when an endpoint has gone, after its caches are forgotten. */
  onRemoved(callback: (removed: TrackedEndpoint) => void): void {
    this.#removals.push(callback)
  }

  close(): void {
    this.#stop()
  }

  #add(endpoint: Endpoint): void {
    const tracked = new TrackedEndpoint(endpoint)
    this.#bySlot[endpoint.slot] = tracked
    const neighbours = this.#byAddress.get(tracked.address)
    if (neighbours === undefined) this.#byAddress.set(tracked.address, [tracked])
    else neighbours.push(tracked)
    for (const callback of this.#additions) callback(tracked)
  }

  #remove(endpoint: Endpoint): void {
    const tracked = this.of(endpoint)
    if (tracked === undefined) return
    this.#bySlot[endpoint.slot] = undefined
    const left = this.at(tracked.address).filter((other) => other !== tracked)
    if (left.length === 0) this.#byAddress.delete(tracked.address)
    else this.#byAddress.set(tracked.address, left)
    for (const owner of tracked.owners) owner.retire()
    tracked.owners.length = 0
    for (const callback of this.#removals) callback(tracked)
  }
}
