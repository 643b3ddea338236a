import { Type } from 'typebox'
import { definePlugin } from '../../framework/plugin.ts'
import { fewestFirst } from './fewest-first.ts'

/**
 * Prefers small batches: 1 for the fewest requests running among the candidates, 0 for the most, linear in between; 1 for
 * all when they are equal. An endpoint without metrics counts as the busiest.
 */
export const runningRequestsSizeScorer = definePlugin({
  kind: 'scorer',
  type: 'running-requests-size-scorer',
  description: 'Prefers endpoints whose engine runs few requests.',
  differsWhen: 'the metrics of engines differ in running requests',
  params: Type.Object({}),
  create: () => ({
    score: (_request, endpoints) => fewestFirst(endpoints, ({ running }) => running),
  }),
})
