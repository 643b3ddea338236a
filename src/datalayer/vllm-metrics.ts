import type { EndpointMetrics } from '../framework/endpoint.ts'

/** Why a page says nothing of an engine's load. */
export type PageFault =
  /** No line of vLLM's: another kind of page. */
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

const RUNNING = needle('vllm:num_requests_running')
const WAITING = needle('vllm:num_requests_waiting')
const USAGE = needle('vllm:kv_cache_usage_perc')
/** The name until vLLM 0.9, hidden later, then removed. */
const OLD_USAGE = needle('vllm:gpu_cache_usage_perc')
const CACHE_CONFIG = needle('vllm:cache_config_info')
const ANY = Buffer.from('vllm:')

interface Needle {
  readonly name: string
  /** The name at the beginning of a line. */
  readonly bytes: Buffer
}

function needle(name: string): Needle {
  return { name, bytes: Buffer.from(`\n${name}`) }
}

/** One sample: its labels as text between the braces, and its value. */
interface Sample {
  readonly labels: string
  readonly value: number
}

/**
 * Reads an engine's load from its `/metrics` page (vLLM's names, Prometheus text format), by finding the few lines that are
 * needed; the rest of the page is never parsed.
 *
 * A server with several engines has one series per engine, labelled `engine="N"`.
 * @param rank takes the series of this engine alone if the page has it; undefined, or a rank that is not there, takes all:
 *   the sum of requests, the highest use
 */
export function readVllmPage(page: Buffer, rank: number | undefined): PageReading {
  const engine = rank === undefined ? undefined : String(rank)
  const running = samplesOf(page, RUNNING, engine)
  const waiting = samplesOf(page, WAITING, engine)
  let usage = samplesOf(page, USAGE, engine)
  if (usage.length === 0) usage = samplesOf(page, OLD_USAGE, engine)
  for (const [{ name }, samples] of [
    [RUNNING, running],
    [WAITING, waiting],
    [USAGE, usage],
  ] as const) {
    if (samples.length === 0) {
      const isVllm = page.includes(ANY)
      return { fault: isVllm ? 'metric-missing' : 'not-metrics', detail: `no ${name} on the page` }
    }
    const bad = samples.find(({ value }) => !Number.isFinite(value) || value < 0)
    if (bad !== undefined) return { fault: 'bad-value', detail: `${name} is ${bad.value}` }
  }
  const configs = samplesOf(page, CACHE_CONFIG, undefined)
  const own = ofEngine(configs, engine)
  const config = own[0]?.labels ?? ''
  // With several engines behind one page, vLLM 0.32 states the blocks of all of them in each series.
  const blocks = countOf(labelOf(config, 'num_gpu_blocks'))
  const share = own.length < configs.length ? configs.length : 1
  return {
    load: {
      waiting: sum(waiting),
      running: sum(running),
      kvCacheUsage: Math.min(1, Math.max(...usage.map(({ value }) => value))),
      blockTokens: countOf(labelOf(config, 'block_size')),
      kvBlocks: blocks === undefined ? undefined : Math.floor(blocks / share),
      hashAlgorithm: labelOf(config, 'prefix_caching_hash_algo'),
    },
  }
}

/** The samples of one metric: of that engine if the page has it, else all. Lines of one metric stand together. */
function samplesOf(page: Buffer, { bytes }: Needle, engine: string | undefined): readonly Sample[] {
  const samples: Sample[] = []
  for (let at = firstLine(page, bytes); at >= 0; ) {
    const end = endOfLine(page, at)
    samples.push(sampleOf(page.toString('latin1', at + bytes.length - 1, end)))
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
