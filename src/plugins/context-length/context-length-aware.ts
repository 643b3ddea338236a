import { Type } from 'typebox'
import { PROMPT_TOKENS } from '../../framework/attributes.ts'
import { definePlugin } from '../../framework/plugin.ts'
import { type LengthRange, promptLength, RANGE_LABEL, rangeOf } from './length-range.ts'

/** The score of an endpoint without a range, and of all when the prompt's length is not known. */
const NEUTRAL = 0.5

/** What every range that holds the prompt scores at least, and none that does not. */
const WITHIN = 0.3

/**
 * Prefers endpoints whose range of prompt lengths holds this prompt, narrow ranges first, and of the others the nearest.
 *
 * Within a range: 0.3 + 0.7 (0.7 / (1 + width / 10000) + 0.3 (max - length) / width), 1 where the width is 0. Outside:
 * 0.3 / (1 + distance / 1000). Without a range 0.5, with one that cannot be read 0.
 */
export const contextLengthAware = definePlugin({
  kind: 'scorer',
  type: 'context-length-aware',
  description: "Prefers endpoints that are for prompts of the request's length.",
  differsWhen: 'endpoints carry the label with different ranges of prompt lengths',
  params: Type.Object({
    label: Type.String(RANGE_LABEL),
    enableFiltering: Type.Boolean({
      default: false,
      description:
        'True adds context-length-aware-filter with the same label to the filters of the profile.',
    }),
  }),
  needs: [PROMPT_TOKENS],
  create: ({ label }) => ({
    score(request, endpoints) {
      const length = promptLength(request)
      return Float64Array.from(endpoints, (endpoint) => {
        const range = rangeOf(endpoint, label)
        if (length === undefined || range === undefined) return NEUTRAL
        return range === 'malformed' ? 0 : scoreIn(range, length)
      })
    },
  }),
})

function scoreIn({ min, max }: LengthRange, length: number): number {
  if (length < min) return WITHIN / (1 + (min - length) / 1000)
  if (length > max) return WITHIN / (1 + (length - max) / 1000)
  const width = max - min
  if (width === 0) return 1
  return WITHIN + 0.7 * (0.7 / (1 + width / 10_000) + (0.3 * (max - length)) / width)
}
