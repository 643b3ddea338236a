import { definePlugin, Type } from 'endpoint-picker/plugin'

/**
 * Prefers endpoints in the caller's zone: 1 where the endpoint's label equals the request's header, else 0. A request
 * without the header scores every endpoint 1.
 */
export default definePlugin({
  kind: 'scorer',
  type: 'same-zone-scorer',
  description: "Prefers endpoints in the caller's zone.",
  params: Type.Object({
    header: Type.String({
      default: 'x-zone',
      description: "Request header naming the caller's zone.",
    }),
    label: Type.String({
      default: 'topology.kubernetes.io/zone',
      description: "Endpoint label naming the endpoint's zone.",
    }),
  }),
  reads: ({ header }) => ({ headers: [header] }),
  create: ({ header, label }) => ({
    score(request, endpoints) {
      const zone = request.headers.get(header)
      return endpoints.map(({ labels }) => Number(zone === undefined || labels.get(label) === zone))
    },
  }),
})
