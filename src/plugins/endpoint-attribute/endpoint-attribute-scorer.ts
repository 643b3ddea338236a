import { type Static, Type } from 'typebox'
import { SchedulerError } from '../../framework/errors.ts'
import { definePlugin } from '../../framework/plugin.ts'
import { ATTRIBUTE, attributeReader } from './attributes.ts'

const Range = Type.Object(
  {
    min: Type.Number({ description: 'Value at the low end.' }),
    max: Type.Number({ description: 'Value at the high end; more than min.' }),
  },
  {
    description:
      'A scale that does not depend on the candidates; values outside count as its ends.',
  },
)

const Algorithm = Type.Object(
  {
    type: Type.Union(
      [Type.Literal('linear_lower_is_better'), Type.Literal('linear_higher_is_better')],
      { description: 'Which end of the scale scores 1.' },
    ),
    normalization: Type.Optional(
      Type.Object(
        {
          fixedRange: Type.Optional(Range),
          adaptiveRange: Type.Optional(
            Type.Object(
              {},
              { description: 'The scale from the lowest to the highest candidate; the default.' },
            ),
          ),
        },
        { maxProperties: 1, description: 'The scale: fixedRange or adaptiveRange.' },
      ),
    ),
  },
  { description: 'How a value becomes a score.' },
)

/**
 * Scores by one number that engines report: linear from one end of a scale to the other, 1 for all when the candidates
 * are equal on their own scale. An endpoint without the attribute scores 0.
 */
export const endpointAttributeScorer = definePlugin({
  kind: 'scorer',
  type: 'endpoint-attribute-scorer',
  description: 'Scores endpoints by a metric of your choice.',
  params: Type.Object({ attributeKey: Type.String(ATTRIBUTE), algorithm: Algorithm }),
  create: ({ attributeKey, algorithm }) => {
    const read = attributeReader(attributeKey)
    const fixed = algorithm.normalization?.fixedRange
    if (fixed) checkRange(fixed)
    const lowerIsBetter = algorithm.type === 'linear_lower_is_better'
    return {
      score(_request, endpoints) {
        const values = endpoints.map(read)
        const { min, max } = fixed ?? rangeOf(values)
        return Float64Array.from(values, (value) => {
          if (value === undefined) return 0
          if (min === max) return 1
          const share = (Math.min(Math.max(value, min), max) - min) / (max - min)
          return lowerIsBetter ? 1 - share : share
        })
      },
    }
  },
})

function checkRange({ min, max }: Static<typeof Range>): void {
  if (min < max) return
  throw new SchedulerError(
    'CONFIG_INVALID',
    `endpoint-attribute-scorer: the fixedRange from ${min} to ${max} is empty; min must be less than max`,
  )
}

function rangeOf(values: readonly (number | undefined)[]): Static<typeof Range> {
  const known = values.filter((value) => value !== undefined)
  return { min: Math.min(...known), max: Math.max(...known) }
}
