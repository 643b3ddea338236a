// Our gateway, as built, with a router that only takes turns: what the proxy costs without a decision.
//
//   node gateway.mjs PORT FIRST_ENGINE_PORT ENGINES

import { startGateway } from '../../dist/gateway/gateway.js'
import { logger, metrics } from '../counts-nothing.mjs'

const [port, first, engines] = process.argv.slice(2).map(Number)

const destinations = Array.from({ length: engines }, (_, i) => `127.0.0.1:${first + i}`)
const none = new Map()
let turn = 0

const gateway = await startGateway(
  {
    router: {
      mayWatchResponse: () => true,
      route: async ({ headers, body }) => ({
        requestId: headers.get('x-request-id'),
        destination: destinations[turn++ % engines],
        setHeaders: none,
        removeHeaders: [],
        takeBody: () => body,
        watchResponse: true,
        responseHeaders: () => undefined,
        responseBody: () => {},
        end: () => {},
      }),
    },
    endpoints: { list: () => [], listen: () => () => {} },
    logger,
    metrics,
    notices: { set: () => {} },
    clock: { nowMs: () => performance.now(), epochMs: () => Date.now() },
  },
  { host: '127.0.0.1', port },
)
console.log(`listening on ${gateway.port}`)
