import type { Counter, Metrics } from '../framework/services.ts'

/** What became of a request, as its client met it. */
export type ProxyOutcome =
  /** The engine's answer was passed on whole, whatever its status. */
  | 'completed'
  /** The proxy answered itself: a page of its own or an error. */
  | 'answered'
  /** The client went away first. */
  | 'client-gone'
  /** The response broke after it had begun. */
  | 'broken'

/** Why a response that had begun was broken. */
export type BreakReason = 'engine-gone' | 'engine-idle' | 'slow-reader' | 'shutting-down'

/** The counters of the embedded proxy, each bound to its labels once. */
export class ProxyMetrics {
  readonly retries: Counter
  readonly #metrics: Metrics
  readonly #requests = new Map<string, Counter>()
  readonly #refusals = new Map<string, Counter>()
  readonly #broken = new Map<string, Counter>()

  constructor(metrics: Metrics) {
    this.#metrics = metrics
    this.retries = metrics.counter(
      'epp_proxy_retries_total',
      'Requests routed again, since the connection to an endpoint broke before the response began.',
    )
  }

  /** @param status undefined when no response had begun */
  ended(outcome: ProxyOutcome, status: number | undefined): void {
    const words = status === undefined ? 'none' : `${Math.floor(status / 100)}xx`
    const key = `${outcome} ${words}`
    let counter = this.#requests.get(key)
    if (counter === undefined) {
      counter = this.#metrics.counter(
        'epp_proxy_requests_total',
        'Requests by what became of them and the class of the status that the client was sent.',
        { outcome, status: words },
      )
      this.#requests.set(key, counter)
    }
    counter.inc()
  }

  refused(code: string): void {
    let counter = this.#refusals.get(code)
    if (counter === undefined) {
      counter = this.#metrics.counter(
        'epp_proxy_refusals_total',
        'Requests that the client was told an error of ours for, by error code.',
        { code },
      )
      this.#refusals.set(code, counter)
    }
    counter.inc()
  }

  broken(reason: BreakReason): void {
    let counter = this.#broken.get(reason)
    if (counter === undefined) {
      counter = this.#metrics.counter(
        'epp_proxy_responses_broken_total',
        'Responses that were broken after they had begun.',
        { reason },
      )
      this.#broken.set(reason, counter)
    }
    counter.inc()
  }
}
