import type { Client } from 'undici'
import type { Endpoint, EndpointSpec } from '../framework/endpoint.ts'
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
import { listText } from './endpoint-store.ts'
import { type EngineConnection, engineClient, get } from './http-get.ts'
import { type EngineMetricNames, EnginePageReader } from './vllm-metrics.ts'

const MAX_PAGE_BYTES = 4 * 1024 * 1024
/** Spread of the intervals, so that scrapes of many endpoints do not fall together. */
const JITTER = 0.1
const NOTICE = 'metrics-stale'

export interface ScraperOptions extends EngineConnection {
  /** Path of the metrics page; `/metrics` when absent. */
  readonly path?: string
  /** Port of the page on every endpoint for which discovery says none; the endpoint's own when absent. */
  readonly port?: number
  /** Metrics under other names than vLLM's. */
  readonly names?: EngineMetricNames
  /** Time between two scrapes of one endpoint, at least 10; 200 when absent. */
  readonly intervalMs?: number
  /** The same for an endpoint without any request running or waiting; five intervals, at most 1 s, when absent. */
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

type Settings = Required<Omit<ScraperOptions, 'port' | 'names'>> & {
  readonly port: number | undefined
  readonly reader: EnginePageReader
}

/** Asks every endpoint for its `/metrics`, as long as it lives, and puts what it says into the store. */
export class Scraper {
  readonly #services: ScraperServices
  readonly #settings: Settings
  readonly #logger: Logger
  readonly #running = new Map<string, EndpointScraper>()
  readonly #perAddress = new Map<string, number>()
  readonly #stale = new Map<string, string>()
  readonly #results = new Map<string, Counter>()
  readonly #seconds: Histogram
  #stopListening: (() => void) | undefined

  constructor(services: ScraperServices, options: ScraperOptions = {}) {
    this.#services = services
    this.#logger = services.logger.named('metrics')
    const intervalMs = Math.max(10, options.intervalMs ?? 200)
    this.#settings = {
      scheme: options.scheme ?? 'http',
      insecureSkipVerify: options.insecureSkipVerify ?? true,
      path: options.path ?? '/metrics',
      port: options.port,
      reader: new EnginePageReader(options.names),
      intervalMs,
      idleIntervalMs:
        options.idleIntervalMs ?? Math.max(intervalMs, Math.min(5 * intervalMs, 1000)),
      timeoutMs: options.timeoutMs ?? 1000,
      stalenessMs: options.stalenessMs ?? Math.max(2000, 10 * intervalMs),
      maxBackoffMs: options.maxBackoffMs ?? 5000,
    }
    this.#seconds = services.metrics.histogram(
      'epp_scrape_duration_seconds',
      "Time of one scrape of an endpoint's metrics.",
      [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1],
    )
    services.metrics.observed(
      'epp_endpoints_stale',
      'Endpoints whose metrics are too old to be believed.',
      () => [{ labels: {}, value: this.#stale.size }],
    )
  }

  start(): void {
    this.#stopListening = this.#services.endpoints.listen({
      added: (endpoint, spec) => this.#add(endpoint, spec),
      removed: (endpoint) => this.#remove(endpoint),
    })
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
    const server = serverOf(endpoint)
    this.#perAddress.set(server, (this.#perAddress.get(server) ?? 0) + 1)
    const scraper = new EndpointScraper(endpoint, spec, this.#settings, this.#services, {
      sharesServer: () => (this.#perAddress.get(server) ?? 0) > 1 || endpoint.rank > 0,
      done: (result, durationMs) => this.#count(result, durationMs),
      stale: (reason) => this.#setStale(endpoint, reason),
    })
    this.#running.set(endpoint.id, scraper)
    scraper.start()
  }

  #remove(endpoint: Endpoint): void {
    const server = serverOf(endpoint)
    const left = (this.#perAddress.get(server) ?? 1) - 1
    if (left > 0) this.#perAddress.set(server, left)
    else this.#perAddress.delete(server)
    void this.#running.get(endpoint.id)?.stop()
    this.#running.delete(endpoint.id)
    this.#setStale(endpoint, undefined)
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

  #setStale(endpoint: Endpoint, reason: string | undefined): void {
    const { hostPort } = endpoint
    if (reason === undefined) {
      if (!this.#stale.delete(hostPort)) return
      this.#logger.info('metrics of an endpoint are fresh again', { endpoint: hostPort })
    } else if (this.#stale.get(hostPort) === reason) {
      return
    } else {
      this.#stale.set(hostPort, reason)
      this.#logger.warnOnce(
        `${NOTICE} ${hostPort}`,
        'metrics of an endpoint are stale: it is scored as unknown until it answers again',
        { endpoint: hostPort, reason },
      )
    }
    const items = Array.from(this.#stale, ([name, why]) => `${name} (${why})`)
    this.#services.notices.set(
      NOTICE,
      items.length === 0
        ? undefined
        : `no metrics from ${items.length} of ${this.#running.size} endpoints, which are scored as unknown: ${listText(items)}`,
    )
  }
}

/** Endpoints with one name and address are ranks of one server. */
function serverOf({ namespace, name, address }: Endpoint): string {
  return `${namespace}/${name} ${address}`
}

/** What the scrapes of one endpoint tell, and what they ask. */
interface ScraperHost {
  /** True when other endpoints are ranks of the same server. */
  sharesServer(): boolean
  done(result: string, durationMs: number): void
  /** @param reason undefined when the metrics are fresh */
  stale(reason: string | undefined): void
}

/** The scrapes of one endpoint, one after the other. */
class EndpointScraper {
  readonly #endpoint: Endpoint
  readonly #settings: Settings
  readonly #services: ScraperServices
  readonly #host: ScraperHost
  readonly #client: Client
  readonly #stop = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #staleness: NodeJS.Timeout | undefined
  #scrape: Promise<void> | undefined
  #failures = 0
  #isStale = false
  #reason = 'not answered yet'

  constructor(
    endpoint: Endpoint,
    spec: EndpointSpec,
    settings: Settings,
    services: ScraperServices,
    host: ScraperHost,
  ) {
    this.#endpoint = endpoint
    this.#settings = settings
    this.#services = services
    this.#host = host
    const port = spec.metricsPort ?? settings.port ?? endpoint.port
    this.#client = engineClient(endpoint.address, port, settings)
  }

  start(): void {
    this.#staleness = setTimeout(() => this.#becomeStale(), this.#settings.stalenessMs)
    this.#staleness.unref()
    // The first scrapes of many endpoints are spread over one interval.
    this.#wait(this.#settings.intervalMs * this.#services.random.next())
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer)
    clearTimeout(this.#staleness)
    this.#stop.abort()
    await this.#scrape
    await this.#client.destroy()
  }

  #wait(delayMs: number): void {
    this.#timer = setTimeout(() => {
      this.#scrape = this.#once()
    }, delayMs)
    this.#timer.unref()
  }

  async #once(): Promise<void> {
    const { clock, sink, random } = this.#services
    const { path, reader, intervalMs, idleIntervalMs, timeoutMs, maxBackoffMs } = this.#settings
    const startMs = clock.nowMs()
    const answer = await get(this.#client, path, MAX_PAGE_BYTES, timeoutMs, this.#stop.signal)
    if (this.#stop.signal.aborted) return
    const nowMs = clock.nowMs()
    const rank = this.#host.sharesServer() ? this.#endpoint.rank : undefined
    const reading = 'body' in answer ? reader.read(answer.body, rank) : answer
    let delayMs: number
    if ('load' in reading) {
      this.#failures = 0
      sink.setMetrics(this.#endpoint.id, { ...reading.load, scrapedAtMs: nowMs })
      this.#staleness?.refresh()
      this.#isStale = false
      this.#host.done('ok', nowMs - startMs)
      this.#host.stale(undefined)
      const { running, waiting } = reading.load
      delayMs = reader.tellsRunning && running === 0 && waiting === 0 ? idleIntervalMs : intervalMs
    } else {
      this.#reason = reading.detail
      this.#host.done(reading.fault, nowMs - startMs)
      if (this.#isStale) this.#host.stale(this.#reason)
      delayMs = Math.min(maxBackoffMs, intervalMs * 2 ** Math.min(20, this.#failures++))
    }
    const spent = clock.nowMs() - startMs
    const jitter = 1 + JITTER * (2 * random.next() - 1)
    this.#wait(Math.max(0, delayMs * jitter - spent))
  }

  #becomeStale(): void {
    this.#isStale = true
    this.#services.sink.setMetrics(this.#endpoint.id, undefined)
    this.#host.stale(this.#reason)
  }
}
