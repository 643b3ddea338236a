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
  create: ({ maxNumOfEndpoints }, { random }) => ({
    pick: (_request, scored) => shuffled(scored, maxNumOfEndpoints, random),
  }),
})
