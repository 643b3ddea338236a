import { Type } from 'typebox'
import { definePlugin } from '../../framework/plugin.ts'
import { IN_FLIGHT } from '../../framework/services.ts'

/**
 * Prefers endpoints with few requests that this picker sent and that have not ended.
 *
 * Up to `idleThreshold` requests an endpoint scores 1; above it (most - own) / most times `maxBusyScore`, where `most` is
 * the largest count among the candidates. Counts change within the pick, so it sees a herd that scraped metrics cannot.
 */
export const activeRequestScorer = definePlugin({
  kind: 'scorer',
  type: 'active-request-scorer',
  description: 'Prefers endpoints with few requests of this picker in flight.',
  differsWhen: 'requests of this picker are under way',
  params: Type.Object({
    idleThreshold: Type.Integer({
      minimum: 0,
      default: 0,
      description: 'Requests in flight up to which an endpoint counts as idle and scores 1.',
    }),
    maxBusyScore: Type.Number({
      minimum: 0,
      maximum: 1,
      default: 1,
      description: 'Highest score of an endpoint that is not idle.',
    }),
  }),
  inject: { inFlight: IN_FLIGHT },
  watchesResponses: true,
  create: ({ idleThreshold, maxBusyScore }, { inFlight }) => ({
    score(_request, endpoints) {
      const counts = Float64Array.from(endpoints, (endpoint) => inFlight.requests(endpoint))
      const most = counts.reduce((a, b) => Math.max(a, b), 0)
      return counts.map((count) =>
        count <= idleThreshold ? 1 : ((most - count) / most) * maxBusyScore,
      )
    },
  }),
})
