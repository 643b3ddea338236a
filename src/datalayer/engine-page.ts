import type { AdapterLoad, EndpointMetrics, PrefixCacheCounters } from '../framework/endpoint.ts'
import type { MetricSelector } from './metric-selector.ts'
import { labelOf, Needle, PageSamples, type Sample } from './page-samples.ts'

/** What to look for on the pages of one engine; undefined where they do not tell. */
export interface EngineMetrics {
  readonly engine: string
  readonly waiting?: MetricSelector
  readonly running?: MetricSelector
  /** A page without `running` is taken as one with nothing running. */
  readonly runningOptional?: boolean
  readonly kvCacheUsage?: MetricSelector
  readonly adapters?: MetricSelector
  /** Series whose labels tell the block size and the number of blocks. */
  readonly cacheInfo?: MetricSelector
  /** Labels of `cacheInfo`; the first that is there counts. */
  readonly blockTokensLabels: readonly string[]
  readonly blocksLabels: readonly string[]
  readonly blockTokens?: MetricSelector
  readonly blocks?: MetricSelector
  readonly custom: ReadonlyMap<string, MetricSelector>
}

/** Why a page says nothing of an engine's load. */
export type PageFault =
  /** No line of the engine's: another kind of page. */
  | 'not-metrics'
  /** Some of the gauges that are needed are not there. */
  | 'metric-missing'
  /** A value that is no finite number, or outside its range. */
  | 'bad-value'

export type PageReading =
  | {
      readonly load: RankLoad
      /** What was asked for and is not on the page, for people. */
      readonly untold: readonly string[]
      /** How many samples were read. */
      readonly samples: number
    }
  | { readonly fault: PageFault; readonly detail: string }

/** What a page says of one rank. */
export type RankLoad = Omit<EndpointMetrics, 'scrapedAtMs'>

/** What a page says of the ranks behind its port. */
export type RanksReading =
  | {
      /** By rank; undefined for one that the page does not tell of though it tells of others. */
      readonly loads: readonly (RankLoad | undefined)[]
      /** The ranks that it tells of; none where it does not tell them apart. */
      readonly told: readonly string[]
      readonly untold: readonly string[]
      readonly samples: number
    }
  | { readonly fault: PageFault; readonly detail: string }

/** The two names of one gauge of vLLM's: the latter until 0.9, hidden later, then removed. */
const USAGE = 'vllm:kv_cache_usage_perc'
const OLD_USAGE = 'vllm:gpu_cache_usage_perc'

/** vLLM's counters of its prefix cache. */
const PREFIX_CACHE = [
  'vllm:prefix_cache_queries_total',
  'vllm:prefix_cache_hits_total',
  'vllm:request_success_total',
] as const

const NO_CUSTOM: ReadonlyMap<string, number> = new Map()
const NOTHING: readonly string[] = []

/**
 * Reads an engine's load from its `/metrics` pages (Prometheus text format), by finding the few lines that are needed; the
 * rest of a page is never parsed.
 */
export class EnginePageReader {
  readonly #metrics: EngineMetrics
  readonly #waiting: Needle | undefined
  readonly #running: Needle | undefined
  readonly #usage: Needle | undefined
  /** Looked for where `usage` is not there. */
  readonly #otherUsage: Needle | undefined
  readonly #adapters: Needle | undefined
  readonly #cacheInfo: Needle | undefined
  readonly #blockTokens: Needle | undefined
  readonly #blocks: Needle | undefined
  readonly #custom: readonly (readonly [key: string, needle: Needle])[]
  readonly #prefixCache: readonly Needle[]
  /** What all names of the engine begin with. */
  readonly #family: string | undefined

  constructor(metrics: EngineMetrics) {
    const needle = (name: 'waiting' | 'running' | 'kvCacheUsage' | 'adapters' | 'cacheInfo') =>
      metrics[name] && new Needle(metrics[name])
    this.#metrics = metrics
    this.#waiting = needle('waiting')
    this.#running = needle('running')
    this.#usage = needle('kvCacheUsage')
    const other = { [USAGE]: OLD_USAGE, [OLD_USAGE]: USAGE }[this.#usage?.name ?? '']
    this.#otherUsage = other === undefined ? undefined : new Needle({ name: other, labels: {} })
    this.#adapters = needle('adapters')
    this.#cacheInfo = needle('cacheInfo')
    this.#blockTokens = metrics.blockTokens && new Needle(metrics.blockTokens)
    this.#blocks = metrics.blocks && new Needle(metrics.blocks)
    this.#custom = Array.from(metrics.custom, ([key, selector]) => [key, new Needle(selector)])
    const first = (this.#waiting ?? this.#running ?? this.#usage)?.name
    this.#family = first?.slice(0, first.indexOf(':') + 1) || first
    this.#prefixCache =
      this.#family === 'vllm:' ? PREFIX_CACHE.map((name) => new Needle({ name, labels: {} })) : []
  }

  /** The engine whose names these are. */
  get engine(): string {
    return this.#metrics.engine
  }

  /** The names of all that is looked for. */
  get names(): readonly string[] {
    const needles = [
      ...[this.#waiting, this.#running, this.#usage, this.#otherUsage, this.#adapters],
      ...[this.#cacheInfo, this.#blockTokens, this.#blocks, ...this.#prefixCache],
      ...this.#custom.map(([, needle]) => needle),
    ]
    return [...new Set(needles.flatMap((needle) => needle?.name ?? []))]
  }

  /** False when pages need not tell how many requests run, and 0 may mean that they do not. */
  get tellsRunning(): boolean {
    return this.#running !== undefined && !this.#metrics.runningOptional
  }

  /** True when the page has names of this engine. */
  knows(page: Buffer): boolean {
    return this.#family !== undefined && page.includes(this.#family)
  }

  /**
   * A server with several engines has one series per engine.
   *
   * @param rank takes the series of this engine alone if the page has it; undefined, or a rank that is not there, takes
   *   all: the sum of requests, the highest use
   */
  read(page: Buffer, rank: number | undefined): PageReading {
    return this.#read(new PageSamples(page), rank === undefined ? undefined : String(rank))
  }

  /**
   * The same for all ranks behind the page's port. Where it does not tell them apart, each has an equal share of the
   * requests and blocks.
   *
   * @param ranks how many there should be
   */
  readRanks(page: Buffer, ranks: number): RanksReading {
    const samples = new PageSamples(page)
    const told = this.#ranksTold(samples)
    if (told.length === 0) {
      const whole = this.#read(samples, undefined)
      if ('fault' in whole) return whole
      const load = shareOf(whole.load, ranks)
      return {
        loads: new Array(ranks).fill(load),
        told,
        untold: [...whole.untold, 'load by rank (each has an equal share)'],
        samples: whole.samples,
      }
    }
    const known = new Set(told)
    const loads: (RankLoad | undefined)[] = []
    let untold = NOTHING
    for (let rank = 0; rank < ranks; rank++) {
      if (!known.has(String(rank))) {
        loads.push(undefined)
        continue
      }
      const reading = this.#read(samples, String(rank))
      if ('fault' in reading) return { ...reading, detail: `${reading.detail} (rank ${rank})` }
      loads.push(reading.load)
      if (untold.length === 0) untold = reading.untold
    }
    return { loads, told, untold, samples: samples.count }
  }

  #ranksTold(samples: PageSamples): readonly string[] {
    for (const needle of [this.#running, this.#waiting, this.#usage, this.#otherUsage]) {
      const told = samples.ranks(needle)
      if (told.length > 0) return told
    }
    return NOTHING
  }

  #read(page: PageSamples, rank: string | undefined): PageReading {
    const running = page.of(this.#running, rank)
    const waiting = page.of(this.#waiting, rank)
    let usage = page.of(this.#usage, rank)
    if (usage.length === 0) usage = page.of(this.#otherUsage, rank)
    const fault =
      (this.#metrics.runningOptional && running.length === 0
        ? undefined
        : this.#faultOf(page, this.#running, running)) ??
      this.#faultOf(page, this.#waiting, waiting) ??
      this.#faultOf(page, this.#usage, usage)
    if (fault !== undefined) return fault
    const custom = this.#customOf(page, rank)
    return {
      load: {
        waiting: sum(waiting),
        running: sum(running),
        kvCacheUsage: Math.min(1, highest(usage)),
        ...this.#cacheOf(page, rank),
        adapters: adaptersOf(page.of(this.#adapters, rank)),
        ...this.#prefixCacheOf(page, rank),
        custom,
      },
      untold:
        waiting.length > 0 &&
        running.length > 0 &&
        usage.length > 0 &&
        custom.size === this.#custom.length
          ? NOTHING
          : [
              ...(waiting.length > 0 ? [] : ['waiting requests (counted as 0)']),
              ...(running.length > 0 ? [] : ['running requests (counted as 0)']),
              ...(usage.length > 0 ? [] : ['KV-cache use (counted as 0)']),
              ...this.#custom
                .filter(([key]) => !custom.has(key))
                .map(([key, { name }]) => `"${key}" (${name})`),
            ],
      samples: page.count,
    }
  }

  #faultOf(
    page: PageSamples,
    needle: Needle | undefined,
    samples: readonly Sample[],
  ): { readonly fault: PageFault; readonly detail: string } | undefined {
    if (needle === undefined) return undefined
    if (samples.length === 0) {
      return {
        fault: this.knows(page.bytes) ? 'metric-missing' : 'not-metrics',
        detail: `no ${needle.name} on the page`,
      }
    }
    const bad = samples.find(({ value }) => !Number.isFinite(value) || value < 0)
    return bad && { fault: 'bad-value', detail: `${needle.name} is ${bad.value}` }
  }

  #cacheOf(
    page: PageSamples,
    rank: string | undefined,
  ): Pick<EndpointMetrics, 'blockTokens' | 'kvBlocks' | 'hashAlgorithm'> {
    const infos = page.of(this.#cacheInfo, undefined)
    const own = page.of(this.#cacheInfo, rank)
    const info = own[0]?.labels ?? ''
    const { blockTokensLabels, blocksLabels } = this.#metrics
    // With several engines behind one page, vLLM 0.32 states the blocks of all of them in each series.
    const blocks = countOf(labelOfAny(info, blocksLabels))
    const share = own.length < infos.length ? infos.length : 1
    return {
      blockTokens:
        countOf(labelOfAny(info, blockTokensLabels)) ??
        countOf(page.of(this.#blockTokens, rank)[0]?.value),
      kvBlocks:
        blocks === undefined
          ? countOf(page.of(this.#blocks, rank)[0]?.value)
          : Math.floor(blocks / share),
      hashAlgorithm: labelOf(info, 'prefix_caching_hash_algo'),
    }
  }

  /** Empty where the page does not tell all of it. */
  #prefixCacheOf(
    page: PageSamples,
    rank: string | undefined,
  ): { readonly prefixCache?: PrefixCacheCounters } {
    const [queries, hits, finished] = this.#prefixCache.map((needle) => {
      const samples = page.of(needle, rank)
      return samples.length > 0 ? sum(samples) : Number.NaN
    })
    if (queries === undefined || !Number.isFinite(queries + hits! + finished!)) return {}
    const counters = { queriedTokens: queries, hitTokens: hits!, finishedRequests: finished! }
    return { prefixCache: counters }
  }

  /** Those that are on the page as finite numbers: of several series the newest, the first among equally old ones. */
  #customOf(page: PageSamples, rank: string | undefined): ReadonlyMap<string, number> {
    if (this.#custom.length === 0) return NO_CUSTOM
    const values = new Map<string, number>()
    for (const [key, needle] of this.#custom) {
      const samples = page.of(needle, rank)
      if (samples.length === 0) continue
      const { value } = samples.reduce((best, next) => (next.timeMs > best.timeMs ? next : best))
      if (Number.isFinite(value)) values.set(key, value)
    }
    return values
  }
}

/** One of so many equal parts; what the whole has used of its prefix cache says nothing of a part. */
function shareOf({ prefixCache: _, ...load }: RankLoad, ranks: number): RankLoad {
  return {
    ...load,
    waiting: load.waiting / ranks,
    running: load.running / ranks,
    kvBlocks: countOf(Math.floor((load.kvBlocks ?? 0) / ranks)),
  }
}

/** vLLM's `lora_requests_info`: its value is a time, and each change of the adapters makes a series of its own. */
function adaptersOf(samples: readonly Sample[]): AdapterLoad | undefined {
  if (samples.length === 0) return undefined
  const { labels } = samples.reduce((best, next) => (next.value > best.value ? next : best))
  return {
    running: namesOf(labelOf(labels, 'running_lora_adapters')),
    waiting: namesOf(labelOf(labels, 'waiting_lora_adapters')),
    max: countOf(labelOf(labels, 'max_lora')) ?? 0,
  }
}

function namesOf(list: string | undefined): readonly string[] {
  if (!list) return NOTHING
  return list
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
}

function labelOfAny(labels: string, names: readonly string[]): string | undefined {
  for (const name of names) {
    const value = labelOf(labels, name)
    if (value !== undefined) return value
  }
  return undefined
}

/** A count above 0 that a label or a sample states; undefined for none, and for Python's "None". */
function countOf(stated: string | number | undefined): number | undefined {
  return stated !== undefined && /^[1-9]\d{0,11}$/.test(String(stated)) ? Number(stated) : undefined
}

function sum(samples: readonly Sample[]): number {
  return samples.reduce((total, { value }) => total + value, 0)
}

/** 0 without any. */
function highest(samples: readonly Sample[]): number {
  return samples.reduce((most, { value }) => Math.max(most, value), 0)
}
