import type { PromptTokens } from '../framework/attributes.ts'
import type { Endpoint } from '../framework/endpoint.ts'
import type { InferenceRequest } from '../framework/request.ts'
import type { Endpoints, PrefixMatch, RoutedPrefixIndex } from '../framework/services.ts'
import { BlockLru } from './block-lru.ts'
import { ChainHasher } from './hashing/chain-hash.ts'
import { type PromptKeys, RequestKeys } from './hashing/request-keys.ts'
import { GPU } from './segments/segment-index.ts'
import { type Owner, type TrackedEndpoint, TrackedOwners } from './tracked-owners.ts'

const MIN_BLOCK_TOKENS = 64
const DEFAULT_MAX_PREFIX_TOKENS = 131_072
const DEFAULT_BLOCKS_PER_ENDPOINT = 31_250

export interface RoutedPrefixIndexOptions {
  readonly endpoints: Endpoints
  readonly maxMemoryBytes: number
  /** Times an engine's own capacity that is remembered of it, where it states one; unlimited when absent. */
  readonly capacities?: number
  /** Blocks remembered per endpoint at most; 31,250 when absent. */
  readonly blocksPerEndpoint?: number
  /** Hashes of prompts, shared with another index; its own when absent. */
  readonly keys?: RequestKeys
}

/**
 * Guesses what endpoints hold from what they were sent: per endpoint the blocks of the latest prompts, up to a number
 * of blocks. Knows nothing of what engines evict.
 */
export class KvRoutedPrefixIndex implements RoutedPrefixIndex {
  readonly #owners: TrackedOwners
  readonly #keys: RequestKeys
  readonly #recent = new WeakMap<TrackedEndpoint, BlockLru>()
  readonly #capacities: number
  /** Id of the endpoint to which a prompt was recorded: several plugins may tell of one pick. */
  readonly #recorded = new WeakMap<PromptTokens, string>()
  #fresh = new Uint8Array(256)
  #blockTokens: number | undefined
  #maxPrefixTokens = DEFAULT_MAX_PREFIX_TOKENS
  #blocksPerEndpoint: number

  constructor(options: RoutedPrefixIndexOptions) {
    this.#owners = new TrackedOwners(options.endpoints, options.maxMemoryBytes)
    this.#keys = options.keys ?? new RequestKeys(new ChainHasher())
    this.#capacities = options.capacities ?? Number.POSITIVE_INFINITY
    this.#blocksPerEndpoint = options.blocksPerEndpoint ?? DEFAULT_BLOCKS_PER_ENDPOINT
  }

  configure(options: {
    readonly blockTokens: number | undefined
    readonly maxPrefixTokens: number
    readonly blocksPerEndpoint: number
  }): void {
    this.#blockTokens = options.blockTokens
    this.#maxPrefixTokens = options.maxPrefixTokens
    if (options.blocksPerEndpoint === this.#blocksPerEndpoint) return
    this.#blocksPerEndpoint = options.blocksPerEndpoint
    for (const tracked of this.#owners.list()) {
      this.#recent.delete(tracked)
      for (const owner of tracked.owners) owner.clear()
    }
  }

  match(
    request: InferenceRequest,
    tokens: PromptTokens,
    endpoints: readonly Endpoint[],
  ): PrefixMatch {
    const { index } = this.#owners
    const count = endpoints.length
    const blocks = new Int32Array(count)
    const blockTokens = new Int32Array(count)
    for (let e = 0; e < count; e++) blockTokens[e] = this.#blockTokensOf(endpoints[e]!)
    const usable = new Int32Array(count)
    for (let first = 0; first < count; first++) {
      const size = blockTokens[first]!
      if (blockTokens.indexOf(size) < first) continue
      const keys = this.#keysOf(request, tokens, size)
      let at = 0
      for (let p = 0; p < keys.counts.length; p++) {
        const asked = this.#capped(keys.counts[p]!, size)
        index.lookup(keys.pairs, at, asked)
        at += keys.counts[p]!
        for (let e = 0; e < count; e++) {
          if (blockTokens[e] !== size) continue
          usable[e]! += asked
          const owner = this.#owners.of(endpoints[e]!)?.owners[0]
          if (owner !== undefined) blocks[e]! += index.matched(owner.number)
        }
      }
    }
    return { blocks, weighted: new Float64Array(blocks), blockTokens, usableBlocks: usable }
  }

  record(request: InferenceRequest, tokens: PromptTokens, endpoint: Endpoint): void {
    const tracked = this.#owners.of(endpoint)
    if (tracked === undefined || this.#recorded.get(tokens) === endpoint.id) return
    this.#recorded.set(tokens, endpoint.id)
    const { index } = this.#owners
    if (index.sweepPending) index.sweep(64)
    const owner = tracked.owners[0] ?? this.#owners.add(tracked, 0)
    const size = this.#blockTokensOf(endpoint)
    const recent = this.#recentOf(tracked, owner, endpoint, size)
    const keys = this.#keysOf(request, tokens, size)
    let at = 0
    for (let p = 0; p < keys.counts.length; p++) {
      const count = Math.min(this.#capped(keys.counts[p]!, size), recent.capacity)
      this.#remember(recent, owner.number, keys.pairs, at, count)
      at += keys.counts[p]!
    }
  }

  close(): void {
    this.#owners.close()
  }

  /** Begins anew where the engine states another capacity than the one that was counted with. */
  #recentOf(
    tracked: TrackedEndpoint,
    owner: Owner,
    { metrics }: Endpoint,
    blockTokens: number,
  ): BlockLru {
    const known = this.#recent.get(tracked)
    const engineTokens = (metrics?.kvBlocks ?? 0) * (metrics?.blockTokens ?? 0)
    if (known && engineTokens === 0) return known
    const engineBlocks = Math.ceil((this.#capacities * engineTokens) / blockTokens)
    const capacity = Math.min(this.#blocksPerEndpoint, engineBlocks || Number.POSITIVE_INFINITY)
    if (known?.capacity === capacity) return known
    if (known) owner.clear()
    const recent = new BlockLru(capacity)
    this.#recent.set(tracked, recent)
    return recent
  }

  /** Makes the blocks the most recent ones, the first of them last: of a prompt, the end is forgotten first. */
  #remember(recent: BlockLru, owner: number, pairs: Int32Array, from: number, count: number): void {
    const { index } = this.#owners
    if (this.#fresh.length < count) this.#fresh = new Uint8Array(count * 2)
    const fresh = this.#fresh
    for (let i = count - 1; i >= 0; i--) {
      const touched = recent.touch(pairs[2 * (from + i)]!, pairs[2 * (from + i) + 1]!)
      fresh[i] = touched === 'known' ? 0 : 1
      if (touched === 'replaced') index.remove(owner, GPU, recent.droppedLo, recent.droppedHi)
    }
    let parentLo = 0
    let parentHi = 0
    for (let i = 0; i < count; ) {
      let run = 1
      while (i + run < count && fresh[i + run] === fresh[i]) run++
      if (fresh[i] === 1) index.store(owner, GPU, pairs, from + i, run, parentLo, parentHi)
      i += run
      parentLo = pairs[2 * (from + i - 1)]!
      parentHi = pairs[2 * (from + i - 1) + 1]!
    }
  }

  #keysOf(request: InferenceRequest, tokens: PromptTokens, blockTokens: number): PromptKeys {
    return this.#keys.of(tokens, blockTokens, request.targetModel, request.cacheSalt)
  }

  #blockTokensOf(endpoint: Endpoint): number {
    return this.#blockTokens ?? Math.max(endpoint.metrics?.blockTokens ?? 0, MIN_BLOCK_TOKENS)
  }

  #capped(blocks: number, blockTokens: number): number {
    return Math.min(blocks, Math.floor(this.#maxPrefixTokens / blockTokens))
  }
}
