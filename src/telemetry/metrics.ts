import { collectDefaultMetrics, type Metric, Registry } from 'prom-client'
import { DEFAULT_LIMITS } from '../framework/limits.ts'
import type { Counter, Gauge, Histogram, Metrics } from '../framework/services.ts'

type Labels = Readonly<Record<string, string>>
type ReadSamples = () => Iterable<{ labels: Labels; value: number }>
type Kind = 'counter' | 'gauge' | 'histogram'

/** One sample as prom-client's registry prints it. */
interface Sample {
  readonly metricName?: string
  readonly labels: Record<string, string | number>
  readonly value: number
}

/** Values that each label of each metric may have; further ones become `other`. */
interface LabelCap {
  readonly maxValues: number
  /** Told each time a further one is asked for. */
  exceeded(metric: string): void
}

/** All series of one name. */
class Family {
  readonly name: string
  readonly help: string
  readonly type: Kind
  readonly #series = new Map<string, { samples(): Iterable<Sample> }>()
  readonly #observed = new Set<() => Iterable<Sample>>()
  readonly #labelValues = new Map<string, Set<string>>()
  readonly #labelCap: LabelCap

  constructor(name: string, help: string, type: Kind, labelCap: LabelCap) {
    this.#labelCap = labelCap
    this.name = name
    this.help = help
    this.type = type
  }

  /** The series of these labels, made on first use. */
  series<T extends { samples(): Iterable<Sample> }>(
    labels: Labels,
    make: (labels: Labels) => T,
  ): T {
    const bounded = this.#bound(labels)
    const key = JSON.stringify(bounded)
    const existing = this.#series.get(key) as T | undefined
    if (existing) return existing
    const made = make(bounded)
    this.#series.set(key, made)
    return made
  }

  /** Adds samples that are asked for at scrape time. Returns a function that takes them away. */
  observe(read: () => Iterable<Sample>): () => void {
    this.#observed.add(read)
    return () => this.#observed.delete(read)
  }

  /** Called by prom-client's registry. */
  async get() {
    const values = [...this.#series.values()].flatMap((series) => [...series.samples()])
    for (const read of this.#observed) values.push(...read())
    return { name: this.name, help: this.help, type: this.type, values, aggregator: 'sum' }
  }

  reset(): void {
    this.#series.clear()
  }

  #bound(labels: Labels): Labels {
    const bounded: Record<string, string> = {}
    for (const [label, value] of Object.entries(labels)) {
      let values = this.#labelValues.get(label)
      if (!values) {
        values = new Set()
        this.#labelValues.set(label, values)
      }
      if (values.size < this.#labelCap.maxValues) values.add(value)
      if (values.has(value)) bounded[label] = value
      else {
        bounded[label] = 'other'
        this.#labelCap.exceeded(this.name)
      }
    }
    return bounded
  }
}

class CounterSeries implements Counter {
  readonly #labels: Labels
  #value = 0

  constructor(labels: Labels) {
    this.#labels = labels
  }

  inc(value = 1): void {
    this.#value += value
  }

  samples(): Sample[] {
    return [{ labels: { ...this.#labels }, value: this.#value }]
  }
}

class GaugeSeries implements Gauge {
  readonly #labels: Labels
  #value = 0

  constructor(labels: Labels) {
    this.#labels = labels
  }

  set(value: number): void {
    this.#value = value
  }

  samples(): Sample[] {
    return [{ labels: { ...this.#labels }, value: this.#value }]
  }
}

class HistogramSeries implements Histogram {
  readonly #name: string
  readonly #labels: Labels
  readonly #bounds: Float64Array
  readonly #counts: Float64Array
  #sum = 0

  constructor(name: string, labels: Labels, bounds: readonly number[]) {
    this.#name = name
    this.#labels = labels
    this.#bounds = Float64Array.from(bounds)
    this.#counts = new Float64Array(bounds.length + 1)
  }

  observe(value: number): void {
    const bounds = this.#bounds
    let at = 0
    while (at < bounds.length && value > bounds[at]!) at++
    this.#counts[at]! += 1
    this.#sum += value
  }

  samples(): Sample[] {
    const samples: Sample[] = []
    let count = 0
    const add = (suffix: string, value: number, le?: number | string) =>
      samples.push({
        metricName: `${this.#name}${suffix}`,
        labels: le === undefined ? { ...this.#labels } : { ...this.#labels, le },
        value,
      })
    this.#counts.forEach((inBucket, i) => {
      count += inBucket
      add('_bucket', count, this.#bounds[i] ?? '+Inf')
    })
    add('_sum', this.#sum)
    add('_count', count)
    return samples
  }
}

/**
 * Prometheus metrics, printed by prom-client.
 *
 * Series are plain accumulators of our own, bound to their labels once: observing one costs a few nanoseconds, where
 * prom-client would hash the labels again each time.
 */
export class PrometheusMetrics implements Metrics {
  readonly #registry = new Registry()
  readonly #families = new Map<string, Family>()
  readonly #labelCap: LabelCap

  /** @param maxLabelValues values that each label of each metric may have */
  constructor(maxLabelValues: number = DEFAULT_LIMITS.maxLabelValues) {
    collectDefaultMetrics({ register: this.#registry })
    // The names of metrics are the program's own: so many there are.
    const exceeded = (metric: string) =>
      this.counter(
        'epp_metric_labels_capped_total',
        'Times that a label was given a value beyond the cap, counted as "other".',
        { metric },
      ).inc()
    this.#labelCap = { maxValues: maxLabelValues, exceeded }
  }

  counter(name: string, help: string, labels: Labels = {}): Counter {
    return this.#family(name, help, 'counter').series(labels, (each) => new CounterSeries(each))
  }

  gauge(name: string, help: string, labels: Labels = {}): Gauge {
    return this.#family(name, help, 'gauge').series(labels, (each) => new GaugeSeries(each))
  }

  histogram(
    name: string,
    help: string,
    buckets: readonly number[],
    labels: Labels = {},
  ): Histogram {
    return this.#family(name, help, 'histogram').series(
      labels,
      (each) => new HistogramSeries(name, each, buckets),
    )
  }

  observed(name: string, help: string, samples: ReadSamples): void {
    this.#observe(name, help, samples)
  }

  /** The same metrics with these labels on every series, until it is disposed of. */
  scope(labels: Labels): MetricsScope {
    return new MetricsScope(this, labels, (name, help, samples) =>
      this.#observe(name, help, samples),
    )
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  /** The page that Prometheus scrapes. */
  text(): Promise<string> {
    return this.#registry.metrics()
  }

  #observe(name: string, help: string, samples: ReadSamples): () => void {
    return this.#family(name, help, 'gauge').observe(function* () {
      for (const { labels, value } of samples()) yield { labels: { ...labels }, value }
    })
  }

  #family(name: string, help: string, type: Kind): Family {
    const existing = this.#families.get(name)
    if (existing) return existing
    const family = new Family(name, help, type, this.#labelCap)
    this.#families.set(name, family)
    this.#registry.registerMetric(family as unknown as Metric<string>)
    return family
  }
}

/** Metrics of one part of the process, told apart by labels. Disposing of it ends what is asked for at scrape time. */
export class MetricsScope implements Metrics, Disposable {
  readonly #metrics: Metrics
  readonly #labels: Labels
  readonly #observe: (name: string, help: string, samples: ReadSamples) => () => void
  readonly #ends: (() => void)[] = []

  constructor(
    metrics: Metrics,
    labels: Labels,
    observe: (name: string, help: string, samples: ReadSamples) => () => void,
  ) {
    this.#metrics = metrics
    this.#labels = labels
    this.#observe = observe
  }

  counter(name: string, help: string, labels?: Labels): Counter {
    return this.#metrics.counter(name, help, { ...labels, ...this.#labels })
  }

  gauge(name: string, help: string, labels?: Labels): Gauge {
    return this.#metrics.gauge(name, help, { ...labels, ...this.#labels })
  }

  histogram(name: string, help: string, buckets: readonly number[], labels?: Labels): Histogram {
    return this.#metrics.histogram(name, help, buckets, { ...labels, ...this.#labels })
  }

  observed(name: string, help: string, samples: ReadSamples): void {
    const own = this.#labels
    const labelled = function* () {
      for (const { labels, value } of samples()) yield { labels: { ...labels, ...own }, value }
    }
    this.#ends.push(this.#observe(name, help, labelled))
  }

  [Symbol.dispose](): void {
    for (const end of this.#ends.splice(0)) end()
  }
}
