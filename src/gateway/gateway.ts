import { CertificateFiles } from '../framework/certificate-files.ts'
import { DEFAULT_LIMITS } from '../framework/limits.ts'
import type { Clock, Endpoints, Logger, Metrics, Notices, Router } from '../framework/services.ts'
import { ApiKeys, type WatchFile } from './api-keys.ts'
import { readKeyPair } from './certificate.ts'
import { type EjectedEndpoint, Ejections } from './ejections.ts'
import { EnginePools, getSmall } from './engine-pools.ts'
import { Exchanges } from './exchanges.ts'
import { Front } from './front.ts'
import { Listener } from './listener.ts'
import { ModelList } from './model-list.ts'

const MEBIBYTE = 1024 * 1024
const SECOND_MS = 1000
const MINUTE_MS = 60 * SECOND_MS
const PROBE = { timeoutMs: SECOND_MS, maxBytes: 64 * 1024 }

/** What the embedded proxy works with. */
export interface GatewayServices {
  readonly router: Router
  /** Those that the router picks from. */
  readonly endpoints: Endpoints
  readonly logger: Logger
  readonly metrics: Metrics
  readonly notices: Notices
  readonly clock: Clock
}

/** Everything has a default but the address; times in milliseconds. */
export interface GatewayOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** TLS with a folder's `tls.crt` and `tls.key`; plain TCP when absent. */
  readonly tls?: {
    readonly certPath: string
    /** True takes changed files over. */
    readonly reload?: boolean
    /** How often they are read; 5 s when absent: a mounted Secret changes about a minute after it was edited. */
    readonly reloadMs?: number
  }
  /** Keys of which clients must bring one; everybody is admitted when absent. */
  readonly apiKeys?: {
    readonly file: string
    readonly readText: (path: string) => Promise<string>
    readonly watchFile: WatchFile
  }
  /** How often a request is routed again whose endpoint broke before it answered; 1 when absent. */
  readonly retries?: number
  /** Bytes of one request's body; 64 MiB when absent. */
  readonly maxBodyBytes?: number
  /** Bytes of all bodies held at once; 1 GiB when absent. */
  readonly maxBufferedBytes?: number
  readonly maxHeaderBytes?: number
  readonly maxRequests?: number
  readonly maxConnections?: number
  /** Longest time for a request's headers; 30 s when absent. */
  readonly headersTimeoutMs?: number
  /** Longest silence within a request's body; 30 s when absent. */
  readonly bodyTimeoutMs?: number
  /** Longest time that a client reads nothing of a response that waits for it; 5 min when absent. */
  readonly readerTimeoutMs?: number
  /** A connection without a request is closed after this long; 75 s when absent. */
  readonly idleTimeoutMs?: number
  /** Longest time for a connection to an engine; 3 s when absent. */
  readonly engineConnectTimeoutMs?: number
  /** Longest time until an engine begins to answer, which without streaming is the whole answer; 10 min when absent. */
  readonly engineHeadersTimeoutMs?: number
  /** Longest silence within an engine's response; 5 min when absent. */
  readonly engineIdleTimeoutMs?: number
  /** Time of an endpoint's first ejection; 1 s when absent. */
  readonly ejectionMs?: number
  /** Longest time of an ejection; 60 s when absent. */
  readonly maxEjectionMs?: number
}

/** The running proxy. */
export interface Gateway {
  readonly port: number
  /** Requests in progress. */
  readonly active: number
  /** Endpoints that get no requests for the time being. */
  ejected(): readonly EjectedEndpoint[]
  /**
   * Stops: new requests are answered 503 at once, those in progress have `drainMs` to end, then they are cut off. Resolves
   * when the port is closed.
   */
  stop(drainMs: number): Promise<void>
}

/**
 * Serves HTTP/1.1 and HTTP/2 on one port, and has each request answered by the endpoint that the router picks.
 *
 * @throws {SchedulerError} PORT_IN_USE naming port and flag; START_FAILED when the port cannot be opened for another
 *   reason, or the certificate or the keys cannot be used; nothing is left running
 */
export async function startGateway(
  services: GatewayServices,
  options: GatewayOptions,
): Promise<Gateway> {
  const { endpoints, metrics, clock } = services
  const logger = services.logger.named('proxy')
  const own = { ...services, logger }
  const closing: (() => unknown)[] = []
  const closeAll = async () => {
    for (const close of closing.splice(0).reverse()) await close()
  }
  try {
    const { tls } = options
    const keyPair = tls && (await readKeyPair(tls.certPath))
    const keys =
      options.apiKeys && (await ApiKeys.start(options.apiKeys.file, { ...own, ...options.apiKeys }))
    closing.push(() => keys?.close())
    const pools = new EnginePools(endpoints, {
      connectTimeoutMs: options.engineConnectTimeoutMs ?? 3 * SECOND_MS,
      headersTimeoutMs: options.engineHeadersTimeoutMs ?? 10 * MINUTE_MS,
      idleTimeoutMs: options.engineIdleTimeoutMs ?? 5 * MINUTE_MS,
    })
    closing.push(() => pools.close())
    const ejections = new Ejections(
      { ...own, probe: (endpoint) => probe(pools, endpoint) },
      options.ejectionMs ?? SECOND_MS,
      options.maxEjectionMs ?? MINUTE_MS,
    )
    closing.push(() => ejections.stop())
    const limits = {
      maxBodyBytes: options.maxBodyBytes ?? 64 * MEBIBYTE,
      maxBufferedBytes: options.maxBufferedBytes ?? 1024 * MEBIBYTE,
      maxHeaderBytes: options.maxHeaderBytes ?? DEFAULT_LIMITS.maxHeaderBytes,
      maxRequests: options.maxRequests ?? DEFAULT_LIMITS.maxRequests,
      bodyTimeoutMs: options.bodyTimeoutMs ?? 30 * SECOND_MS,
      readerTimeoutMs: options.readerTimeoutMs ?? 5 * MINUTE_MS,
    }
    const exchanges = new Exchanges({
      ...{ router: services.router, ejections, pools, limits, metrics },
      retries: options.retries ?? 1,
    })
    const models = new ModelList({ endpoints, ejections, pools, clock })
    const front = new Front({ exchanges, endpoints, models, keys })
    const refused = metrics.counter(
      'epp_connections_refused_total',
      'Connections closed at once, since a port had as many as are allowed.',
      { port: 'proxy' },
    )
    const listener = await Listener.open(
      {
        ...{ host: options.host, port: options.port, keyPair },
        maxConnections: options.maxConnections ?? DEFAULT_LIMITS.maxConnections,
        maxHeaderBytes: limits.maxHeaderBytes,
        headersTimeoutMs: options.headersTimeoutMs ?? 30 * SECOND_MS,
        idleTimeoutMs: options.idleTimeoutMs ?? 75 * SECOND_MS,
      },
      {
        requested: front.requested,
        misunderstood: front.misunderstood,
        dropped: () => refused.inc(),
      },
    )
    closing.push(() => listener.close())
    metrics.observed('epp_proxy_connections_active', 'Connections of clients.', () => [
      { labels: {}, value: listener.connections },
    ])
    if (tls?.reload && keyPair !== undefined) {
      const files = new CertificateFiles(keyPair, {
        read: () => readKeyPair(tls.certPath),
        // What was read has been looked at.
        check: () => {},
        ...{ logger, metrics, readMs: tls.reloadMs },
      })
      closing.push(files.listen((pair) => listener.setKeyPair(pair)))
    }
    const lookMs = Math.min(limits.bodyTimeoutMs, limits.readerTimeoutMs, 4 * SECOND_MS) / 4
    const looks = setInterval(() => exchanges.checkTimes(clock.nowMs()), lookMs)
    looks.unref()
    closing.push(() => clearInterval(looks))
    if (keys === undefined && !isLoopback(options.host)) {
      logger.warn(
        `the proxy listens on ${options.host} without API keys: whoever reaches the port may use the engines; give it keys, or listen on 127.0.0.1`,
      )
    }
    return {
      port: listener.port,
      get active() {
        return exchanges.active
      },
      ejected: () => ejections.list(),
      async stop(drainMs) {
        exchanges.draining = true
        listener.drain()
        if (!(await within(exchanges.idle(), drainMs))) exchanges.shutDownAll()
        await closeAll()
      },
    }
  } catch (error) {
    await closeAll()
    throw error
  }
}

/** What is wrong with an endpoint; undefined when it answers. Any answer shows that it lives, but for a fault of its own. */
async function probe(pools: EnginePools, endpoint: string): Promise<string | undefined> {
  const answer = await getSmall(pools.get(endpoint), '/health', {}, PROBE)
  if ('problem' in answer) return `the probe failed (${answer.problem})`
  return answer.status < 500 ? undefined : `its /health answers ${answer.status}`
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.')
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
