import { isDeepStrictEqual } from 'node:util'
import { definePlugin } from '../../framework/plugin.ts'
import {
  SESSION_PARAMS,
  SESSION_SERVICES,
  sessionAffinity,
  sessionHeaders,
  sessionRemarks,
  setsHeader,
} from './session-affinity.ts'

/** Prefers the endpoint that the request's session had before: 1 there, else 0; 0 for all without a session. */
export const sessionAffinityScorer = definePlugin({
  kind: 'scorer',
  type: 'session-affinity-scorer',
  description: "Prefers the endpoint to which a session's earlier requests went.",
  differsWhen: 'requests name a session that went to one of the endpoints before',
  params: SESSION_PARAMS,
  inject: SESSION_SERVICES,
  reads: sessionHeaders,
  watchesResponses: setsHeader,
  lint: (params, use) => {
    const remarks = sessionRemarks(params, use)
    const filter = use.profile.find(
      (other) =>
        other.type === 'session-affinity-filter' && isDeepStrictEqual(other.params, params),
    )
    if (filter === undefined) return remarks
    const message = `cannot influence: "${filter.name}" leaves a session's endpoint alone already; keep one of them`
    return [...remarks, { kind: 'warning', path: [], message }]
  },
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
