import { Type } from 'typebox'
import { definePlugin } from '../../framework/plugin.ts'

/**
 * Prefers short queues: 1 for the shortest waiting queue among the candidates, 0 for the longest, linear in between; 1 for
 * all when they are equal. An endpoint without metrics counts as the longest.
 */
export const queueScorer = definePlugin({
  kind: 'scorer',
  type: 'queue-scorer',
  aliases: ['queue-depth-scorer'],
  description: "Prefers endpoints with few requests waiting in the engine's queue.",
  params: Type.Object({}),
  create: () => ({
    score(_request, endpoints) {
      let shortest = Number.POSITIVE_INFINITY
      let longest = 0
      for (const { metrics } of endpoints) {
        if (!metrics) continue
        shortest = Math.min(shortest, metrics.waiting)
        longest = Math.max(longest, metrics.waiting)
      }
      const known = shortest !== Number.POSITIVE_INFINITY
      return Float64Array.from(endpoints, ({ metrics }) => {
        if (!metrics) return known ? 0 : 1
        return longest === shortest ? 1 : (longest - metrics.waiting) / (longest - shortest)
      })
    },
  }),
})
