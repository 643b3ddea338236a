// Our exchange, as built, with a router that decides nothing: what the transport costs by itself.
// Usage: node exchange.mjs PORT HOST:PORT

import { startExtProcServer } from '../../dist/extproc/server.js'
import { logger, metrics } from '../counts-nothing.mjs'

const [port, destination] = process.argv.slice(2)

const none = new Map()

const server = await startExtProcServer(
  {
    router: {
      mayWatchResponse: () => true,
      route: async ({ body }) => ({
        requestId: '',
        destination: destination,
        setHeaders: none,
        removeHeaders: [],
        takeBody: () => body,
        watchResponse: true,
        responseHeaders: () => {},
        responseBody: () => {},
        end: () => {},
      }),
    },
    health: { ready: () => true, listen: () => () => {} },
    logger,
    metrics,
  },
  { host: '127.0.0.1', grpcPort: Number(port), grpcHealthPort: 0, secureServing: false },
)
console.log(`listening on ${server.grpcPort}`)
process.once('SIGTERM', () => void server.stop(0))
