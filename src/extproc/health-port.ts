import type { Server as NetServer } from 'node:net'
import type {
  MethodDefinition,
  ServerUnaryCall,
  ServerWritableStream,
  sendUnaryData,
} from '@grpc/grpc-js'
import { Server, ServerCredentials, setLogger, status } from '@grpc/grpc-js'
import type { Logger } from '../framework/services.ts'
import { type HealthService, UNKNOWN_SERVICE } from './health.ts'
import type { OpenPort } from './ports.ts'

export interface HealthPortOptions {
  /** Connections at once; what comes beyond is closed. */
  readonly maxConnections: number
  /** Told of each connection that was one too many. */
  readonly refused: () => void
  readonly logger: Logger
}

const unary = <Path extends string>(path: Path): MethodDefinition<Buffer, Buffer> => ({
  path: `/grpc.health.v1.Health/${path}`,
  requestStream: false,
  responseStream: false,
  requestSerialize: asIs,
  requestDeserialize: asIs,
  responseSerialize: asIs,
  responseDeserialize: asIs,
})

/** grpc.health.v1.Health on a port of its own, in plaintext, by @grpc/grpc-js. */
export class HealthPort implements OpenPort {
  readonly #server = new Server({ 'grpc.enable_channelz': 0 })
  readonly #options: HealthPortOptions
  #address = ''

  constructor(service: HealthService, options: HealthPortOptions) {
    this.#options = options
    logThrough(options.logger)
    this.#server.addService(
      {
        Check: unary('Check'),
        List: unary('List'),
        Watch: { ...unary('Watch'), responseStream: true },
      },
      {
        Check({ request }: ServerUnaryCall<Buffer, Buffer>, reply: sendUnaryData<Buffer>) {
          const answer = service.check(request)
          if (answer) reply(null, answer)
          else reply({ code: status.NOT_FOUND, details: UNKNOWN_SERVICE })
        },
        List(_call: unknown, reply: sendUnaryData<Buffer>) {
          reply(null, service.list())
        },
        Watch(call: ServerWritableStream<Buffer, Buffer>) {
          const forget = service.watch(
            call.request,
            (answer) => call.write(answer),
            () => call.end(),
          )
          call.once('close', forget)
        },
      },
    )
  }

  listen(host: string, port: number): Promise<number> {
    const at = (number: number) =>
      host.includes(':') ? `[${host}]:${number}` : `${host}:${number}`
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(at(port), ServerCredentials.createInsecure(), (cause, bound) => {
        if (cause) {
          // grpc-js hands on the text of the system's error, not its code.
          const inUse = cause.message.includes('EADDRINUSE')
          return reject(inUse ? Object.assign(cause, { code: 'EADDRINUSE' }) : cause)
        }
        this.#address = at(bound)
        this.#capConnections()
        resolve(bound)
      })
    })
  }

  async close(graceMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()))
    const cut = setTimeout(() => {
      this.#server.drain(this.#address, 0)
      this.#server.forceShutdown()
    }, graceMs)
    await closed
    clearTimeout(cut)
  }

  /** grpc-js has no option for it, hence the look at the sockets that listen. */
  #capConnections(): void {
    const { http2Servers } = this.#server as unknown as {
      http2Servers: ReadonlyMap<NetServer, unknown>
    }
    for (const listening of http2Servers.keys()) {
      listening.maxConnections = this.#options.maxConnections
      listening.on('drop', () => this.#options.refused())
    }
  }
}

/** What grpc-js would print by itself, such as each failed bind, which is reported as an error anyway. */
function logThrough(logger: Logger): void {
  const named = logger.named('grpc')
  const debug = (message?: unknown) => named.debug(String(message))
  setLogger({ error: debug, info: debug, debug })
}

function asIs(value: Buffer): Buffer {
  return value
}
