import type { MetricSelector } from './metric-selector.ts'

const LF = 0x0a
const SPACE = 0x20
const BRACE = 0x7b
/** How far a metric may have moved from one page to the next and still be found without a search from the start. */
const NEAR_BYTES = 2048

/** One sample. */
export interface Sample {
  /** As text between the braces. */
  readonly labels: string
  /** NaN where it is no number. */
  readonly value: number
  /** As the page states it; 0 where it does not. */
  readonly timeMs: number
}

const NONE: readonly Sample[] = []

/**
 * A metric as it is looked for in the bytes of pages in Prometheus' text format; nothing else of a page is read.
 *
 * Lines of one metric stand together, and pages of one engine are alike: the search begins where the last page had it.
 */
export class Needle {
  readonly name: string
  /** The name at the beginning of a line. */
  readonly #bytes: Buffer
  /** What a series must have among its labels. */
  readonly #labels: readonly (readonly [label: string, value: string])[]
  /** Where the last page had the line break before the first line. */
  #lastAt = 0

  constructor({ name, labels }: MetricSelector) {
    this.name = name
    this.#bytes = Buffer.from(`\n${name}`)
    this.#labels = Object.entries(labels)
  }

  /** In the page's order. */
  samples(page: Buffer): readonly Sample[] {
    let at = this.#firstLine(page)
    if (at < 0) return NONE
    const samples: Sample[] = []
    while (at >= 0) {
      const end = endOfLine(page, at)
      const sample = sampleOf(page.toString('utf8', at + this.#bytes.length - 1, end))
      if (this.#labels.every(([label, value]) => labelOf(sample.labels, label) === value)) {
        samples.push(sample)
      }
      at = this.#isAt(page, end) ? end + 1 : -1
    }
    return samples
  }

  /** Where the first line with exactly this name begins; -1 without one. */
  #firstLine(page: Buffer): number {
    const bytes = this.#bytes
    // The page's first line has no line break before it.
    if (
      endsName(page[bytes.length - 1]) &&
      page.compare(bytes, 1, bytes.length, 0, bytes.length - 1) === 0
    ) {
      return 0
    }
    const near = this.#near(page)
    if (near >= 0) return near
    for (let at = page.indexOf(bytes); at >= 0; at = page.indexOf(bytes, at + 1)) {
      if (this.#isAt(page, at)) {
        this.#lastAt = at
        return at + 1
      }
    }
    return -1
  }

  /** The same around the place where the last page had it; -1 where it is not certain to be the first line. */
  #near(page: Buffer): number {
    const from = Math.max(0, this.#lastAt - NEAR_BYTES)
    const found = page.subarray(from, this.#lastAt + NEAR_BYTES).indexOf(this.#bytes)
    const at = from + found
    if (found < 0 || !this.#isAt(page, at)) return -1
    // The search may have begun amid the metric's lines.
    const before = page.lastIndexOf(LF, at - 1)
    if (at === 0 || before < from || this.#isAt(page, before)) return -1
    this.#lastAt = at
    return at + 1
  }

  /** True when the name stands after the line break at `at` and ends there: no longer name begins with it. */
  #isAt(page: Buffer, at: number): boolean {
    const end = at + this.#bytes.length
    return endsName(page[end]) && page.compare(this.#bytes, 0, this.#bytes.length, at, end) === 0
  }
}

interface Found {
  readonly all: readonly Sample[]
  /** By the label that says the rank; made when first asked for. */
  byRank: ReadonlyMap<string, readonly Sample[]> | undefined
}

/** The samples of one page: each metric is looked for once, however many ranks the page tells of. */
export class PageSamples {
  readonly bytes: Buffer
  readonly #found = new Map<Needle, Found>()

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }

  /** How many were found of the metrics that were looked for. */
  get count(): number {
    let count = 0
    for (const { all } of this.#found.values()) count += all.length
    return count
  }

  /** @param rank takes the series of this rank alone if there are several series and some of it, else all */
  of(needle: Needle | undefined, rank: string | undefined): readonly Sample[] {
    if (needle === undefined) return NONE
    const { all } = this.#find(needle)
    if (rank === undefined || all.length < 2) return all
    return this.#ranksOf(needle).get(rank) ?? all
  }

  /** The ranks that a metric's series are labelled with, in the page's order. */
  ranks(needle: Needle | undefined): readonly string[] {
    return needle === undefined ? [] : [...this.#ranksOf(needle).keys()]
  }

  #find(needle: Needle): Found {
    let found = this.#found.get(needle)
    if (found === undefined) {
      found = { all: needle.samples(this.bytes), byRank: undefined }
      this.#found.set(needle, found)
    }
    return found
  }

  #ranksOf(needle: Needle): ReadonlyMap<string, readonly Sample[]> {
    const found = this.#find(needle)
    if (found.byRank === undefined) {
      const byRank = new Map<string, Sample[]>()
      for (const sample of found.all) {
        const rank = rankOf(sample)
        if (rank === undefined) continue
        const own = byRank.get(rank)
        if (own === undefined) byRank.set(rank, [sample])
        else own.push(sample)
      }
      found.byRank = byRank
    }
    return found.byRank
  }
}

/** The data-parallel rank of a series: vLLM labels it `engine`, SGLang `dp_rank`. */
function rankOf({ labels }: Sample): string | undefined {
  const rank = labelOf(labels, 'engine') ?? labelOf(labels, 'dp_rank')
  return rank !== undefined && /^\d{1,4}$/.test(rank) ? rank : undefined
}

/** The value of one label; undefined when it is not there. */
export function labelOf(labels: string, name: string): string | undefined {
  let at = 0
  while (at < labels.length) {
    const equals = labels.indexOf('="', at)
    if (equals < 0) return undefined
    let close = equals + 2
    while (close < labels.length && labels[close] !== '"') close += labels[close] === '\\' ? 2 : 1
    if (labels.slice(at, equals).trim() === name) return unescaped(labels.slice(equals + 2, close))
    at = labels.indexOf(',', close)
    if (at < 0) return undefined
    at++
  }
  return undefined
}

function unescaped(value: string): string {
  if (!value.includes('\\')) return value
  return value.replace(/\\(.)/g, (_, next: string) => (next === 'n' ? '\n' : next))
}

function endsName(byte: number | undefined): boolean {
  return byte === BRACE || byte === SPACE
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
    if (close < 0) return { labels, value: Number.NaN, timeMs: 0 }
    labels = rest.slice(1, close)
    at = close + 1
  }
  const [value = '', time = ''] = rest.slice(at).trim().split(/\s+/, 2)
  return { labels, value: value === '' ? Number.NaN : Number(value), timeMs: Number(time) || 0 }
}
