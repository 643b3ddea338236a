import { Type } from 'typebox'
import { definePlugin } from '../../framework/plugin.ts'
import { RANDOM } from '../../framework/services.ts'
import { MAX_ENDPOINTS, shuffled } from './order.ts'

/** Picks any of the endpoints that the filters left, whatever their scores. */
export const randomPicker = definePlugin({
  kind: 'picker',
  type: 'random-picker',
  description: 'Picks an endpoint at random, without regard to scores.',
  params: Type.Object({ maxNumOfEndpoints: Type.Integer(MAX_ENDPOINTS) }),
  inject: { random: RANDOM },
  lint: (_params, { profile }) => {
    const scorers = profile.filter(({ kind }) => kind === 'scorer').map(({ name }) => `"${name}"`)
    if (scorers.length === 0) return []
    return [
      {
        kind: 'warning',
        path: [],
        message: `picks without regard to scores, so that ${scorers.join(', ')} cannot influence; use max-score-picker or weighted-random-picker`,
      },
    ]
  },
  create: ({ maxNumOfEndpoints }, { random }) => ({
    pick: (_request, scored) => shuffled(scored, maxNumOfEndpoints, random),
  }),
})
