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
  /** By rank. */
  readonly #firstTokens: readonly FirstTokens[]

  /** @param startedSeconds epoch seconds, for the `_created` samples */
  constructor(options: SimEngineOptions, startedSeconds: number) {
    this.#options = options
    this.#startedSeconds = startedSeconds
    this.#firstTokens = Array.from({ length: options.dataParallelSize }, () => ({
      buckets: new Array<number>(FIRST_TOKEN_BOUNDS.length).fill(0),
      count: 0,
      seconds: 0,
    }))
  }

  firstToken(rank: number, seconds: number): void {
    const told = this.#firstTokens[rank]!
    told.count++
    told.seconds += seconds
    for (let i = FIRST_TOKEN_BOUNDS.length - 1; i >= 0 && seconds <= FIRST_TOKEN_BOUNDS[i]!; i--) {
      told.buckets[i]!++
    }
  }

  /**
   * @param cores one per rank
   * @param nowSeconds epoch seconds
   */
  write(cores: readonly EngineCore[], nowSeconds: number): string {
    const page = new Page(this.#startedSeconds)
    const model_name = this.#options.servedModelName
    const labels = cores.map((_, rank) => ({ engine: String(rank), model_name }))
    const of = (value: (core: EngineCore) => number, more: Readonly<Record<string, string>> = {}) =>
      cores.map((core, rank): Sample => [{ ...labels[rank]!, ...more }, value(core)])
    const early = this.#options.version === '0.10.0'
    page.gauge('num_requests_running', 'Number of requests in model execution batches.', [
      ...of((core) => core.running.length),
    ])
    page.gauge('num_requests_waiting', 'Number of requests waiting to be processed.', [
      ...of((core) => core.waiting.length),
    ])
    if (!early) {
      page.gauge('num_requests_waiting_by_reason', 'Number of waiting requests by reason.', [
        ...of((core) => core.waiting.length, { reason: 'capacity' }),
        ...of(() => 0, { reason: 'deferred' }),
      ])
    }
    for (const prefix of early ? ['gpu_', 'kv_'] : ['kv_']) {
      page.gauge(`${prefix}cache_usage_perc`, 'KV-cache usage. 1 means 100 percent usage.', [
        ...of((core) => core.kvUsage),
      ])
    }
    for (const prefix of early ? ['gpu_', ''] : ['']) {
      page.counter(
        `${prefix}prefix_cache_queries`,
        'Prefix cache queries, in terms of number of queried tokens.',
        of(({ counts }) => counts.queriedTokens),
      )
      page.counter(
        `${prefix}prefix_cache_hits`,
        'Prefix cache hits, in terms of number of cached tokens.',
        of(({ counts }) => counts.hitTokens),
      )
    }
    page.counter('num_preemptions', 'Cumulative number of preemption from the engine.', [
      ...of(({ counts }) => counts.preemptions),
    ])
    page.counter('prompt_tokens', 'Number of prefill tokens processed.', [
      ...of(({ counts }) => counts.promptTokens),
    ])
    page.counter('generation_tokens', 'Number of generation tokens processed.', [
      ...of(({ counts }) => counts.generatedTokens),
    ])
    const ended = (reason: string, count: (core: EngineCore) => number) =>
      cores.map(
        (core, rank): Sample => [
          { engine: String(rank), finished_reason: reason, model_name },
          count(core),
        ],
      )
    page.counter('request_success', 'Count of successfully processed requests.', [
      ...ended('stop', ({ counts }) => counts.stopped),
      ...ended('length', ({ counts }) => counts.lengthened),
      ...ended('abort', ({ counts }) => counts.aborted),
    ])
    page.histogram(
      'time_to_first_token_seconds',
      'Histogram of time to first token in seconds.',
      labels,
      FIRST_TOKEN_BOUNDS,
      this.#firstTokens,
    )
    if (this.#options.loraModules.length > 0) {
      page.gauge('lora_requests_info', 'Running stats on lora requests.', [
        [
          {
            max_lora: String(this.#options.loraModules.length),
            running_lora_adapters: adapters(cores.flatMap(({ running }) => running)),
            waiting_lora_adapters: adapters(cores.flatMap(({ waiting }) => waiting)),
          },
          nowSeconds,
        ],
      ])
    }
    page.gauge('cache_config_info', 'Information of the LLMEngine CacheConfig', [
      ...cores.map((_, rank): Sample => [this.#cacheConfig(rank), 1]),
    ])
    return page.text
  }

  /** Each rank's series states the blocks of all. */
  #cacheConfig(rank: number): Record<string, string> {
    const { blockTokens, hashAlgorithm } = this.#options
    const kvBlocks = this.#options.kvBlocks * this.#options.dataParallelSize
    return {
      block_size: String(blockTokens),
      cache_dtype: 'auto',
      enable_prefix_caching: 'True',
      engine: String(rank),
      gpu_memory_utilization: '0.9',
      num_cpu_blocks: 'None',
      num_gpu_blocks: String(kvBlocks),
      num_gpu_blocks_override: String(kvBlocks),
      prefix_caching_hash_algo: hashAlgorithm,
      sliding_window: 'None',
    }
  }
}

/** Times to the first token of one rank. */
interface FirstTokens {
  readonly buckets: number[]
  count: number
  seconds: number
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
    labels: readonly Readonly<Record<string, string>>[],
    bounds: readonly number[],
    told: readonly FirstTokens[],
  ): void {
    this.#head(name, help, 'histogram')
    for (const [rank, { buckets, count, seconds }] of told.entries()) {
      const { engine = '', model_name = '' } = labels[rank]!
      for (const [i, bound] of bounds.entries()) {
        this.#line(`${name}_bucket`, { engine, le: python(bound), model_name }, buckets[i]!)
      }
      this.#line(`${name}_bucket`, { engine, le: '+Inf', model_name }, count)
      this.#line(`${name}_count`, labels[rank]!, count)
      this.#line(`${name}_sum`, labels[rank]!, seconds)
    }
    this.#created(
      name,
      help,
      labels.map((each): Sample => [each, 0]),
    )
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
