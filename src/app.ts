import { fileURLToPath } from 'node:url'
import { AdminServer } from './admin/server.ts'
import { EventSockets } from './app/event-sockets.ts'
import { explainDecision, explainRequest } from './app/explain.ts'
import type { KubernetesOptions } from './app/kubernetes.ts'
import { type ConfigText, type PoolOptions, warnOf } from './app/pool.ts'
import { type BaseConfig, Pools, type PoolsServices } from './app/pools.ts'
import { type ProxyOptions, startProxy } from './app/proxy.ts'
import { endpointsFile } from './app/settings.ts'
import { MAX_DOCUMENT_BYTES, readDocument } from './config/document.ts'
import { FileWatch, readText } from './config/file-watch.ts'
import { loadConfig } from './config/load.ts'
import { ModuleLoader } from './config/module-loader.ts'
import type { CheckedConfig } from './config/parse.ts'
import { writeConfig } from './config/write-config.ts'
import type { ScraperOptions } from './datalayer/scraper.ts'
import { FileDiscovery } from './discovery/file-discovery.ts'
import { DEFAULT_POOL_CONFIG } from './discovery/kubernetes/policy.ts'
import { parseEndpointFlags } from './discovery/static.ts'
import { type ExtProcServer, startExtProcServer } from './extproc/server.ts'
import { networkAddress } from './framework/endpoint.ts'
import { SchedulerError } from './framework/errors.ts'
import { DEFAULT_LIMITS, type Limits } from './framework/limits.ts'
import { seededRandom } from './framework/random.ts'
import { Readiness } from './framework/readiness.ts'
import { DecisionLog } from './framework/routing/decision.ts'
import { PoolRouter } from './framework/routing/pool-router.ts'
import { RequestLog, type RequestLogMode } from './framework/routing/request-log.ts'
import type { ResponsesMode } from './framework/routing/request-policy.ts'
import type { Clock, Router } from './framework/services.ts'
import type { Gateway } from './gateway/gateway.ts'
import { builtinPlugins } from './plugins/index.ts'
import { RecordFile, type RecordFileServices } from './replay/record-file.ts'
import { Recording } from './replay/recorder.ts'
import { createLogger, type LogFormat } from './telemetry/logger.ts'
import { PrometheusMetrics } from './telemetry/metrics.ts'
import { createNotices } from './telemetry/notices.ts'
import { RoutingHistory } from './telemetry/routing-history.ts'
import { turnWriter } from './telemetry/turn-writer.ts'
import { version } from './version.ts'

/** The profile that is used when none is given. */
export const DEFAULT_CONFIG_FILE = fileURLToPath(
  new URL('../config/scheduler-profiles.yaml', import.meta.url),
)

const DECISIONS_KEPT = 1000
const MEBIBYTE = 1024 * 1024
const DEFAULT_RECORD_MIB = 1024

/** Everything that flags can say; durations in milliseconds. */
export interface ServeOptions {
  readonly configFile?: string
  readonly configText?: string
  /** As given to `--endpoint`. */
  readonly endpoints: readonly string[]
  readonly endpointsFile?: string
  /** All addresses, IPv6 and IPv4, when absent. */
  readonly bindAddress?: string
  readonly grpcPort: number
  readonly grpcHealthPort: number
  readonly metricsPort: number
  readonly kvEventsBind?: string
  readonly kvEventsDial?: number
  readonly kvEventsReplay?: number
  readonly tokenizersDir?: string
  readonly secureServing: boolean
  readonly certPath?: string
  /** The configuration says when absent. */
  readonly responses?: ResponsesMode
  /** Whether responses say what was decided (`x-epp-decision`); the configuration says when absent. */
  readonly decisionHeader?: boolean
  /** Endpoints to name after the target; those that the picker picks when absent. */
  readonly fallbackEndpoints?: number
  readonly refreshMetricsInterval: number
  readonly requestTimeout: number
  readonly drainTimeout: number
  /** The embedded proxy; none when absent. */
  readonly proxy?: ProxyOptions
  /** File to which decisions are written, and MiB that it and the one before it may take; none when absent. */
  readonly record?: string
  readonly recordMaxMib?: number
  readonly maxBodyMib: number
  readonly maxBufferedMib: number
  /** The defaults when absent. */
  readonly limits?: Limits
  readonly adminToken: string | undefined
  readonly logFormat: LogFormat
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error'
  readonly requestLog: RequestLogMode
  readonly seed?: number
  readonly strict?: boolean
  /** Pools of a cluster; absent where endpoints come from flags or a file. */
  readonly kubernetes?: KubernetesOptions
  /** How model servers are asked for their metrics; vLLM's page at the port that serves when absent. */
  readonly modelServerMetrics?: Pick<
    ScraperOptions,
    'port' | 'path' | 'scheme' | 'insecureSkipVerify' | 'names'
  >
  /** Age at which metrics are not believed any more. */
  readonly metricsStalenessMs?: number
  /** True takes changed files of `certPath` over. */
  readonly enableCertReload?: boolean
  /** False leaves the gateway's subset of endpoints unread. */
  readonly subsetHints?: boolean
  /** What was given and has no effect; logged at the start. */
  readonly flagWarnings?: readonly string[]
  /** Where log lines go; standard output when absent. */
  readonly write?: (line: string) => void
}

/** The ports that the picker listens on. */
export interface Ports {
  readonly grpc: number
  readonly health: number
  readonly metrics: number
  /** Of the embedded proxy; undefined without it. */
  readonly proxy: number | undefined
}

const writeOut = turnWriter((text) => process.stdout.write(text))
const clock: Clock = { nowMs: () => performance.now(), epochMs: () => Date.now() }

/** The running picker: the composition root, which alone knows every folder. */
export class App {
  readonly ports: Ports
  /** What every transport asks; those that share the process use it directly. */
  readonly router: Router
  readonly #close: () => Promise<void>

  constructor(
    parts: { readonly ports: Ports; readonly router: Router },
    close: () => Promise<void>,
  ) {
    this.ports = parts.ports
    this.router = parts.router
    this.#close = close
  }

  /**
   * Checks the configuration, finds the endpoints, opens the ports.
   *
   * @throws {SchedulerError} CONFIG_INVALID, PORT_IN_USE, START_FAILED; nothing is left running
   */
  static async start(options: ServeOptions): Promise<App> {
    const stack: (() => unknown)[] = []
    const close = async () => {
      for (const step of stack.splice(0).reverse()) await step()
    }
    try {
      return new App(await startParts(options, (step) => stack.push(step)), close)
    } catch (error) {
      await close()
      throw error
    }
  }

  /** Drains running requests, then closes everything. */
  close(): Promise<void> {
    return this.#close()
  }
}

/** @param onClose takes what must be done at the end, the last first */
async function startParts(
  options: ServeOptions,
  onClose: (step: () => unknown) => void,
): Promise<{ readonly ports: Ports; readonly router: Router }> {
  const logger = createLogger({
    format: options.logFormat,
    level: options.logLevel,
    write: options.write ?? writeOut,
    epochMs: clock.epochMs,
  })
  const limits = options.limits ?? DEFAULT_LIMITS
  const metrics = new PrometheusMetrics(limits.maxLabelValues)
  const notices = createNotices(clock.epochMs)
  const readiness = new Readiness()
  const random = seededRandom(options.seed ?? Math.floor(Math.random() * 2 ** 32))
  const services = { clock, logger, metrics, notices, random }
  for (const warning of options.flagWarnings ?? []) logger.named('flags').warn(warning)

  const modules = new ModuleLoader(builtinPlugins)
  const load = (text: string, source: string) =>
    loadConfig(text, source, builtinPlugins, modules, { strict: options.strict ?? false })
  const base = await baseConfig(options, load)
  warnOf(logger, base.config.warnings)

  const sockets = new EventSockets(
    services,
    {
      bind: options.kvEventsBind,
      dialPort: options.kvEventsDial,
      replayPort: options.kvEventsReplay,
    },
    limits.maxEventBytes,
  )
  onClose(() => sockets.close())
  const recording = await startRecording(options, services)
  if (recording) onClose(() => recording.file.close())
  const decisions = new DecisionLog(DECISIONS_KEPT)
  const requestLog = new RequestLog(logger, options.requestLog)
  const history = new RoutingHistory(clock)
  const observers = [{ name: 'routing-history', plugin: history }]
  const pools = new Pools(
    {
      ...services,
      sockets,
      decisions,
      requestLog,
      load,
      observers,
      ...(recording && { recording }),
    },
    poolOptions(options),
    base,
  )
  onClose(() => pools.closeAll())
  readiness.set('configuration', true, `from ${base.text.source}`)
  const unused = areEndpointsGiven(options) ? endpointsFile(base.config) : undefined
  if (unused !== undefined) {
    logger
      .named('discovery')
      .warn('file-discovery has no effect: flags say where the endpoints are', { path: unused })
  }

  const kubernetes =
    options.kubernetes &&
    (await (
      await import('./app/kubernetes.ts')
    ).startKubernetes(options.kubernetes, { ...services, readiness, pools, sockets }, onClose))
  if (kubernetes === undefined) {
    await startOwnPool(options, base.config, pools, services, onClose)
    readiness.set('endpoints', true, 'the first set of endpoints is known')
  }
  if (base.isFile) onClose(watchConfigFile(base.text, pools, load, services))

  const host = options.bindAddress === undefined ? {} : { host: options.bindAddress }
  const refusedConnections = metrics.counter(
    'epp_connections_refused_total',
    'Connections closed at once, since a port had as many as are allowed.',
    { port: 'admin' },
  )
  let gateway: Gateway | undefined
  const bodyLimits = {
    maxBodyBytes: options.maxBodyMib * MEBIBYTE,
    maxBufferedBytes: options.maxBufferedMib * MEBIBYTE,
  }
  const admin = new AdminServer(
    {
      version,
      epochMs: clock.epochMs,
      metricsContentType: metrics.contentType,
      metricsText: () => metrics.text(),
      ready: () => [
        ...readiness.list(),
        ...pools
          .list()
          .flatMap((pool) =>
            pool.hashing().map((detail) => ({ name: 'kv-hashing', ok: true, detail })),
          ),
      ],
      notices: () => notices.list(),
      endpoints: () => {
        const ejected = new Map(gateway?.ejected().map((each) => [each.endpoint, each]))
        return pools
          .list()
          .flatMap((pool) => pool.endpointPage())
          .map((page) => ({ ...page, ejected: ejected.get(networkAddress(page.address)) }))
      },
      configurations: () => pools.list().map((pool) => pool.configPage()),
      decisions,
      explanation: (decision) => explainDecision(pools.list(), decision),
      explain: (asked, signal) => explainRequest(pools.list(), asked, signal),
      maxBodyBytes: bodyLimits.maxBodyBytes,
      history,
    },
    {
      ...host,
      port: options.metricsPort,
      token: options.adminToken,
      maxConnections: limits.maxConnections,
      dropped: () => refusedConnections.inc(),
    },
  )
  const metricsPort = await admin.start()
  onClose(() => admin.close())
  readiness.set('ports', false, 'ext_proc is not open yet')
  const router = new PoolRouter(() => pools.routed())
  const extProc: ExtProcServer = await startExtProcServer(
    { router, health: readiness, logger, metrics },
    {
      ...host,
      grpcPort: options.grpcPort,
      grpcHealthPort: options.grpcHealthPort,
      ...limits,
      ...bodyLimits,
      secureServing: options.secureServing,
      certPath: options.certPath,
      enableCertReload: options.enableCertReload ?? false,
    },
  )
  onClose(async () => {
    readiness.set('draining', false, 'shutting down')
    const { drainTimeout } = options
    await Promise.all([
      kubernetes?.stepDown(),
      extProc.stop(drainTimeout),
      gateway?.stop(drainTimeout),
    ])
  })
  if (options.proxy !== undefined) {
    gateway = await startProxy(
      options.proxy,
      { ...limits, ...bodyLimits, enableCertReload: options.enableCertReload ?? false },
      { ...services, router, endpoints: pools.endpoints },
    )
  }
  readiness.set('ports', true, 'all are open')

  const ports = {
    grpc: extProc.grpcPort,
    health: extProc.grpcHealthPort,
    metrics: metricsPort,
    proxy: gateway?.port,
  }
  logger.info('Serving', {
    ...ports,
    kvEvents: sockets.boundAddress,
    endpoints: pools.list().reduce((sum, { endpoints }) => sum + endpoints.list().length, 0),
    config: base.text.source,
    version,
  })
  return { ports, router }
}

/** @throws {SchedulerError} START_FAILED when the file cannot be written */
async function startRecording(
  { record, recordMaxMib = DEFAULT_RECORD_MIB }: ServeOptions,
  services: RecordFileServices,
): Promise<Recording | undefined> {
  if (record === undefined) return undefined
  const maxBytes = recordMaxMib * MEBIBYTE
  return new Recording(await RecordFile.open({ file: record, maxBytes, version }, services))
}

type ProcessServices = Omit<PoolsServices, 'sockets' | 'decisions' | 'requestLog' | 'load'>
type LoadConfig = PoolsServices['load']

/** What the flags give; a pool of Kubernetes that no file configures starts without prefix scorers until its policy is known. */
async function baseConfig(
  options: ServeOptions,
  load: LoadConfig,
): Promise<BaseConfig & { readonly isFile: boolean }> {
  const { configText, configFile, kubernetes } = options
  const isGiven = configText !== undefined || configFile !== undefined
  const isFile = configText === undefined && (isGiven || kubernetes === undefined)
  let text: ConfigText
  if (configText !== undefined) text = { source: '--config-text', text: configText }
  else if (isFile) {
    const source = configFile ?? DEFAULT_CONFIG_FILE
    text = { source, text: await readConfigFile(source) }
  } else {
    text = {
      source: 'the default for pools without a policy',
      text: writeConfig(DEFAULT_POOL_CONFIG),
    }
  }
  return { config: await load(text.text, text.source), text, isGiven, isFile }
}

function poolOptions(options: ServeOptions): Omit<PoolOptions, 'name'> {
  return {
    tokenizersDir: options.tokenizersDir,
    limits: options.limits ?? DEFAULT_LIMITS,
    scraper: {
      intervalMs: options.refreshMetricsInterval,
      ...(options.metricsStalenessMs !== undefined && { stalenessMs: options.metricsStalenessMs }),
      ...{ scheme: 'http', insecureSkipVerify: true },
      ...options.modelServerMetrics,
    },
    director: {
      requestTimeoutMs: options.requestTimeout,
      ...(options.responses !== undefined && { responses: options.responses }),
      passesResponses: options.proxy !== undefined,
      ...(options.decisionHeader !== undefined && { decisionHeader: options.decisionHeader }),
      ...(options.fallbackEndpoints !== undefined && {
        fallbackEndpoints: options.fallbackEndpoints,
      }),
      subsetHints: options.subsetHints ?? true,
    },
  }
}

/** True when flags say where the endpoints are, so that no file of the configuration does. */
function areEndpointsGiven({ kubernetes, endpoints, endpointsFile: file }: ServeOptions): boolean {
  return kubernetes !== undefined || endpoints.length > 0 || file !== undefined
}

/** The one pool whose endpoints flags name, else a file of the configuration. */
async function startOwnPool(
  options: ServeOptions,
  config: CheckedConfig,
  pools: Pools,
  services: ProcessServices,
  onClose: (step: () => unknown) => void,
): Promise<void> {
  const pool = pools.add(undefined)
  pool.endpoints.replace('flags', parseEndpointFlags(options.endpoints))
  const isGiven = areEndpointsGiven(options)
  const file = isGiven ? options.endpointsFile : endpointsFile(config)
  if (!isGiven) pool.configuredEndpoints = { file }
  if (file !== undefined) {
    const discovery = new FileDiscovery(file, {
      ...services,
      sink: pool.endpoints,
      ...(options.limits && { maxEndpoints: options.limits.maxEndpoints }),
      readText: (path) => readText(path, MAX_DOCUMENT_BYTES),
      readDocument,
      watchFile: (path, listener, watch) => new FileWatch(path, listener, watch),
    })
    await discovery.start()
    onClose(() => discovery.stop())
  }
  await pool.prepare()
}

/** Takes a changed file over, or keeps the running configuration and says why; one change at a time. */
function watchConfigFile(
  { source: file, text: initial }: ConfigText,
  pools: Pools,
  load: LoadConfig,
  { notices }: ProcessServices,
): () => void {
  const reload = async (text: string) => {
    try {
      pools.takeBase(await load(text, file), { source: file, text })
    } catch (error) {
      pools.refuseBase(error)
    }
  }
  let last = Promise.resolve()
  const watch = new FileWatch(
    file,
    {
      changed: (text) => {
        notices.set('config-file', undefined)
        last = last.then(() => reload(text))
      },
      lost: (reason) =>
        notices.set(
          'config-file',
          `${file} cannot be read: ${reason}; the last good configuration goes on`,
        ),
    },
    { initial },
  )
  return () => watch.close()
}

async function readConfigFile(file: string): Promise<string> {
  try {
    return await readText(file, MAX_DOCUMENT_BYTES)
  } catch (cause) {
    throw new SchedulerError(
      'CONFIG_INVALID',
      `--config-file ${file} cannot be read: ${(cause as Error).message}`,
      { cause },
    )
  }
}
