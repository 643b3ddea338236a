// Our exchange with a router that decides nothing: what the transport costs by itself.
// Usage: node --import tsx exchange.ts PORT HOST:PORT

import { startExtProcServer } from '../../src/extproc/server.ts'
import type { Logger, Metrics, Routed } from '../../src/framework/services.ts'

const [port, destination] = process.argv.slice(2)

const say = (message: string, fields?: unknown) => console.error(message, fields ?? '')
const logger: Logger = {
  debug: () => {},
  info: say,
  warn: say,
  error: say,
  warnOnce: (_key, message, fields) => say(message, fields),
  named: () => logger,
}
const sink = { inc: () => {}, set: () => {}, observe: () => {} }
const metrics: Metrics = {
  counter: () => sink,
  gauge: () => sink,
  histogram: () => sink,
  observed: () => {},
}
const none = new Map<string, string>()

const server = await startExtProcServer(
  {
    router: {
      mayWatchResponse: () => true,
      route: async ({ body }): Promise<Routed> => ({
        requestId: '',
        destination: destination!,
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
