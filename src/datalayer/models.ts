import type { Client } from 'undici'
import type { Endpoint, EndpointSpec } from '../framework/endpoint.ts'
import type { Clock, Counter, Endpoints, Metrics, Models } from '../framework/services.ts'
import { type EngineConnection, engineClient, get } from './http-get.ts'

const PATH = '/v1/models'
const MAX_BYTES = 1024 * 1024
const MAX_MODELS = 10_000

export interface ModelsOptions extends EngineConnection {
  /** Time between two looks at one endpoint; 30 s when absent. */
  readonly intervalMs?: number
  /** The same after a failure; 5 s when absent. */
  readonly retryMs?: number
  /** Longest time for one look; 2 s when absent. */
  readonly timeoutMs?: number
  /** An answer older than this says nothing; 30 s when absent. */
  readonly believedMs?: number
  /** Shortest time between two looks that requests for unknown models can cause; 1 s when absent. */
  readonly freshMs?: number
}

/** What one endpoint last said: model to its base, undefined for a base model. */
interface Answer {
  readonly models: ReadonlyMap<string, string | undefined>
  readonly atMs: number
}

interface Server {
  readonly client: Client
  readonly stop: AbortController
  answer: Answer | undefined
  look: Promise<void> | undefined
  timer: NodeJS.Timeout | undefined
}

/** The models that endpoints list at `/v1/models`, asked for regularly and when a request names an unknown one. */
export class ModelDirectory implements Models {
  readonly #clock: Clock
  readonly #endpoints: Endpoints
  readonly #metrics: Metrics
  readonly #options: Required<Omit<ModelsOptions, 'scheme' | 'insecureSkipVerify'>>
  readonly #connection: EngineConnection
  readonly #servers = new Map<string, Server>()
  readonly #results = new Map<string, Counter>()
  #stopListening: (() => void) | undefined
  #freshLook: { readonly startedMs: number; readonly done: Promise<void> } | undefined

  constructor(
    services: { readonly endpoints: Endpoints; readonly clock: Clock; readonly metrics: Metrics },
    options: ModelsOptions = {},
  ) {
    this.#clock = services.clock
    this.#endpoints = services.endpoints
    this.#metrics = services.metrics
    this.#options = {
      intervalMs: options.intervalMs ?? 30_000,
      retryMs: options.retryMs ?? 5000,
      timeoutMs: options.timeoutMs ?? 2000,
      believedMs: options.believedMs ?? 30_000,
      freshMs: options.freshMs ?? 1000,
    }
    this.#connection = { ...options, timeoutMs: this.#options.timeoutMs }
  }

  start(): void {
    this.#stopListening = this.#endpoints.listen({
      added: (endpoint, spec) => this.#add(endpoint, spec),
      removed: ({ id }) => {
        const server = this.#servers.get(id)
        this.#servers.delete(id)
        if (server !== undefined) void close(server)
      },
    })
  }

  async stop(): Promise<void> {
    this.#stopListening?.()
    const servers = [...this.#servers.values()]
    this.#servers.clear()
    await Promise.all(servers.map(close))
  }

  serves(model: string): Promise<boolean> | boolean {
    // An empty pool is another answer than an unknown model.
    if (this.#servers.size === 0 || this.#lists(model)) return true
    return this.#servesAfterLook(model)
  }

  baseOf(model: string): string | undefined {
    for (const { answer } of this.#servers.values()) {
      const base = answer?.models.get(model)
      if (base !== undefined) return base
    }
    return undefined
  }

  isBase(model: string): boolean {
    for (const { answer } of this.#servers.values()) {
      if (answer?.models.has(model) && answer.models.get(model) === undefined) return true
    }
    return false
  }

  #lists(model: string): boolean {
    for (const { answer } of this.#servers.values()) if (answer?.models.has(model)) return true
    return false
  }

  async #servesAfterLook(model: string): Promise<boolean> {
    const nowMs = this.#clock.nowMs()
    const last = this.#freshLook
    if (last === undefined || nowMs - last.startedMs >= this.#options.freshMs) {
      const looks = Array.from(this.#servers.values(), (server) => this.#look(server))
      this.#freshLook = { startedMs: nowMs, done: Promise.all(looks).then(() => undefined) }
    }
    await this.#freshLook?.done
    if (this.#servers.size === 0 || this.#lists(model)) return true
    const oldestMs = this.#clock.nowMs() - this.#options.believedMs
    return [...this.#servers.values()].some(
      ({ answer }) => answer === undefined || answer.atMs < oldestMs,
    )
  }

  #add(endpoint: Endpoint, spec: EndpointSpec): void {
    const port = spec.metricsPort ?? endpoint.port
    const server: Server = {
      client: engineClient(endpoint.address, port, this.#connection),
      stop: new AbortController(),
      answer: undefined,
      look: undefined,
      timer: undefined,
    }
    this.#servers.set(endpoint.id, server)
    void this.#look(server)
  }

  /** One look at a time; a second caller waits for the first one's. */
  #look(server: Server): Promise<void> {
    server.look ??= this.#lookOnce(server).finally(() => {
      server.look = undefined
    })
    return server.look
  }

  async #lookOnce(server: Server): Promise<void> {
    clearTimeout(server.timer)
    const { timeoutMs, intervalMs, retryMs } = this.#options
    const answer = await get(server.client, PATH, MAX_BYTES, timeoutMs, server.stop.signal)
    if (server.stop.signal.aborted) return
    const models = 'body' in answer ? modelsOf(answer.body) : undefined
    if (models !== undefined) server.answer = { models, atMs: this.#clock.nowMs() }
    const result = models !== undefined ? 'ok' : 'fault' in answer ? answer.fault : 'not-a-list'
    this.#count(result)
    server.timer = setTimeout(
      () => void this.#look(server),
      models === undefined ? retryMs : intervalMs,
    )
    server.timer.unref()
  }

  #count(result: string): void {
    let counter = this.#results.get(result)
    if (counter === undefined) {
      const help = "Looks at endpoints' /v1/models by result."
      counter = this.#metrics.counter('epp_model_looks_total', help, { result })
      this.#results.set(result, counter)
    }
    counter.inc()
  }
}

async function close(server: Server): Promise<void> {
  clearTimeout(server.timer)
  server.stop.abort()
  await server.look
  await server.client.destroy()
}

/**
 * The models of an OpenAI list; undefined for anything else. vLLM names an adapter's base in `parent`, which is null for a
 * base model; other servers have no such field, and all their models are base models.
 */
function modelsOf(body: Buffer): ReadonlyMap<string, string | undefined> | undefined {
  let list: unknown
  try {
    list = JSON.parse(body.toString('utf8'))
  } catch {
    return undefined
  }
  const data = (list as { data?: unknown } | null)?.data
  if (!Array.isArray(data)) return undefined
  const models = new Map<string, string | undefined>()
  for (const entry of data.slice(0, MAX_MODELS)) {
    const { id, parent } = (entry ?? {}) as { id?: unknown; parent?: unknown }
    if (typeof id !== 'string' || id === '') continue
    models.set(
      id,
      typeof parent === 'string' && parent !== '' && parent !== id ? parent : undefined,
    )
  }
  return models
}
