/** Of one quantity. */
export interface Spread {
  readonly mean: number
  readonly p50: number
  readonly p90: number
  readonly p99: number
}

/** What one run came to. Requests are those that were sent between warm-up and horizon. */
export interface Measures {
  readonly requests: number
  /** Of them, those without a whole answer when the simulation ended: they count with the time until then. */
  readonly unfinished: number
  /** Of them, those that the picker refused or no engine could hold. */
  readonly refused: number
  /** Time to first token, in seconds. */
  readonly ttftS: Spread
  /** Mean time between two tokens of one answer, in milliseconds. */
  readonly itlMs: Spread
  /** Time to the whole answer, in seconds. */
  readonly wholeS: Spread
  /** Tokens generated per second between warm-up and horizon. */
  readonly outputTokensPerSecond: number
  /** Share of prompt tokens that the engines' caches held. */
  readonly hitRate: number
  /** Share that one cache of unlimited size would have held. */
  readonly hitCeiling: number
  /** Requests that wait at one engine, on average over time and engines. */
  readonly waiting: number
  /** Requests in flight at the busiest engine over the mean, on average over time. */
  readonly skew: number
  readonly preemptions: number
  /** Of the whole run, warm-up and drain included. */
  readonly totals: Totals
  /** How it went over time, from the start on. */
  readonly timeline: readonly Moment[]
  /** What the pickers warned of, each once. */
  readonly warnings: readonly string[]
}

/** Every request of a run, counted once. */
export interface Totals {
  readonly sent: number
  readonly answered: number
  readonly refused: number
  readonly unanswered: number
  /** Sent again since their engine was restarted. */
  readonly resent: number
  readonly promptTokens: number
  readonly generatedTokens: number
  readonly answerTokens: number
  /** Events of all engines, and the messages that they came in: one per step that has any. */
  readonly events: number
  readonly eventMessages: number
}

/** The mean of some seconds. */
export interface Moment {
  readonly atS: number
  /** Of the requests sent then; undefined without any. */
  readonly ttftS: number | undefined
  /** At all engines. */
  readonly waiting: number
  readonly inFlight: number
}

/** Of values in any order; NaN when there are none. */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = Float64Array.from(values).sort()
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
  return { mean: meanOf(values), p50: at(0.5), p90: at(0.9), p99: at(0.99) }
}

/** NaN of none. */
export function meanOf(values: readonly number[]): number {
  return values.length === 0
    ? Number.NaN
    : values.reduce((sum, each) => sum + each, 0) / values.length
}
