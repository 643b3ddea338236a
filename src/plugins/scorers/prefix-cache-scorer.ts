import { Type } from 'typebox'
import { PROMPT_TOKENS } from '../../framework/attributes.ts'
import type { Endpoint } from '../../framework/endpoint.ts'
import { definePlugin, type Remark } from '../../framework/plugin.ts'
import type { InferenceRequest } from '../../framework/request.ts'
import {
  PREFIX_FINDING,
  PREFIX_MATCHER,
  type PrefixMatch,
  ROUTED_PREFIX_INDEX,
} from '../../framework/services.ts'
import { configureRouted, LEAST_BLOCK_TOKENS, ROUTED_PARAMS } from '../data/routed-params.ts'
import { oneConfiguration } from '../one-configuration.ts'
import { podScores } from './prefix-report.ts'

/**
 * Prefers endpoints to which prompts with the same beginning were sent before; it learns from this picker's own picks and
 * needs no events, unless its source is what the engines' events tell.
 *
 * With r = matched / usable blocks and l = min(1, matched tokens / scale) squared, the score is (1 - w) r + w l.
 */
export const prefixCacheScorer = definePlugin({
  kind: 'scorer',
  type: 'prefix-cache-scorer',
  description:
    'Prefers endpoints to which prompts with the same beginning were sent (estimated: no events needed).',
  differsWhen: 'prompts share a beginning with earlier ones that is longer than a block',
  params: Type.Object({
    source: Type.Union([Type.Literal('routed'), Type.Literal('tracked')], {
      default: 'routed',
      description:
        "Who says what endpoints hold: this picker's own picks, or the engines' events as precise-prefix-cache-producer follows them.",
    }),
    ...ROUTED_PARAMS,
    matchLengthWeight: Type.Number({
      minimum: 0,
      maximum: 1,
      default: 0,
      description: 'Weight w of the absolute match length against the matched share.',
    }),
    matchLengthScaleTokens: Type.Integer({
      minimum: 1,
      default: 8192,
      description: 'Matched tokens that count as a full match length.',
    }),
  }),
  inject: { index: ROUTED_PREFIX_INDEX, matcher: PREFIX_MATCHER },
  needs: [PROMPT_TOKENS],
  lint: (params, use) => {
    const remarks: Remark[] = []
    if (params.matchLengthWeight === 0) {
      const message = 'matchLengthWeight is 0, so that this has no effect; set that one too'
      remarks.push({ kind: 'unused', path: ['matchLengthScaleTokens'], message })
    }
    if (params.source === 'tracked') {
      const message = 'events tell what endpoints hold, so that this has no effect; remove it'
      const unused = Object.keys(ROUTED_PARAMS)
      return [
        ...remarks,
        ...unused.map((key): Remark => ({ kind: 'unused', path: [key], message })),
      ]
    }
    remarks.push(...oneConfiguration('the index of routed prompts', use))
    const { blockSizeTokens, maxPrefixTokensToMatch: longest } = params
    const leastBlock = blockSizeTokens ?? LEAST_BLOCK_TOKENS
    if (longest > 0 && longest < leastBlock) {
      remarks.push({
        kind: 'warning',
        path: ['maxPrefixTokensToMatch'],
        message: `${longest} tokens are less than a block of ${leastBlock}, so that nothing matches and every endpoint scores 0; raise it`,
      })
    }
    return remarks
  },
  create: (params, { index, matcher }) => {
    const isTracked = params.source === 'tracked'
    let found: PrefixMatch | undefined
    const matchOf = (request: InferenceRequest, endpoints: readonly Endpoint[]) => {
      if (isTracked) return matcher.find(request, endpoints)?.match
      const tokens = request.attributes.get(PROMPT_TOKENS)
      const match = tokens && index.match(request, tokens, endpoints)
      if (match && !request.attributes.get(PREFIX_FINDING)) {
        request.attributes.set(PREFIX_FINDING, { endpoints, match, source: 'routed', tracked: 0 })
      }
      return match
    }
    return {
      activated() {
        if (!isTracked) configureRouted(params, index)
      },
      score(request, endpoints) {
        const match = matchOf(request, endpoints)
        found = match
        if (!match) return new Float64Array(endpoints.length)
        const weight = params.matchLengthWeight
        return match.weighted.map((blocks, i) => {
          const share = blocks / Math.max(1, match.usableBlocks[i]!)
          const length = (blocks * match.blockTokens[i]!) / params.matchLengthScaleTokens
          return (1 - weight) * share + weight * Math.min(1, length) ** 2
        })
      },
      report: (_request, endpoints) => podScores(endpoints, found),
      picked(request, endpoint) {
        // What is asked of the matcher it learns from by itself.
        const tokens = isTracked ? undefined : request.attributes.get(PROMPT_TOKENS)
        if (tokens) index.record(request, tokens, endpoint)
      },
    }
  },
})
