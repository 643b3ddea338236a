import { Type } from 'typebox'
import { definePlugin } from '../../framework/plugin.ts'
import { IN_FLIGHT, RANDOM } from '../../framework/services.ts'
import { bestFirst, MAX_ENDPOINTS } from './order.ts'

/** Picks the highest score; a tie goes to the least recently picked endpoint, then to chance. */
export const maxScorePicker = definePlugin({
  kind: 'picker',
  type: 'max-score-picker',
  description: 'Picks the endpoint with the highest weighted sum of scores.',
  params: Type.Object({ maxNumOfEndpoints: Type.Integer(MAX_ENDPOINTS) }),
  inject: { inFlight: IN_FLIGHT, random: RANDOM },
  create: ({ maxNumOfEndpoints }, { inFlight, random }) => ({
    pick: (_request, scored) => bestFirst(scored, maxNumOfEndpoints, inFlight, random),
  }),
})
