import { Type } from 'typebox'
import type { Endpoint } from '../../framework/endpoint.ts'
import { definePlugin } from '../../framework/plugin.ts'

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

type LabelTest = (labels: Endpoint['labels']) => boolean

/** Keeps endpoints whose labels match a Kubernetes label selector; an empty selector keeps all. */
export const labelSelectorFilter = definePlugin({
  kind: 'filter',
  type: 'label-selector-filter',
  aliases: ['by-label-selector'],
  description: 'Keeps endpoints whose labels match a Kubernetes label selector.',
  params: Type.Object({
    matchLabels: Type.Record(Type.String(), Type.String(), {
      default: {},
      description: 'Labels that must be there with exactly these values.',
    }),
    matchExpressions: Type.Array(Expression, {
      default: [],
      description: 'Further conditions, all of which must hold.',
    }),
  }),
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
