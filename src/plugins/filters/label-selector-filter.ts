import { type Static, Type } from 'typebox'
import type { Endpoint } from '../../framework/endpoint.ts'
import { definePlugin, type Remark } from '../../framework/plugin.ts'

const Expression = Type.Object({
  key: Type.String({ minLength: 1, description: 'Label key.' }),
  operator: Type.Union(
    [
      Type.Literal('In'),
      Type.Literal('NotIn'),
      Type.Literal('Exists'),
      Type.Literal('DoesNotExist'),
    ],
    { description: 'How the label must relate to `values`.' },
  ),
  values: Type.Optional(
    Type.Array(Type.String(), { description: 'Label values; for In and NotIn only.' }),
  ),
})

const Params = Type.Object({
  matchLabels: Type.Record(Type.String(), Type.String(), {
    default: {},
    description: 'Labels that must be there with exactly these values.',
  }),
  matchExpressions: Type.Array(Expression, {
    default: [],
    description: 'Further conditions, all of which must hold.',
  }),
})

type Params = Static<typeof Params>

const TYPE = 'label-selector-filter'

type LabelTest = (labels: Endpoint['labels']) => boolean

/** Keeps endpoints whose labels match a Kubernetes label selector; an empty selector keeps all. */
export const labelSelectorFilter = definePlugin({
  kind: 'filter',
  type: TYPE,
  aliases: ['by-label-selector'],
  description: 'Keeps endpoints whose labels match a Kubernetes label selector.',
  params: Params,
  lint: (params, { name, profile }) => {
    const conditions = conditionsOf(params)
    if (conditions.size === 0 && params.matchExpressions.length === 0) {
      const message = 'has no condition, so that it keeps every endpoint; add one, or remove it'
      return [{ kind: 'warning', path: [], message }]
    }
    const remarks = params.matchExpressions.flatMap(expressionRemarks)
    if (remarks.length > 0) return remarks
    const others = profile.filter((each) => each.type === TYPE && each.name !== name)
    const stricter = others.find((other) => {
      const theirs = conditionsOf(other.params as Params)
      return theirs.size > conditions.size && [...conditions].every((each) => theirs.has(each))
    })
    if (stricter === undefined) return []
    const message = `keeps what "${stricter.name}" keeps already, which has the same conditions and more; remove it`
    return [{ kind: 'warning', path: [], message }]
  },
  create: ({ matchLabels, matchExpressions }) => {
    const tests: LabelTest[] = Object.entries(matchLabels).map(
      ([key, value]): LabelTest =>
        (labels) =>
          labels.get(key) === value,
    )
    for (const { key, operator, values = [] } of matchExpressions) {
      const listed: LabelTest = (labels) => values.includes(labels.get(key) ?? '')
      if (operator === 'In') tests.push((labels) => labels.has(key) && listed(labels))
      else if (operator === 'NotIn') tests.push((labels) => !labels.has(key) || !listed(labels))
      else tests.push((labels) => labels.has(key) === (operator === 'Exists'))
    }
    return {
      filter: (_request, endpoints) =>
        endpoints.filter(({ labels }) => tests.every((test) => test(labels))),
    }
  },
})

/** Each condition as a text of its own: equal texts mean equal conditions. */
function conditionsOf({ matchLabels, matchExpressions }: Params): ReadonlySet<string> {
  const labels = Object.entries(matchLabels).map(([key, value]) => ({ key, values: [value] }))
  return new Set(
    [...labels.map((label) => ({ ...label, operator: 'In' })), ...matchExpressions].map(
      ({ key, operator, values = [] }) =>
        JSON.stringify([key, operator, operator.endsWith('In') ? [...new Set(values)].sort() : []]),
    ),
  )
}

/** Kubernetes refuses such expressions: In and NotIn need values, Exists and DoesNotExist have none. */
function expressionRemarks(
  { key, operator, values = [] }: Static<typeof Expression>,
  i: number,
): readonly Remark[] {
  const path = ['matchExpressions', i]
  const compares = operator === 'In' || operator === 'NotIn'
  if (compares === values.length > 0) return []
  if (operator === 'In') {
    const message = `"${key}" In no values keeps no endpoint; list some in values`
    return [{ kind: 'error', path, message }]
  }
  if (operator === 'NotIn') {
    const message = `"${key}" NotIn no values keeps every endpoint; list some in values`
    return [{ kind: 'warning', path, message }]
  }
  const message = `values have no effect on ${operator}; remove them, or write In or NotIn`
  return [{ kind: 'unused', path: [...path, 'values'], message }]
}
