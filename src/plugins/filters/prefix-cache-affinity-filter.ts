import { Type } from 'typebox'
import { PROMPT_TOKENS } from '../../framework/attributes.ts'
import type { Endpoint } from '../../framework/endpoint.ts'
import { definePlugin, type Remark } from '../../framework/plugin.ts'
import { IN_FLIGHT, PREFIX_MATCHER, RANDOM } from '../../framework/services.ts'

/**
 * Keeps the endpoints whose cache holds most of the prompt, as long as the wait for their first token is not much longer
 * than elsewhere; all endpoints when none holds that much.
 *
 * The wait is estimated from the prompt tokens that requests in flight have to compute, at the peak prefill throughput.
 */
export const prefixCacheAffinityFilter = definePlugin({
  kind: 'filter',
  type: 'prefix-cache-affinity-filter',
  description: 'Keeps endpoints that have most of the prompt cached, unless they are overloaded.',
  params: Type.Object({
    affinityThreshold: Type.Number({
      default: 0.8,
      description: 'Share of the prompt that an endpoint must have cached; 0 or less keeps all.',
    }),
    explorationProbability: Type.Number({
      minimum: 0,
      maximum: 1,
      default: 0,
      description: 'Share of requests for which all endpoints are kept, so that prefixes spread.',
    }),
    maxTTFTPenaltyMs: Type.Number({
      minimum: 0,
      default: 18_000,
      description:
        'How much longer than elsewhere the first token may take, in milliseconds; 0 is no limit.',
    }),
    ttftSource: Type.Literal('prefillThroughput', {
      default: 'prefillThroughput',
      description: 'How that time is estimated.',
    }),
    peakPrefillThroughput: Type.Number({
      exclusiveMinimum: 0,
      default: 15_928,
      description: 'Prompt tokens per second that an endpoint computes at best.',
    }),
  }),
  inject: { inFlight: IN_FLIGHT, prefixes: PREFIX_MATCHER, random: RANDOM },
  needs: [PROMPT_TOKENS],
  // What an endpoint still has to compute is asked for only where the wait has a limit.
  watchesResponses: ({ affinityThreshold, maxTTFTPenaltyMs }) =>
    affinityThreshold > 0 && maxTTFTPenaltyMs > 0,
  lint: ({ affinityThreshold, explorationProbability, maxTTFTPenaltyMs }) => {
    const keepsAll = (param: string, value: number, why: string): readonly Remark[] => [
      {
        kind: 'warning',
        path: [param],
        message: `${value} keeps all endpoints, since ${why}; set another value, or remove the filter`,
      },
    ]
    if (affinityThreshold <= 0) {
      return keepsAll('affinityThreshold', affinityThreshold, 'any share of a prompt is enough')
    }
    if (affinityThreshold > 1) {
      return keepsAll('affinityThreshold', affinityThreshold, 'no share of a prompt is above 1')
    }
    if (explorationProbability === 1) {
      return keepsAll('explorationProbability', 1, 'every request explores')
    }
    if (maxTTFTPenaltyMs > 0) return []
    return [
      {
        kind: 'unused',
        path: ['peakPrefillThroughput'],
        message:
          'maxTTFTPenaltyMs is 0 and sets no limit, so that this has no effect; set that one, or remove this',
      },
    ]
  },
  create: (params, { inFlight, prefixes, random }) => {
    const { affinityThreshold, explorationProbability, maxTTFTPenaltyMs } = params
    const leastTtftMs = (endpoints: readonly Endpoint[]) =>
      (Math.min(...endpoints.map((each) => inFlight.tokens(each))) / params.peakPrefillThroughput) *
      1000
    return {
      filter(request, endpoints) {
        if (endpoints.length === 1 || affinityThreshold <= 0) return endpoints
        if (explorationProbability > 0 && random.next() < explorationProbability) return endpoints
        const match = prefixes.find(request, endpoints)?.match
        if (!match) return endpoints
        const isSticky = (_: Endpoint, i: number) =>
          match.weighted[i]! / Math.max(1, match.usableBlocks[i]!) >= affinityThreshold
        const sticky = endpoints.filter(isSticky)
        if (sticky.length === 0 || sticky.length === endpoints.length) return endpoints
        const others = endpoints.filter((each, i) => !isSticky(each, i))
        const penaltyMs = leastTtftMs(sticky) - leastTtftMs(others)
        return maxTTFTPenaltyMs > 0 && penaltyMs > maxTTFTPenaltyMs ? endpoints : sticky
      },
    }
  },
})
