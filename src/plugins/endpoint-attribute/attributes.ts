import type { Static } from 'typebox'
import type { Endpoint, EndpointMetrics } from '../../framework/endpoint.ts'
import type { PluginUse } from '../../framework/plugin.ts'
import type { coreMetricsExtractor } from '../data/core-metrics-extractor.ts'

/** Param of both plugins: which attribute. */
export const ATTRIBUTE = {
  minLength: 1,
  pattern: '^[^/]*$',
  description:
    'Name of a custom metric of the configuration, or WaitingQueueSize, RunningRequestsSize, KVCacheUsagePercent (0 to 1), CacheBlockSize, CacheNumBlocks or MaxActiveModels.',
} as const

/** What is scraped from every engine, by llm-d's names. */
const BUILT_IN: ReadonlyMap<string, (metrics: EndpointMetrics) => number | undefined> = new Map([
  ['WaitingQueueSize', ({ waiting }) => waiting],
  ['RunningRequestsSize', ({ running }) => running],
  ['KVCacheUsagePercent', ({ kvCacheUsage }) => kvCacheUsage],
  ['CacheBlockSize', ({ blockTokens }) => blockTokens],
  ['CacheNumBlocks', ({ kvBlocks }) => kvBlocks],
  ['MaxActiveModels', ({ adapters }) => adapters?.max],
])

/** Reads the attribute of that name from an endpoint; undefined where it is not known. */
export function attributeReader(name: string): (endpoint: Endpoint) => number | undefined {
  const builtIn = BUILT_IN.get(name)
  return ({ metrics }) => metrics && (metrics.custom.get(name) ?? builtIn?.(metrics))
}

/** What a configuration tells of an attribute. */
export interface KnownAttribute {
  /** Greatest value that it can have, infinite where there is no such bound; the least is 0. Undefined for a custom metric. */
  readonly max: number | undefined
}

/** Undefined when neither engines nor the configuration's custom metrics have an attribute of that name. */
export function knownAttribute(name: string, use: PluginUse): KnownAttribute | undefined {
  // A custom metric takes the place of what engines have under its name.
  if (customMetrics(use).includes(name)) return { max: undefined }
  if (!BUILT_IN.has(name)) return undefined
  return { max: name === 'KVCacheUsagePercent' ? 1 : Number.POSITIVE_INFINITY }
}

/** Every name that `knownAttribute` knows. */
export function attributeNames(use: PluginUse): readonly string[] {
  return [...BUILT_IN.keys(), ...customMetrics(use)]
}

function customMetrics({ plugins }: PluginUse): readonly string[] {
  return plugins.flatMap(({ type, params }) => {
    if (type !== 'core-metrics-extractor') return []
    const { engineConfigs } = params as Static<typeof coreMetricsExtractor.params>
    return engineConfigs.flatMap(({ customMetrics = [] }) =>
      customMetrics.map(({ attributeKey }) => attributeKey),
    )
  })
}
