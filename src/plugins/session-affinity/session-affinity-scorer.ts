import { definePlugin } from '../../framework/plugin.ts'
import { SESSION_PARAMS, SESSION_SERVICES, sessionAffinity } from './session-affinity.ts'

/** Prefers the endpoint that the request's session had before: 1 there, else 0; 0 for all without a session. */
export const sessionAffinityScorer = definePlugin({
  kind: 'scorer',
  type: 'session-affinity-scorer',
  description: "Prefers the endpoint to which a session's earlier requests went.",
  params: SESSION_PARAMS,
  inject: SESSION_SERVICES,
  watchesResponses: true,
  create: (params, services) => {
    const affinity = sessionAffinity(params, services)
    return {
      score(request, endpoints) {
        const bound = affinity.bound(request, endpoints)
        return Float64Array.from(endpoints, (endpoint) => Number(endpoint === bound))
      },
      picked: affinity.picked.bind(affinity),
      responseHeaders: affinity.responseHeaders.bind(affinity),
    }
  },
})
