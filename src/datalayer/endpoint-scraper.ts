import type { Client } from 'undici'
import { type Endpoint, type EndpointSpec, sharesPort } from '../framework/endpoint.ts'
import type { Clock, EndpointMetricsSink, Random } from '../framework/services.ts'
import type { EnginePageReader, RankLoad } from './engine-page.ts'
import type { EngineChoice, EngineTables } from './engine-tables.ts'
import { engineClient, type GetAnswer, get } from './http-get.ts'
import { PageFilter, type PageYield } from './page-filter.ts'

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
  readonly samples: number
  /** Undefined where the ranks are those that are expected, or are not told apart. */
  readonly wrongRanks: readonly string[] | undefined
}

/** Why a page says nothing. */
interface Fault {
  readonly fault: string
  readonly detail: string
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
  readonly #filter = new PageFilter()
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

  /** True while the server is asked for what is read of its page alone. */
  get isFiltered(): boolean {
    return this.#filter.isKept
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
    const settings = await this.#takeSettings()
    const outcome = await this.#ask(settings, startMs)
    if (this.#stop.signal.aborted) return
    let delayMs: number
    if (typeof outcome === 'number') {
      this.#failures = 0
      delayMs = outcome
    } else {
      this.#reason = outcome.detail
      this.#host.done(outcome.fault, clock.nowMs() - startMs)
      if (this.#isStale) this.#host.stale(this.#reason)
      const { intervalMs, maxBackoffMs } = settings
      delayMs = Math.min(maxBackoffMs, intervalMs * 2 ** Math.min(20, this.#failures++))
    }
    const spent = clock.nowMs() - startMs
    const jitter = 1 + JITTER * (2 * random.next() - 1)
    this.#wait(Math.max(0, delayMs * jitter - spent))
  }

  /** Milliseconds from this scrape's start to the next one's, or why the page says nothing. */
  async #ask(settings: ScrapeSettings, startMs: number): Promise<number | Fault> {
    const filter = this.#filter
    const choice = this.#host.tables().of(this.#labels)
    const { reader } = choice
    const path = filter.pathOf(settings.path, reader)
    let answer = await this.#get(path, settings)
    if (path !== settings.path && !isUnanswered(answer)) {
      const reading = 'fault' in answer ? answer : this.#readPage(answer.body, reader)
      const page = yieldOf(answer, reading)
      if (filter.accepts(page)) return this.#take(reading as Reading, choice, startMs)
      answer = await this.#get(settings.path, settings)
    }
    const reading = 'fault' in answer ? answer : this.#readPage(answer.body, reader)
    const page = yieldOf(answer, reading)
    if (page === undefined) {
      filter.reset()
      return this.#explain(reading as Fault, answer)
    }
    filter.sawWhole(page)
    return this.#take(reading as Reading, choice, startMs)
  }

  #get(path: string, { timeoutMs }: ScrapeSettings): Promise<GetAnswer> {
    return get(this.#client, path, MAX_PAGE_BYTES, timeoutMs, this.#stop.signal)
  }

  /** The fault, with what may help against it. */
  #explain(reading: Fault, answer: GetAnswer): Fault {
    if (reading.fault !== 'not-metrics' || 'fault' in answer) return reading
    const fitting = this.#host.tables().labelFor(answer.body)
    if (fitting === undefined) return reading
    return { ...reading, detail: `${reading.detail}; label the endpoint ${fitting}` }
  }

  /** Puts what was read where it belongs; answers the milliseconds from the scrape's start to the next one's. */
  #take(reading: Reading, choice: EngineChoice, startMs: number): number {
    const { sink, clock } = this.#services
    // A late answer to an endpoint that has gone says nothing.
    if (this.#stop.signal.aborted) return 0
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
    const isIdle =
      choice.reader.tellsRunning &&
      reading.loads.every((load) => load === undefined || load.running + load.waiting === 0)
    return isIdle ? this.#settings.idleIntervalMs : this.#settings.intervalMs
  }

  #readPage(page: Buffer, reader: EnginePageReader): Reading | Fault {
    if (this.#sharesPort) {
      const ranks = this.#endpoints.size
      const reading = reader.readRanks(page, ranks)
      if ('fault' in reading) return reading
      const { loads, told, untold, samples } = reading
      const isRight = told.length === ranks && loads.every((load) => load !== undefined)
      const wrongRanks = told.length === 0 || isRight ? undefined : told
      return { loads, untold, samples, wrongRanks }
    }
    const [endpoint] = this.#endpoints
    const reading = reader.read(page, this.#host.sharesServer() ? endpoint?.rank : undefined)
    if ('fault' in reading) return reading
    const { load, untold, samples } = reading
    return { loads: [load], untold, samples, wrongRanks: undefined }
  }

  #becomeStale(): void {
    this.#isStale = true
    for (const { id } of this.#endpoints) this.#services.sink.setMetrics(id, undefined)
    this.#host.stale(this.#reason)
  }
}

/** True where the server has said nothing at all. */
function isUnanswered(answer: GetAnswer): boolean {
  return 'fault' in answer && answer.fault !== 'status' && answer.fault !== 'too-large'
}

/** Undefined for an answer that tells nothing. */
function yieldOf(answer: GetAnswer, reading: Reading | Fault): PageYield | undefined {
  if ('fault' in answer || 'fault' in reading) return undefined
  return { samples: reading.samples, bytes: answer.body.length }
}
