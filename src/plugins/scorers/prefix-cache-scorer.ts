import { Type } from 'typebox'
import { PROMPT_TOKENS } from '../../framework/attributes.ts'
import { definePlugin } from '../../framework/plugin.ts'
import { PREFIX_FINDING, type PrefixMatch, ROUTED_PREFIX_INDEX } from '../../framework/services.ts'
import { podScores } from './prefix-report.ts'

/**
 * Prefers endpoints to which prompts with the same beginning were sent before; it learns from this picker's own picks and
 * needs no events.
 *
 * With r = matched / usable blocks and l = min(1, matched tokens / scale) squared, the score is (1 - w) r + w l.
 */
export const prefixCacheScorer = definePlugin({
  kind: 'scorer',
  type: 'prefix-cache-scorer',
  description:
    'Prefers endpoints to which prompts with the same beginning were sent (estimated: no events needed).',
  params: Type.Object({
    autoTune: Type.Boolean({
      default: true,
      description:
        "Take the block size from the engine's metrics (at least 64 tokens) when it says so.",
    }),
    blockSizeTokens: Type.Optional(
      Type.Integer({
        minimum: 1,
        description: 'Tokens per block; setting it turns autoTune off. 64 when nothing else says.',
      }),
    ),
    maxPrefixTokensToMatch: Type.Integer({
      minimum: 0,
      default: 131072,
      description: 'Prompt tokens beyond this are not matched; 0 matches all.',
    }),
    lruCapacityPerServer: Type.Integer({
      minimum: 1,
      default: 31250,
      description: 'Blocks remembered per endpoint; the longest unused go first.',
    }),
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
  inject: { index: ROUTED_PREFIX_INDEX },
  needs: [PROMPT_TOKENS],
  create: (params, { index }) => {
    let found: PrefixMatch | undefined
    return {
      activated: () =>
        index.configure({
          blockTokens: params.blockSizeTokens ?? (params.autoTune ? undefined : 64),
          maxPrefixTokens: params.maxPrefixTokensToMatch || Number.POSITIVE_INFINITY,
          blocksPerEndpoint: params.lruCapacityPerServer,
        }),
      score(request, endpoints) {
        const tokens = request.attributes.get(PROMPT_TOKENS)
        const match = tokens && index.match(request, tokens, endpoints)
        found = match
        if (!match) return new Float64Array(endpoints.length)
        if (!request.attributes.get(PREFIX_FINDING)) {
          request.attributes.set(PREFIX_FINDING, { endpoints, match, source: 'routed', tracked: 0 })
        }
        const weight = params.matchLengthWeight
        return match.weighted.map((blocks, i) => {
          const share = blocks / Math.max(1, match.usableBlocks[i]!)
          const length = (blocks * match.blockTokens[i]!) / params.matchLengthScaleTokens
          return (1 - weight) * share + weight * Math.min(1, length) ** 2
        })
      },
      report: (_request, endpoints) => podScores(endpoints, found),
      picked(request, endpoint) {
        const tokens = request.attributes.get(PROMPT_TOKENS)
        if (tokens) index.record(request, tokens, endpoint)
      },
    }
  },
})
