import type { EngineCore } from './engine-core.ts'
import type { SimEngineOptions } from './options.ts'

/** Upper bounds of vLLM's time-to-first-token histogram, in seconds. */
const FIRST_TOKEN_BOUNDS = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
  160, 640, 2560,
]

/** Keeps the histogram and writes the page of `/metrics` with vLLM's names, labels and number format. */
export class MetricsPage {
  readonly #options: SimEngineOptions
  readonly #startedSeconds: number
  readonly #buckets = new Array<number>(FIRST_TOKEN_BOUNDS.length).fill(0)
  #firstTokens = 0
  #firstTokenSeconds = 0

  /** @param startedSeconds epoch seconds, for the `_created` samples */
  constructor(options: SimEngineOptions, startedSeconds: number) {
    this.#options = options
    this.#startedSeconds = startedSeconds
  }

  firstToken(seconds: number): void {
    this.#firstTokens++
    this.#firstTokenSeconds += seconds
    for (let i = FIRST_TOKEN_BOUNDS.length - 1; i >= 0 && seconds <= FIRST_TOKEN_BOUNDS[i]!; i--) {
      this.#buckets[i]!++
    }
  }

  /** @param nowSeconds epoch seconds */
  write(core: EngineCore, nowSeconds: number): string {
    const page = new Page(this.#startedSeconds)
    const labels = { engine: '0', model_name: this.#options.servedModelName }
    const { counts } = core
    const early = this.#options.version === '0.10.0'
    page.gauge('num_requests_running', 'Number of requests in model execution batches.', [
      [labels, core.running.length],
    ])
    page.gauge('num_requests_waiting', 'Number of requests waiting to be processed.', [
      [labels, core.waiting.length],
    ])
    if (!early) {
      page.gauge('num_requests_waiting_by_reason', 'Number of waiting requests by reason.', [
        [{ ...labels, reason: 'capacity' }, core.waiting.length],
        [{ ...labels, reason: 'deferred' }, 0],
      ])
    }
    for (const prefix of early ? ['gpu_', 'kv_'] : ['kv_']) {
      page.gauge(`${prefix}cache_usage_perc`, 'KV-cache usage. 1 means 100 percent usage.', [
        [labels, core.kvUsage],
      ])
    }
    for (const prefix of early ? ['gpu_', ''] : ['']) {
      page.counter(
        `${prefix}prefix_cache_queries`,
        'Prefix cache queries, in terms of number of queried tokens.',
        [[labels, counts.queriedTokens]],
      )
      page.counter(
        `${prefix}prefix_cache_hits`,
        'Prefix cache hits, in terms of number of cached tokens.',
        [[labels, counts.hitTokens]],
      )
    }
    page.counter('num_preemptions', 'Cumulative number of preemption from the engine.', [
      [labels, counts.preemptions],
    ])
    page.counter('prompt_tokens', 'Number of prefill tokens processed.', [
      [labels, counts.promptTokens],
    ])
    page.counter('generation_tokens', 'Number of generation tokens processed.', [
      [labels, counts.generatedTokens],
    ])
    page.counter('request_success', 'Count of successfully processed requests.', [
      [{ engine: '0', finished_reason: 'stop', model_name: labels.model_name }, counts.stopped],
      [
        { engine: '0', finished_reason: 'length', model_name: labels.model_name },
        counts.lengthened,
      ],
      [{ engine: '0', finished_reason: 'abort', model_name: labels.model_name }, counts.aborted],
    ])
    page.histogram(
      'time_to_first_token_seconds',
      'Histogram of time to first token in seconds.',
      labels,
      FIRST_TOKEN_BOUNDS,
      this.#buckets,
      this.#firstTokens,
      this.#firstTokenSeconds,
    )
    if (this.#options.loraModules.length > 0) {
      page.gauge('lora_requests_info', 'Running stats on lora requests.', [
        [
          {
            max_lora: String(this.#options.loraModules.length),
            running_lora_adapters: adapters(core.running),
            waiting_lora_adapters: adapters(core.waiting),
          },
          nowSeconds,
        ],
      ])
    }
    page.gauge('cache_config_info', 'Information of the LLMEngine CacheConfig', [
      [this.#cacheConfig(), 1],
    ])
    return page.text
  }

  #cacheConfig(): Record<string, string> {
    const { blockTokens, kvBlocks, hashAlgorithm } = this.#options
    return {
      block_size: String(blockTokens),
      cache_dtype: 'auto',
      enable_prefix_caching: 'True',
      engine: '0',
      gpu_memory_utilization: '0.9',
      num_cpu_blocks: 'None',
      num_gpu_blocks: String(kvBlocks),
      num_gpu_blocks_override: String(kvBlocks),
      prefix_caching_hash_algo: hashAlgorithm,
      sliding_window: 'None',
    }
  }
}

type Sample = readonly [labels: Readonly<Record<string, string>>, value: number]

/** Prometheus text as Python's client writes it. */
class Page {
  text = ''
  readonly #createdSeconds: number

  constructor(createdSeconds: number) {
    this.#createdSeconds = createdSeconds
  }

  gauge(name: string, help: string, samples: readonly Sample[]): void {
    this.#head(name, help, 'gauge')
    for (const [labels, value] of samples) this.#line(name, labels, value)
  }

  counter(name: string, help: string, samples: readonly Sample[]): void {
    this.#head(`${name}_total`, help, 'counter')
    for (const [labels, value] of samples) this.#line(`${name}_total`, labels, value)
    this.#created(name, help, samples)
  }

  histogram(
    name: string,
    help: string,
    labels: Readonly<Record<string, string>>,
    bounds: readonly number[],
    buckets: readonly number[],
    count: number,
    sum: number,
  ): void {
    this.#head(name, help, 'histogram')
    const { engine = '', model_name = '' } = labels
    for (const [i, bound] of bounds.entries()) {
      this.#line(`${name}_bucket`, { engine, le: python(bound), model_name }, buckets[i]!)
    }
    this.#line(`${name}_bucket`, { engine, le: '+Inf', model_name }, count)
    this.#line(`${name}_count`, labels, count)
    this.#line(`${name}_sum`, labels, sum)
    this.#created(name, help, [[labels, 0]])
  }

  #created(name: string, help: string, samples: readonly Sample[]): void {
    this.#head(`${name}_created`, help, 'gauge')
    for (const [labels] of samples) this.#line(`${name}_created`, labels, this.#createdSeconds)
  }

  #head(name: string, help: string, type: string): void {
    this.text += `# HELP vllm:${name} ${help}\n# TYPE vllm:${name} ${type}\n`
  }

  #line(name: string, labels: Readonly<Record<string, string>>, value: number): void {
    const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`)
    this.text += `vllm:${name}{${pairs.join(',')}} ${python(value)}\n`
  }
}

function adapters(sequences: EngineCore['running']): string {
  const names = sequences.flatMap(({ input }) =>
    input.lora === undefined ? [] : [input.lora.name],
  )
  return [...new Set(names)].sort().join(',')
}

function python(value: number): string {
  return Number.isInteger(value) ? `${value}.0` : String(value)
}

function escapeLabel(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}
