import { Type } from 'typebox'
import { definePlugin } from '../../framework/plugin.ts'
import { fewestFirst } from './fewest-first.ts'

/**
 * Prefers short queues: 1 for the shortest waiting queue among the candidates, 0 for the longest, linear in between; 1 for
 * all when they are equal. An endpoint without metrics counts as the longest.
 */
export const queueScorer = definePlugin({
  kind: 'scorer',
  type: 'queue-scorer',
  aliases: ['queue-depth-scorer'],
  description: "Prefers endpoints with few requests waiting in the engine's queue.",
  differsWhen: 'the metrics of engines differ in waiting requests',
  params: Type.Object({}),
  create: () => ({
    score: (_request, endpoints) => fewestFirst(endpoints, ({ waiting }) => waiting),
  }),
})
