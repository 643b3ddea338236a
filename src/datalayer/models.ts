import type { Client } from 'undici'
import { type Endpoint, type EndpointSpec, networkAddress } from '../framework/endpoint.ts'
import type {
  Clock,
  Counter,
  Endpoints,
  EngineVersions,
  Metrics,
  Models,
} from '../framework/services.ts'
import { type EngineConnection, engineClient, type GetAnswer, get } from './http-get.ts'

const PATH = '/v1/models'
const MAX_BYTES = 1024 * 1024
const MAX_MODELS = 10_000
const VERSION_PATH = '/version'
const MAX_VERSION_BYTES = 16 * 1024
const MAX_VERSION_CHARS = 64

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

interface ListedModel {
  /** Undefined for a base model. */
  readonly base: string | undefined
  readonly contextTokens: number | undefined
}

/** What one endpoint last said. */
interface Answer {
  readonly models: ReadonlyMap<string, ListedModel>
  readonly atMs: number
}

interface Server {
  readonly address: string
  /** Ids of its endpoints: ranks that share the port are asked for together. */
  readonly endpoints: Set<string>
  readonly client: Client
  readonly stop: AbortController
  answer: Answer | undefined
  version: string | undefined
  /** When it last said its version, or that it has none; a server may be replaced at its address. */
  versionAtMs: number
  look: Promise<void> | undefined
  timer: NodeJS.Timeout | undefined
}

/**
 * The models that endpoints list at `/v1/models`, and their releases (`/version`), asked for regularly and when a request
 * names an unknown model.
 */
export class ModelDirectory implements Models, EngineVersions {
  readonly #clock: Clock
  readonly #endpoints: Endpoints
  readonly #metrics: Metrics
  readonly #options: Required<Omit<ModelsOptions, 'scheme' | 'insecureSkipVerify'>>
  readonly #connection: EngineConnection
  /** By `networkAddress`. */
  readonly #servers = new Map<string, Server>()
  /** By endpoint id. */
  readonly #serverOf = new Map<string, Server>()
  readonly #results = new Map<string, Counter>()
  #stopListening: (() => void) | undefined
  /** Of all servers; undefined when it must be gathered again. */
  #versions: readonly (string | undefined)[] | undefined
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
        const server = this.#serverOf.get(id)
        this.#serverOf.delete(id)
        server?.endpoints.delete(id)
        if (server === undefined || server.endpoints.size > 0) return
        this.#servers.delete(server.address)
        this.#versions = undefined
        void close(server)
      },
    })
  }

  async stop(): Promise<void> {
    this.#stopListening?.()
    const servers = [...this.#servers.values()]
    this.#servers.clear()
    this.#serverOf.clear()
    await Promise.all(servers.map(close))
  }

  serves(model: string): Promise<boolean> | boolean {
    // An empty pool is another answer than an unknown model.
    if (this.#servers.size === 0 || this.#lists(model)) return true
    return this.#servesAfterLook(model)
  }

  baseOf(model: string): string | undefined {
    for (const { answer } of this.#servers.values()) {
      const base = answer?.models.get(model)?.base
      if (base !== undefined) return base
    }
    return undefined
  }

  isBase(model: string): boolean {
    for (const { answer } of this.#servers.values()) {
      const listed = answer?.models.get(model)
      if (listed !== undefined && listed.base === undefined) return true
    }
    return false
  }

  versions(): readonly (string | undefined)[] {
    this.#versions ??= [...new Set(Array.from(this.#servers.values(), ({ version }) => version))]
    return this.#versions
  }

  versionOf(endpointId: string): string | undefined {
    return this.#serverOf.get(endpointId)?.version
  }

  contextTokens(model: string): number | undefined {
    let least: number | undefined
    for (const { answer } of this.#servers.values()) {
      const tokens = answer?.models.get(model)?.contextTokens
      if (tokens !== undefined) least = Math.min(least ?? tokens, tokens)
    }
    return least
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
    const address = networkAddress(endpoint.hostPort)
    const known = this.#servers.get(address)
    if (known !== undefined) {
      known.endpoints.add(endpoint.id)
      this.#serverOf.set(endpoint.id, known)
      return
    }
    const port = spec.metricsPort ?? endpoint.port
    const server: Server = {
      address,
      endpoints: new Set([endpoint.id]),
      client: engineClient(endpoint.address, port, this.#connection),
      stop: new AbortController(),
      answer: undefined,
      version: undefined,
      versionAtMs: Number.NEGATIVE_INFINITY,
      look: undefined,
      timer: undefined,
    }
    this.#servers.set(address, server)
    this.#serverOf.set(endpoint.id, server)
    this.#versions = undefined
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
    const { client, stop } = server
    const answer = await get(client, PATH, MAX_BYTES, timeoutMs, stop.signal)
    const models = 'body' in answer ? modelsOf(answer.body) : undefined
    if (models !== undefined) server.answer = { models, atMs: this.#clock.nowMs() }
    const isOld = this.#clock.nowMs() - server.versionAtMs >= this.#options.believedMs
    if ('body' in answer && isOld) {
      const said = await get(client, VERSION_PATH, MAX_VERSION_BYTES, timeoutMs, stop.signal)
      this.#heardVersion(server, said)
    }
    if (stop.signal.aborted) return
    const result = models !== undefined ? 'ok' : 'fault' in answer ? answer.fault : 'not-a-list'
    this.#count(result)
    server.timer = setTimeout(
      () => void this.#look(server),
      models === undefined ? retryMs : intervalMs,
    )
    server.timer.unref()
  }

  /** A server without `/version` has none; one that cannot be reached keeps what it said. */
  #heardVersion(server: Server, said: GetAnswer): void {
    if ('fault' in said && said.fault !== 'status') return
    server.versionAtMs = this.#clock.nowMs()
    const version = 'body' in said ? versionOf(said.body) : undefined
    if (version === server.version) return
    server.version = version
    this.#versions = undefined
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
 * base model, and says in `max_model_len` how many tokens it takes; other servers have no such fields, and all their models
 * are base models.
 */
function modelsOf(body: Buffer): ReadonlyMap<string, ListedModel> | undefined {
  const data = (jsonOf(body) as { data?: unknown } | null | undefined)?.data
  if (!Array.isArray(data)) return undefined
  const models = new Map<string, ListedModel>()
  for (const entry of data.slice(0, MAX_MODELS)) {
    const { id, parent, max_model_len: length } = (entry ?? {}) as Readonly<Record<string, unknown>>
    if (typeof id !== 'string' || id === '') continue
    models.set(id, {
      base: typeof parent === 'string' && parent !== '' && parent !== id ? parent : undefined,
      contextTokens:
        Number.isSafeInteger(length) && Number(length) > 0 ? Number(length) : undefined,
    })
  }
  return models
}

/** The release that vLLM's `/version` says; undefined for anything else. */
function versionOf(body: Buffer): string | undefined {
  const { version } = (jsonOf(body) ?? {}) as { version?: unknown }
  const isRelease = typeof version === 'string' && /^v?\d+\.\d+[\w.+-]*$/.test(version)
  return isRelease && version.length <= MAX_VERSION_CHARS ? version : undefined
}

/** Undefined when it is not JSON. */
function jsonOf(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch {
    return undefined
  }
}
