import { collectDefaultMetrics, type Metric, Registry } from 'prom-client'
import type { Counter, Gauge, Histogram, Metrics } from '../framework/services.ts'

type Labels = Readonly<Record<string, string>>
type Kind = 'counter' | 'gauge' | 'histogram'

/** One sample as prom-client's registry prints it. */
interface Sample {
  readonly metricName?: string
  readonly labels: Record<string, string | number>
  readonly value: number
}

/** Label values that one label of one metric may have; further ones become `other`. */
const MAX_LABEL_VALUES = 1000

/** All series of one name. */
class Family {
  readonly name: string
  readonly help: string
  readonly type: Kind
  readonly #series = new Map<string, { samples(): Iterable<Sample> }>()
  readonly #labelValues = new Map<string, Set<string>>()

  constructor(name: string, help: string, type: Kind) {
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

  /** Called by prom-client's registry. */
  async get() {
    const values = [...this.#series.values()].flatMap((series) => [...series.samples()])
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
      if (values.size < MAX_LABEL_VALUES) values.add(value)
      bounded[label] = values.has(value) ? value : 'other'
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

class ObservedSeries {
  readonly #read: () => Iterable<{ labels: Labels; value: number }>

  constructor(read: () => Iterable<{ labels: Labels; value: number }>) {
    this.#read = read
  }

  *samples(): Iterable<Sample> {
    for (const { labels, value } of this.#read()) yield { labels: { ...labels }, value }
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

  constructor() {
    collectDefaultMetrics({ register: this.#registry })
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

  observed(
    name: string,
    help: string,
    samples: () => Iterable<{ labels: Labels; value: number }>,
  ): void {
    this.#family(name, help, 'gauge').series({}, () => new ObservedSeries(samples))
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  /** The page that Prometheus scrapes. */
  text(): Promise<string> {
    return this.#registry.metrics()
  }

  #family(name: string, help: string, type: Kind): Family {
    const existing = this.#families.get(name)
    if (existing) return existing
    const family = new Family(name, help, type)
    this.#families.set(name, family)
    this.#registry.registerMetric(family as unknown as Metric<string>)
    return family
  }
}
