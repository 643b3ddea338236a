import { Type } from 'typebox'
import { definePlugin } from '../../framework/plugin.ts'

/** Response header that the Gateway API Inference Extension's conformance tests read. */
const HEADER = 'x-conformance-test-served-endpoint'

/** Shows on the response which endpoint the gateway says served it. */
export const destinationEndpointServedVerifier = definePlugin({
  kind: 'observer',
  type: 'destination-endpoint-served-verifier',
  description: `Sets the response header ${HEADER} (conformance tests only).`,
  params: Type.Object({}),
  watchesResponses: true,
  create: () => ({
    responseHeaders: (_request, _endpoint, { servedEndpoint }) =>
      new Map([
        [
          HEADER,
          servedEndpoint ??
            'fail: missing metadata x-gateway-destination-endpoint-served in envoy.lb',
        ],
      ]),
  }),
})
