import { Type } from 'typebox'
import { definePlugin } from '../../../framework/plugin.ts'

/** Prefers endpoints whose label has the value of a request header: 1 where they are equal, else 0; 0 for all without the header. */
export const headerLabelAffinityScorer = definePlugin({
  kind: 'scorer',
  type: 'header-label-affinity-scorer',
  description: 'Prefers endpoints with a label that equals a request header.',
  differsWhen: 'requests carry the header and some endpoints the label of its value',
  params: Type.Object({
    headerName: Type.String({ minLength: 1, description: 'Request header, in any case.' }),
    labelKey: Type.String({ minLength: 1, description: 'Label of the endpoint.' }),
  }),
  reads: ({ headerName }) => ({ headers: [headerName] }),
  create: ({ headerName, labelKey }) => {
    const header = headerName.toLowerCase()
    return {
      score(request, endpoints) {
        const wanted = request.headers.get(header)
        return Float64Array.from(endpoints, ({ labels }) =>
          Number(wanted !== undefined && labels.get(labelKey) === wanted),
        )
      },
    }
  },
})
