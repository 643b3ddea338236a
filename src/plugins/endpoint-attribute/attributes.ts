import type { Endpoint, EndpointMetrics } from '../../framework/endpoint.ts'

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
