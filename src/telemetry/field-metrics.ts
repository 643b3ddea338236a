import type { Endpoint } from '../framework/endpoint.ts'
import type { ErrorCode } from '../framework/errors.ts'
import type { Observer, Outcome } from '../framework/plugin.ts'
import type { InferenceRequest } from '../framework/request.ts'
import type { Counter, Endpoints, Histogram, Metrics } from '../framework/services.ts'

const DURATION_SECONDS = [
  0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45,
  60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600,
]
const PER_TOKEN_SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10]
const BYTES = [64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864]
const TOKENS = [
  1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144,
  1048576,
]

type Labels = Readonly<Record<string, string>>
type ReadSamples = Parameters<Metrics['observed']>[2]

/** How one product of the field names the metrics of requests and of the pool. */
interface Family {
  /** Labels of a request; a request that was refused has none to tell. */
  labels(request: InferenceRequest | undefined): Labels
  readonly requests: string
  readonly errors: string
  readonly running: string
  readonly durationSeconds: string
  readonly firstByteSeconds: string
  readonly perTokenSeconds: string
  readonly requestBytes: string
  readonly responseBytes: string
  readonly inputTokens: string
  readonly outputTokens: string
  readonly cachedTokens: string
  readonly pool?: {
    readonly kvCacheUsage: string
    readonly queue: string
    readonly running: string
    readonly endpoints: string
    readonly endpointQueue: string
    /** Label that names an endpoint. */
    readonly endpointLabel: string
  }
}

const models = (request: InferenceRequest | undefined): Labels => ({
  model_name: request?.model ?? '',
  target_model_name: request?.targetModel ?? '',
})

/** Names of the Gateway API Inference Extension up to 0.5 (`inference_model`) and since (`inference_objective`). */
const gie = (prefix: string, labels: Family['labels']): Family => ({
  labels,
  requests: `${prefix}_request_total`,
  errors: `${prefix}_request_error_total`,
  running: `${prefix}_running_requests`,
  durationSeconds: `${prefix}_request_duration_seconds`,
  firstByteSeconds: `${prefix}_request_ttft_seconds`,
  perTokenSeconds: `${prefix}_normalized_time_per_output_token_seconds`,
  requestBytes: `${prefix}_request_sizes`,
  responseBytes: `${prefix}_response_sizes`,
  inputTokens: `${prefix}_input_tokens`,
  outputTokens: `${prefix}_output_tokens`,
  cachedTokens: `${prefix}_prompt_cached_tokens`,
})

const fairnessOf = (request: InferenceRequest | undefined) =>
  request?.headers.get('x-llm-d-inference-fairness-id') ??
  request?.headers.get('x-gateway-inference-fairness-id') ??
  'default-flow'

/** Equal for requests with equal labels in GIE's families. */
const kindOf = (request: InferenceRequest) =>
  `${request.model}\0${request.targetModel}\0${request.priority}`

const priority = (request: InferenceRequest | undefined) => String(request?.priority ?? 0)

const GIE_FAMILIES: readonly Family[] = [
  {
    ...gie('inference_objective', (request) => ({
      ...models(request),
      priority: priority(request),
    })),
    pool: {
      kvCacheUsage: 'inference_pool_average_kv_cache_utilization',
      queue: 'inference_pool_average_queue_size',
      running: 'inference_pool_average_running_requests',
      endpoints: 'inference_pool_ready_pods',
      endpointQueue: 'inference_pool_per_pod_queue_size',
      endpointLabel: 'model_server_pod',
    },
  },
  gie('inference_model', models),
]

/** llm-d-router's names (v0.10). */
const LLM_D_FAMILY: Family = {
  labels: (request) => ({
    ...models(request),
    fairness_id: fairnessOf(request),
    priority: priority(request),
  }),
  requests: 'llm_d_epp_request_total',
  errors: 'llm_d_epp_request_error_total',
  running: 'llm_d_epp_request_running',
  durationSeconds: 'llm_d_epp_request_duration_seconds',
  firstByteSeconds: 'llm_d_epp_request_ttft_seconds',
  perTokenSeconds: 'llm_d_epp_request_ntpot_seconds',
  requestBytes: 'llm_d_epp_request_size_bytes',
  responseBytes: 'llm_d_epp_response_size_bytes',
  inputTokens: 'llm_d_epp_request_input_tokens',
  outputTokens: 'llm_d_epp_request_output_tokens',
  cachedTokens: 'llm_d_epp_request_cached_tokens',
  pool: {
    kvCacheUsage: 'llm_d_epp_average_kv_cache_utilization',
    queue: 'llm_d_epp_average_queue_size',
    running: 'llm_d_epp_average_running_requests',
    endpoints: 'llm_d_epp_ready_endpoints',
    endpointQueue: 'llm_d_epp_per_endpoint_queue_size',
    endpointLabel: 'model_server_endpoint',
  },
}

/** The histograms of a request: help and buckets by the name that a family gives them. */
const HISTOGRAMS = {
  requestBytes: ['Request body bytes.', BYTES],
  responseBytes: ['Response body bytes.', BYTES],
  durationSeconds: ['From the pick to the end.', DURATION_SECONDS],
  firstByteSeconds: ['From the pick to the first byte of the response body.', DURATION_SECONDS],
  perTokenSeconds: ['Duration over generated tokens.', PER_TOKEN_SECONDS],
  inputTokens: ['Prompt tokens.', TOKENS],
  outputTokens: ['Generated tokens.', TOKENS],
  cachedTokens: ["Prompt tokens from the engine's prefix cache.", TOKENS],
} as const satisfies Partial<Record<keyof Family, readonly [string, readonly number[]]>>

type HistogramName = keyof typeof HISTOGRAMS

/** Requests with the same labels, whose series are kept at hand. */
const MAX_KINDS = 1000

/** The metrics that dashboards of the field ask for, under the names that they ask by. */
export class FieldMetrics implements Observer {
  readonly #metrics: Metrics
  readonly #endpoints: Endpoints
  readonly #poolName: string
  /** Those that are wanted now. */
  #families: readonly Family[] = []
  /** Those whose gauges are asked for at scrape time. */
  readonly #observed = new Set<Family>()
  readonly #running = new Map<string, number>()
  readonly #kinds = new Map<string, RequestSeries>()

  /**
   * @param poolName value of the label `name` of the pool's gauges
   * @param compat llm-d's names besides GIE's
   */
  constructor(metrics: Metrics, endpoints: Endpoints, poolName: string, compat: boolean) {
    this.#metrics = metrics
    this.#endpoints = endpoints
    this.#poolName = poolName
    this.setCompat(compat)
  }

  /** Begins or ends llm-d's names; those that were there keep their last values, gauges aside. */
  setCompat(compat: boolean): void {
    this.#families = compat ? [...GIE_FAMILIES, LLM_D_FAMILY] : GIE_FAMILIES
    this.#kinds.clear()
    for (const family of this.#families) {
      if (this.#observed.has(family)) continue
      this.#observed.add(family)
      this.#observePool(family)
      this.#observe(family, family.running, 'Requests under way by model.', () =>
        [...this.#running].map(([model, value]) => ({ labels: { model_name: model }, value })),
      )
    }
  }

  /** True when names are on the page whose values do not change any more. */
  get hasStale(): boolean {
    return this.#observed.size > this.#families.length
  }

  picked(request: InferenceRequest): void {
    const series = this.#series(request)
    series.routed()
    series.observe('requestBytes', request.bodyBytes)
    this.#running.set(request.model, (this.#running.get(request.model) ?? 0) + 1)
  }

  ended(request: InferenceRequest, _endpoint: Endpoint, outcome: Outcome): void {
    const left = (this.#running.get(request.model) ?? 1) - 1
    if (left > 0) this.#running.set(request.model, left)
    else this.#running.delete(request.model)
    if (outcome.reason === 'not-watched') return
    const { status, usage, firstByteMs } = outcome
    const series = this.#series(request)
    const seconds = outcome.durationMs / 1000
    series.observe('durationSeconds', seconds)
    series.observe('responseBytes', outcome.responseBytes)
    if (firstByteMs !== undefined) series.observe('firstByteSeconds', firstByteMs / 1000)
    if (status !== undefined && status >= 400) this.#error(request, 'ModelServerError')
    if (!usage) return
    series.observe('inputTokens', usage.promptTokens)
    series.observe('outputTokens', usage.completionTokens)
    series.observe('cachedTokens', usage.cachedTokens ?? 0)
    if (usage.completionTokens > 0) {
      series.observe('perTokenSeconds', seconds / usage.completionTokens)
    }
  }

  /** Counts a request that was answered without being routed. */
  refused(code: ErrorCode): void {
    this.#error(undefined, code)
  }

  #error(request: InferenceRequest | undefined, code: string): void {
    for (const family of this.#families) {
      const labels = { ...family.labels(request), error_code: code }
      this.#metrics.counter(family.errors, 'Requests refused or failed.', labels).inc()
    }
  }

  #series(request: InferenceRequest): RequestSeries {
    const isFair = this.#families.includes(LLM_D_FAMILY)
    const key = isFair ? `${kindOf(request)}\0${fairnessOf(request)}` : kindOf(request)
    const known = this.#kinds.get(key)
    if (known) return known
    const labels = this.#families.map((family) => family.labels(request))
    const series = new RequestSeries(this.#metrics, this.#families, labels)
    if (this.#kinds.size < MAX_KINDS) this.#kinds.set(key, series)
    return series
  }

  /** A gauge for as long as its family is wanted. */
  #observe(family: Family, name: string, help: string, samples: ReadSamples): void {
    this.#metrics.observed(name, help, () => (this.#families.includes(family) ? samples() : []))
  }

  #observePool(family: Family): void {
    const { pool } = family
    if (!pool) return
    const endpoints = this.#endpoints
    const labels = { name: this.#poolName }
    const mean = (read: (endpoint: Endpoint) => number | undefined) => () => {
      const values = endpoints
        .list()
        .map(read)
        .filter((value) => value !== undefined)
      const sum = values.reduce((total, value) => total + value, 0)
      return [{ labels, value: values.length === 0 ? 0 : sum / values.length }]
    }
    const observed = (name: string, help: string, samples: ReadSamples) =>
      this.#observe(family, name, help, samples)
    const over = 'over the endpoints with fresh metrics.'
    observed(
      pool.kvCacheUsage,
      `Mean share of KV blocks in use ${over}`,
      mean((e) => e.metrics?.kvCacheUsage),
    )
    observed(
      pool.queue,
      `Mean number of waiting requests ${over}`,
      mean((e) => e.metrics?.waiting),
    )
    observed(
      pool.running,
      `Mean number of running requests ${over}`,
      mean((e) => e.metrics?.running),
    )
    observed(pool.endpoints, 'Endpoints of the pool.', () => [
      { labels, value: endpoints.list().length },
    ])
    observed(pool.endpointQueue, 'Waiting requests per endpoint.', () =>
      endpoints.list().flatMap(({ name, rank, metrics }) => {
        const endpoint = { [pool.endpointLabel]: `${name}-rank-${rank}` }
        return metrics ? [{ labels: { ...labels, ...endpoint }, value: metrics.waiting }] : []
      }),
    )
  }
}

/** The series of requests with the same labels, in every family, looked up once. */
class RequestSeries {
  readonly #metrics: Metrics
  readonly #families: readonly Family[]
  readonly #labels: readonly Labels[]
  readonly #requests: readonly Counter[]
  readonly #histograms = new Map<HistogramName, readonly Histogram[]>()

  /** @param labels one set per family */
  constructor(metrics: Metrics, families: readonly Family[], labels: readonly Labels[]) {
    this.#metrics = metrics
    this.#families = families
    this.#labels = labels
    this.#requests = families.map(({ requests }, i) =>
      metrics.counter(requests, 'Requests routed.', labels[i]),
    )
  }

  routed(): void {
    for (const counter of this.#requests) counter.inc()
  }

  observe(name: HistogramName, value: number): void {
    let histograms = this.#histograms.get(name)
    if (!histograms) {
      const [help, buckets] = HISTOGRAMS[name]
      histograms = this.#families.map((family, i) =>
        this.#metrics.histogram(family[name], help, buckets, this.#labels[i]),
      )
      this.#histograms.set(name, histograms)
    }
    for (const histogram of histograms) histogram.observe(value)
  }
}
