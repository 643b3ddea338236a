import { Type } from 'typebox'
import { definePlugin } from '../../framework/plugin.ts'
import { RANDOM } from '../../framework/services.ts'
import { MAX_ENDPOINTS } from './order.ts'

/**
 * Picks at random in proportion to the scores; an endpoint that scores 0 comes after all others, and all alike when all
 * do.
 *
 * Weighted sampling without replacement (Efraimidis and Spirakis, A-Res): the largest of U^(1/score) first, compared here
 * by the logarithm, which does not underflow.
 */
export const weightedRandomPicker = definePlugin({
  kind: 'picker',
  type: 'weighted-random-picker',
  description: 'Picks an endpoint at random, in proportion to its score.',
  params: Type.Object({ maxNumOfEndpoints: Type.Integer(MAX_ENDPOINTS) }),
  inject: { random: RANDOM },
  create: ({ maxNumOfEndpoints }, { random }) => ({
    pick(_request, scored) {
      const lots = scored.map(({ endpoint, score }) => {
        const log = Math.log(1 - random.next())
        return { endpoint, log, key: score > 0 ? log / score : Number.NEGATIVE_INFINITY }
      })
      lots.sort((a, b) => (a.key === b.key ? b.log - a.log : b.key - a.key))
      return lots.slice(0, maxNumOfEndpoints).map(({ endpoint }) => endpoint)
    },
  }),
})
