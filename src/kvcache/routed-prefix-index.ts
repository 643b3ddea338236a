import type { PromptTokens } from '../framework/attributes.ts'
import type { Endpoint } from '../framework/endpoint.ts'
import type { InferenceRequest } from '../framework/request.ts'
import type { Endpoints, PrefixMatch, RoutedPrefixIndex } from '../framework/services.ts'
import { ChainHasher } from './hashing/chain-hash.ts'
import { type PromptKeys, RequestKeys } from './hashing/request-keys.ts'
import { Epochs, GHOST_CAPACITIES } from './routed/epochs.ts'
import { PrefixDepths } from './routed/prefix-depths.ts'
import { SentBlocks } from './routed/sent-blocks.ts'
import { MemoryBudget } from './segments/memory-budget.ts'

const MIN_BLOCK_TOKENS = 64
const DEFAULT_MAX_PREFIX_TOKENS = 131_072
const DEFAULT_BLOCKS_PER_ENDPOINT = 31_250
/** Times the blocks remembered per endpoint at most that the ghost remembers at most. */
const GHOST_LIMITS = 2

export interface RoutedPrefixIndexOptions {
  readonly endpoints: Endpoints
  readonly maxMemoryBytes: number
  /** Hashes of prompts, shared with another index; its own when absent. */
  readonly keys?: RequestKeys
}

/** A living endpoint. */
interface Known {
  readonly id: string
  /** Undefined before it was sent anything. */
  sent: SentBlocks | undefined
}

/**
 * Guesses what endpoints hold from what they were sent: per endpoint the blocks of the latest prompts, up to the engine's
 * capacity, and for `ghost` beyond it. Knows nothing of what engines evict.
 */
export class KvRoutedPrefixIndex implements RoutedPrefixIndex {
  /** The same with the longer memory: what either records is known to both. */
  readonly ghost: RoutedPrefixIndex = {
    match: (request, tokens, endpoints) => {
      const depths = this.#search(request, tokens, endpoints)
      return depths.answer(depths.ghost)
    },
    record: (request, tokens, endpoint) => this.record(request, tokens, endpoint),
    configure: (options) => this.configure(options),
  }
  readonly #keys: RequestKeys
  readonly #budget: MemoryBudget
  readonly #bySlot: (Known | undefined)[] = []
  readonly #stop: () => void
  /** Several plugins tell of one pick, one after the other: the last prompt and the endpoint that it was recorded for. */
  #lastTokens: PromptTokens | undefined
  #lastEndpoint: string | undefined
  /** Both memories are asked about the same prompt, one after the other. */
  readonly #depths = new PrefixDepths()
  #blockTokens: number | undefined
  #maxPrefixTokens = DEFAULT_MAX_PREFIX_TOKENS
  #blocksPerEndpoint = DEFAULT_BLOCKS_PER_ENDPOINT

  constructor({ endpoints, maxMemoryBytes, keys }: RoutedPrefixIndexOptions) {
    this.#budget = new MemoryBudget(maxMemoryBytes)
    this.#keys = keys ?? new RequestKeys(new ChainHasher())
    this.#stop = endpoints.listen({
      added: ({ id, slot }) => {
        this.#bySlot[slot] = { id, sent: undefined }
      },
      removed: (endpoint) => this.#forget(endpoint),
    })
  }

  configure(options: {
    readonly blockTokens: number | undefined
    readonly maxPrefixTokens: number
    readonly blocksPerEndpoint: number
  }): void {
    this.#blockTokens = options.blockTokens
    this.#maxPrefixTokens = options.maxPrefixTokens
    this.#changed()
    if (options.blocksPerEndpoint === this.#blocksPerEndpoint) return
    this.#blocksPerEndpoint = options.blocksPerEndpoint
    for (const known of this.#bySlot) if (known) drop(known)
  }

  match(
    request: InferenceRequest,
    tokens: PromptTokens,
    endpoints: readonly Endpoint[],
  ): PrefixMatch {
    const depths = this.#search(request, tokens, endpoints)
    return depths.answer(depths.recent)
  }

  record(request: InferenceRequest, tokens: PromptTokens, endpoint: Endpoint): void {
    const known = this.#known(endpoint)
    if (known === undefined) return
    if (this.#lastTokens === tokens && this.#lastEndpoint === known.id) return
    this.#changed()
    this.#lastTokens = tokens
    this.#lastEndpoint = known.id
    const size = this.#blockTokensOf(endpoint)
    const sent = this.#sentOf(known, endpoint, size)
    if (sent === undefined) return
    const { counts, pairs } = this.#keysOf(request, tokens, size)
    let at = 0
    for (let p = 0; p < counts.length; p++) {
      sent.record(pairs, at, this.#capped(counts[p]!, size))
      at += counts[p]!
    }
  }

  close(): void {
    this.#stop()
  }

  /** Answers of before are no longer right. */
  #changed(): void {
    this.#depths.forget()
    this.#lastTokens = undefined
  }

  #forget(endpoint: Endpoint): void {
    const known = this.#known(endpoint)
    if (known === undefined) return
    this.#changed()
    drop(known)
    this.#bySlot[endpoint.slot] = undefined
  }

  /** Undefined when the endpoint is gone. */
  #known(endpoint: Endpoint): Known | undefined {
    const known = this.#bySlot[endpoint.slot]
    return known?.id === endpoint.id ? known : undefined
  }

  /** Begins anew where the engine states another capacity than the one that was counted with. */
  #sentOf(known: Known, { metrics }: Endpoint, blockTokens: number): SentBlocks | undefined {
    const engineTokens = (metrics?.kvBlocks ?? 0) * (metrics?.blockTokens ?? 0)
    const isStated = engineTokens > 0
    if (known.sent !== undefined && !isStated) return known.sent
    const limit = this.#blocksPerEndpoint
    const engineBlocks = isStated ? engineTokens / blockTokens : Number.POSITIVE_INFINITY
    const recent = Math.min(limit, Math.ceil(engineBlocks))
    const ghost = Math.min(limit * GHOST_LIMITS, Math.ceil(engineBlocks * GHOST_CAPACITIES))
    const epochs = known.sent?.epochs
    if (epochs?.recentCapacity === recent && epochs.ghostCapacity === ghost) return known.sent
    drop(known)
    known.sent = SentBlocks.within(this.#budget, new Epochs(recent, ghost))
    return known.sent
  }

  #search(
    request: InferenceRequest,
    tokens: PromptTokens,
    endpoints: readonly Endpoint[],
  ): PrefixDepths {
    const depths = this.#depths
    if (endpoints.length === 0) return depths.begin(undefined, endpoints)
    const firstKeys = this.#keysOf(request, tokens, this.#blockTokensOf(endpoints[0]!))
    if (depths.isOf(firstKeys, endpoints)) return depths
    depths.begin(firstKeys, endpoints)
    const { blockTokens } = depths
    for (let e = 0; e < endpoints.length; e++) blockTokens[e] = this.#blockTokensOf(endpoints[e]!)
    for (let first = 0; first < endpoints.length; first++) {
      const size = blockTokens[first]!
      if (blockTokens.indexOf(size) < first) continue
      this.#searchSize(this.#keysOf(request, tokens, size), endpoints)
    }
    return depths
  }

  /** Searches the endpoints whose blocks have one size. */
  #searchSize(keys: PromptKeys, endpoints: readonly Endpoint[]): void {
    const { recent, ghost, blockTokens, usableBlocks } = this.#depths
    const { counts, pairs, blockTokens: size } = keys
    let at = 0
    for (let p = 0; p < counts.length; p++) {
      const asked = this.#capped(counts[p]!, size)
      for (let e = 0; e < endpoints.length; e++) {
        if (blockTokens[e] !== size) continue
        usableBlocks[e]! += asked
        const sent = this.#known(endpoints[e]!)?.sent
        if (sent === undefined) continue
        sent.search(pairs, at, asked)
        recent[e]! += sent.recent
        ghost[e]! += sent.ghost
      }
      at += counts[p]!
    }
  }

  #keysOf(request: InferenceRequest, tokens: PromptTokens, blockTokens: number): PromptKeys {
    return this.#keys.ofModel(tokens, blockTokens, request.targetModel, request.cacheSalt)
  }

  #blockTokensOf(endpoint: Endpoint): number {
    return this.#blockTokens ?? Math.max(endpoint.metrics?.blockTokens ?? 0, MIN_BLOCK_TOKENS)
  }

  #capped(blocks: number, blockTokens: number): number {
    return Math.min(blocks, Math.floor(this.#maxPrefixTokens / blockTokens))
  }
}

/** Forgets what the endpoint was sent. */
function drop(known: Known): void {
  known.sent?.release()
  known.sent = undefined
}
