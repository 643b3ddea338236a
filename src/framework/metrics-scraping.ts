import { token } from './token.ts'

/**
 * Where the metrics page of one engine tells what, in the words of llm-d's `engineConfigs`.
 *
 * A spec is a metric's `NAME` or `NAME{LABEL=VALUE,...}`; an empty one takes away what the engine of that name has here.
 */
export interface EngineMetricSpecs {
  /** What an endpoint's label says. */
  readonly name: string
  readonly queuedRequestsSpec?: string
  readonly runningRequestsSpec?: string
  /** Share of the KV cache in use, in [0, 1]. */
  readonly kvUsageSpec?: string
  /** LoRA adapters, in labels named as vLLM's. */
  readonly loraSpec?: string
  /** A series whose labels tell the tokens per block and the number of blocks. */
  readonly cacheInfoSpec?: string
  readonly cacheBlockSizeLabelName?: string
  readonly cacheNumBlocksLabelName?: string
  /** The same two as metrics. */
  readonly cacheBlockSizeSpec?: string
  readonly cacheNumBlocksSpec?: string
  readonly customMetrics?: readonly {
    /** The name in `EndpointMetrics.custom`. */
    readonly attributeKey: string
    readonly metricSpec: string
  }[]
}

/** Which engine's names count for an endpoint. */
export interface EngineTableOptions {
  /** The engine of endpoints without the label. */
  readonly defaultEngine: string
  /** The label that names an endpoint's engine. */
  readonly engineLabelKey: string
  /** Engines besides those that are known, or other specs of these. */
  readonly engineConfigs: readonly EngineMetricSpecs[]
}

/** Where metrics pages are. */
export interface MetricsSourceOptions {
  readonly scheme: 'http' | 'https'
  readonly path: string
  /** Port on every endpoint for which discovery says none; the endpoint's own when undefined. */
  readonly port: number | undefined
  /** Time between two scrapes of one endpoint, at least 10; the process's own when undefined. */
  readonly intervalMs: number | undefined
  readonly insecureSkipVerify: boolean
}

/** How the metrics of model servers are read; may change at any time. */
export interface MetricsScraping {
  /**
   * @returns puts these tables to work
   * @throws {RangeError} for a spec that is none, an engine without any load metric, an unknown default engine
   */
  engines(options: EngineTableOptions): () => void
  /** Where a flag differs from its default, it wins. */
  source(options: MetricsSourceOptions): void
  /** Back to what the process was started with. */
  reset(): void
}
export const METRICS_SCRAPING = token<MetricsScraping>('MetricsScraping')
