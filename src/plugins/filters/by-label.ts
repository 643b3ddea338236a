import { Type } from 'typebox'
import { definePlugin } from '../../framework/plugin.ts'

/** Keeps endpoints whose label has one of the values; what `label-selector-filter` was in llm-d's first versions. */
export const byLabel = definePlugin({
  kind: 'filter',
  type: 'by-label',
  description: 'Keeps endpoints whose label has one of some values.',
  params: Type.Object({
    label: Type.String({ minLength: 1, description: 'Label of the endpoint.' }),
    validValues: Type.Array(Type.String(), {
      default: [],
      description: 'Values of the label that keep an endpoint.',
    }),
    allowsNoLabel: Type.Boolean({
      default: false,
      description: 'True keeps endpoints without the label too.',
    }),
  }),
  lint: ({ label, validValues, allowsNoLabel }) =>
    validValues.length > 0 || allowsNoLabel
      ? []
      : [
          {
            kind: 'error',
            path: [],
            message: `keeps no endpoint: no value of "${label}" is valid; list some in validValues`,
          },
        ],
  create: ({ label, validValues, allowsNoLabel }) => ({
    filter: (_request, endpoints) =>
      endpoints.filter(({ labels }) => {
        const value = labels.get(label)
        return value === undefined ? allowsNoLabel : validValues.includes(value)
      }),
  }),
})
