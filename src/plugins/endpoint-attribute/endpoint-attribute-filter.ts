import { type Static, Type } from 'typebox'
import { definePlugin } from '../../framework/plugin.ts'
import { ATTRIBUTE, attributeNames, attributeReader, knownAttribute } from './attributes.ts'

const Operator = Type.Union(
  [
    Type.Literal('LessThan'),
    Type.Literal('LessThanOrEqual'),
    Type.Literal('GreaterThan'),
    Type.Literal('GreaterThanOrEqual'),
    Type.Literal('Equal'),
    Type.Literal('NotEqual'),
  ],
  { description: "How the endpoint's value must relate to `value`." },
)

/** Keeps endpoints of which a number that engines report is within a limit. */
export const endpointAttributeFilter = definePlugin({
  kind: 'filter',
  type: 'endpoint-attribute-filter',
  description: 'Keeps endpoints for which a metric of your choice is within a limit.',
  params: Type.Object({
    attribute: Type.String(ATTRIBUTE),
    onMissing: Type.Union([Type.Literal('Pass'), Type.Literal('Fail')], {
      default: 'Pass',
      description: 'What happens to an endpoint without the attribute.',
    }),
    fallbackOnEmpty: Type.Boolean({
      default: false,
      description: 'True keeps all endpoints when none is within the limit.',
    }),
    algorithm: Type.Object(
      {
        type: Type.Literal('threshold', { description: 'Compares with one value.' }),
        threshold: Type.Object(
          { operator: Operator, value: Type.Number({ description: 'The limit.' }) },
          { description: 'The comparison that an endpoint must pass.' },
        ),
      },
      { description: 'What an endpoint must fulfil.' },
    ),
  }),
  lint: ({ attribute, onMissing, fallbackOnEmpty, algorithm }, use) => {
    const known = knownAttribute(attribute, use)
    const { operator, value } = algorithm.threshold
    const passing = known === undefined ? 'none' : passingOf(operator, value, known.max)
    if (passing === 'some' || (passing === 'all' && onMissing === 'Fail')) return []
    const keepsAll =
      passing === 'all' || fallbackOnEmpty || (known === undefined && onMissing === 'Pass')
    const kept = keepsAll ? 'every endpoint is kept' : 'no endpoint is kept'
    const kind = keepsAll ? 'warning' : 'error'
    if (known === undefined) {
      const message = `no metric is read as "${attribute}", so that ${kept}; add it to customMetrics of core-metrics-extractor`
      return [{ kind, path: ['attribute'], message, known: attributeNames(use) }]
    }
    const range = known.max === 1 ? 'goes from 0 to 1' : 'is never below 0'
    const message = `${attribute} ${range}, so that with ${operator} ${value} ${kept}; correct it`
    return [{ kind, path: ['algorithm', 'threshold', 'value'], message }]
  },
  create: ({ attribute, onMissing, fallbackOnEmpty, algorithm }) => {
    const read = attributeReader(attribute)
    const { operator, value: limit } = algorithm.threshold
    return {
      filter(_request, endpoints) {
        const left = endpoints.filter((endpoint) => {
          const value = read(endpoint)
          return value === undefined ? onMissing === 'Pass' : holds(value, operator, limit)
        })
        return left.length === 0 && fallbackOnEmpty ? endpoints : left
      },
    }
  },
})

function holds(value: number, operator: Static<typeof Operator>, limit: number): boolean {
  switch (operator) {
    case 'LessThan':
      return value < limit
    case 'LessThanOrEqual':
      return value <= limit
    case 'GreaterThan':
      return value > limit
    case 'GreaterThanOrEqual':
      return value >= limit
    case 'Equal':
      return value === limit
    case 'NotEqual':
      return value !== limit
  }
}

/** Which values from 0 to `max` pass. @param max undefined when the values can be any */
function passingOf(
  operator: Static<typeof Operator>,
  limit: number,
  max: number | undefined,
): 'all' | 'some' | 'none' {
  if (max === undefined) return 'some'
  switch (operator) {
    case 'LessThan':
      return limit <= 0 ? 'none' : limit > max ? 'all' : 'some'
    case 'LessThanOrEqual':
      return limit < 0 ? 'none' : limit >= max ? 'all' : 'some'
    case 'GreaterThan':
      return limit >= max ? 'none' : limit < 0 ? 'all' : 'some'
    case 'GreaterThanOrEqual':
      return limit > max ? 'none' : limit <= 0 ? 'all' : 'some'
    case 'Equal':
      return limit < 0 || limit > max ? 'none' : 'some'
    case 'NotEqual':
      return limit < 0 || limit > max ? 'all' : 'some'
  }
}
