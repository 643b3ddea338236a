import type { Endpoint } from '../framework/endpoint.ts'
import type { ErrorCode } from '../framework/errors.ts'
import type { Observer } from '../framework/plugin.ts'
import type { InferenceRequest } from '../framework/request.ts'
import type { Endpoints, Metrics } from '../framework/services.ts'

const DURATION_SECONDS = [
  0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
  120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600,
]
const PER_TOKEN_SECONDS = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10,
]
const BYTES = [64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864]
const TOKENS = [
  1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 1048576,
]

type Labels = Readonly<Record<string, string>>

/** The Gateway API Inference Extension's metric families, under its names, so that its dashboards work here. */
export class GieMetrics implements Observer {
  readonly #metrics: Metrics
  readonly #running = new Map<string, number>()

  /** @param poolName value of the label `name` of the pool's gauges */
  constructor(metrics: Metrics, endpoints: Endpoints, poolName: string) {
    this.#metrics = metrics
    const pool = { name: poolName }
    const mean = (read: (endpoint: Endpoint) => number | undefined) => () => {
      const values = endpoints.list().map(read).filter((value) => value !== undefined)
      const sum = values.reduce((total, value) => total + value, 0)
      return [{ labels: pool, value: values.length === 0 ? 0 : sum / values.length }]
    }
    metrics.observed(
      'inference_pool_average_kv_cache_utilization',
      'Mean share of KV blocks in use over the endpoints with fresh metrics.',
      mean(({ metrics: scraped }) => scraped?.kvCacheUsage),
    )
    metrics.observed(
      'inference_pool_average_queue_size',
      'Mean number of waiting requests over the endpoints with fresh metrics.',
      mean(({ metrics: scraped }) => scraped?.waiting),
    )
    metrics.observed(
      'inference_pool_average_running_requests',
      'Mean number of running requests over the endpoints with fresh metrics.',
      mean(({ metrics: scraped }) => scraped?.running),
    )
    metrics.observed('inference_pool_ready_pods', 'Endpoints of the pool.', () => [
      { labels: pool, value: endpoints.list().length },
    ])
    metrics.observed('inference_pool_per_pod_queue_size', 'Waiting requests per endpoint.', () =>
      endpoints.list().flatMap(({ name, rank, metrics: scraped }) =>
        scraped
          ? [{ labels: { ...pool, model_server_pod: `${name}-rank-${rank}` }, value: scraped.waiting }]
          : [],
      ),
    )
    for (const prefix of ['inference_objective', 'inference_model']) {
      metrics.observed(`${prefix}_running_requests`, 'Requests under way by model.', () =>
        [...this.#running].map(([model, value]) => ({ labels: { model_name: model }, value })),
      )
    }
  }

  picked(request: InferenceRequest): void {
    this.#count(request, 'request_total', 'Requests routed.')
    this.#observe(request, 'request_sizes', 'Request body bytes.', BYTES, request.bodyBytes)
    this.#running.set(request.model, (this.#running.get(request.model) ?? 0) + 1)
  }

  ended(request: InferenceRequest, _endpoint: Endpoint, outcome: Parameters<NonNullable<Observer['ended']>>[2]): void {
    const left = (this.#running.get(request.model) ?? 1) - 1
    if (left > 0) this.#running.set(request.model, left)
    else this.#running.delete(request.model)
    if (outcome.reason === 'not-watched') return
    const seconds = outcome.durationMs / 1000
    this.#observe(request, 'request_duration_seconds', 'From the pick to the end.', DURATION_SECONDS, seconds)
    this.#observe(request, 'response_sizes', 'Response body bytes.', BYTES, outcome.responseBytes)
    if (outcome.firstByteMs !== undefined) {
      this.#observe(
        request,
        'request_ttft_seconds',
        'From the pick to the first byte of the response body.',
        DURATION_SECONDS,
        outcome.firstByteMs / 1000,
      )
    }
    if (outcome.status !== undefined && outcome.status >= 400) {
      this.#countLabels(
        'request_error_total',
        'Requests that the model server answered with an error.',
        { ...labelsOf(request), error_code: 'ModelServerError' },
      )
    }
    const { usage } = outcome
    if (!usage) return
    this.#observe(request, 'input_tokens', 'Prompt tokens.', TOKENS, usage.promptTokens)
    this.#observe(request, 'output_tokens', 'Generated tokens.', TOKENS, usage.completionTokens)
    this.#observe(
      request,
      'prompt_cached_tokens',
      "Prompt tokens from the engine's prefix cache.",
      TOKENS,
      usage.cachedTokens ?? 0,
    )
    if (usage.completionTokens > 0) {
      this.#observe(
        request,
        'normalized_time_per_output_token_seconds',
        'Duration over generated tokens.',
        PER_TOKEN_SECONDS,
        seconds / usage.completionTokens,
      )
    }
  }

  /** Counts a request that was answered without being routed. */
  refused(code: ErrorCode): void {
    this.#countLabels('request_error_total', 'Requests that were not routed, or that failed.', {
      model_name: '',
      target_model_name: '',
      priority: '0',
      error_code: code,
    })
  }

  #count(request: InferenceRequest, name: string, help: string): void {
    this.#countLabels(name, help, labelsOf(request))
  }

  #countLabels(name: string, help: string, labels: Labels): void {
    this.#metrics.counter(`inference_objective_${name}`, help, labels).inc()
    this.#metrics.counter(`inference_model_${name}`, help, withoutPriority(labels)).inc()
  }

  #observe(
    request: InferenceRequest,
    name: string,
    help: string,
    buckets: readonly number[],
    value: number,
  ): void {
    const labels = labelsOf(request)
    this.#metrics.histogram(`inference_objective_${name}`, help, buckets, labels).observe(value)
    this.#metrics
      .histogram(`inference_model_${name}`, help, buckets, withoutPriority(labels))
      .observe(value)
  }
}

function labelsOf(request: InferenceRequest): Labels {
  return { model_name: request.model, target_model_name: request.targetModel, priority: '0' }
}

function withoutPriority({ priority: _, ...labels }: Labels): Labels {
  return labels
}
