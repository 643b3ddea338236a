/** How long things take; what is absent has its default. */
export interface ReflectorTimes {
  /** First and longest wait after a failure; 200 and 1000. */
  readonly backoffMs: number
  readonly maxBackoffMs: number
  /** Longest wait that a server's `retry-after` can ask for; 5000. */
  readonly maxRetryAfterMs: number
  /** A watch is asked to end after a time between these; 30 and 60. Whole seconds are sent. */
  readonly minWatchSeconds: number
  readonly maxWatchSeconds: number
  /** A watch that says nothing for this long after it should have ended is dead; 15 000. */
  readonly idleMarginMs: number
  /** A shorter watch counts as a failed one; a longer one ends a trouble. 1000. */
  readonly settleMs: number
  /** How often an API that is not served is looked for; 5000. */
  readonly unservedPollMs: number
  /** Objects of an API that was served outlive its absence for this long; 10 000. */
  readonly unservedGraceMs: number
}

export const DEFAULT_TIMES: ReflectorTimes = {
  backoffMs: 200,
  maxBackoffMs: 1000,
  maxRetryAfterMs: 5000,
  minWatchSeconds: 30,
  maxWatchSeconds: 60,
  idleMarginMs: 15_000,
  settleMs: 1000,
  unservedPollMs: 5000,
  unservedGraceMs: 10_000,
}
