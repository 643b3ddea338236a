import { Type } from 'typebox'
import { PROMPT_TOKENS } from '../../framework/attributes.ts'
import { definePlugin } from '../../framework/plugin.ts'
import { IN_FLIGHT, PREFIX_MATCHER } from '../../framework/services.ts'

/**
 * Prefers endpoints with few prompt tokens to compute: 1 - min(t, threshold) / threshold, where t are the tokens that
 * requests in flight have to compute there and those that this request would add, less what the cache holds.
 *
 * Counts change within the pick, so it sees a herd that scraped metrics cannot.
 */
export const tokenLoadScorer = definePlugin({
  kind: 'scorer',
  type: 'token-load-scorer',
  description: 'Prefers endpoints with few prompt tokens to compute, this request included.',
  differsWhen: 'prompts are being computed that take a noticeable share of queueThresholdTokens',
  params: Type.Object({
    queueThresholdTokens: Type.Integer({
      minimum: 1,
      default: 4_194_304,
      description: 'Tokens to compute from which on an endpoint scores 0.',
    }),
  }),
  inject: { inFlight: IN_FLIGHT, prefixes: PREFIX_MATCHER },
  needs: [PROMPT_TOKENS],
  watchesResponses: true,
  lint: ({ queueThresholdTokens }) =>
    queueThresholdTokens > 1
      ? []
      : [
          {
            kind: 'warning',
            path: ['queueThresholdTokens'],
            message:
              'an engine computes at least one token of every prompt, so that every endpoint scores 0; set the load of a busy endpoint, such as 4194304',
          },
        ],
  create: ({ queueThresholdTokens }, { inFlight, prefixes }) => ({
    score(request, endpoints) {
      const prompts = request.attributes.get(PROMPT_TOKENS)?.prompts ?? []
      const promptTokens = prompts.reduce((sum, { length }) => sum + length, 0)
      const match = prefixes.find(request, endpoints)?.match
      return Float64Array.from(endpoints, (endpoint, i) => {
        const cached = match ? match.blocks[i]! * match.blockTokens[i]! : 0
        const tokens = inFlight.tokens(endpoint) + Math.max(0, promptTokens - cached)
        return 1 - Math.min(tokens, queueThresholdTokens) / queueThresholdTokens
      })
    },
  }),
})
