import type { EngineMetricSpecs, EngineTableOptions } from '../framework/metrics-scraping.ts'
import { type EngineMetrics, EnginePageReader } from './engine-page.ts'
import { DEFAULT_ENGINE, ENGINE_LABEL, ENGINES, LEGACY_ENGINE_LABEL } from './engines.ts'
import { type MetricSelector, parseMetricSelector } from './metric-selector.ts'

/** Names that flags give for the default engine; undefined where its own is meant. */
export interface EngineMetricNames {
  /** Gauge of requests that wait. */
  readonly waiting?: MetricSelector
  /** Gauge of requests that run. */
  readonly running?: MetricSelector
  /** Gauge of the KV cache's use, in [0, 1]. */
  readonly kvCacheUsage?: MetricSelector
  /** Series whose labels tell the block size and the number of blocks, under vLLM's names or SGLang's. */
  readonly cacheConfig?: MetricSelector
}

/** Which reader is an endpoint's, and whether its label is understood. */
export interface EngineChoice {
  readonly reader: EnginePageReader
  /** The engine that the endpoint says it is and that no table has; it is read as the default engine then. */
  readonly unknownEngine: string | undefined
}

/** The readers of engines' pages, chosen by an endpoint's label. */
export class EngineTables {
  readonly #labels: readonly string[]
  readonly #default: EngineChoice
  readonly #engines: ReadonlyMap<string, EngineChoice>

  /**
   * @param options undefined for the engines that are known, vLLM first
   * @param names the flags', for the default engine
   * @throws {RangeError} for a spec that is none, an engine without any load metric, an unknown default engine
   */
  constructor(options?: EngineTableOptions, names: EngineMetricNames = {}) {
    const specs = new Map(ENGINES.map((engine) => [engine.name, engine]))
    for (const given of options?.engineConfigs ?? []) {
      specs.set(given.name, { ...specs.get(given.name), ...given })
    }
    const defaultEngine = options?.defaultEngine ?? DEFAULT_ENGINE
    this.#engines = new Map(
      Array.from(specs, ([name, engine]) => {
        const metrics = metricsOf(engine)
        const reader = new EnginePageReader(
          name === defaultEngine ? withNames(metrics, names) : metrics,
        )
        return [name, { reader, unknownEngine: undefined }]
      }),
    )
    const choice = this.#engines.get(defaultEngine)
    if (choice === undefined) {
      throw new RangeError(
        `the default engine "${defaultEngine}" is not among ${[...specs.keys()].join(', ')}; add it to engineConfigs`,
      )
    }
    this.#default = choice
    this.#labels = [options?.engineLabelKey ?? ENGINE_LABEL, LEGACY_ENGINE_LABEL]
  }

  of(labels: ReadonlyMap<string, string>): EngineChoice {
    for (const label of this.#labels) {
      const engine = labels.get(label)
      if (engine === undefined) continue
      return this.#engines.get(engine) ?? { reader: this.#default.reader, unknownEngine: engine }
    }
    return this.#default
  }

  /** The label and value that would fit a page which is not the one expected; undefined when none is known. */
  labelFor(page: Buffer): string | undefined {
    for (const [engine, { reader }] of this.#engines) {
      if (reader.knows(page) && 'load' in reader.read(page, undefined)) {
        return `${this.#labels[0]}: ${engine}`
      }
    }
    return undefined
  }
}

function metricsOf(specs: EngineMetricSpecs): EngineMetrics {
  const selector = (spec: string | undefined) => (spec ? parseMetricSelector(spec) : undefined)
  const metrics: { -readonly [Name in keyof EngineMetrics]: EngineMetrics[Name] } = {
    engine: specs.name,
    blockTokensLabels: specs.cacheBlockSizeLabelName ? [specs.cacheBlockSizeLabelName] : [],
    blocksLabels: specs.cacheNumBlocksLabelName ? [specs.cacheNumBlocksLabelName] : [],
    custom: new Map(
      (specs.customMetrics ?? []).map(({ attributeKey, metricSpec }) => [
        attributeKey,
        parseMetricSelector(metricSpec),
      ]),
    ),
  }
  const take = (
    name:
      | 'waiting'
      | 'running'
      | 'kvCacheUsage'
      | 'adapters'
      | 'cacheInfo'
      | 'blockTokens'
      | 'blocks',
    spec: string | undefined,
  ) => {
    const found = selector(spec)
    if (found !== undefined) metrics[name] = found
  }
  take('waiting', specs.queuedRequestsSpec)
  take('running', specs.runningRequestsSpec)
  take('kvCacheUsage', specs.kvUsageSpec)
  take('adapters', specs.loraSpec)
  take('cacheInfo', specs.cacheInfoSpec)
  take('blockTokens', specs.cacheBlockSizeSpec)
  take('blocks', specs.cacheNumBlocksSpec)
  if (metrics.waiting ?? metrics.running ?? metrics.kvCacheUsage) return metrics
  throw new RangeError(
    `engine "${specs.name}" has none of queuedRequestsSpec, runningRequestsSpec and kvUsageSpec; give one at least`,
  )
}

/** Where another metric of waiting requests is named and none of running ones, pages need not tell these. */
function withNames(metrics: EngineMetrics, names: EngineMetricNames): EngineMetrics {
  const { waiting, running, kvCacheUsage, cacheConfig } = names
  return {
    ...metrics,
    ...(waiting && { waiting }),
    ...(running && { running }),
    ...(kvCacheUsage && { kvCacheUsage }),
    ...(cacheConfig && {
      cacheInfo: cacheConfig,
      blockTokensLabels: ['block_size', 'page_size'],
      blocksLabels: ['num_gpu_blocks', 'num_pages'],
    }),
    runningOptional:
      running === undefined && waiting !== undefined && waiting.name !== metrics.waiting?.name,
  }
}
