import { Type } from 'typebox'
import { PROMPT_TOKENS } from '../../framework/attributes.ts'
import type { Endpoint } from '../../framework/endpoint.ts'
import { definePlugin } from '../../framework/plugin.ts'
import type { InferenceRequest } from '../../framework/request.ts'
import { PREFIX_MATCHER } from '../../framework/services.ts'

/**
 * Spreads requests that no cache knows: the endpoint that got such a request longest ago scores 1, the last one 0, in
 * equal steps; those that never got one come first, in the order of the candidates. A request of which some candidate
 * holds a beginning scores 0.5 everywhere.
 */
export const noHitLruScorer = definePlugin({
  kind: 'scorer',
  type: 'no-hit-lru-scorer',
  description:
    'Spreads requests whose prompt no endpoint has cached, the least recently used first.',
  differsWhen: 'a request comes of whose prompt no endpoint has anything cached',
  params: Type.Object({
    lruSize: Type.Integer({
      minimum: 1,
      default: 1024,
      description: 'Endpoints whose last such request is remembered.',
    }),
  }),
  inject: { prefixes: PREFIX_MATCHER },
  needs: [PROMPT_TOKENS],
  create: ({ lruSize }, { prefixes }) => {
    /** Endpoint ids, the least recently used first. */
    const used = new Set<string>()
    const cold = new WeakSet<InferenceRequest>()
    return {
      score(request, endpoints) {
        const match = prefixes.find(request, endpoints)?.match
        if (match?.blocks.some((blocks) => blocks > 0)) {
          return new Float64Array(endpoints.length).fill(0.5)
        }
        cold.add(request)
        const scores = new Float64Array(endpoints.length)
        for (const [rank, i] of leastRecentFirst(endpoints, used).entries()) {
          scores[i] = endpoints.length === 1 ? 1 : 1 - rank / (endpoints.length - 1)
        }
        return scores
      },
      picked(request, { id }) {
        if (!cold.has(request)) return
        used.delete(id)
        used.add(id)
        for (const oldest of used) {
          if (used.size <= lruSize) break
          used.delete(oldest)
        }
      },
    }
  },
})

/** Positions in `endpoints`: never used ones in their order, then the others by their last use. */
function leastRecentFirst(endpoints: readonly Endpoint[], used: ReadonlySet<string>): number[] {
  const positions = new Map(endpoints.map(({ id }, i) => [id, i]))
  const order = [...positions].flatMap(([id, i]) => (used.has(id) ? [] : [i]))
  for (const id of used) {
    const i = positions.get(id)
    if (i !== undefined) order.push(i)
  }
  return order
}
