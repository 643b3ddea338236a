import type { CheckedConfig } from '../config/parse.ts'
import { type Problem, problemLine } from '../config/problem.ts'
import { EndpointStore } from '../datalayer/endpoint-store.ts'
import type { EngineConnection } from '../datalayer/http-get.ts'
import { ModelDirectory } from '../datalayer/models.ts'
import { Scraper, type ScraperOptions } from '../datalayer/scraper.ts'
import type { Generation } from '../framework/build.ts'
import { DEFAULT_LIMITS, type Limits } from '../framework/limits.ts'
import type { Observer } from '../framework/plugin.ts'
import { PickRandom } from '../framework/random.ts'
import type { DecisionLog } from '../framework/routing/decision.ts'
import { Director, type DirectorOptions } from '../framework/routing/director.ts'
import type { RequestLog } from '../framework/routing/request-log.ts'
import type { Clock, Counter, Logger, Metrics, Notices, Random } from '../framework/services.ts'
import type { EventIntake, PublisherStatus } from '../kvcache/events/event-intake.ts'
import type { Coverage } from '../kvcache/events/publisher-state.ts'
import { createOpenAiApi } from '../openai/openai-api.ts'
import type { Recorder, Recording } from '../replay/recorder.ts'
import { CostMetrics } from '../telemetry/cost-metrics.ts'
import { EndpointUsage } from '../telemetry/endpoint-usage.ts'
import { FieldMetrics } from '../telemetry/field-metrics.ts'
import { FirstTokenPrediction } from '../telemetry/first-token-prediction.ts'
import { PredictionMetrics } from '../telemetry/prediction-metrics.ts'
import { PromptTokenizer } from '../tokenize/prompt-tokenizer.ts'
import type { EventSockets } from './event-sockets.ts'
import { PoolState } from './pool-state.ts'
import { beatMs, configureTokenizer, endpointsFile, ranksPerPort } from './settings.ts'

/** Value of the label `name` where endpoints come from flags or a file. */
const UNNAMED_POOL = 'default'

/** What a pool shares with the process. */
export interface PoolServices {
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** Of this pool alone where there are several. */
  readonly metrics: Metrics
  readonly notices: Notices
  readonly decisions: DecisionLog
  readonly requestLog: RequestLog
  /** Writes decisions down; absent where none are recorded. */
  readonly recording?: Recording
  readonly sockets: EventSockets
  /** Told of the requests of every pool besides. */
  readonly observers?: readonly { readonly name: string; readonly plugin: Observer }[]
}

export interface PoolOptions {
  /** `namespace/name`; undefined where endpoints come from flags or a file. */
  readonly name: string | undefined
  readonly tokenizersDir: string | undefined
  readonly scraper: ScraperOptions &
    Required<Pick<EngineConnection, 'scheme' | 'insecureSkipVerify'>>
  readonly director: Omit<DirectorOptions, 'pool'>
  /** The defaults when absent. */
  readonly limits?: Limits
}

/** Where a configuration comes from, and its text. */
export interface ConfigText {
  /** A file, `--config-text`, or an object. */
  readonly source: string
  readonly text: string
}

/** One pool of model servers, and everything that picks among them under one configuration. */
export class Pool {
  readonly name: string | undefined
  readonly endpoints: EndpointStore
  readonly director: Director
  /** Service by which gateways call the picker of this pool; undefined when nothing says. */
  pickerService: string | undefined
  /** The endpoints file that the configuration named at the start, where it is the configuration that says. */
  configuredEndpoints: { readonly file: string | undefined } | undefined
  readonly #services: PoolServices
  readonly #models: ModelDirectory
  readonly #scraper: Scraper
  readonly #tokenizer: PromptTokenizer
  readonly #state: PoolState
  readonly #logger: Logger
  readonly #field: FieldMetrics
  readonly #usage: EndpointUsage
  readonly #reloads: Readonly<Record<'ok' | 'failed', Counter>>
  readonly #recorder: Recorder | undefined
  #config: CheckedConfig
  #text: ConfigText
  #lastReload: { readonly at: string; readonly source: string; readonly result: string } | undefined
  #beat: NodeJS.Timeout | undefined

  /** @throws {SchedulerError} when a plugin cannot be built; nothing is left running */
  constructor(
    services: PoolServices,
    options: PoolOptions,
    config: CheckedConfig,
    text: ConfigText,
  ) {
    this.name = options.name
    this.#services = services
    this.#logger = services.logger.named('config')
    this.#config = config
    this.#text = text
    const { metrics, clock } = services
    const limits = options.limits ?? DEFAULT_LIMITS
    const endpoints = new EndpointStore(services, limits.maxEndpoints)
    endpoints.setRanksPerPort(ranksPerPort(config))
    const random = new PickRandom(Math.floor(services.random.next() * 2 ** 32))
    this.endpoints = endpoints
    const { scheme, insecureSkipVerify } = options.scraper
    this.#models = new ModelDirectory({ ...services, endpoints }, { scheme, insecureSkipVerify })
    this.#scraper = new Scraper({ ...services, endpoints, sink: endpoints }, options.scraper)
    this.#tokenizer = new PromptTokenizer({
      ...services,
      models: this.#models,
      tokenizersDir: options.tokenizersDir,
      engines: this.#models,
      endpoints,
      hasEvents: () => this.#state.cache.hasEvents,
      engineScheme: scheme,
      engineSkipVerify: insecureSkipVerify,
      limits,
    })
    configureTokenizer(this.#tokenizer, config)
    this.#state = new PoolState(
      {
        ...services,
        ...{ random, endpoints, limits },
        ...{ models: this.#models, tokenizer: this.#tokenizer, scraping: this.#scraper },
      },
      config,
    )
    const reloads = (result: string) =>
      metrics.counter('epp_config_reloads_total', 'Changed configurations, by result.', { result })
    this.#reloads = { ok: reloads('ok'), failed: reloads('failed') }

    let generation: Generation
    try {
      generation = this.#state.generation(1, config)
    } catch (error) {
      void this.#stopServices()
      throw error
    }
    const { inFlight, matcher, routed, cache } = this.#state
    this.#recorder = services.recording?.recorderOf(options.name, {
      ...{ inFlight, matcher, routed, ghost: routed.ghost },
      keysOf: ({ targetModel, cacheSalt }, tokens, blockTokens) =>
        cache.keys.ofModel(tokens, blockTokens, targetModel, cacheSalt),
    })
    this.#recorder?.configured(generation, text)
    const poolName = options.name?.split('/')[1] ?? UNNAMED_POOL
    const field = new FieldMetrics(metrics, endpoints, poolName, config.metricsCompat)
    this.#field = field
    this.#usage = new EndpointUsage({ clock, endpoints })
    const observe = (name: string, plugin: Observer) => this.#state.observer(name, plugin)
    this.director = new Director(
      {
        ...services,
        random,
        endpoints,
        models: this.#models,
        openAi: createOpenAiApi(limits),
        inFlight,
        observers: [
          observe('field-metrics', field),
          observe('prediction-metrics', new PredictionMetrics(metrics)),
          observe('prefix-matcher', matcher),
          observe('truth-loop', this.#state.truth),
          observe('cost-metrics', new CostMetrics({ ...services, endpoints })),
          observe('first-token-prediction', new FirstTokenPrediction({ ...services, endpoints })),
          observe('endpoint-usage', this.#usage),
          ...(services.observers ?? []).map(({ name, plugin }) => observe(name, plugin)),
          ...(this.#recorder ? [observe('recorder', this.#recorder)] : []),
        ],
        ...(this.#recorder && { recorder: this.#recorder }),
        refused: (code) => field.refused(code),
      },
      { ...options.director, ...(options.name !== undefined && { pool: options.name }) },
      generation,
    )
    metrics.observed('epp_config_generation', 'Number of the configuration in force.', () => [
      { labels: {}, value: this.director.generation.id },
    ])
    this.#models.start()
    this.#scraper.start()
    this.#startBeat()
  }

  get prefixIndex(): PoolState['cache']['index'] {
    return this.#state.cache.index
  }

  get intake(): EventIntake {
    return this.#state.cache.intake
  }

  /** How engines hash their blocks, as their events show: one line for those that do it alike. */
  hashing(): readonly string[] {
    return this.#state.cache.hashing()
  }

  /** True while nothing is known of any endpoint's cache. */
  get isCold(): boolean {
    return this.#state.cache.status().every(({ coverage }) => coverage === 'none')
  }

  /**
   * Reads the mounted tokenizers and opens the sockets that the configuration asks for.
   *
   * @throws {SchedulerError} PORT_IN_USE or START_FAILED when a socket cannot be bound
   */
  async prepare(): Promise<void> {
    await this.#tokenizer.prepare()
    await this.#services.sockets.configure(this, this.#config)
  }

  /** Puts a checked configuration to work; the running one goes on when it cannot be built. */
  take(config: CheckedConfig, text: ConfigText): void {
    const old = this.director.generation.id
    let next: Generation
    try {
      next = this.#state.generation(old + 1, config)
    } catch (error) {
      this.refuse(text.source, error)
      return
    }
    // What the new configuration's plugins do not ask for is as if the old one had never been.
    this.#state.forgetWishes()
    this.#scraper.reset()
    this.#recorder?.configured(next, text)
    const drained = this.director.swap(next)
    this.endpoints.setRanksPerPort(ranksPerPort(config))
    configureTokenizer(this.#tokenizer, config)
    void this.#tokenizer.prepare()
    this.#state.follow(config)
    this.#field.setCompat(config.metricsCompat)
    this.#config = config
    this.#text = text
    this.#lastReload = { at: this.#now(), source: text.source, result: 'ok' }
    this.#reloads.ok.inc()
    this.#services.notices.set('configuration', undefined)
    const needsRestart = this.#needsRestart()
    this.#logger.info('Configuration taken over', {
      ...this.#named(),
      generation: next.id,
      source: text.source,
      ...(needsRestart.length > 0 && { needsRestart }),
    })
    warnOf(this.#services.logger, config.warnings)
    this.#startBeat()
    void drained.then((replaced) => this.#dispose(replaced))
    this.#services.sockets.configure(this, config).then(
      () => this.#services.notices.set('kv-events-socket', undefined),
      (error: unknown) => {
        const problem = messageOf(error)
        this.#logger.error('KV events cannot come in', { ...this.#named(), problem })
        this.#services.notices.set('kv-events-socket', problem)
      },
    )
  }

  /** Says that a changed configuration is not in force. */
  refuse(source: string, error: unknown): void {
    const message = messageOf(error)
    const { id } = this.director.generation
    this.#lastReload = { at: this.#now(), source, result: message }
    this.#reloads.failed.inc()
    this.#services.notices.set(
      'configuration',
      `the changed ${source} is not in force, generation ${id} goes on: ${message}`,
    )
    this.#logger.error('Configuration refused; the running one goes on', {
      ...this.#named(),
      generation: id,
      source,
      problems: message.split('\n'),
    })
  }

  /** What `/config` shows. */
  configPage() {
    return {
      pool: this.name,
      generation: this.director.generation.id,
      source: this.#text.source,
      lastReload: this.#lastReload,
      warnings: this.#config.warnings,
      needsRestart: this.#needsRestart(),
      text: this.#text.text,
    }
  }

  /** What `/endpoints` shows. */
  endpointPage() {
    const caches = new Map(this.#state.cache.status().map((status) => [status.id, status]))
    const nowMs = this.#services.clock.nowMs()
    return this.endpoints.list().map((endpoint) => {
      const status = caches.get(endpoint.id)
      return {
        pool: this.name,
        name: endpoint.name,
        namespace: endpoint.namespace,
        address: endpoint.hostPort,
        rank: endpoint.rank,
        labels: Object.fromEntries(endpoint.labels),
        version: this.#models.versionOf(endpoint.id),
        state: endpoint.metrics ? 'scraped' : 'no fresh metrics',
        inFlight: this.#state.inFlight.requests(endpoint),
        inFlightTokens: this.#state.inFlight.tokens(endpoint),
        cache: this.#usage.of(endpoint),
        waiting: endpoint.metrics?.waiting,
        running: endpoint.metrics?.running,
        kvCacheUsage: endpoint.metrics?.kvCacheUsage,
        scrapeAgeMs: endpoint.metrics && Math.round(nowMs - endpoint.metrics.scrapedAtMs),
        coverage: status?.coverage,
        trust: this.#state.truth.trustOf(endpoint),
        index: indexOf(status?.coverage, this.#usage.hasLearned(endpoint)),
        lastEventAgeMs: lastEventAgeMs(status?.publishers ?? []),
        blockTokens: status?.blockTokens,
        blocks: status?.blocks,
        publishers: status?.publishers,
      }
    })
  }

  async close(): Promise<void> {
    clearInterval(this.#beat)
    const { generation } = this.director
    this.director[Symbol.dispose]()
    await this.#dispose(generation)
    await this.#services.sockets.remove(this)
    await this.#stopServices()
  }

  async #stopServices(): Promise<void> {
    this.#state.close()
    await this.#tokenizer.close()
    await this.#scraper.stop()
    await this.#models.stop()
  }

  async #dispose(old: Generation): Promise<void> {
    try {
      await old[Symbol.asyncDispose]()
    } catch (error) {
      this.#logger.error('A plugin failed to close', {
        problem: messageOf(error),
      })
    }
  }

  /** The `metrics beat` line, as long as a precise scorer is configured and does not turn it off. */
  #startBeat(): void {
    clearInterval(this.#beat)
    const everyMs = beatMs(this.#config)
    if (everyMs === undefined) return
    const logger = this.#services.logger.named('metrics')
    this.#beat = setInterval(
      () => logger.info('metrics beat', { ...this.#state.cache.beat(), ...this.#named() }),
      everyMs,
    )
    this.#beat.unref()
  }

  /** What the configuration says and only a restart can do. */
  #needsRestart(): readonly string[] {
    const needs: string[] = []
    const file = endpointsFile(this.#config)
    if (this.configuredEndpoints !== undefined && this.configuredEndpoints.file !== file) {
      needs.push(
        `file-discovery: endpoints come from ${this.configuredEndpoints.file ?? 'no file'} as at the start, not from ${file ?? 'no file'}`,
      )
    }
    if (this.#field.hasStale) {
      needs.push("metrics.compat: llm-d's counters stay on the page as they were")
    }
    return needs
  }

  #named(): { readonly pool?: string } {
    return this.name === undefined ? {} : { pool: this.name }
  }

  #now(): string {
    return new Date(this.#services.clock.epochMs()).toISOString()
  }
}

/** What tells what an endpoint's cache holds: its events, this picker's own picks, or nothing. */
function indexOf(
  coverage: Coverage | undefined,
  hasLearned: boolean,
): 'tracked' | 'routed' | 'none' {
  if (coverage === 'complete' || coverage === 'late') return 'tracked'
  return hasLearned ? 'routed' : 'none'
}

/** Of the publisher that spoke last; undefined when none has. */
function lastEventAgeMs(publishers: readonly PublisherStatus[]): number | undefined {
  const ages = publishers
    .filter(({ lastSequence }) => lastSequence >= 0)
    .map((publisher) => publisher.lastEventAgeMs)
  return ages.length === 0 ? undefined : Math.min(...ages)
}

/** Logs the warnings of a configuration, one line each. */
export function warnOf(logger: Logger, warnings: readonly Problem[]): void {
  for (const problem of warnings) logger.named('config').warn(problemLine(problem))
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
