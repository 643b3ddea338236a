import { fileURLToPath } from 'node:url'
import { AdminServer } from './admin/server.ts'
import { MAX_DOCUMENT_BYTES, readDocument } from './config/document.ts'
import { FileWatch, readText } from './config/file-watch.ts'
import { loadConfig } from './config/load.ts'
import { ModuleLoader } from './config/module-loader.ts'
import { type CheckedConfig, defaultParams } from './config/parse.ts'
import { problemLine } from './config/problem.ts'
import { EndpointStore } from './datalayer/endpoint-store.ts'
import { ModelDirectory } from './datalayer/models.ts'
import { Scraper } from './datalayer/scraper.ts'
import { FileDiscovery } from './discovery/file-discovery.ts'
import { parseEndpointFlags } from './discovery/static.ts'
import { type ExtProcServer, startExtProcServer } from './extproc/server.ts'
import { buildGeneration, type Generation } from './framework/build.ts'
import { Container } from './framework/container.ts'
import { durationMs } from './framework/duration.ts'
import { SchedulerError } from './framework/errors.ts'
import { PluginProbe } from './framework/instrument.ts'
import type { Observer } from './framework/plugin.ts'
import { seededRandom } from './framework/random.ts'
import { Readiness } from './framework/readiness.ts'
import { DecisionLog } from './framework/routing/decision.ts'
import { Director } from './framework/routing/director.ts'
import { InFlightLedger } from './framework/routing/in-flight.ts'
import { RequestLog, type RequestLogMode } from './framework/routing/request-log.ts'
import {
  CLOCK,
  type Clock,
  ENDPOINTS,
  IN_FLIGHT,
  LOGGER,
  type Logger,
  METRICS,
  MODELS,
  NOTICES,
  type Notices,
  PREFIX_INDEX,
  RANDOM,
  ROUTED_PREFIX_INDEX,
  type Router,
  TOKENIZER,
} from './framework/services.ts'
import { DEFAULT_KV_EVENTS_PORT } from './kvcache/events/zmq-intake.ts'
import { type KvCache, startKvCache } from './kvcache/kv-cache.ts'
import { KvRoutedPrefixIndex } from './kvcache/routed-prefix-index.ts'
import { openAiApi } from './openai/openai-api.ts'
import { builtinPlugins } from './plugins/index.ts'
import {
  type PrecisePrefixCacheParams,
  tokenProcessorOf,
} from './plugins/scorers/precise-prefix-cache-scorer.ts'
import { FieldMetrics } from './telemetry/field-metrics.ts'
import { createLogger, type LogFormat } from './telemetry/logger.ts'
import { PrometheusMetrics } from './telemetry/metrics.ts'
import { createNotices } from './telemetry/notices.ts'
import { PredictionMetrics } from './telemetry/prediction-metrics.ts'
import { PromptTokenizer } from './tokenize/prompt-tokenizer.ts'
import { version } from './version.ts'

/** The profile that is used when none is given. */
export const DEFAULT_CONFIG_FILE = fileURLToPath(
  new URL('../config/scheduler-profiles.yaml', import.meta.url),
)

const DECISIONS_KEPT = 1000
const DEFAULT_BIND = `tcp://*:${DEFAULT_KV_EVENTS_PORT}`
const DEFAULT_BEAT_MS = 60_000
const DEFAULT_INDEX_MIB = 1024
const ROUTED_INDEX_MIB = 256
const MEBIBYTE = 1024 * 1024

/** Everything that flags can say; durations in milliseconds. */
export interface ServeOptions {
  readonly configFile?: string
  readonly configText?: string
  /** As given to `--endpoint`. */
  readonly endpoints: readonly string[]
  readonly endpointsFile?: string
  readonly bindAddress: string
  readonly grpcPort: number
  readonly grpcHealthPort: number
  readonly metricsPort: number
  readonly kvEventsBind?: string
  readonly kvEventsDial?: number
  readonly tokenizersDir?: string
  readonly secureServing: boolean
  readonly certPath?: string
  readonly responses: 'auto' | 'always' | 'never'
  readonly refreshMetricsInterval: number
  readonly requestTimeout: number
  readonly drainTimeout: number
  readonly maxBodyMib: number
  readonly maxBufferedMib: number
  readonly adminToken: string | undefined
  readonly logFormat: LogFormat
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error'
  readonly requestLog: RequestLogMode
  readonly seed?: number
  readonly strict?: boolean
  /** Where log lines go; standard output when absent. */
  readonly write?: (line: string) => void
}

/** The ports that the picker listens on. */
export interface Ports {
  readonly grpc: number
  readonly health: number
  readonly metrics: number
}

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
    write: options.write ?? ((line) => process.stdout.write(line)),
    epochMs: clock.epochMs,
  })
  const metrics = new PrometheusMetrics()
  const notices = createNotices(clock.epochMs)
  const readiness = new Readiness()
  const random = seededRandom(options.seed ?? Math.floor(Math.random() * 2 ** 32))
  const services = { clock, logger, metrics, notices, random }

  const file = options.configFile ?? DEFAULT_CONFIG_FILE
  const modules = new ModuleLoader(builtinPlugins)
  const load = (text: string) =>
    loadConfig(
      text,
      options.configText === undefined ? file : '--config-text',
      builtinPlugins,
      modules,
      {
        strict: options.strict ?? false,
      },
    )
  const text = options.configText ?? (await readConfigFile(file))
  const config = await load(text)
  warn(logger, config)

  const endpoints = new EndpointStore(services)
  endpoints.replace('flags', parseEndpointFlags(options.endpoints))
  if (options.endpointsFile !== undefined) {
    const discovery = new FileDiscovery(options.endpointsFile, {
      ...services,
      sink: endpoints,
      readText: (path) => readText(path, MAX_DOCUMENT_BYTES),
      readDocument,
      watchFile: (path, listener, watch) => new FileWatch(path, listener, watch),
    })
    await discovery.start()
    onClose(() => discovery.stop())
  }
  readiness.set('endpoints', true, 'the first set of endpoints is known')

  const models = new ModelDirectory({ ...services, endpoints })
  models.start()
  onClose(() => models.stop())
  const scraper = new Scraper(
    { ...services, endpoints, sink: endpoints },
    { intervalMs: options.refreshMetricsInterval },
  )
  scraper.start()
  onClose(() => scraper.stop())

  const tokenizer = new PromptTokenizer({
    ...services,
    models,
    tokenizersDir: options.tokenizersDir,
  })
  onClose(() => tokenizer.close())
  configureTokenizer(tokenizer, config)
  await tokenizer.prepare()

  const cache = await startKvCache(
    { ...services, models, endpoints, maxMemoryBytes: indexMiB(config) * MEBIBYTE },
    eventSockets(options, config),
  )
  onClose(() => cache.close())
  const routed = new KvRoutedPrefixIndex({
    endpoints,
    maxMemoryBytes: ROUTED_INDEX_MIB * MEBIBYTE,
  })
  onClose(() => routed.close())

  const inFlight = new InFlightLedger()
  const container = new Container()
    .provide(CLOCK, {}, () => clock)
    .provide(RANDOM, {}, () => random)
    .provide(LOGGER, {}, () => logger)
    .provide(METRICS, {}, () => metrics)
    .provide(NOTICES, {}, () => notices)
    .provide(ENDPOINTS, {}, () => endpoints)
    .provide(MODELS, {}, () => models)
    .provide(IN_FLIGHT, {}, () => inFlight)
    .provide(TOKENIZER, {}, () => tokenizer)
    .provide(PREFIX_INDEX, {}, () => cache.index)
    .provide(ROUTED_PREFIX_INDEX, {}, () => routed)

  const decisions = new DecisionLog(DECISIONS_KEPT)
  const field = new FieldMetrics(metrics, endpoints, 'default', config.metricsCompat)
  const observe = (name: string, plugin: Observer) => ({
    name,
    plugin,
    probe: new PluginProbe('observer', name, name, metrics, logger),
  })
  const build = (id: number, from: CheckedConfig) =>
    buildGeneration(id, from.spec, container, builtinPlugins, defaultParams)
  const director = new Director(
    {
      ...services,
      endpoints,
      models,
      openAi: openAiApi,
      inFlight,
      decisions,
      requestLog: new RequestLog(logger, options.requestLog),
      observers: [
        observe('field-metrics', field),
        observe('prediction-metrics', new PredictionMetrics(metrics)),
      ],
      refused: (code) => field.refused(code),
    },
    { requestTimeoutMs: options.requestTimeout, responses: options.responses },
    build(1, config),
  )
  onClose(() => director[Symbol.dispose]())
  onClose(() => director.generation[Symbol.asyncDispose]())
  readiness.set('configuration', true, 'generation 1')

  const running = new RunningConfig(config, text)
  if (options.configText === undefined) {
    const reload = reloader({ director, running, load, build, tokenizer, ...services })
    const watch = new FileWatch(
      file,
      {
        changed: (changed) => void reload(changed),
        lost: (reason) =>
          notices.set(
            'config-file',
            `${file} cannot be read: ${reason}; the last good configuration goes on`,
          ),
      },
      { initial: text },
    )
    onClose(() => watch.close())
  }
  startBeat(config, cache, logger, onClose)

  const admin = new AdminServer(
    {
      metricsContentType: metrics.contentType,
      metricsText: () => metrics.text(),
      ready: () => readiness.list(),
      notices: () => notices.list(),
      endpoints: () => endpointPage(endpoints, inFlight, cache),
      configuration: () => ({ generation: director.generation.id, ...running.page() }),
      decisions,
    },
    { host: options.bindAddress, port: options.metricsPort, token: options.adminToken },
  )
  const metricsPort = await admin.start()
  onClose(() => admin.close())
  readiness.set('ports', false, 'ext_proc is not open yet')
  const extProc: ExtProcServer = await startExtProcServer(
    { router: director, health: readiness, logger, metrics },
    {
      host: options.bindAddress,
      grpcPort: options.grpcPort,
      grpcHealthPort: options.grpcHealthPort,
      maxBodyBytes: options.maxBodyMib * MEBIBYTE,
      maxBufferedBytes: options.maxBufferedMib * MEBIBYTE,
      secureServing: options.secureServing,
      certPath: options.certPath,
    },
  )
  onClose(() => {
    readiness.set('draining', false, 'shutting down')
    return extProc.stop(options.drainTimeout)
  })
  readiness.set('ports', true, 'all are open')

  const ports = { grpc: extProc.grpcPort, health: extProc.grpcHealthPort, metrics: metricsPort }
  logger.info('Serving', {
    ...ports,
    kvEvents: cache.zmq.boundAddress,
    endpoints: endpoints.list().length,
    config: options.configText === undefined ? file : '--config-text',
    version,
  })
  return { ports, router: director }
}

/** What the configuration in force is, and what became of the last attempt to change it. */
class RunningConfig {
  config: CheckedConfig
  text: string
  lastReload: { readonly at: string; readonly result: string } | undefined

  constructor(config: CheckedConfig, text: string) {
    this.config = config
    this.text = text
  }

  page() {
    return { lastReload: this.lastReload, warnings: this.config.warnings, text: this.text }
  }
}

/** Takes a changed configuration over, or keeps the running one and says why; one at a time. */
function reloader(parts: {
  readonly director: Director
  readonly running: RunningConfig
  readonly load: (text: string) => Promise<CheckedConfig>
  readonly build: (id: number, config: CheckedConfig) => Generation
  readonly tokenizer: PromptTokenizer
  readonly logger: Logger
  readonly metrics: PrometheusMetrics
  readonly notices: Notices
}): (text: string) => Promise<void> {
  const { director, running, metrics, notices, tokenizer } = parts
  const logger = parts.logger.named('config')
  const count = (result: string) =>
    metrics.counter('epp_config_reloads_total', 'Changed configuration files, by result.', {
      result,
    })
  const [ok, failed] = [count('ok'), count('failed')]
  metrics.observed('epp_config_generation', 'Number of the configuration in force.', () => [
    { labels: {}, value: director.generation.id },
  ])
  const dispose = async (old: Generation) => {
    try {
      await old[Symbol.asyncDispose]()
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error)
      logger.error('A plugin of the replaced configuration failed to close', { problem })
    }
  }
  const reload = async (text: string) => {
    const at = new Date(clock.epochMs()).toISOString()
    try {
      const config = await parts.load(text)
      const drained = director.swap(parts.build(director.generation.id + 1, config))
      configureTokenizer(tokenizer, config)
      Object.assign(running, { config, text, lastReload: { at, result: 'ok' } })
      ok.inc()
      notices.set('config-file', undefined)
      logger.info('Configuration taken over', { generation: director.generation.id })
      warn(parts.logger, config)
      void drained.then(dispose)
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      running.lastReload = { at, result: message }
      failed.inc()
      notices.set(
        'config-file',
        `the changed file is not in force, generation ${director.generation.id} goes on: ${message}`,
      )
      logger.error('Configuration refused; the running one goes on', {
        generation: director.generation.id,
        problems: message.split('\n'),
      })
    }
  }
  let last = Promise.resolve()
  return (text) => {
    last = last.then(() => reload(text))
    return last
  }
}

function warn(logger: Logger, config: CheckedConfig): void {
  for (const problem of config.warnings) logger.named('config').warn(problemLine(problem))
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

/** The params of the first plugin of that type in the configuration. */
function paramsOf<T>(config: CheckedConfig, type: string): T | undefined {
  return config.spec.plugins.find(({ plugin }) => plugin.type === type)?.params as T | undefined
}

const PRECISE = 'precise-prefix-cache-scorer'

function configureTokenizer(tokenizer: PromptTokenizer, config: CheckedConfig): void {
  const precise = paramsOf<PrecisePrefixCacheParams>(config, PRECISE)
  const producer = paramsOf<{ modelName?: string; vllm?: { url: string } }>(
    config,
    'token-producer',
  )
  tokenizer.configure({
    folders: config.tokenizers,
    fallbackModel: producer?.modelName ?? (precise && tokenProcessorOf(precise).model),
    engineUrl: producer?.vllm?.url,
  })
}

function indexMiB(config: CheckedConfig): number {
  const precise = paramsOf<PrecisePrefixCacheParams>(config, PRECISE)
  return precise?.indexerConfig?.kvBlockIndexConfig?.maxMemoryMiB ?? DEFAULT_INDEX_MIB
}

/** Flags first, then the precise scorer's params; with that scorer and nothing said, the default port is bound. */
function eventSockets(options: ServeOptions, config: CheckedConfig) {
  const { kvEventsBind: bind, kvEventsDial: dialPort } = options
  if (bind !== undefined || dialPort !== undefined) return { bind, dialPort }
  const precise = paramsOf<PrecisePrefixCacheParams>(config, PRECISE)
  if (!precise) return {}
  const events = precise.kvEventsConfig
  const dial = events?.discoverPods === true
  return {
    bind: events?.zmqEndpoint ?? (dial ? undefined : DEFAULT_BIND),
    dialPort: dial ? (events.podDiscoveryConfig?.socketPort ?? DEFAULT_KV_EVENTS_PORT) : undefined,
  }
}

/** The `metrics beat` line, as long as a precise scorer is configured and does not turn it off. */
function startBeat(
  config: CheckedConfig,
  cache: KvCache,
  logger: Logger,
  onClose: (step: () => unknown) => void,
): void {
  const precise = paramsOf<PrecisePrefixCacheParams>(config, PRECISE)
  const settings = precise?.indexerConfig?.kvBlockIndexConfig
  if (!precise || settings?.enableMetrics === false) return
  const interval = settings?.metricsLoggingInterval
  const everyMs = interval === undefined ? DEFAULT_BEAT_MS : durationMs(interval)
  const beat = setInterval(
    () => logger.named('metrics').info('metrics beat', { ...cache.beat() }),
    Math.max(everyMs, 10),
  )
  beat.unref()
  onClose(() => clearInterval(beat))
}

/** What `/endpoints` shows. */
function endpointPage(endpoints: EndpointStore, inFlight: InFlightLedger, cache: KvCache) {
  const caches = new Map(cache.status().map((status) => [status.hostPort, status]))
  return endpoints.list().map((endpoint) => {
    const status = caches.get(endpoint.hostPort)
    return {
      name: endpoint.name,
      namespace: endpoint.namespace,
      address: endpoint.hostPort,
      rank: endpoint.rank,
      labels: Object.fromEntries(endpoint.labels),
      state: endpoint.metrics ? 'scraped' : 'no fresh metrics',
      inFlight: inFlight.requests(endpoint),
      waiting: endpoint.metrics?.waiting,
      running: endpoint.metrics?.running,
      kvCacheUsage: endpoint.metrics?.kvCacheUsage,
      scrapeAgeMs: endpoint.metrics && Math.round(clock.nowMs() - endpoint.metrics.scrapedAtMs),
      coverage: status?.coverage,
      blockTokens: status?.blockTokens,
      blocks: status?.blocks,
      publishers: status?.publishers,
    }
  })
}
