import { type Live, LiveSet } from '../framework/live-set.ts'
import type { BodyBudget } from '../framework/routing/held-body.ts'
import type { Metrics, Router } from '../framework/services.ts'
import type { Ejections } from './ejections.ts'
import type { EnginePools } from './engine-pools.ts'
import { ProxyMetrics } from './proxy-metrics.ts'

/** What requests may take. */
export interface ProxyLimits {
  /** Bytes of one request's body. */
  readonly maxBodyBytes: number
  /** Bytes of all bodies held at once. */
  readonly maxBufferedBytes: number
  /** Bytes of one request's headers. */
  readonly maxHeaderBytes: number
  /** Requests in progress at once. */
  readonly maxRequests: number
  /** Longest silence of a client within a request's body. */
  readonly bodyTimeoutMs: number
  /** Longest time that a client reads nothing of a response that waits for it. */
  readonly readerTimeoutMs: number
}

/** What the set of exchanges asks of one of them. */
interface RunningExchange extends Live {
  /** Ends it when its client has been silent for too long. */
  checkTime(nowMs: number): void
  shutDown(): void
}

/** What all requests of one proxy share. */
export class Exchanges implements BodyBudget {
  readonly router: Router
  readonly ejections: Ejections
  readonly pools: EnginePools
  readonly limits: ProxyLimits
  readonly metrics: ProxyMetrics
  /** How often a request is routed again. */
  readonly retries: number
  /** True while requests are not taken any more. */
  draining = false
  bufferedBytes = 0
  readonly #active = new LiveSet<RunningExchange>()
  #idle: (() => void)[] = []

  constructor(parts: {
    readonly router: Router
    readonly ejections: Ejections
    readonly pools: EnginePools
    readonly limits: ProxyLimits
    readonly retries: number
    readonly metrics: Metrics
  }) {
    this.router = parts.router
    this.ejections = parts.ejections
    this.pools = parts.pools
    this.limits = parts.limits
    this.retries = parts.retries
    this.metrics = new ProxyMetrics(parts.metrics)
    const gauge = (name: () => number) => () => [{ labels: {}, value: name() }]
    parts.metrics.observed(
      'epp_proxy_requests_active',
      'Requests in progress.',
      gauge(() => this.#active.size),
    )
    parts.metrics.observed(
      'epp_proxy_buffered_bytes',
      'Bytes of request bodies held in memory.',
      gauge(() => this.bufferedBytes),
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
    for (const resolve of this.#idle.splice(0)) resolve()
  }

  /** Ends those whose clients have been silent for too long. */
  checkTimes(nowMs: number): void {
    for (const exchange of this.#active.all()) exchange.checkTime(nowMs)
  }

  /** Resolves when no request is in progress. */
  idle(): Promise<void> {
    if (this.#active.size === 0) return Promise.resolve()
    return new Promise((resolve) => this.#idle.push(resolve))
  }

  shutDownAll(): void {
    for (const exchange of this.#active.all()) exchange.shutDown()
  }
}
