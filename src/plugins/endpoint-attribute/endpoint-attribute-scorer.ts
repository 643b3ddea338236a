import { type Static, Type } from 'typebox'
import { definePlugin, type Remark } from '../../framework/plugin.ts'
import { ATTRIBUTE, attributeNames, attributeReader, knownAttribute } from './attributes.ts'

/** A scale of which values can use less than this share was meant for another unit. */
const LEAST_COVERED = 0.1

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
  differsWhen: 'the metrics of engines differ in that attribute',
  params: Type.Object({ attributeKey: Type.String(ATTRIBUTE), algorithm: Algorithm }),
  lint: ({ attributeKey, algorithm }, use) => {
    const known = knownAttribute(attributeKey, use)
    if (known === undefined) {
      const message = `no metric is read as "${attributeKey}", so that every endpoint scores 0; add it to customMetrics of core-metrics-extractor`
      return [{ kind: 'warning', path: ['attributeKey'], message, known: attributeNames(use) }]
    }
    const fixed = algorithm.normalization?.fixedRange
    return fixed === undefined ? [] : rangeRemarks(attributeKey, fixed, known.max)
  },
  create: ({ attributeKey, algorithm }) => {
    const read = attributeReader(attributeKey)
    const fixed = algorithm.normalization?.fixedRange
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

/** @param most greatest value that the attribute can have; undefined when its values can be any */
function rangeRemarks(
  name: string,
  { min, max }: Static<typeof Range>,
  most: number | undefined,
): readonly Remark[] {
  const path = ['algorithm', 'normalization', 'fixedRange']
  if (min >= max) {
    const message = `the range from ${min} to ${max} is empty; min must be less than max`
    return [{ kind: 'error', path, message }]
  }
  if (most === undefined) return []
  const covered = (Math.min(max, most) - Math.max(min, 0)) / (max - min)
  if (covered >= LEAST_COVERED) return []
  const range = most === 1 ? 'goes from 0 to 1' : 'is never below 0'
  const effect =
    covered > 0 ? `differ by at most ${Number(covered.toPrecision(2))}` : 'are all alike'
  const message = `${name} ${range}, so that scores on the range from ${min} to ${max} ${effect}; correct it`
  return [{ kind: 'warning', path, message }]
}

function rangeOf(values: readonly (number | undefined)[]): Static<typeof Range> {
  const known = values.filter((value) => value !== undefined)
  return { min: Math.min(...known), max: Math.max(...known) }
}
