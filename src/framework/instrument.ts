import { SchedulerError } from './errors.ts'
import type { Kind } from './plugin.ts'
import type { Counter, Histogram, Logger, Metrics } from './services.ts'

/** Bucket bounds in seconds for work that takes microseconds to seconds. */
export const PHASE_BUCKETS_SECONDS = [
  0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1,
  0.2, 0.5, 1, 2, 5,
] as const

/** Times one configured plugin, counts its faults and names it in errors, so that plugins need do none of it. */
export class PluginProbe {
  readonly #name: string
  readonly #logger: Logger
  readonly #seconds: Histogram
  readonly #failures: Counter
  readonly #clamped: Counter

  constructor(kind: Kind, type: string, name: string, metrics: Metrics, logger: Logger) {
    const labels = { kind, type, name }
    this.#name = `${kind} "${name}"`
    this.#logger = logger
    this.#seconds = metrics.histogram(
      'epp_plugin_duration_seconds',
      'Time one plugin took for one request.',
      PHASE_BUCKETS_SECONDS,
      labels,
    )
    this.#failures = metrics.counter(
      'epp_plugin_failures_total',
      'Calls of a plugin that threw.',
      labels,
    )
    this.#clamped = metrics.counter(
      'epp_plugin_scores_clamped_total',
      'Scores outside [0, 1] or NaN that the host clamped.',
      labels,
    )
  }

  /** @throws {SchedulerError} PLUGIN_FAILED, naming the plugin, with what it threw as the cause */
  call<T>(work: () => T): T {
    const startMs = performance.now()
    try {
      return work()
    } catch (cause) {
      throw this.failed(cause)
    } finally {
      this.#seconds.observe((performance.now() - startMs) / 1000)
    }
  }

  /** Runs a notification; what it throws is counted and logged, not passed on. */
  notify(work: () => void): void {
    try {
      work()
    } catch (cause) {
      const error = this.failed(cause)
      this.#logger.warnOnce(`plugin ${this.#name}`, error.message)
    }
  }

  /** The scores in [0, 1], NaN as 0. */
  clamp(scores: ArrayLike<number>, length: number): Float64Array {
    if (scores?.length !== length) {
      throw new SchedulerError(
        'PLUGIN_CONTRACT',
        `${this.#name} returned ${scores?.length ?? 'no'} scores for ${length} endpoints`,
      )
    }
    const clamped = new Float64Array(length)
    for (let i = 0; i < length; i++) {
      const score = scores[i]!
      if (score >= 0 && score <= 1) clamped[i] = score
      else {
        this.#clamped.inc()
        clamped[i] = score > 1 ? 1 : 0
      }
    }
    return clamped
  }

  failed(cause: unknown): SchedulerError {
    this.#failures.inc()
    if (cause instanceof SchedulerError) return cause
    const text = cause instanceof Error ? cause.message : String(cause)
    return new SchedulerError('PLUGIN_FAILED', `${this.#name} failed: ${text}`, { cause })
  }

  observeSeconds(seconds: number): void {
    this.#seconds.observe(seconds)
  }
}
