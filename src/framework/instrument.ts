import { SchedulerError } from './errors.ts'
import { isRefusal, type OnError } from './on-error.ts'
import type { Kind } from './plugin.ts'
import type { Counter, Histogram, Logger, Metrics, Notices } from './services.ts'
import { TimeBudget } from './time-budget.ts'

/** Bucket bounds in seconds for work that takes microseconds to seconds. */
export const PHASE_BUCKETS_SECONDS = [
  0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1,
  0.2, 0.5, 1, 2, 5,
] as const

/** Good calls in a row after which a plugin that failed is not shown as failing any more. */
const CALLS_TO_RECOVER = 100

/** One configured plugin, as its metrics and messages name it. */
export interface Probed {
  readonly kind: Kind
  readonly type: string
  readonly name: string
  /** Undefined for a plugin without a budget. */
  readonly timeBudgetMs?: number | undefined
}

export interface ProbeServices {
  readonly metrics: Metrics
  readonly logger: Logger
  readonly notices: Notices
}

/** Times one configured plugin, counts its faults and names it in errors, so that plugins need do none of it. */
export class PluginProbe {
  readonly #who: string
  readonly #isObserver: boolean
  readonly #logger: Logger
  readonly #notices: Notices
  readonly #seconds: Histogram
  readonly #failures: Counter
  readonly #clamped: Counter
  readonly #budget: TimeBudget | undefined
  /** Good calls that are missing until the plugin counts as mended; 0 when it is whole. */
  #toRecover = 0

  constructor({ kind, type, name, timeBudgetMs }: Probed, services: ProbeServices) {
    const { metrics, logger, notices } = services
    const labels = { kind, type, name }
    this.#who = `${kind} "${name}"`
    this.#isObserver = kind === 'observer'
    this.#logger = logger
    this.#notices = notices
    this.#seconds = metrics.histogram(
      'epp_plugin_duration_seconds',
      'Time one plugin took for one request.',
      PHASE_BUCKETS_SECONDS,
      labels,
    )
    this.#failures = metrics.counter(
      'epp_plugin_failures_total',
      'Calls of a plugin that threw or broke its contract.',
      labels,
    )
    this.#clamped = metrics.counter(
      'epp_plugin_scores_clamped_total',
      'Scores outside [0, 1] or NaN that the host clamped.',
      labels,
    )
    if (timeBudgetMs === undefined) return
    const over = metrics.counter(
      'epp_plugin_over_budget_total',
      'Calls of a plugin that took longer than its timeBudgetMs.',
      labels,
    )
    this.#budget = new TimeBudget(timeBudgetMs, this.#who, over, services)
  }

  /** Milliseconds; undefined without a budget. */
  get timeBudgetMs(): number | undefined {
    return this.#budget?.ms
  }

  /** @throws {SchedulerError} PLUGIN_FAILED, naming the plugin, with what it threw as the cause; a refusal as it is */
  call<T>(work: () => T): T {
    const startMs = performance.now()
    try {
      return work()
    } catch (cause) {
      throw this.failed(cause)
    } finally {
      this.spent(performance.now() - startMs)
    }
  }

  /**
   * What `work` gives. When it fails and `onError` is not `fail`: the error, counted, logged once, and shown in a notice until
   * calls succeed again.
   *
   * @throws {SchedulerError} as `call`, when `onError` is `fail` or the error refuses the request
   */
  attempt<T>(onError: OnError, work: () => T): T | SchedulerError {
    if (onError === 'fail') return this.call(work)
    const startMs = performance.now()
    try {
      const result = work()
      if (this.#toRecover > 0 && --this.#toRecover === 0) this.#showFailure(undefined)
      return result
    } catch (cause) {
      const error = this.failed(cause)
      if (isRefusal(error)) throw error
      const text = `${error.message}; requests go on without it (onError: ${onError})`
      this.#logger.warnOnce(`plugin ${this.#who}`, text)
      if (this.#toRecover === 0) this.#showFailure(text)
      this.#toRecover = CALLS_TO_RECOVER
      return error
    } finally {
      this.spent(performance.now() - startMs)
    }
  }

  /** Runs a notification; what it throws is counted and logged, not passed on. */
  notify(work: () => void): void {
    const startMs = this.#isObserver && this.#budget ? performance.now() : undefined
    try {
      work()
    } catch (cause) {
      this.#failures.inc()
      this.#logger.warnOnce(`plugin ${this.#who}`, this.#errorOf(cause).message)
    }
    if (startMs !== undefined) this.#budget?.spent(performance.now() - startMs)
  }

  /**
   * The scores in [0, 1], NaN as 0.
   *
   * @throws {SchedulerError} PLUGIN_CONTRACT for another number of scores
   */
  clamp(scores: ArrayLike<number>, length: number): Float64Array {
    if (scores?.length !== length) {
      throw new SchedulerError(
        'PLUGIN_CONTRACT',
        `${this.#who} returned ${scores?.length ?? 'no'} scores for ${length} endpoints`,
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

  /** The error to tell of what a call threw, counted unless it refuses the request. */
  failed(cause: unknown): SchedulerError {
    if (isRefusal(cause)) return cause
    this.#failures.inc()
    return this.#errorOf(cause)
  }

  /** A call that was not timed here took this many milliseconds; `isOver` as in `TimeBudget.spent`. */
  spent(ms: number, isOver?: boolean): void {
    this.#seconds.observe(ms / 1000)
    this.#budget?.spent(ms, isOver)
  }

  #errorOf(cause: unknown): SchedulerError {
    if (cause instanceof SchedulerError) return cause
    const text = cause instanceof Error ? cause.message : String(cause)
    return new SchedulerError('PLUGIN_FAILED', `${this.#who} failed: ${text}`, { cause })
  }

  #showFailure(text: string | undefined): void {
    this.#notices.set(`plugin-failing:${this.#who}`, text)
  }
}
