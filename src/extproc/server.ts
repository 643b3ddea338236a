import type { ServerCredentials, ServerInterceptor, ServiceDefinition } from '@grpc/grpc-js'
import { Server, ServerInterceptingCall, setLogger } from '@grpc/grpc-js'
import { SchedulerError } from '../framework/errors.ts'
import { DEFAULT_LIMITS } from '../framework/limits.ts'
import type { Logger, Metrics, Router } from '../framework/services.ts'
import { capConnections, liftResetLimit, tendConnection } from './connections.ts'
import type { TlsOptions } from './credentials.ts'
import { serverCredentials } from './credentials.ts'
import type { ExchangeLimits } from './exchanges.ts'
import { Exchanges } from './exchanges.ts'
import type { Health, HealthWatch } from './health.ts'
import { healthHandlers, healthService } from './health.ts'
import { ProcessCall } from './process-call.ts'

const MEBIBYTE = 1024 * 1024
/** How often a connection is asked whether it lives, and how long it may take to answer. */
const KEEPALIVE_MS = 10_000

/** What `startExtProcServer` needs besides its services; everything has a default. */
export interface ExtProcOptions extends Partial<ExchangeLimits>, Partial<TlsOptions> {
  /** Address to bind; without one all addresses, IPv6 and IPv4. */
  readonly host?: string
  /** Port of ext_proc and health; 0 takes a free one. */
  readonly grpcPort?: number
  /** Port of health alone, in plaintext; 0 takes a free one. */
  readonly grpcHealthPort?: number
  /** Connections that each of the ports has at once. */
  readonly maxConnections?: number
}

export interface ExtProcServices {
  readonly router: Router
  readonly health: Health
  readonly logger: Logger
  readonly metrics: Metrics
}

/** The running server. */
export interface ExtProcServer {
  readonly grpcPort: number
  readonly grpcHealthPort: number
  /** Exchanges in progress. */
  readonly active: number
  /**
   * Stops: new requests are answered 503 and health says NOT_SERVING at once; those in progress have `drainTimeoutMs`
   * to end, then they are cut off. Resolves when both ports are closed.
   */
  stop(drainTimeoutMs: number): Promise<void>
}

const PROCESS_PATH = '/envoy.service.ext_proc.v3.ExternalProcessor/Process'

/** Messages go in and out as bytes: `ProcessCall` reads and writes them. */
const processorService: ServiceDefinition = {
  Process: {
    path: PROCESS_PATH,
    requestStream: true,
    responseStream: true,
    requestSerialize: asIs,
    requestDeserialize: asIs,
    responseSerialize: asIs,
    responseDeserialize: asIs,
  },
}

/**
 * Serves `envoy.service.ext_proc.v3.ExternalProcessor` and `grpc.health.v1.Health`.
 *
 * @throws {SchedulerError} PORT_IN_USE naming port and flag; START_FAILED when a port cannot be opened for another
 * reason or a certificate cannot be read
 */
export async function startExtProcServer(
  services: ExtProcServices,
  options: ExtProcOptions = {},
): Promise<ExtProcServer> {
  logThrough(services.logger)
  const limits: ExchangeLimits = {
    maxBodyBytes: options.maxBodyBytes ?? 64 * MEBIBYTE,
    maxBufferedBytes: options.maxBufferedBytes ?? 1024 * MEBIBYTE,
    maxHeaderBytes: options.maxHeaderBytes ?? DEFAULT_LIMITS.maxHeaderBytes,
    maxRequests: options.maxRequests ?? DEFAULT_LIMITS.maxRequests,
  }
  const exchanges = new Exchanges(services.router, limits, services.logger, services.metrics)
  const health = new DrainableHealth(services.health)
  const watches = new Set<HealthWatch>()
  const credentials = await serverCredentials(
    {
      secureServing: options.secureServing ?? true,
      certPath: options.certPath,
      enableCertReload: options.enableCertReload ?? false,
    },
    services,
  )

  const processor = new Server({
    interceptors: [(method, call) => processing(method, call)],
    'grpc.max_concurrent_streams': 100_000,
    // A buffered body comes in one message; room for what is around it.
    'grpc.max_receive_message_length': limits.maxBodyBytes + MEBIBYTE,
    'grpc.max_send_message_length': -1,
    // The only end that a connection sees whose gateway died while it was written to: Node's TLS then reads no more.
    'grpc.keepalive_time_ms': KEEPALIVE_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_MS,
    'grpc.enable_channelz': 0,
  })
  const processing = processingBy(exchanges, liftResetLimit(processor))
  processor.addService(processorService, {})
  processor.addService(healthService, healthHandlers(health, watches))
  const healthOnly = new Server({ 'grpc.enable_channelz': 0 })
  healthOnly.addService(healthService, healthHandlers(health, watches))

  const plaintext = await serverCredentials({ secureServing: false, certPath: undefined })
  const opened: Bound[] = []
  try {
    opened.push(
      await bind(processor, options.host, options.grpcPort ?? 9002, credentials, '--grpc-port'),
    )
    opened.push(
      await bind(
        healthOnly,
        options.host,
        options.grpcHealthPort ?? 9003,
        plaintext,
        '--grpc-health-port',
      ),
    )
  } catch (error) {
    for (const bound of opened) await close(bound, 0)
    throw error
  }
  const maxConnections = options.maxConnections ?? DEFAULT_LIMITS.maxConnections
  capConnections(processor, maxConnections, 'ext_proc', services.metrics)
  capConnections(healthOnly, maxConnections, 'health', services.metrics)

  return {
    grpcPort: opened[0]!.port,
    grpcHealthPort: opened[1]!.port,
    get active() {
      return exchanges.active
    },
    async stop(drainTimeoutMs) {
      exchanges.draining = true
      health.drain()
      const started = performance.now()
      if (!(await within(exchanges.idle(), drainTimeoutMs))) exchanges.abortAll()
      // They would go on for ever, and have been told.
      for (const watch of watches) watch.end()
      // What was answered last may not have left yet.
      const graceMs = Math.max(drainTimeoutMs - (performance.now() - started), 1000)
      await Promise.all(opened.map((bound) => close(bound, graceMs)))
    },
  }
}

/** What grpc-js would print by itself, such as each failed bind, which is reported as an error anyway. */
function logThrough(logger: Logger): void {
  const named = logger.named('grpc')
  const debug = (message?: unknown) => named.debug(String(message))
  setLogger({ error: debug, info: debug, debug })
}

/** Puts an exchange in the place of the handler for ext_proc's one method; other methods go on. */
function processingBy(exchanges: Exchanges, isResetLimitLifted: boolean): ServerInterceptor {
  return (method, call) => {
    if (method.path !== PROCESS_PATH) return new ServerInterceptingCall(call)
    tendConnection(call, isResetLimitLifted)
    return new ProcessCall(call, exchanges)
  }
}

interface Bound {
  readonly server: Server
  readonly address: string
  readonly port: number
}

async function bind(
  server: Server,
  host: string | undefined,
  port: number,
  credentials: ServerCredentials,
  flag: string,
): Promise<Bound> {
  if (host !== undefined) return bindTo(server, host, port, credentials, flag)
  try {
    return await bindTo(server, '::', port, credentials, flag)
  } catch (error) {
    // A machine without IPv6.
    if (error instanceof SchedulerError && error.code === 'PORT_IN_USE') throw error
    return bindTo(server, '0.0.0.0', port, credentials, flag)
  }
}

function bindTo(
  server: Server,
  host: string,
  port: number,
  credentials: ServerCredentials,
  flag: string,
): Promise<Bound> {
  const at = (number: number) => (host.includes(':') ? `[${host}]:${number}` : `${host}:${number}`)
  return new Promise((resolve, reject) => {
    server.bindAsync(at(port), credentials, (cause, bound) => {
      if (!cause) return resolve({ server, address: at(bound), port: bound })
      // grpc-js hands on the text of the system's error, not its code.
      const inUse = cause.message.includes('EADDRINUSE')
      const text = inUse
        ? `port ${port} on ${host} is in use; end the process that has it or choose another with ${flag}`
        : `cannot listen on ${at(port)} (${flag}): ${cause.message}`
      reject(new SchedulerError(inUse ? 'PORT_IN_USE' : 'START_FAILED', text, { cause }))
    })
  })
}

/** Closes one server: connections may finish their streams for `graceMs`. */
async function close({ server, address }: Bound, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.tryShutdown(() => resolve()))
  if (await within(closed, graceMs)) return
  server.drain(address, 0)
  server.forceShutdown()
}

/** True when `promise` resolves within `timeoutMs`. */
async function within(promise: Promise<void>, timeoutMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, timeoutMs, false)
  })
  const inTime = await Promise.race([promise.then(() => true), late])
  clearTimeout(timer)
  return inTime
}

/** The caller's health until the drain begins, then not ready. */
class DrainableHealth implements Health {
  readonly #health: Health
  readonly #listeners = new Set<() => void>()
  #draining = false

  constructor(health: Health) {
    this.#health = health
  }

  ready(): boolean {
    return !this.#draining && this.#health.ready()
  }

  listen(changed: () => void): () => void {
    const end = this.#health.listen(changed)
    this.#listeners.add(changed)
    return () => {
      end()
      this.#listeners.delete(changed)
    }
  }

  drain(): void {
    this.#draining = true
    for (const changed of [...this.#listeners]) changed()
  }
}

function asIs(value: Buffer): Buffer {
  return value
}
