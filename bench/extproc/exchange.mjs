// Our exchange, as built, with a router that decides nothing: what the transport costs by itself.
// Usage: node exchange.mjs PORT HOST:PORT

import { startExtProcServer } from '../../dist/extproc/server.js'

const [port, destination] = process.argv.slice(2)

const say = (message, fields) => console.error(message, fields ?? '')
const logger = {
  debug: () => {},
  info: say,
  warn: say,
  error: say,
  warnOnce: (_key, message, fields) => say(message, fields),
  named: () => logger,
}
const sink = { inc: () => {}, set: () => {}, observe: () => {} }
const metrics = {
  counter: () => sink,
  gauge: () => sink,
  histogram: () => sink,
  observed: () => {},
}
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
        body,
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
