import { Type } from 'typebox'
import { type Endpoint, networkAddress } from '../../framework/endpoint.ts'
import { definePlugin } from '../../framework/plugin.ts'

/** Request header of the Gateway API Inference Extension's conformance tests. */
const HEADER = 'test-epp-endpoint-selection'

/**
 * Keeps the endpoints that a header of the conformance tests names, in its order; none without the header.
 *
 * An entry is an IP address, which stands for all its ports, or an address and a port, which stand for all ranks behind it;
 * IPv6 in brackets before a port.
 */
export const headerBasedTestingFilter = definePlugin({
  kind: 'filter',
  type: 'header-based-testing-filter',
  description: `Keeps the endpoints that the header ${HEADER} names (conformance tests only).`,
  params: Type.Object({}),
  reads: { headers: [HEADER] },
  create: () => ({
    filter(request, endpoints) {
      const byName = new Map<string, Endpoint[]>()
      for (const endpoint of endpoints) {
        const { address, hostPort } = endpoint
        for (const name of [address, `[${address}]`, networkAddress(hostPort)]) {
          const named = byName.get(name)
          if (named) named.push(endpoint)
          else byName.set(name, [endpoint])
        }
      }
      const entries = (request.headers.get(HEADER) ?? '').split(',')
      return [...new Set(entries.flatMap((entry) => byName.get(entry.trim()) ?? []))]
    },
  }),
})
