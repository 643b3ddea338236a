import type { PromptTokens } from '../framework/attributes.ts'
import type { Endpoint } from '../framework/endpoint.ts'
import type { InferenceRequest } from '../framework/request.ts'
import type {
  ExpectedHashing,
  Histogram,
  Metrics,
  PrefixMatch,
  Speculation,
  TrackedPrefixIndex,
} from '../framework/services.ts'
import type { AdapterNames } from './adapter-names.ts'
import type { EventIntake } from './events/event-intake.ts'
import type { AnchoredBlocks, PromptSpace } from './hashing/anchored-blocks.ts'
import type { HashingCheck } from './hashing/hashing-check.ts'
import { type RequestKeys, usableBlocks } from './hashing/request-keys.ts'
import type { Speculations } from './speculations.ts'
import type { Owner, TrackedEndpoint, TrackedOwners } from './tracked-owners.ts'

const DEFAULT_BLOCK_TOKENS = 16
const DEFAULT_WEIGHTS = { gpu: 1, cpu: 0.8, disk: 0.8 }
const RANK_HEADER = 'x-data-parallel-rank'
/** Prompts of one request that are hashed as engines do, ahead of their events. */
const MAX_EXPECTED_PROMPTS = 16
const LATENCY_BUCKETS_S = [
  0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01,
  0.05,
]
const FORGETS_NOTHING: Speculation = { expireIn: () => {} }
/** Stand for arrays that nothing is written to: typed arrays are expensive to make. */
const NO_BLOCKS = new Int32Array(0)
const NO_WEIGHTS = new Float64Array(0)

/** Answers from what the engines' events have told, and from what was routed in the last moments. */
export class KvTrackedPrefixIndex implements TrackedPrefixIndex {
  readonly #owners: TrackedOwners
  readonly #names: AdapterNames
  readonly #keys: RequestKeys
  readonly #anchored: AnchoredBlocks
  readonly #check: HashingCheck
  readonly #intake: EventIntake
  readonly #speculations: Speculations
  readonly #latency: Histogram
  #weights: [gpu: number, cpu: number, disk: number, expected: number] = [
    DEFAULT_WEIGHTS.gpu,
    DEFAULT_WEIGHTS.cpu,
    DEFAULT_WEIGHTS.disk,
    DEFAULT_WEIGHTS.gpu,
  ]
  #lookups = 0
  #hits = 0
  #latencySumS = 0

  constructor(options: {
    readonly owners: TrackedOwners
    readonly names: AdapterNames
    readonly keys: RequestKeys
    readonly anchored: AnchoredBlocks
    readonly check: HashingCheck
    readonly intake: EventIntake
    readonly speculations: Speculations
    readonly metrics: Metrics
  }) {
    this.#owners = options.owners
    this.#names = options.names
    this.#keys = options.keys
    this.#anchored = options.anchored
    this.#check = options.check
    this.#intake = options.intake
    this.#speculations = options.speculations
    this.#latency = options.metrics.histogram(
      'epp_kv_lookup_duration_seconds',
      'Time of a lookup in the prefix index, hashing of the prompt included.',
      LATENCY_BUCKETS_S,
    )
  }

  /** Calls of `match` since the start. */
  get lookups(): number {
    return this.#lookups
  }

  /** Those of them that found at least one block somewhere. */
  get hits(): number {
    return this.#hits
  }

  get latencySumS(): number {
    return this.#latencySumS
  }

  configure(options: {
    readonly expected: ExpectedHashing
    readonly mediumWeights: Readonly<Record<string, number>>
  }): void {
    this.#check.configure(options.expected)
    const { gpu, cpu, disk } = { ...DEFAULT_WEIGHTS, ...options.mediumWeights }
    // What is speculated about will be on the GPU.
    this.#weights = [gpu, cpu, disk, gpu]
    this.#owners.index.setWeights(...this.#weights)
  }

  tracks(endpoint: Endpoint): boolean {
    const tracked = this.#owners.of(endpoint)
    return tracked !== undefined && this.#intake.coverage(tracked) === 'complete'
  }

  match(
    request: InferenceRequest,
    tokens: PromptTokens,
    endpoints: readonly Endpoint[],
  ): PrefixMatch {
    const startedMs = performance.now()
    const adapter = this.#names.adapterOf(request.targetModel)
    const found = this.#match(request, tokens, endpoints, adapter)
    const tookS = (performance.now() - startedMs) / 1000
    this.#lookups++
    if (findsAny(found)) this.#hits++
    this.#latencySumS += tookS
    this.#latency.observe(tookS)
    return found
  }

  /** Tokens of the prompts that the endpoint holds as its events alone say: what is only expected does not count. */
  toldTokens(request: InferenceRequest, tokens: PromptTokens, endpoint: Endpoint): number {
    const { index } = this.#owners
    index.setWeights(1, 1, 1, 0)
    try {
      const adapter = this.#names.adapterOf(request.targetModel, false)
      const { weighted, blockTokens } = this.#match(request, tokens, [endpoint], adapter)
      return Math.round(weighted[0]!) * blockTokens[0]!
    } finally {
      index.setWeights(...this.#weights)
    }
  }

  /** Of the blocks that `match` finds, how many lie on which medium, and how many are expected and not announced yet. */
  byMedium(
    request: InferenceRequest,
    tokens: PromptTokens,
    endpoints: readonly Endpoint[],
  ): Readonly<Record<string, Int32Array>> {
    const { index } = this.#owners
    const adapter = this.#names.adapterOf(request.targetModel, false)
    const on = (...weights: [number, number, number, number]) => {
      index.setWeights(...weights)
      return Int32Array.from(this.#match(request, tokens, endpoints, adapter).weighted)
    }
    try {
      return {
        gpu: on(1, 0, 0, 0),
        cpu: on(0, 1, 0, 0),
        disk: on(0, 0, 1, 0),
        expected: on(0, 0, 0, 1),
      }
    } finally {
      index.setWeights(...this.#weights)
    }
  }

  #match(
    request: InferenceRequest,
    tokens: PromptTokens,
    endpoints: readonly Endpoint[],
    adapter: string | undefined,
  ): PrefixMatch {
    this.#speculations.expire()
    const count = endpoints.length
    const blocks = new Int32Array(count)
    const weighted = new Float64Array(count)
    const blockTokens = new Int32Array(count)
    const usable = new Int32Array(count)
    const tracked: (TrackedEndpoint | undefined)[] = new Array(count)
    const sizes: number[] = []
    for (let e = 0; e < count; e++) {
      const endpoint = endpoints[e]!
      tracked[e] = this.#owners.of(endpoint)
      const size = this.#blockTokens(endpoint, tracked[e])
      blockTokens[e] = size
      if (!sizes.includes(size)) sizes.push(size)
    }
    if (request.cacheSalt !== undefined) this.#expect(request, tokens, adapter, tracked)
    const rank = rankOf(request)
    const { index } = this.#owners
    const hasAnchors = this.#owners.anchored.size > 0
    // While nothing is known of any cache, the prompt need not be hashed.
    const isEmpty = index.blocks === 0 && !hasAnchors
    const held = isEmpty ? NO_BLOCKS : new Int32Array(count)
    const heldWeighted = isEmpty ? NO_WEIGHTS : new Float64Array(count)
    for (const size of sizes) {
      const keys = this.#keys.of(tokens, size, adapter, request.cacheSalt)
      for (let e = 0; e < count; e++) if (blockTokens[e] === size) usable[e] = keys.total
      if (isEmpty) continue
      let at = 0
      for (let p = 0; p < keys.counts.length; p++) {
        const asked = this.#known(tokens, p, keys.counts[p]!, size)
        const found = index.lookup(keys.pairs, at, asked)
        at += keys.counts[p]!
        if (found === 0 && !hasAnchors) continue
        for (let e = 0; e < count; e++) {
          if (blockTokens[e] !== size || tracked[e] === undefined) continue
          held[e] = 0
          heldWeighted[e] = 0
          for (const owner of tracked[e]!.owners) {
            if (isOther(owner, rank)) continue
            const matched = index.matched(owner.number)
            if (matched === 0) continue
            const matchedWeighted = index.weighted(owner.number)
            if (matchedWeighted < heldWeighted[e]!) continue
            held[e] = matched
            heldWeighted[e] = matchedWeighted
          }
        }
        if (hasAnchors) {
          const space = { blockTokens: size, adapter, cacheSalt: request.cacheSalt }
          this.#findAnchored(tokens.prompts[p]!, asked, space, tracked, rank, held, heldWeighted)
        }
        for (let e = 0; e < count; e++) {
          if (blockTokens[e] !== size) continue
          blocks[e]! += held[e]!
          weighted[e]! += heldWeighted[e]!
        }
      }
    }
    return { blocks, weighted, blockTokens, usableBlocks: usable }
  }

  touch(request: InferenceRequest, tokens: PromptTokens, endpoint: Endpoint): void {
    if (this.#owners.index.blocks === 0 && this.#owners.anchored.size === 0) return
    const tracked = this.#owners.of(endpoint)
    const size = this.#blockTokens(endpoint, tracked)
    const adapter = this.#names.adapterOf(request.targetModel)
    const keys = this.#keys.of(tokens, size, adapter, request.cacheSalt)
    const space = { blockTokens: size, adapter, cacheSalt: request.cacheSalt }
    let at = 0
    for (const [p, count] of keys.counts.entries()) {
      if (this.#owners.index.blocks > 0) this.#owners.index.touch(keys.pairs, at, count)
      at += count
      for (const owner of tracked?.owners ?? []) {
        if (owner.anchors && owner.blockTokens === size) {
          this.#anchored.find(owner, tokens.prompts[p]!, count, space, true)
        }
      }
    }
  }

  speculate(
    request: InferenceRequest,
    tokens: PromptTokens,
    endpoint: Endpoint,
    ttlMs: number,
  ): Speculation {
    this.#speculations.expire()
    const tracked = this.#owners.of(endpoint)
    if (tracked === undefined) return FORGETS_NOTHING
    const size = this.#blockTokens(endpoint, tracked)
    if (!tokens.prompts.some((prompt) => usableBlocks(prompt.length, size) > 0)) {
      return FORGETS_NOTHING
    }
    const adapter = this.#names.adapterOf(request.targetModel)
    const keys = this.#keys.of(tokens, size, adapter, request.cacheSalt)
    return this.#speculations.add(this.#ownerFor(request, endpoint, tracked), keys, ttlMs)
  }

  /** Tells publishers that do not say the salt what the request's first blocks will be called. */
  #expect(
    { cacheSalt }: InferenceRequest,
    { prompts }: PromptTokens,
    adapter: string | undefined,
    tracked: readonly (TrackedEndpoint | undefined)[],
  ): void {
    for (const endpoint of tracked) {
      for (const owner of endpoint?.owners ?? []) {
        const { blockTokens } = owner
        if (blockTokens === undefined) continue
        for (const prompt of prompts.slice(0, MAX_EXPECTED_PROMPTS)) {
          this.#anchored.expect(owner, prompt, { blockTokens, adapter, cacheSalt })
        }
      }
    }
  }

  /** Raises what caches hold of one prompt by what they are known to hold by the engines' hashes. */
  #findAnchored(
    prompt: Int32Array,
    usable: number,
    space: PromptSpace,
    tracked: readonly (TrackedEndpoint | undefined)[],
    rank: number | undefined,
    held: Int32Array,
    heldWeighted: Float64Array,
  ): void {
    const anchored = this.#anchored
    for (const owner of this.#owners.anchored) {
      const e = tracked.indexOf(owner.endpoint)
      if (e < 0 || owner.blockTokens !== space.blockTokens) continue
      if (isOther(owner, rank)) continue
      anchored.find(owner, prompt, usable, space)
      if (anchored.blocks === 0 || anchored.weighted < heldWeighted[e]!) continue
      held[e] = anchored.blocks
      heldWeighted[e] = anchored.weighted
    }
  }

  /** Blocks of one prompt that can be asked for: what a guess says is not. */
  #known(tokens: PromptTokens, prompt: number, blocks: number, blockTokens: number): number {
    if (tokens.exact || tokens.exactUpTo === undefined) return blocks
    return prompt > 0 ? 0 : Math.min(blocks, Math.floor(tokens.exactUpTo / blockTokens))
  }

  #blockTokens(endpoint: Endpoint, tracked: TrackedEndpoint | undefined): number {
    return (
      tracked?.blockTokens ??
      endpoint.metrics?.blockTokens ??
      this.#check.expected.blockTokens ??
      DEFAULT_BLOCK_TOKENS
    )
  }

  /** The cache that the request will probably fill: of the rank that it asks for, else the endpoint's own or first. */
  #ownerFor(request: InferenceRequest, endpoint: Endpoint, tracked: TrackedEndpoint): Owner {
    const rank = tracked.isRank ? undefined : rankOf(request)
    const owner =
      rank === undefined
        ? (tracked.owners.find((candidate) => candidate.rank === endpoint.rank) ??
          tracked.owners[0])
        : tracked.owners.find((candidate) => candidate.rank === rank)
    return owner ?? this.#owners.add(tracked, rank ?? endpoint.rank)
  }
}

function findsAny({ blocks }: PrefixMatch): boolean {
  for (let i = 0; i < blocks.length; i++) if (blocks[i]! > 0) return true
  return false
}

/** True for the cache of another rank than the client asks for. Where ranks are picked among, it is the picker that says. */
function isOther({ rank, endpoint }: Owner, asked: number | undefined): boolean {
  return asked !== undefined && rank !== asked && !endpoint.isRank
}

/** The data-parallel rank that a client asks for; undefined when it asks for none, or for nonsense. */
function rankOf(request: InferenceRequest): number | undefined {
  const text = request.headers.get(RANK_HEADER)
  return text !== undefined && /^\d{1,3}$/.test(text) ? Number(text) : undefined
}
