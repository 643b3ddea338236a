import type { PromptTokens } from '../../framework/attributes.ts'
import type { Endpoint } from '../../framework/endpoint.ts'
import type { InferenceRequest } from '../../framework/request.ts'
import type { AdapterNames } from '../adapter-names.ts'
import type { Beginning } from '../events/chain-beginnings.ts'
import type { EventIntake } from '../events/event-intake.ts'
import type { BlockMisfit, Coverage } from '../events/publisher-state.ts'
import type { TrackedOwners } from '../tracked-owners.ts'
import type { KvTrackedPrefixIndex } from '../tracked-prefix-index.ts'

/** What an endpoint's events have shown so far; counts are sums over its publishers since they began. */
export interface CacheEvidence {
  readonly coverage: Coverage
  /** When the last message came, in the clock's milliseconds; -Infinity without any. */
  readonly lastEventMs: number
  /** Tokens per block as the events say, else as the metrics page does; undefined when neither does. */
  readonly blockTokens: number | undefined
  /** Times that messages were lost. */
  readonly gaps: number
  /** Times that what it holds was forgotten. */
  readonly epoch: number
  /** Times that a publisher began anew. */
  readonly restarts: number
  /** Stores dropped because their parent was not known. */
  readonly orphans: number
  /** Blocks told to be gone from its cache. */
  readonly removedBlocks: number
  /** Blocks whose hashes are not what their tokens give. */
  readonly unrecognized: number
  /** Stores whose tokens are not as many as their blocks hold. */
  readonly misfit: BlockMisfit | undefined
  /** Blocks of all endpoints that the index has forgotten for want of memory. */
  readonly forgottenBlocks: number
  /** False when the events do not tell salts. */
  readonly tellsSalts: boolean
}

const BEST_FIRST: readonly Beginning[] = [
  'same',
  'other-salt',
  'other-adapter',
  'unknown',
  'absent',
]

/** Says what the events tell of one endpoint and of one prompt there; changes nothing. */
export class CacheWitness {
  readonly #owners: TrackedOwners
  readonly #intake: EventIntake
  readonly #names: AdapterNames
  readonly #index: KvTrackedPrefixIndex

  constructor(services: {
    readonly owners: TrackedOwners
    readonly intake: EventIntake
    readonly names: AdapterNames
    readonly index: KvTrackedPrefixIndex
  }) {
    this.#owners = services.owners
    this.#intake = services.intake
    this.#names = services.names
    this.#index = services.index
  }

  /** Prompt tokens that the endpoint holds as its events alone say. */
  toldTokens(request: InferenceRequest, tokens: PromptTokens, endpoint: Endpoint): number {
    return this.#index.toldTokens(request, tokens, endpoint)
  }

  /** Undefined when the endpoint is gone. */
  evidenceOf(endpoint: Endpoint): CacheEvidence | undefined {
    const tracked = this.#owners.of(endpoint)
    if (tracked === undefined) return undefined
    const sums = { gaps: 0, restarts: 0, orphans: 0, removedBlocks: 0, unrecognized: 0 }
    let misfit: BlockMisfit | undefined
    let tellsSalts = true
    for (const publisher of this.#intake.publishersOf(tracked)) {
      sums.gaps += publisher.gaps
      sums.restarts += publisher.restarts
      sums.orphans += publisher.orphans
      sums.removedBlocks += publisher.removedBlocks
      sums.unrecognized += publisher.alignment.counts.unrecognized
      misfit = publisher.misfit ?? misfit
      if (publisher.beginnings.count > 0) tellsSalts &&= publisher.alignment.tellsExtras
    }
    return {
      ...sums,
      epoch: tracked.owners.reduce((sum, owner) => sum + owner.epoch, 0),
      misfit,
      forgottenBlocks: this.#owners.index.eviction.evicted,
      tellsSalts,
      coverage: this.#intake.coverage(tracked),
      lastEventMs: this.#intake.lastEventMs(tracked),
      blockTokens: tracked.blockTokens ?? endpoint.metrics?.blockTokens,
    }
  }

  /** Whether the first block of a request's prompt is among those that the endpoint has announced. */
  beginningOf(request: InferenceRequest, prompt: Int32Array, endpoint: Endpoint): Beginning {
    const tracked = this.#owners.of(endpoint)
    const blockTokens = tracked?.blockTokens
    if (blockTokens === undefined || prompt.length < blockTokens) return 'unknown'
    const adapter = this.#names.adapterOf(request.targetModel, false)
    const found = new Set<Beginning>()
    for (const { beginnings } of this.#intake.publishersOf(tracked!)) {
      found.add(beginnings.find(prompt, blockTokens, adapter, request.cacheSalt))
    }
    // What was lost may have told it.
    if (this.#intake.coverage(tracked!) !== 'complete') found.delete('absent')
    return BEST_FIRST.find((each) => found.has(each)) ?? 'unknown'
  }
}
