import type { Counter, Logger, Notices } from './services.ts'

/** Calls over which the time is averaged. */
const CALLS = 100

/**
 * How long a plugin may take, and whether it keeps to it.
 *
 * Synchronous code cannot be interrupted: a call over budget is counted, and a plugin whose last 100 calls took more on
 * average is named, in the log once and in a notice for as long as it lasts.
 */
export class TimeBudget {
  /** Milliseconds. */
  readonly ms: number
  readonly #who: string
  readonly #over: Counter
  readonly #logger: Logger
  readonly #notices: Notices
  #calls = 0
  #sumMs = 0

  /** @param who kind and name, for people */
  constructor(
    ms: number,
    who: string,
    over: Counter,
    services: { readonly logger: Logger; readonly notices: Notices },
  ) {
    this.ms = ms
    this.#who = who
    this.#over = over
    this.#logger = services.logger
    this.#notices = services.notices
  }

  /**
   * One call took this long, in milliseconds.
   *
   * @param isOver whether that is more than it may; a call that a timer gave up is, though timers may fire a little early
   */
  spent(ms: number, isOver = ms > this.ms): void {
    if (isOver) this.#over.inc()
    this.#sumMs += ms
    if (++this.#calls < CALLS) return
    const meanMs = this.#sumMs / CALLS
    this.#calls = 0
    this.#sumMs = 0
    const key = `plugin-over-budget:${this.#who}`
    if (meanMs <= this.ms) this.#notices.set(key, undefined)
    else {
      const text = `${this.#who} took ${Number(meanMs.toPrecision(3))} ms on average over its last ${CALLS} calls, its budget is ${this.ms} ms; every request waits for it: make it faster, or raise timeBudgetMs`
      this.#notices.set(key, text)
      this.#logger.warnOnce(key, text)
    }
  }
}
