import type { Endpoint } from '../framework/endpoint.ts'
import type { Observer, Outcome } from '../framework/plugin.ts'
import type { InferenceRequest } from '../framework/request.ts'
import {
  type Clock,
  COST_FINDING,
  type CostFinding,
  type Endpoints,
  type Logger,
  type Metrics,
  type Notices,
} from '../framework/services.ts'

/** Below this many tokens to compute, the way to the engine and back weighs more than the engine's work. */
const MIN_TOKENS = 1000
/** Requests of one endpoint that are remembered. */
const SAMPLES = 200
/** Fewer prove nothing. */
const MIN_SAMPLES = 50
/** The median is looked at once in so many. */
const JUDGED_EVERY = 10
/** Median of observed / expected outside of which the constants are wrong. */
const LEAST_RATIO = 0.5
const MOST_RATIO = 2
/** It must stay outside for this long. */
const LONG_MS = 5 * 60_000
const QUANTILES = [0.5, 0.9] as const
const NOTICE = 'cost-prediction'

/** The last predictions for one endpoint, in a ring. */
class EndpointErrors {
  readonly ratios = new Float64Array(SAMPLES)
  readonly #tokens = new Float64Array(SAMPLES)
  readonly #seconds = new Float64Array(SAMPLES)
  #next = 0
  #count = 0
  /** Samples since the start. */
  added = 0
  /** Since when the median is out of range, in monotonic milliseconds. */
  outSinceMs: number | undefined

  get count(): number {
    return this.#count
  }

  add(ratio: number, tokens: number, seconds: number): void {
    this.added++
    this.ratios[this.#next] = ratio
    this.#tokens[this.#next] = tokens
    this.#seconds[this.#next] = seconds
    this.#next = (this.#next + 1) % SAMPLES
    this.#count = Math.min(SAMPLES, this.#count + 1)
  }

  /** Observed / expected at this share of the samples; NaN without samples. */
  quantile(share: number): number {
    const sorted = this.ratios.slice(0, this.#count).sort()
    return sorted[Math.min(this.#count - 1, Math.floor(share * this.#count))] ?? Number.NaN
  }

  /** The rate at which the tokens that were to be computed took the time that was observed. */
  tokensPerSecond(): number {
    const sum = (values: Float64Array) => values.reduce((a, b) => a + b, 0)
    return sum(this.#tokens) / sum(this.#seconds)
  }
}

/**
 * Compares the time to the first token that the cost scorer expected with what was observed, per endpoint: a slow GPU, a
 * wrong rate, a blind index, or queueing that this picker does not see.
 *
 * Streamed answers only, since others send their first byte with the last token, and only those with at least 1,000
 * tokens to compute before it.
 */
export class FirstTokenPrediction implements Observer {
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #notices: Notices
  readonly #endpoints: Endpoints
  readonly #errors = new Map<string, EndpointErrors>()

  constructor(services: {
    readonly clock: Clock
    readonly metrics: Metrics
    readonly logger: Logger
    readonly notices: Notices
    readonly endpoints: Endpoints
  }) {
    this.#clock = services.clock
    this.#logger = services.logger.named('cost-scorer')
    this.#notices = services.notices
    this.#endpoints = services.endpoints
    services.endpoints.listen({
      removed: ({ id }) => {
        this.#errors.delete(id)
        this.#show()
      },
    })
    services.metrics.observed(
      'epp_prediction_error_ratio',
      'Observed over expected time to the first token, of the last requests with at least 1,000 tokens to compute.',
      () => this.#samples(),
    )
  }

  ended(request: InferenceRequest, endpoint: Endpoint, outcome: Outcome): void {
    const finding = request.attributes.get(COST_FINDING)
    const { reason, firstByteMs, status = 200 } = outcome
    // What ends with its endpoint comes after `removed`, and would never be forgotten.
    if (!finding || !request.stream || reason === 'endpoint-gone') return
    if (firstByteMs === undefined || status >= 300) return
    if (finding.tokensBeforeFirst < MIN_TOKENS || finding.endpoint.id !== endpoint.id) return
    let errors = this.#errors.get(endpoint.id)
    if (!errors) {
      errors = new EndpointErrors()
      this.#errors.set(endpoint.id, errors)
    }
    const seconds = firstByteMs / 1000
    errors.add(seconds / finding.firstTokenSeconds, finding.tokensBeforeFirst, seconds)
    this.#judge(endpoint, errors, finding)
  }

  #judge(endpoint: Endpoint, errors: EndpointErrors, finding: CostFinding): void {
    if (errors.count < MIN_SAMPLES || errors.added % JUDGED_EVERY !== 0) return
    const median = errors.quantile(0.5)
    const wasOut = errors.outSinceMs !== undefined
    if (median >= LEAST_RATIO && median <= MOST_RATIO) errors.outSinceMs = undefined
    else errors.outSinceMs ??= this.#clock.nowMs()
    if (wasOut || errors.outSinceMs !== undefined) this.#show()
    if (!this.#isLongOut(errors)) return
    this.#logger.warnOnce(
      `${NOTICE} ${endpoint.id}`,
      'Time to the first token is not as expected',
      {
        endpoint: endpoint.hostPort,
        observedOverExpected: Number(median.toPrecision(3)),
        prefillTokensPerSecond: finding.prefillTokensPerSecond,
        fitted: `parameters: { prefillTokensPerSecond: ${Math.round(errors.tokensPerSecond())} }`,
      },
    )
  }

  #isLongOut({ outSinceMs }: EndpointErrors): boolean {
    return outSinceMs !== undefined && this.#clock.nowMs() - outSinceMs >= LONG_MS
  }

  #show(): void {
    const out = this.#endpoints.list().filter(({ id }) => {
      const errors = this.#errors.get(id)
      return errors !== undefined && this.#isLongOut(errors)
    })
    const shown = out.slice(0, 5).map(({ id, hostPort }) => {
      const errors = this.#errors.get(id)!
      return `${hostPort} takes ${errors.quantile(0.5).toPrecision(2)} times as long, fitted prefillTokensPerSecond ${Math.round(errors.tokensPerSecond())}`
    })
    this.#notices.set(
      NOTICE,
      out.length === 0
        ? undefined
        : `the first token does not come when the cost scorer expects it from ${out.length} endpoints: ${shown.join('; ')}${out.length > shown.length ? '; …' : ''}`,
    )
  }

  *#samples() {
    for (const { id, hostPort } of this.#endpoints.list()) {
      const errors = this.#errors.get(id)
      if (!errors) continue
      for (const share of QUANTILES) {
        const labels = { endpoint: hostPort, quantile: String(share) }
        yield { labels, value: errors.quantile(share) }
      }
    }
  }
}
