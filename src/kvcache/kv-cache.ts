import { sharesPort } from '../framework/endpoint.ts'
import type { Limits } from '../framework/limits.ts'
import type { Clock, Endpoints, Logger, Metrics, Models, Notices } from '../framework/services.ts'
import { AdapterNames } from './adapter-names.ts'
import { type EndpointCacheStatus, EventIntake } from './events/event-intake.ts'
import { AnchoredBlocks } from './hashing/anchored-blocks.ts'
import { ChainHasher } from './hashing/chain-hash.ts'
import { HashingCheck } from './hashing/hashing-check.ts'
import { RequestKeys } from './hashing/request-keys.ts'
import { IndexEviction } from './index-eviction.ts'
import { SilenceCheck } from './silence-check.ts'
import { Speculations } from './speculations.ts'
import { TrackedOwners } from './tracked-owners.ts'
import { KvTrackedPrefixIndex } from './tracked-prefix-index.ts'
import { CacheWitness } from './truth/cache-witness.ts'

/** What has happened since the start. */
export interface KvCacheBeat {
  /** Blocks added by events. */
  readonly admissions: number
  /** Blocks taken away by events. */
  readonly evictions: number
  /** Lookups for requests. */
  readonly lookups: number
  /** Lookups that found at least one block at some endpoint. */
  readonly hits: number
  /** Lookups timed: equal to `lookups`. */
  readonly latency_count: number
  /** Seconds. */
  readonly latency_sum: number
  /** Seconds; 0 before the first lookup. */
  readonly latency_avg: number
}

const TICK_MS = 100
const TICK_BUDGET_MS = 2
const EVICTION_BUDGET_MS = 6
const SWEEP_UNITS = 64
const SILENCE_TICKS = 10
const MAX_SHOWN = 5

/** What the engines' caches are followed with. */
export interface KvCacheOptions {
  readonly clock: Clock
  readonly logger: Logger
  readonly metrics: Metrics
  readonly notices: Notices
  readonly models: Models
  readonly endpoints: Endpoints
  /** Bytes that the index and what joins it to the engines' hashes may take. */
  readonly maxMemoryBytes: number
  /** 8 bytes on which the names of blocks depend; random when absent. */
  readonly keySeed?: Buffer
  /** Of messages; the defaults when absent. */
  readonly limits?: Pick<Limits, 'maxEventBytes' | 'maxEventsPerSecond'>
}

/**
 * Everything about the engines' caches behind one object: `index` answers which endpoint holds what, `intake` takes the
 * messages of engines.
 */
export class KvCache {
  readonly index: KvTrackedPrefixIndex
  /** Keys of prompts' blocks, for other indexes too. */
  readonly keys: RequestKeys
  readonly intake: EventIntake
  /** What the events tell about why predictions are wrong. */
  readonly witness: CacheWitness
  readonly #owners: TrackedOwners
  readonly #eviction: IndexEviction
  readonly #speculations: Speculations
  readonly #check: HashingCheck
  readonly #silence: SilenceCheck
  readonly #endpoints: Endpoints
  readonly #notices: Notices
  readonly #timer: NodeJS.Timeout
  #ticks = 0
  #expectsEvents = true

  constructor(options: KvCacheOptions) {
    const { metrics, clock, notices } = options
    const logger = options.logger.named('kv-cache')
    const owners = new TrackedOwners(options.endpoints, options.maxMemoryBytes)
    const names = new AdapterNames(options.models, logger, metrics)
    const hasher = new ChainHasher(options.keySeed)
    this.keys = new RequestKeys(hasher)
    const check = new HashingCheck({ clock, logger, notices, metrics }, owners)
    this.#owners = owners
    this.#check = check
    this.#endpoints = options.endpoints
    this.#notices = notices
    this.#eviction = new IndexEviction(owners, { clock, logger, notices, metrics })
    this.#speculations = new Speculations(owners.index, this.#eviction, clock)
    this.intake = new EventIntake({
      owners,
      eviction: this.#eviction,
      names,
      hasher,
      check,
      clock,
      logger,
      metrics,
      notices,
      ...(options.limits && { limits: options.limits }),
    })
    const { intake } = this
    this.#silence = new SilenceCheck({ owners, intake, endpoints: options.endpoints, clock })
    this.index = new KvTrackedPrefixIndex({
      owners,
      names,
      keys: this.keys,
      anchored: new AnchoredBlocks(owners.index, hasher),
      check,
      intake: this.intake,
      speculations: this.#speculations,
      metrics,
    })
    this.witness = new CacheWitness({ owners, intake, names, index: this.index })
    this.#observe(metrics)
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
    this.#timer.unref()
  }

  /** True while some endpoint's events have told of blocks. */
  get hasEvents(): boolean {
    if (this.intake.admissions === 0) return false
    return this.#endpoints.list().some((endpoint) => {
      const tracked = this.#owners.of(endpoint)
      return tracked !== undefined && this.intake.coverage(tracked) !== 'none'
    })
  }

  /** Bytes that are taken now. */
  get memoryBytes(): number {
    return this.#owners.budget.usedBytes
  }

  /** Changes how much may be taken. With less, what was not matched for longest is forgotten over the next seconds. */
  limitMemory(maxMemoryBytes: number): void {
    const { budget } = this.#owners
    if (maxMemoryBytes === budget.limitBytes) return
    budget.limitBytes = maxMemoryBytes
    this.#eviction.limitChanged()
  }

  /** Whether somebody asks for events: where nobody does, it is no matter that none come. True at first. */
  expectEvents(isExpected: boolean): void {
    this.#expectsEvents = isExpected
    if (!isExpected) this.#notices.set('kv-events-none', undefined)
  }

  /** What is known of each endpoint's cache. */
  status(): readonly EndpointCacheStatus[] {
    return this.intake.status()
  }

  /** The publishers' hashing in words, each kind once with those that have it: for `/readyz?verbose`. */
  hashing(): readonly string[] {
    const byText = new Map<string, string[]>()
    for (const { hostPort, publishers } of this.intake.status()) {
      for (const { hashing, rank } of publishers) {
        const named = byText.get(hashing) ?? []
        const isSaid = rank === 0 || sharesPort({ hostPort })
        byText.set(hashing, [...named, isSaid ? hostPort : `${hostPort} rank ${rank}`])
      }
    }
    return [...byText].map(([text, names]) => {
      const shown = names.slice(0, MAX_SHOWN).join(', ')
      return `${text} (${names.length}: ${shown}${names.length > MAX_SHOWN ? ', …' : ''})`
    })
  }

  beat(): KvCacheBeat {
    const { lookups, hits, latencySumS } = this.index
    return {
      admissions: this.intake.admissions,
      evictions: this.intake.evictions,
      lookups,
      hits,
      latency_count: lookups,
      latency_sum: latencySumS,
      latency_avg: lookups === 0 ? 0 : latencySumS / lookups,
    }
  }

  /** Stops following. */
  close(): void {
    clearInterval(this.#timer)
    this.intake.close()
    this.#owners.close()
    this.#notices.set('kv-events-none', undefined)
  }

  #tick(): void {
    this.#speculations.expire()
    const { index } = this.#owners
    const startedMs = performance.now()
    while (index.sweepPending && performance.now() - startedMs < TICK_BUDGET_MS) {
      index.sweep(SWEEP_UNITS)
    }
    this.#eviction.run(EVICTION_BUDGET_MS)
    if (++this.#ticks % SILENCE_TICKS !== 0) return
    this.#compareReported()
    if (!this.#expectsEvents) return
    this.#sayWhoIsSilent()
    this.#silence.run()
  }

  #sayWhoIsSilent(): void {
    const tracked = this.#owners.list()
    const silent = tracked.filter((t) => this.intake.coverage(t) === 'none')
    const shown = silent.slice(0, MAX_SHOWN).map((t) => t.endpoint.hostPort)
    this.#notices.set(
      'kv-events-none',
      silent.length === 0
        ? undefined
        : `no KV events yet from ${silent.length} of ${tracked.length} endpoints (${shown.join(', ')}${silent.length > shown.length ? ', …' : ''}): what they hold is not known; an engine that has served nothing is silent too`,
    )
  }

  /** An engine that sends no events tells the size of its blocks all the same. */
  #compareReported(): void {
    for (const endpoint of this.#endpoints.list()) {
      const tracked = this.#owners.of(endpoint)
      const blockTokens = endpoint.metrics?.blockTokens
      if (tracked !== undefined && blockTokens !== undefined) {
        this.#check.sawReported(tracked, blockTokens)
      }
    }
  }

  #observe(metrics: Metrics): void {
    const one = (value: number) => [{ labels: {}, value }]
    const { index, budget } = this.#owners
    metrics.observed('epp_kv_index_blocks', 'Distinct blocks in the prefix index.', () =>
      one(index.blocks),
    )
    metrics.observed(
      'epp_kv_index_bytes',
      'Bytes taken by the prefix index and the join to engine hashes.',
      () => one(budget.usedBytes),
    )
    metrics.observed(
      'epp_kv_known_prompts_bytes',
      'Memory of long prompts that may go on, and of the names of their blocks.',
      () => one(this.keys.bytes),
    )
    metrics.observed('epp_kv_speculations', 'Prompts counted as present ahead of events.', () =>
      one(this.#speculations.count),
    )
    metrics.observed('epp_kv_endpoints', 'Endpoints by what is known of their caches.', () => {
      const counts = new Map([
        ['complete', 0],
        ['late', 0],
        ['gap', 0],
        ['replaying', 0],
        ['none', 0],
      ])
      for (const tracked of this.#owners.list()) {
        const coverage = this.intake.coverage(tracked)
        counts.set(coverage, counts.get(coverage)! + 1)
      }
      return [...counts].map(([coverage, value]) => ({ labels: { coverage }, value }))
    })
  }
}
