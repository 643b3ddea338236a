import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type ClientRequest, request, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { App, type ServeOptions } from '../../src/app.ts'
import type { RunningSimEngine } from '../../src/sim-engine.ts'
import {
  bodyOf,
  Gateway,
  requestBody,
  requestHeaders,
  responseBody,
  responseHeaders,
  servedBy,
  setHeaders,
} from '../extproc/client.ts'
import { defaultOptions } from '../integration/options.ts'
import {
  ADAPTER,
  addressOf,
  EVENTS,
  type EventsWay,
  MAX_RUNNING,
  MODEL,
  metricsPages,
  NAMES,
  type Name,
  nameOf,
  REPLAY_PORT,
  speak,
  startFleetEngine,
} from './fleet-engines.ts'
import { eventually } from './process.ts'

export interface FleetOptions {
  readonly configText: string
  /** Of each engine; all else is equal. */
  readonly labels: Readonly<Record<Name, Readonly<Record<string, string>>>>
  /** How engines' events come in; not at all when absent. */
  readonly events?: EventsWay
  readonly blockTokens?: number
  /** What each engine's page of metrics says besides, or instead of, its own. */
  readonly metrics?: (name: Name, page: string) => string
  /** True leaves the endpoints to the configuration, in a file `endpoints.yaml` beside it. */
  readonly ownDiscovery?: boolean
}

export interface Asked {
  readonly prompt: readonly number[]
  readonly model?: string
  readonly headers?: Readonly<Record<string, string>>
}

/** What became of a request. */
export interface Answered {
  readonly id: string
  /** The engine that served it. */
  readonly engine: Name
  /** The engines that the picker named, the best first. */
  readonly named: readonly Name[]
  /** Prompt tokens that the engine had cached. */
  readonly cachedTokens: number
  /** Headers that the picker set on the response. */
  readonly set: Readonly<Record<string, string>>
}

/** One request between its pick and its answer. */
export interface Held {
  readonly engine: Name
  finish(): Promise<Answered>
}

interface EndpointPage {
  readonly name: Name
  readonly state: string
  readonly waiting?: number
  readonly running?: number
  readonly kvCacheUsage?: number
  readonly blocks: number
  readonly coverage: string
}
export interface DecisionPage {
  readonly indexCoverage?: { readonly source: string }
  readonly ended?: string
}

/** Four simulated engines, a picker with one configuration, and a gateway that asks the one about requests to the others. */
export class Fleet {
  readonly #app: App
  readonly #gateway: Gateway
  readonly #engines: readonly RunningSimEngine[]
  readonly #pages: readonly Server[]
  readonly #folder: string
  readonly #direct: ClientRequest[] = []
  #count = 0
  #burdened: { readonly name: Name; readonly waits: boolean } | undefined
  /** What was seen at the start. */
  #idle: readonly EndpointPage[] = []

  private constructor(parts: {
    readonly app: App
    readonly engines: readonly RunningSimEngine[]
    readonly pages: readonly Server[]
    readonly folder: string
  }) {
    this.#app = parts.app
    this.#engines = parts.engines
    this.#pages = parts.pages
    this.#folder = parts.folder
    this.#gateway = new Gateway(`127.0.0.1:${parts.app.ports.grpc}`)
  }

  static async start(options: FleetOptions): Promise<Fleet> {
    const folder = mkdtempSync(join(tmpdir(), 'epp-fleet-'))
    const pages = options.metrics ? await metricsPages(options.metrics) : []
    const config = join(folder, 'config.yaml')
    const endpoints = join(folder, 'endpoints.yaml')
    const entries = NAMES.map((name) => ({
      ...{ name, address: addressOf(name), port: 8000, labels: options.labels[name] },
      ...(pages.length > 0 && { metricsPort: 8001 }),
    }))
    writeFileSync(config, options.configText.replace('path: endpoints.yaml', `path: ${endpoints}`))
    writeFileSync(endpoints, JSON.stringify({ endpoints: entries }))
    const { kvEventsBind: _, ...rest } = defaultOptions()
    const serve: ServeOptions = {
      ...rest,
      configFile: config,
      refreshMetricsInterval: 20,
      seed: 7,
      ...(options.ownDiscovery !== true && { endpointsFile: endpoints }),
      ...(options.events === 'engines connect' && { kvEventsBind: EVENTS }),
      // What engines tell before they are connected is asked for again.
      ...(options.events !== undefined && { kvEventsReplay: REPLAY_PORT }),
    }
    const app = await App.start(serve)
    const engines = await Promise.all(NAMES.map((name) => startFleetEngine(name, options)))
    const fleet = new Fleet({ app, engines, pages, folder })
    try {
      await eventually('all engines are scraped, and have told what they hold', async () => {
        const seen = await fleet.endpoints()
        if (seen.length < NAMES.length) return false
        const silent = seen.filter(({ coverage }) => coverage !== 'complete')
        if (options.events !== undefined) for (const { name } of silent) await speak(name)
        // What made an engine speak may be seen as waiting, running or held, and that is no idle engine.
        fleet.#idle = seen
        const isFree = ({ waiting, kvCacheUsage }: EndpointPage) =>
          pages.length > 0 || (waiting === 0 && kvCacheUsage === 0)
        return (
          seen.every((each) => each.state === 'scraped' && each.running === 0 && isFree(each)) &&
          (options.events === undefined || silent.length === 0)
        )
      })
    } catch (error) {
      await fleet.stop()
      throw error
    }
    return fleet
  }

  async stop(): Promise<void> {
    await this.relieve()
    this.#gateway.close()
    await this.#app.close()
    for (const engine of this.#engines) await engine.close()
    for (const page of this.#pages) {
      page.closeAllConnections()
      await new Promise((done) => page.close(done))
    }
    rmSync(this.#folder, { recursive: true })
  }

  endpoints(): Promise<readonly EndpointPage[]> {
    return this.#json('/endpoints')
  }

  decision(id: string): Promise<DecisionPage> {
    return this.#json(`/decisions/${id}`)
  }

  /** Once all is calm, sends a request where the picker says, and shows it the answer. */
  async ask(asked: Asked): Promise<Answered> {
    await this.calm()
    return (await this.pick(asked)).finish()
  }

  /** The status with which the picker refuses a request. */
  async refusal(asked: Asked): Promise<number> {
    const { exchange } = this.#open(asked)
    const [first] = await exchange.untilEnd('requestBody')
    assert.ok(first?.immediateResponse, 'the request was not refused')
    return first.immediateResponse.status.code
  }

  /** Has the picker pick; the engine gets the request with `finish`. */
  async pick(asked: Asked): Promise<Held> {
    const { exchange, id } = this.#open(asked)
    const answers = await exchange.untilEnd('requestBody')
    const refused = answers[0]?.immediateResponse
    assert.equal(refused, undefined, refused?.body.toString())
    const destinations = setHeaders(answers[0])['x-gateway-destination-endpoint']!.split(',')
    const named = destinations.map(nameOf)
    const body = bodyOf(answers, 'requestBody')
    const finish = async (): Promise<Answered> => {
      const response = await fetch(`http://${destinations[0]}/v1/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
      })
      const text = await response.text()
      assert.equal(response.status, 200, text)
      const { usage } = JSON.parse(text) as {
        usage: { prompt_tokens_details?: { cached_tokens: number } | null }
      }
      exchange.send({
        ...responseHeaders({ ':status': '200', 'content-type': 'application/json' }),
        ...servedBy(destinations[0]!),
      })
      exchange.send(responseBody(text, true))
      const [headers] = await exchange.rest()
      const cachedTokens = usage.prompt_tokens_details?.cached_tokens ?? 0
      return { id, engine: named[0]!, named, cachedTokens, set: setHeaders(headers) }
    }
    return { engine: named[0]!, finish }
  }

  /** Sends requests to an engine past the picker that go on until `relieve`; waits until the picker has seen it. */
  async burden(
    name: Name,
    load: 'queue' | 'running' | 'memory' | 'adapter',
    tokens: (count: number) => readonly number[],
  ): Promise<void> {
    this.#burdened = { name, waits: load === 'queue' }
    const count = { queue: MAX_RUNNING + 10, running: 3, memory: 1, adapter: 1 }[load]
    for (let i = 0; i < count; i++) {
      const sent = request(`http://${addressOf(name)}:8000/v1/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
      })
      sent.on('error', () => {})
      sent.on('response', (response) => response.on('error', () => {}).resume())
      sent.end(
        JSON.stringify({
          model: load === 'adapter' ? ADAPTER : MODEL,
          prompt: tokens(load === 'memory' ? 11_000 : 64),
          max_tokens: 1500,
          ignore_eos: true,
          stream: true,
        }),
      )
      this.#direct.push(sent)
    }
    await eventually(`${load} of ${name} is seen`, async () => {
      const seen = (await this.endpoints()).find((each) => each.name === name)!
      if (load === 'queue') return seen.waiting! >= 10
      return load === 'memory' ? seen.kvCacheUsage! > 0.8 : seen.running === count
    })
  }

  /** Ends what `burden` began, and waits until the picker has seen that. */
  async relieve(): Promise<void> {
    if (this.#direct.length === 0) return
    for (const sent of this.#direct.splice(0)) sent.destroy()
    this.#burdened = undefined
    await this.calm()
  }

  /**
   * Waits until all engines are seen as idle as at the start, the burdened one but for its burden: the last scrape may
   * have met the request before, and a queue of one is all or nothing to a scorer that compares.
   */
  async calm(): Promise<void> {
    await eventually('the engines are seen idle', async () => {
      return (await this.endpoints()).every((seen) => {
        if (seen.name === this.#burdened?.name) return this.#burdened.waits || seen.waiting === 0
        return sameLoad(seen, this.#idle.find(({ name }) => name === seen.name)!)
      })
    })
  }

  #open({ prompt, model = MODEL, headers = {} }: Asked) {
    const id = `request-${this.#count++}`
    const exchange = this.#gateway.open()
    exchange.send(
      requestHeaders({ 'x-request-id': id, ...headers }),
      requestBody(JSON.stringify({ model, prompt, max_tokens: 1 }), true),
    )
    return { exchange, id }
  }

  async #json<T>(path: string): Promise<T> {
    const response = await fetch(`http://127.0.0.1:${this.#app.ports.metrics}${path}`)
    return (await response.json()) as T
  }
}

const sameLoad = (one: EndpointPage, other: EndpointPage) =>
  one.waiting === other.waiting &&
  one.running === other.running &&
  one.kvCacheUsage === other.kvCacheUsage
