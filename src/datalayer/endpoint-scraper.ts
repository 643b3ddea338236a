import type { Client } from 'undici'
import { type Endpoint, type EndpointSpec, sharesPort } from '../framework/endpoint.ts'
import type { Clock, EndpointMetricsSink, Random } from '../framework/services.ts'
import type { EnginePageReader, RankLoad } from './engine-page.ts'
import type { EngineChoice, EngineTables } from './engine-tables.ts'
import { engineClient, get } from './http-get.ts'

const MAX_PAGE_BYTES = 4 * 1024 * 1024
/** Spread of the intervals, so that scrapes of many endpoints do not fall together. */
const JITTER = 0.1

/** How endpoints are scraped. */
export interface ScrapeSettings {
  readonly scheme: 'http' | 'https'
  readonly insecureSkipVerify: boolean
  readonly path: string
  /** For endpoints for which discovery says none; the endpoint's own when undefined. */
  readonly port: number | undefined
  readonly intervalMs: number
  readonly idleIntervalMs: number
  readonly timeoutMs: number
  readonly stalenessMs: number
  readonly maxBackoffMs: number
}

/** What the scrapes of one server tell, and what they ask each time anew. */
export interface ScrapeHost {
  settings(): ScrapeSettings
  tables(): EngineTables
  /** True when other endpoints are ranks of the same server with ports of their own. */
  sharesServer(): boolean
  done(result: string, durationMs: number): void
  /** @param reason undefined when the metrics are fresh */
  stale(reason: string | undefined): void
  /**
   * @param untold what was asked for and the page does not say, for people
   * @param ranks those that it tells of where others are expected
   */
  read(choice: EngineChoice, untold: readonly string[], ranks: readonly string[] | undefined): void
}

/** What a page said of the endpoints behind it. */
interface Reading {
  /** By rank where ranks share the page's port, else of the one endpoint. */
  readonly loads: readonly (RankLoad | undefined)[]
  readonly untold: readonly string[]
  /** Undefined where the ranks are those that are expected, or are not told apart. */
  readonly wrongRanks: readonly string[] | undefined
}

interface ScrapeServices {
  readonly sink: EndpointMetricsSink
  readonly clock: Clock
  readonly random: Random
}

/** The scrapes of one server's page, one after the other: for its endpoint, or for all the ranks that share its port. */
export class EndpointScraper {
  readonly #address: string
  readonly #port: number
  readonly #sharesPort: boolean
  /** Those that the page is of; of several, each is one rank. */
  readonly #endpoints = new Set<Endpoint>()
  readonly #metricsPort: number | undefined
  readonly #services: ScrapeServices
  readonly #host: ScrapeHost
  readonly #stop = new AbortController()
  #labels: ReadonlyMap<string, string>
  /** What client and staleness timer were made for. */
  #settings: ScrapeSettings
  #client: Client
  #timer: NodeJS.Timeout | undefined
  #staleness: NodeJS.Timeout | undefined
  #scrape: Promise<void> | undefined
  #failures = 0
  #isStale = false
  #reason = 'not answered yet'

  /** @param endpoint the first of its endpoints */
  constructor(endpoint: Endpoint, spec: EndpointSpec, services: ScrapeServices, host: ScrapeHost) {
    this.#address = endpoint.address
    this.#port = endpoint.port
    this.#sharesPort = sharesPort(endpoint)
    this.#endpoints.add(endpoint)
    this.#labels = endpoint.labels
    this.#metricsPort = spec.metricsPort
    this.#services = services
    this.#host = host
    this.#settings = host.settings()
    this.#client = this.#connect()
  }

  start(): void {
    this.#watchStaleness()
    // The first scrapes of many endpoints are spread over one interval.
    this.#wait(this.#settings.intervalMs * this.#services.random.next())
  }

  /** How many endpoints the page is of. */
  get endpoints(): number {
    return this.#endpoints.size
  }

  /** One more rank shares the port. */
  add(endpoint: Endpoint): void {
    this.#endpoints.add(endpoint)
  }

  /** An endpoint has gone. */
  remove({ id }: Endpoint): void {
    for (const each of this.#endpoints) if (each.id === id) this.#endpoints.delete(each)
  }

  /** The endpoints' labels have changed. */
  relabel(labels: ReadonlyMap<string, string>): void {
    this.#labels = labels
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer)
    clearTimeout(this.#staleness)
    this.#stop.abort()
    await this.#scrape
    await this.#client.destroy()
  }

  #connect(): Client {
    const port = this.#metricsPort ?? this.#settings.port ?? this.#port
    return engineClient(this.#address, port, this.#settings)
  }

  #wait(delayMs: number): void {
    this.#timer = setTimeout(() => {
      this.#scrape = this.#once()
    }, delayMs)
    this.#timer.unref()
  }

  #watchStaleness(): void {
    clearTimeout(this.#staleness)
    this.#staleness = setTimeout(() => this.#becomeStale(), this.#settings.stalenessMs)
    this.#staleness.unref()
  }

  async #takeSettings(): Promise<ScrapeSettings> {
    const before = this.#settings
    const settings = this.#host.settings()
    if (settings === before) return settings
    this.#settings = settings
    if (settings.stalenessMs !== before.stalenessMs && !this.#isStale) this.#watchStaleness()
    if (
      settings.scheme !== before.scheme ||
      settings.port !== before.port ||
      settings.insecureSkipVerify !== before.insecureSkipVerify
    ) {
      await this.#client.destroy()
      this.#client = this.#connect()
    }
    return settings
  }

  async #once(): Promise<void> {
    const { clock, random } = this.#services
    const startMs = clock.nowMs()
    const { path, timeoutMs, intervalMs, maxBackoffMs } = await this.#takeSettings()
    const answer = await get(this.#client, path, MAX_PAGE_BYTES, timeoutMs, this.#stop.signal)
    if (this.#stop.signal.aborted) return
    let delayMs: number
    const failure = 'body' in answer ? this.#read(answer.body, startMs) : answer
    if (typeof failure === 'number') {
      this.#failures = 0
      delayMs = failure
    } else {
      this.#reason = failure.detail
      this.#host.done(failure.fault, clock.nowMs() - startMs)
      if (this.#isStale) this.#host.stale(this.#reason)
      delayMs = Math.min(maxBackoffMs, intervalMs * 2 ** Math.min(20, this.#failures++))
    }
    const spent = clock.nowMs() - startMs
    const jitter = 1 + JITTER * (2 * random.next() - 1)
    this.#wait(Math.max(0, delayMs * jitter - spent))
  }

  /** Milliseconds from this scrape's start to the next one's, or why the page says nothing. */
  #read(
    page: Buffer,
    startMs: number,
  ): number | { readonly fault: string; readonly detail: string } {
    const { sink, clock } = this.#services
    const tables = this.#host.tables()
    const choice = tables.of(this.#labels)
    const { reader } = choice
    const reading = this.#readPage(page, reader)
    if ('fault' in reading) {
      const fitting = reading.fault === 'not-metrics' ? tables.labelFor(page) : undefined
      return fitting === undefined
        ? reading
        : { ...reading, detail: `${reading.detail}; label the endpoint ${fitting}` }
    }
    const nowMs = clock.nowMs()
    for (const { id, rank } of this.#endpoints) {
      const load = reading.loads[this.#sharesPort ? rank : 0]
      sink.setMetrics(id, load && { ...load, scrapedAtMs: nowMs })
    }
    if (this.#isStale) this.#watchStaleness()
    else this.#staleness?.refresh()
    this.#isStale = false
    this.#host.done('ok', nowMs - startMs)
    this.#host.stale(undefined)
    this.#host.read(choice, reading.untold, reading.wrongRanks)
    const idle =
      reader.tellsRunning &&
      reading.loads.every((load) => load === undefined || load.running + load.waiting === 0)
    return idle ? this.#settings.idleIntervalMs : this.#settings.intervalMs
  }

  #readPage(
    page: Buffer,
    reader: EnginePageReader,
  ): Reading | { readonly fault: string; readonly detail: string } {
    if (this.#sharesPort) {
      const ranks = this.#endpoints.size
      const reading = reader.readRanks(page, ranks)
      if ('fault' in reading) return reading
      const { loads, told, untold } = reading
      const isRight = told.length === ranks && loads.every((load) => load !== undefined)
      return { loads, untold, wrongRanks: told.length === 0 || isRight ? undefined : told }
    }
    const [endpoint] = this.#endpoints
    const reading = reader.read(page, this.#host.sharesServer() ? endpoint?.rank : undefined)
    return 'fault' in reading
      ? reading
      : { loads: [reading.load], untold: reading.untold, wrongRanks: undefined }
  }

  #becomeStale(): void {
    this.#isStale = true
    for (const { id } of this.#endpoints) this.#services.sink.setMetrics(id, undefined)
    this.#host.stale(this.#reason)
  }
}
