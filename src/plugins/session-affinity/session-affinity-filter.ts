import { definePlugin } from '../../framework/plugin.ts'
import {
  SESSION_PARAMS,
  SESSION_SERVICES,
  sessionAffinity,
  sessionHeaders,
  sessionRemarks,
  setsHeader,
} from './session-affinity.ts'

/** Keeps the endpoint that the request's session had before; all without a session, or when that endpoint is gone. */
export const sessionAffinityFilter = definePlugin({
  kind: 'filter',
  type: 'session-affinity-filter',
  description: "Keeps the endpoint to which a session's earlier requests went.",
  params: SESSION_PARAMS,
  inject: SESSION_SERVICES,
  reads: sessionHeaders,
  watchesResponses: setsHeader,
  lint: sessionRemarks,
  create: (params, services) => {
    const affinity = sessionAffinity(params, services)
    return {
      filter(request, endpoints) {
        const bound = affinity.bound(request, endpoints)
        return bound ? [bound] : endpoints
      },
      picked: affinity.picked.bind(affinity),
      responseHeaders: affinity.responseHeaders.bind(affinity),
    }
  },
})
