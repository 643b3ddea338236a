import { type Live, LiveSet } from '../framework/live-set.ts'
import type { Counter, Logger, Metrics, Router } from '../framework/services.ts'
import { TurnSlice } from '../framework/turn-slice.ts'
import { BODY_MODE } from './processing-request.ts'

/** Limits on what requests may hold in memory. */
export interface ExchangeLimits {
  /** Bytes of one request's body. */
  readonly maxBodyBytes: number
  /** Bytes of all bodies held at once. */
  readonly maxBufferedBytes: number
  /** Bytes of one request's headers. */
  readonly maxHeaderBytes: number
  /** Exchanges in progress at once. */
  readonly maxRequests: number
}

/** What the set of exchanges asks of one of them. */
interface RunningExchange extends Live {
  flush(): void
  route(): void
  shutDown(): void
}

/** What all exchanges of one server share. */
export class Exchanges {
  readonly router: Router
  readonly limits: ExchangeLimits
  readonly logger: Logger
  /** Streams whose message was not one. */
  readonly malformed: Counter
  readonly observed: Counter
  readonly abandoned: Counter
  readonly routed: Counter
  readonly #metrics: Metrics
  readonly #refusals = new Map<string, Counter>()
  readonly #unseenBodies: Readonly<Record<'part' | 'none', Counter>>
  readonly #active = new LiveSet<RunningExchange>()
  #flushes: RunningExchange[] = []
  readonly #routing = new TurnSlice()
  /** Those that wait to be routed are `#waiting[#firstWaiting]` and what follows. */
  #waiting: RunningExchange[] = []
  #firstWaiting = 0
  #idle: (() => void)[] = []
  /** True while only requests that were here before may go on. */
  draining = false
  /** Body bytes held by all exchanges. */
  bufferedBytes = 0

  constructor(router: Router, limits: ExchangeLimits, logger: Logger, metrics: Metrics) {
    this.router = router
    this.limits = limits
    this.logger = logger
    this.#metrics = metrics
    const outcome = (name: string) =>
      metrics.counter(
        'epp_extproc_exchanges_total',
        'Exchanges with the gateway, by what became of the request phase.',
        { outcome: name },
      )
    this.routed = outcome('routed')
    this.abandoned = outcome('abandoned')
    this.malformed = outcome('malformed')
    this.observed = outcome('observed')
    const unseen = (seen: string) =>
      metrics.counter(
        'epp_extproc_unseen_bodies_total',
        'Requests whose body the gateway passed in part, or not at all, before the pick.',
        { seen },
      )
    this.#unseenBodies = { part: unseen('part'), none: unseen('none') }
    metrics.observed(
      'epp_extproc_exchanges_active',
      'Exchanges with the gateway in progress.',
      () => [{ labels: {}, value: this.#active.size }],
    )
    metrics.observed(
      'epp_extproc_buffered_bytes',
      'Bytes of request bodies held in memory.',
      () => [{ labels: {}, value: this.bufferedBytes }],
    )
  }

  get active(): number {
    return this.#active.size
  }

  add(exchange: RunningExchange): void {
    this.#active.add(exchange)
  }

  remove(exchange: RunningExchange): void {
    if (!this.#active.delete(exchange) || this.#active.size > 0) return
    for (const resolve of this.#idle) resolve()
    this.#idle = []
  }

  /** Resolves when no exchange is in progress. */
  idle(): Promise<void> {
    if (this.#active.size === 0) return Promise.resolve()
    return new Promise((resolve) => this.#idle.push(resolve))
  }

  /** Ends every exchange that is still in progress. */
  abortAll(): void {
    for (const exchange of this.#active.all()) exchange.shutDown()
  }

  /** Counts a body of which not all is seen, and says once what the gateway would have to change. */
  unseenBody(seen: 'part' | 'none', requestBodyMode: number): void {
    this.#unseenBodies[seen].inc()
    this.logger.warnOnce(
      `extproc-body-${seen}`,
      seen === 'none'
        ? `the gateway passes no request body before the pick (request_body_mode ${modeName(requestBodyMode)}): requests are picked on their headers, prefix scorers are neutral; set it to FULL_DUPLEX_STREAMED or BUFFERED`
        : 'the gateway passes the beginning of a request body alone (request_body_mode BUFFERED_PARTIAL): token counts are not exact; set it to FULL_DUPLEX_STREAMED, or raise per_connection_buffer_limit_bytes',
    )
  }

  refused(code: string): void {
    let counter = this.#refusals.get(code)
    if (counter === undefined) {
      counter = this.#metrics.counter(
        'epp_extproc_refusals_total',
        'Requests that the client was told an error for, by error code.',
        { code },
      )
      this.#refusals.set(code, counter)
    }
    counter.inc()
  }

  /**
   * Calls `exchange.route()`, at once or in a later turn of the event loop: many requests can come in one, and the chunks of
   * responses must not wait for all of them. One at a time, since what a route does goes on after the call.
   */
  routeSoon(exchange: RunningExchange): void {
    if (this.#waiting.length === this.#firstWaiting && !this.#routing.isUsedUp()) exchange.route()
    else {
      this.#waiting.push(exchange)
      setImmediate(this.#routeNext)
    }
  }

  readonly #routeNext = (): void => {
    if (this.#routing.isUsedUp()) setImmediate(this.#routeNext)
    else this.#takeWaiting().route()
  }

  /** The one that waits for longest. There may be many, and to shift them all along for each would take its time. */
  #takeWaiting(): RunningExchange {
    const first = this.#waiting[this.#firstWaiting++]!
    if (2 * this.#firstWaiting >= this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#firstWaiting)
      this.#firstWaiting = 0
    }
    return first
  }

  /**
   * Calls `exchange.flush()` once the messages that have already arrived are read: what comes in one packet is then
   * answered with as few messages as it fits in.
   */
  flushSoon(exchange: RunningExchange): void {
    if (this.#flushes.push(exchange) === 1) setImmediate(this.#flush)
  }

  readonly #flush = (): void => {
    const exchanges = this.#flushes
    this.#flushes = []
    for (const exchange of exchanges) exchange.flush()
  }
}

/** The mode in Envoy's words. */
function modeName(mode: number): string {
  return mode === BODY_MODE.streamed ? 'STREAMED' : 'NONE'
}
