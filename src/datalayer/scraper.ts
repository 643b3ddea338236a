import {
  type Endpoint,
  type EndpointSpec,
  networkAddress,
  sharesPort,
} from '../framework/endpoint.ts'
import type {
  EngineTableOptions,
  MetricsScraping,
  MetricsSourceOptions,
} from '../framework/metrics-scraping.ts'
import type {
  Clock,
  Counter,
  EndpointMetricsSink,
  Endpoints,
  Histogram,
  Logger,
  Metrics,
  Notices,
  Random,
} from '../framework/services.ts'
import { EndpointScraper, type ScrapeSettings } from './endpoint-scraper.ts'
import { listText } from './endpoint-store.ts'
import { type EngineMetricNames, EngineTables } from './engine-tables.ts'
import type { EngineConnection } from './http-get.ts'
import { ReadingNotices } from './reading-notices.ts'

const STALE_NOTICE = 'metrics-stale'
const DEFAULT_PATH = '/metrics'
const MAX_IDLE_MS = 1000

export interface ScraperOptions extends EngineConnection {
  /** Path of the metrics page; `/metrics` when absent. */
  readonly path?: string
  /** Port of the page on every endpoint for which discovery says none; the endpoint's own when absent. */
  readonly port?: number
  /** Metrics under other names than the default engine's. */
  readonly names?: EngineMetricNames
  /** Time between two scrapes of one endpoint, at least 10; 200 when absent. */
  readonly intervalMs?: number
  /**
   * The same for an endpoint without any request running or waiting. When absent, five intervals, at most 1 s and half of
   * `stalenessMs`, but no less than one interval.
   */
  readonly idleIntervalMs?: number
  /** Longest time for one scrape; 1 s when absent. */
  readonly timeoutMs?: number
  /** Age at which metrics are not believed any more; ten intervals, at least 2 s, when absent. */
  readonly stalenessMs?: number
  /** Longest time between two scrapes of an endpoint that does not answer; 5 s when absent. */
  readonly maxBackoffMs?: number
}

export interface ScraperServices {
  readonly endpoints: Endpoints
  readonly sink: EndpointMetricsSink
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly metrics: Metrics
  readonly notices: Notices
}

/**
 * Asks every endpoint for its `/metrics`, as long as it lives, and puts what it says into the store. Ranks that share a port
 * share one page.
 */
export class Scraper implements MetricsScraping {
  readonly #services: ScraperServices
  readonly #options: ScraperOptions
  readonly #logger: Logger
  /** By `pageOf`. */
  readonly #running = new Map<string, EndpointScraper>()
  readonly #perAddress = new Map<string, number>()
  /** Why, by `networkAddress`. */
  readonly #stale = new Map<
    string,
    { readonly reason: string; readonly scraper: EndpointScraper }
  >()
  readonly #readings: ReadingNotices
  readonly #results = new Map<string, Counter>()
  readonly #seconds: Histogram
  #tables: EngineTables
  #settings: ScrapeSettings
  #stopListening: (() => void) | undefined

  constructor(services: ScraperServices, options: ScraperOptions = {}) {
    this.#services = services
    this.#options = options
    this.#logger = services.logger.named('metrics')
    this.#readings = new ReadingNotices({ ...services, logger: this.#logger })
    this.#tables = new EngineTables(undefined, options.names)
    this.#settings = settingsOf(options, undefined)
    this.#seconds = services.metrics.histogram(
      'epp_scrape_duration_seconds',
      "Time of one scrape of an endpoint's metrics.",
      [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1],
    )
    services.metrics.observed(
      'epp_endpoints_stale',
      'Endpoints whose metrics are too old to be believed.',
      () => {
        let value = 0
        for (const { scraper } of this.#stale.values()) value += scraper.endpoints
        return [{ labels: {}, value }]
      },
    )
    services.metrics.observed(
      'epp_metrics_pages_filtered',
      'Servers that are asked for the metrics that are read instead of their whole page, since they can tell them apart.',
      () => {
        let value = 0
        for (const scraper of this.#running.values()) if (scraper.isFiltered) value++
        return [{ labels: {}, value }]
      },
    )
  }

  start(): void {
    this.#stopListening = this.#services.endpoints.listen({
      added: (endpoint, spec) => this.#add(endpoint, spec),
      updated: (endpoint) => this.#running.get(pageOf(endpoint))?.relabel(endpoint.labels),
      removed: (endpoint) => this.#remove(endpoint),
    })
  }

  engines(options: EngineTableOptions): () => void {
    const tables = new EngineTables(options, this.#options.names)
    return () => {
      this.#tables = tables
    }
  }

  source(options: MetricsSourceOptions): void {
    this.#settings = settingsOf(this.#options, options)
  }

  reset(): void {
    this.#tables = new EngineTables(undefined, this.#options.names)
    this.#settings = settingsOf(this.#options, undefined)
  }

  /** Resolves when no scrape is under way any more. */
  async stop(): Promise<void> {
    this.#stopListening?.()
    const running = [...this.#running.values()]
    this.#running.clear()
    this.#perAddress.clear()
    await Promise.all(running.map((scraper) => scraper.stop()))
  }

  #add(endpoint: Endpoint, spec: EndpointSpec): void {
    const page = pageOf(endpoint)
    const known = this.#running.get(page)
    if (known !== undefined) {
      known.add(endpoint)
      return
    }
    const server = serverOf(endpoint)
    this.#perAddress.set(server, (this.#perAddress.get(server) ?? 0) + 1)
    const address = networkAddress(endpoint.hostPort)
    const scraper: EndpointScraper = new EndpointScraper(endpoint, spec, this.#services, {
      settings: () => this.#settings,
      tables: () => this.#tables,
      sharesServer: () => (this.#perAddress.get(server) ?? 0) > 1 || endpoint.rank > 0,
      done: (result, durationMs) => this.#count(result, durationMs),
      stale: (reason) => this.#setStale(address, scraper, reason),
      read: (choice, untold, ranks) =>
        this.#readings.set(page, address, { choice, untold, ranks, expected: scraper.endpoints }),
    })
    this.#running.set(page, scraper)
    scraper.start()
  }

  #remove(endpoint: Endpoint): void {
    const page = pageOf(endpoint)
    const scraper = this.#running.get(page)
    scraper?.remove(endpoint)
    if (scraper === undefined || scraper.endpoints > 0) return
    const server = serverOf(endpoint)
    const left = (this.#perAddress.get(server) ?? 1) - 1
    if (left > 0) this.#perAddress.set(server, left)
    else this.#perAddress.delete(server)
    void scraper.stop()
    this.#running.delete(page)
    this.#readings.forget(page)
    this.#setStale(networkAddress(endpoint.hostPort), scraper, undefined)
  }

  #count(result: string, durationMs: number): void {
    let counter = this.#results.get(result)
    if (counter === undefined) {
      const help = "Scrapes of endpoints' metrics by result."
      counter = this.#services.metrics.counter('epp_scrapes_total', help, { result })
      this.#results.set(result, counter)
    }
    counter.inc()
    if (result === 'ok') this.#seconds.observe(durationMs / 1000)
  }

  #setStale(hostPort: string, scraper: EndpointScraper, reason: string | undefined): void {
    if (reason === undefined) {
      if (!this.#stale.delete(hostPort)) return
      this.#logger.info('metrics of an endpoint are fresh again', { endpoint: hostPort })
    } else if (this.#stale.get(hostPort)?.reason === reason) {
      return
    } else {
      this.#stale.set(hostPort, { reason, scraper })
      this.#logger.warnOnce(
        `${STALE_NOTICE} ${hostPort}`,
        'metrics of an endpoint are stale: it is scored as unknown until it answers again',
        { endpoint: hostPort, reason },
      )
    }
    const items = Array.from(this.#stale, ([name, why]) => `${name} (${why.reason})`)
    this.#services.notices.set(
      STALE_NOTICE,
      items.length === 0
        ? undefined
        : `no metrics from ${items.length} of ${this.#running.size} endpoints, which are scored as unknown: ${listText(items)}`,
    )
  }
}

/** What a flag changes from its default comes before the configuration. */
function settingsOf(
  flags: ScraperOptions,
  source: MetricsSourceOptions | undefined,
): ScrapeSettings {
  const intervalMs = Math.max(10, source?.intervalMs ?? flags.intervalMs ?? 200)
  const stalenessMs = flags.stalenessMs ?? Math.max(2000, 10 * intervalMs)
  const idleMs = Math.min(5 * intervalMs, MAX_IDLE_MS, stalenessMs / 2)
  return {
    scheme: flags.scheme === 'https' ? 'https' : (source?.scheme ?? 'http'),
    insecureSkipVerify: (flags.insecureSkipVerify ?? true) && (source?.insecureSkipVerify ?? true),
    path: (flags.path === DEFAULT_PATH ? undefined : flags.path) ?? source?.path ?? DEFAULT_PATH,
    port: flags.port ?? source?.port,
    intervalMs,
    idleIntervalMs: flags.idleIntervalMs ?? Math.max(intervalMs, idleMs),
    timeoutMs: flags.timeoutMs ?? 1000,
    stalenessMs,
    maxBackoffMs: flags.maxBackoffMs ?? 5000,
  }
}

/** What one page is of: an endpoint, or the port that ranks share. */
function pageOf(endpoint: Endpoint): string {
  return sharesPort(endpoint) ? networkAddress(endpoint.hostPort) : endpoint.id
}

/** Endpoints with one name and address are ranks of one server. */
function serverOf({ namespace, name, address }: Endpoint): string {
  return `${namespace}/${name} ${address}`
}
