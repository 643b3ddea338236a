import type { EndpointMetrics } from '../framework/endpoint.ts'
import type { MetricSelector } from './metric-selector.ts'

/** Why a page says nothing of an engine's load. */
export type PageFault =
  /** No line of the engine's: another kind of page. */
  | 'not-metrics'
  /** Some of the gauges that are needed are not there. */
  | 'metric-missing'
  /** A value that is no finite number, or outside its range. */
  | 'bad-value'

export type PageReading =
  | { readonly load: Omit<EndpointMetrics, 'scrapedAtMs'> }
  | { readonly fault: PageFault; readonly detail: string }

const LF = 0x0a
const SPACE = 0x20
const BRACE = 0x7b

const WAITING = 'vllm:num_requests_waiting'
const RUNNING = 'vllm:num_requests_running'
const USAGE = 'vllm:kv_cache_usage_perc'
/** The name until vLLM 0.9, hidden later, then removed. */
const OLD_USAGE = 'vllm:gpu_cache_usage_perc'
const CACHE_CONFIG = 'vllm:cache_config_info'

/** Metrics that stand for vLLM's; undefined where vLLM's own is meant. */
export interface EngineMetricNames {
  /** Gauge of requests that wait. */
  readonly waiting?: MetricSelector
  /** Gauge of requests that run. */
  readonly running?: MetricSelector
  /** Gauge of the KV cache's use, in [0, 1]. */
  readonly kvCacheUsage?: MetricSelector
  /** Series whose labels tell the block size and the number of blocks, under vLLM's names or SGLang's. */
  readonly cacheConfig?: MetricSelector
}

interface Needle {
  readonly name: string
  /** The name at the beginning of a line. */
  readonly bytes: Buffer
  /** What a series must have among its labels. */
  readonly labels: readonly (readonly [label: string, value: string])[]
}

/** What to look for on a page. */
interface Needles {
  readonly waiting: Needle
  readonly running: Needle
  readonly usage: Needle
  /** Looked for where `usage` is not there. */
  readonly oldUsage: Needle | undefined
  readonly config: Needle
  /** A page without `running` is taken as one with nothing running. */
  readonly runningOptional: boolean
  /** What all names of the engine begin with. */
  readonly family: Buffer
}

function needle({ name, labels }: MetricSelector): Needle {
  return { name, bytes: Buffer.from(`\n${name}`), labels: Object.entries(labels) }
}

function needlesFor(names: EngineMetricNames): Needles {
  const named = (selector: MetricSelector | undefined, name: string) =>
    needle(selector ?? { name, labels: {} })
  const waiting = named(names.waiting, WAITING)
  const usage = named(names.kvCacheUsage, USAGE)
  const otherUsage = { [USAGE]: OLD_USAGE, [OLD_USAGE]: USAGE }[usage.name]
  return {
    waiting,
    running: named(names.running, RUNNING),
    usage,
    oldUsage: otherUsage === undefined ? undefined : named(undefined, otherUsage),
    config: named(names.cacheConfig, CACHE_CONFIG),
    runningOptional: names.running === undefined && waiting.name !== WAITING,
    family: Buffer.from(waiting.name.slice(0, waiting.name.indexOf(':') + 1) || waiting.name),
  }
}

/** One sample: its labels as text between the braces, and its value. */
interface Sample {
  readonly labels: string
  readonly value: number
}

/**
 * Reads engines' load from their `/metrics` pages (Prometheus text format), by finding the few lines that are needed; the
 * rest of a page is never parsed.
 */
export class EnginePageReader {
  readonly #needles: Needles

  /** Where the names of another engine are given without one for running requests, its pages need not tell them. */
  constructor(names: EngineMetricNames = {}) {
    this.#needles = needlesFor(names)
  }

  /** False when pages need not tell how many requests run, and 0 may mean that they do not. */
  get tellsRunning(): boolean {
    return !this.#needles.runningOptional
  }

  /**
   * A server with several engines has one series per engine, labelled `engine="N"`.
   *
   * @param rank takes the series of this engine alone if the page has it; undefined, or a rank that is not there, takes
   *   all: the sum of requests, the highest use
   */
  read(page: Buffer, rank: number | undefined): PageReading {
    const needles = this.#needles
    const engine = rank === undefined ? undefined : String(rank)
    const running = samplesOf(page, needles.running, engine)
    const waiting = samplesOf(page, needles.waiting, engine)
    let usage = samplesOf(page, needles.usage, engine)
    if (usage.length === 0 && needles.oldUsage) usage = samplesOf(page, needles.oldUsage, engine)
    for (const [{ name }, samples, optional] of [
      [needles.running, running, needles.runningOptional],
      [needles.waiting, waiting, false],
      [needles.usage, usage, false],
    ] as const) {
      if (samples.length === 0 && !optional) {
        const isEngine = page.includes(needles.family)
        return {
          fault: isEngine ? 'metric-missing' : 'not-metrics',
          detail: `no ${name} on the page`,
        }
      }
      const bad = samples.find(({ value }) => !Number.isFinite(value) || value < 0)
      if (bad !== undefined) return { fault: 'bad-value', detail: `${name} is ${bad.value}` }
    }
    const configs = samplesOf(page, needles.config, undefined)
    const own = ofEngine(configs, engine)
    const config = own[0]?.labels ?? ''
    // With several engines behind one page, vLLM 0.32 states the blocks of all of them in each series.
    const blocks = countOf(labelOf(config, 'num_gpu_blocks') ?? labelOf(config, 'num_pages'))
    const share = own.length < configs.length ? configs.length : 1
    return {
      load: {
        waiting: sum(waiting),
        running: sum(running),
        kvCacheUsage: Math.min(1, Math.max(...usage.map(({ value }) => value))),
        blockTokens: countOf(labelOf(config, 'block_size') ?? labelOf(config, 'page_size')),
        kvBlocks: blocks === undefined ? undefined : Math.floor(blocks / share),
        hashAlgorithm: labelOf(config, 'prefix_caching_hash_algo'),
      },
    }
  }
}

/** The samples of one metric: of that engine if the page has it, else all. Lines of one metric stand together. */
function samplesOf(
  page: Buffer,
  { bytes, labels: wanted }: Needle,
  engine: string | undefined,
): readonly Sample[] {
  const samples: Sample[] = []
  for (let at = firstLine(page, bytes); at >= 0; ) {
    const end = endOfLine(page, at)
    const sample = sampleOf(page.toString('latin1', at + bytes.length - 1, end))
    if (wanted.every(([label, value]) => labelOf(sample.labels, label) === value)) {
      samples.push(sample)
    }
    at = isName(page, end, bytes) ? end + 1 : -1
  }
  return ofEngine(samples, engine)
}

/** Those of one engine; all when there is none of it. */
function ofEngine(samples: readonly Sample[], engine: string | undefined): readonly Sample[] {
  if (engine === undefined || samples.length < 2) return samples
  const own = samples.filter(({ labels }) => labelOf(labels, 'engine') === engine)
  return own.length > 0 ? own : samples
}

/** Where the first line with exactly this name begins; -1 without one. */
function firstLine(page: Buffer, bytes: Buffer): number {
  // The page's first line has no line break before it.
  if (
    page.length > bytes.length &&
    page.compare(bytes, 1, bytes.length, 0, bytes.length - 1) === 0
  ) {
    const next = page[bytes.length - 1]
    if (next === BRACE || next === SPACE) return 0
  }
  for (let at = page.indexOf(bytes); at >= 0; at = page.indexOf(bytes, at + 1)) {
    if (isName(page, at, bytes)) return at + 1
  }
  return -1
}

/** True when the name stands after the line break at `at` and ends there: no longer name begins with it. */
function isName(page: Buffer, at: number, bytes: Buffer): boolean {
  const after = at + bytes.length
  if (after >= page.length) return false
  const next = page[after]
  return (next === BRACE || next === SPACE) && page.compare(bytes, 0, bytes.length, at, after) === 0
}

function endOfLine(page: Buffer, from: number): number {
  const end = page.indexOf(LF, from)
  return end < 0 ? page.length : end
}

/** @param rest what follows the name: labels in braces or none, the value, perhaps a time */
function sampleOf(rest: string): Sample {
  let labels = ''
  let at = 0
  if (rest.charCodeAt(0) === BRACE) {
    const close = rest.lastIndexOf('}')
    if (close < 0) return { labels, value: Number.NaN }
    labels = rest.slice(1, close)
    at = close + 1
  }
  const text = rest.slice(at).trim().split(/\s/, 1)[0]
  return { labels, value: text === undefined || text === '' ? Number.NaN : Number(text) }
}

/** The value of one label; undefined when it is not there. Quotes inside values are escaped by a backslash. */
function labelOf(labels: string, name: string): string | undefined {
  let at = 0
  while (at < labels.length) {
    const equals = labels.indexOf('="', at)
    if (equals < 0) return undefined
    let close = equals + 2
    while (close < labels.length && labels[close] !== '"') close += labels[close] === '\\' ? 2 : 1
    if (labels.slice(at, equals).trim() === name) return labels.slice(equals + 2, close)
    at = labels.indexOf(',', close)
    if (at < 0) return undefined
    at++
  }
  return undefined
}

/** A count that a label states; undefined for none, and for Python's "None". */
function countOf(text: string | undefined): number | undefined {
  return text !== undefined && /^[1-9]\d{0,11}$/.test(text) ? Number(text) : undefined
}

function sum(samples: readonly Sample[]): number {
  return samples.reduce((total, { value }) => total + value, 0)
}
