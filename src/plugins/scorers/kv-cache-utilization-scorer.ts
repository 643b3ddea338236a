import { Type } from 'typebox'
import { definePlugin } from '../../framework/plugin.ts'

/** Prefers free KV cache: 1 minus the share of blocks in use. An endpoint without metrics scores 0, or 1 when none has any. */
export const kvCacheUtilizationScorer = definePlugin({
  kind: 'scorer',
  type: 'kv-cache-utilization-scorer',
  aliases: ['kv-cache-scorer'],
  description: 'Prefers endpoints whose KV cache has many free blocks.',
  differsWhen: 'the metrics of engines differ in the share of KV blocks in use',
  params: Type.Object({}),
  create: () => ({
    score(_request, endpoints) {
      const unknown = endpoints.some(({ metrics }) => metrics) ? 0 : 1
      return Float64Array.from(endpoints, ({ metrics }) =>
        metrics ? 1 - metrics.kvCacheUsage : unknown,
      )
    },
  }),
})
