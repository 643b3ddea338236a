import { DEFAULT_LIMITS } from '../framework/limits.ts'
import type { Logger, Metrics, Router } from '../framework/services.ts'
import type { TlsOptions } from './credentials.ts'
import { serverCertificate } from './credentials.ts'
import { Exchange } from './exchange.ts'
import type { ExchangeLimits } from './exchanges.ts'
import { Exchanges } from './exchanges.ts'
import { GrpcServer, type Method, type Misspoken } from './grpc/grpc-server.ts'
import { type Health, HealthService } from './health.ts'
import { healthMethods } from './health-calls.ts'
import { HealthPort } from './health-port.ts'
import { openPort } from './ports.ts'

const MEBIBYTE = 1024 * 1024
/** Says which pool a call is for, where one process answers for several. */
const POOL_METADATA = 'x-epp-pool'

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
  const limits: ExchangeLimits = {
    maxBodyBytes: options.maxBodyBytes ?? 64 * MEBIBYTE,
    maxBufferedBytes: options.maxBufferedBytes ?? 1024 * MEBIBYTE,
    maxHeaderBytes: options.maxHeaderBytes ?? DEFAULT_LIMITS.maxHeaderBytes,
    maxRequests: options.maxRequests ?? DEFAULT_LIMITS.maxRequests,
  }
  const exchanges = new Exchanges(services.router, limits, services.logger, services.metrics)
  const health = new DrainableHealth(services.health)
  const healthService = new HealthService(health)
  const certificate = await serverCertificate(
    {
      secureServing: options.secureServing ?? true,
      certPath: options.certPath,
      enableCertReload: options.enableCertReload ?? false,
    },
    services,
  )
  const maxConnections = options.maxConnections ?? DEFAULT_LIMITS.maxConnections
  const refusedOn = (port: 'ext_proc' | 'health') => {
    const refused = services.metrics.counter(
      'epp_connections_refused_total',
      'Connections closed at once, since a port had as many as are allowed.',
      { port },
    )
    return () => refused.inc()
  }
  const processor = new GrpcServer({
    methods: new Map([...healthMethods(healthService), [PROCESS_PATH, processing(exchanges)]]),
    certificate,
    // A buffered body comes in one message; room for what is around it.
    maxMessageBytes: limits.maxBodyBytes + MEBIBYTE,
    maxConnections,
    refused: refusedOn('ext_proc'),
    misspoken: ({ what, reason, from }) =>
      services.logger.warnOnce(`extproc-misspoken-${what}-${reason}`, MISSPOKEN[what], {
        from,
        ...(reason !== undefined && { reason }),
      }),
    failed: ({ message }) =>
      services.logger.warnOnce(
        `extproc-port-${message}`,
        'the ext_proc port could not take a connection; the others go on',
        { reason: message },
      ),
  })
  const healthOnly = new HealthPort(healthService, {
    maxConnections,
    refused: refusedOn('health'),
    logger: services.logger,
  })

  const { host } = options
  const grpcPort = await openPort(processor, host, options.grpcPort ?? 9002, '--grpc-port')
  let grpcHealthPort: number
  try {
    const port = options.grpcHealthPort ?? 9003
    grpcHealthPort = await openPort(healthOnly, host, port, '--grpc-health-port')
  } catch (error) {
    await processor.close(0)
    throw error
  }

  return {
    grpcPort,
    grpcHealthPort,
    get active() {
      return exchanges.active
    },
    async stop(drainTimeoutMs) {
      exchanges.draining = true
      health.drain()
      const started = performance.now()
      if (!(await within(exchanges.idle(), drainTimeoutMs))) exchanges.abortAll()
      // They would go on for ever, and have been told.
      healthService.endWatches()
      // What was answered last may not have left yet.
      const graceMs = Math.max(drainTimeoutMs - (performance.now() - started), 1000)
      await Promise.all([processor.close(graceMs), healthOnly.close(graceMs)])
    },
  }
}

/** What to do about clients that speak something else. */
const MISSPOKEN: Readonly<Record<Misspoken['what'], string>> = {
  tls: 'a client speaks TLS to the ext_proc port, which is plaintext: nothing of it is picked; drop --secure-serving=false, or have the gateway speak plaintext',
  plaintext:
    'a client speaks plaintext to the ext_proc port, which wants TLS: nothing of it is picked; start with --secure-serving=false, or have the gateway speak TLS',
  'no-http2':
    'a client of the ext_proc port does not speak HTTP/2; it serves gRPC, and nothing else',
  handshake:
    'a client of the ext_proc port breaks the TLS handshake off: nothing of it is picked; compare what the gateway accepts with the certificate (--cert-path, self-signed without)',
}

/** Begins an exchange with each call of ext_proc's one method. */
function processing(exchanges: Exchanges): Method {
  return (call) => {
    const exchange = new Exchange(call, exchanges)
    exchange.called({ authority: call.authority, pool: call.metadata(POOL_METADATA) })
    return exchange
  }
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
