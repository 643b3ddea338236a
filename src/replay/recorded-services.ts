import { PROMPT_TOKENS } from '../framework/attributes.ts'
import { Container } from '../framework/container.ts'
import type { Endpoint } from '../framework/endpoint.ts'
import { METRICS_SCRAPING } from '../framework/metrics-scraping.ts'
import { SeededRandom } from '../framework/random.ts'
import type { InferenceRequest } from '../framework/request.ts'
import {
  CLOCK,
  ENDPOINTS,
  type EndpointListener,
  GHOST_INDEX,
  IN_FLIGHT,
  LOGGER,
  type Logger,
  METRICS,
  type Metrics,
  MODELS,
  NOTICES,
  PREFIX_FINDING,
  PREFIX_INDEX,
  PREFIX_MATCHER,
  type PrefixFinding,
  type PrefixMatch,
  RANDOM,
  ROUTED_PREFIX_INDEX,
  type RoutedPrefixIndex,
  TOKENIZER,
} from '../framework/services.ts'
import type { Token } from '../framework/token.ts'
import { Lacks } from './lacks.ts'
import type { RecordedDecision, RecordedLoad } from './recording.ts'

/** Messages of plugins that are kept. */
const MAX_MESSAGES = 20
const NO_LOAD: RecordedLoad = {
  ...{ requests: 0, lastPick: 0, tokens: 0, queuedTokens: 0, contextTokens: 0 },
  pendingKvTokens: 0,
}

/**
 * The services of a pool as one recorded decision saw them. They answer what was recorded, whatever was picked since; what
 * the record lacks is noted, and answered as by a service that knows nothing.
 */
export class RecordedServices {
  readonly lacks = new Lacks()
  /** What plugins set services to, by the service. */
  readonly settings = new Map<string, string>()
  /** What plugins or the host said of them, each once. */
  readonly messages = new Set<string>()
  /** Faults of plugins, by metric, type and name. */
  readonly faults = new Map<string, number>()
  readonly random = new SeededRandom(0)
  readonly container: Container
  readonly #listeners = new Set<EndpointListener>()
  #now: RecordedDecision | undefined
  #loads = new Map<string, RecordedLoad>()
  #positions = new Map<string, number>()
  #endpoints: readonly Endpoint[] = []

  constructor() {
    this.container = this.#provide()
  }

  /** From now on the services answer as at this decision. */
  show(decision: RecordedDecision): void {
    this.#now = decision
    this.#positions = new Map(decision.candidates.map(({ endpoint }, i) => [endpoint.id, i]))
    this.#loads = new Map(decision.endpoints.map(({ endpoint, load }) => [endpoint.id, load]))
    this.#tell(decision.endpoints.map(({ endpoint }) => endpoint))
  }

  #provide(): Container {
    const load = ({ id }: Endpoint) => this.#loads.get(id) ?? NO_LOAD
    const now = () => this.#now
    return (
      new Container()
        .provide(CLOCK, {}, () => ({
          nowMs: () => now()?.nowMs ?? 0,
          epochMs: () => now()?.atMs ?? 0,
        }))
        .provide(RANDOM, {}, () => this.random)
        .provide(LOGGER, {}, () => this.#logger())
        .provide(METRICS, {}, () => this.#metrics())
        // What plugins are blind to is said by the record: by what it lacks, and by scores that are all equal.
        .provide(NOTICES, {}, () => ({ set() {}, list: () => [] }))
        .provide(ENDPOINTS, {}, () => ({
          list: () => this.#endpoints,
          listen: (listener) => this.#listen(listener),
        }))
        .provide(IN_FLIGHT, {}, () => ({
          requests: (endpoint) => load(endpoint).requests,
          lastPick: (endpoint) => load(endpoint).lastPick,
          tokens: (endpoint) => load(endpoint).tokens,
          queuedTokens: (endpoint) => load(endpoint).queuedTokens,
          contextTokens: (endpoint) => load(endpoint).contextTokens,
          pendingKvTokens: (endpoint) => load(endpoint).pendingKvTokens,
          get meanOutputTokens() {
            return now()?.meanOutputTokens ?? 0
          },
        }))
        .provide(PREFIX_MATCHER, {}, () => ({
          find: (request, endpoints) => this.#find(request, endpoints),
          configure: (options) => this.#set(PREFIX_MATCHER, options),
        }))
        .provide(ROUTED_PREFIX_INDEX, {}, () =>
          this.#index(ROUTED_PREFIX_INDEX, () => now()?.routed),
        )
        .provide(GHOST_INDEX, {}, () => this.#index(GHOST_INDEX, () => now()?.ghost))
        .provide(PREFIX_INDEX, {}, () => ({
          match: (_request, _tokens, endpoints) => {
            this.#lack(PREFIX_INDEX, 'what the index of tracked blocks alone says')
            return noMatch(endpoints)
          },
          tracks: () => {
            this.#lack(PREFIX_INDEX, 'which endpoints are tracked')
            return false
          },
          touch() {},
          speculate: () => ({ expireIn() {} }),
          configure: (options) => this.#set(PREFIX_INDEX, options),
        }))
        .provide(TOKENIZER, {}, () => ({
          tokenize: () => {
            this.#lack(TOKENIZER, 'a tokenizer')
            return { prompts: [], exact: false, reason: 'not recorded' }
          },
          decode: () => {
            this.#lack(TOKENIZER, 'a tokenizer')
            return undefined
          },
          configure() {},
        }))
        .provide(MODELS, {}, () => ({
          serves: () => {
            this.#lack(MODELS, 'which models are served')
            return true
          },
          baseOf: () => {
            this.#lack(MODELS, 'which models are served')
            return undefined
          },
          isBase: () => {
            this.#lack(MODELS, 'which models are served')
            return true
          },
        }))
        .provide(METRICS_SCRAPING, {}, () => ({
          // Said when the plugin comes into force.
          engines: (options) => () => this.#set(METRICS_SCRAPING, options),
          source: (options) => this.settings.set('the source of metrics', JSON.stringify(options)),
          reset() {},
        }))
    )
  }

  #find(request: InferenceRequest, endpoints: readonly Endpoint[]): PrefixFinding | undefined {
    const recorded = this.#now?.finding
    if (recorded === undefined) {
      // Without token data there is nothing to find in a running picker either.
      if (request.attributes.get(PROMPT_TOKENS)) {
        this.#lack(PREFIX_MATCHER, 'what endpoints hold of prompts')
      }
      return undefined
    }
    const at = endpoints.map(({ id }) => this.#positions.get(id) ?? -1)
    const { told, distrusted } = recorded
    const finding: PrefixFinding = {
      ...{ endpoints, match: partOf(recorded.match, at), source: recorded.source },
      tracked: told ? at.filter((i) => told[i]).length : recorded.tracked,
      ...(told && { told: at.map((i) => told[i] ?? false) }),
      ...(distrusted && { distrusted: at.map((i) => distrusted[i]) }),
    }
    request.attributes.set(PREFIX_FINDING, finding)
    return finding
  }

  #index(
    service: Token<RoutedPrefixIndex>,
    recorded: () => PrefixMatch | undefined,
  ): RoutedPrefixIndex {
    return {
      match: (_request, _tokens, endpoints) => {
        const match = recorded()
        if (match)
          return partOf(
            match,
            endpoints.map(({ id }) => this.#positions.get(id) ?? -1),
          )
        this.#lack(service, 'which prompts were sent where')
        return noMatch(endpoints)
      },
      record() {},
      configure: (options) => this.#set(service, options),
    }
  }

  #lack({ name }: Token<unknown>, what: string): void {
    this.lacks.ask(what, { service: name })
  }

  #set({ name }: Token<unknown>, options: unknown): void {
    // Infinity is no JSON.
    this.settings.set(
      name,
      JSON.stringify(options, (_, value: unknown) => (value === Infinity ? 'no limit' : value)),
    )
  }

  #logger(): Logger {
    const keep = (message: string, fields?: Readonly<Record<string, unknown>>) => {
      if (this.messages.size >= MAX_MESSAGES) return
      this.messages.add(fields === undefined ? message : `${message} ${JSON.stringify(fields)}`)
    }
    const logger: Logger = {
      debug() {},
      info() {},
      warn: keep,
      error: keep,
      warnOnce: (_key, message, fields) => keep(message, fields),
      named: () => logger,
    }
    return logger
  }

  /** Counts what plugins do wrong, and nothing else. */
  #metrics(): Metrics {
    const nothing = { inc() {}, observe() {}, set() {} }
    return {
      counter: (name, _help, labels = {}) => {
        if (name !== 'epp_plugin_failures_total' && name !== 'epp_plugin_scores_clamped_total') {
          return nothing
        }
        const what = name === 'epp_plugin_failures_total' ? 'calls failed' : 'scores were clamped'
        const key = `${labels.kind} "${labels.name}": ${what}`
        return {
          inc: (value = 1) => void this.faults.set(key, (this.faults.get(key) ?? 0) + value),
        }
      },
      gauge: () => nothing,
      histogram: () => nothing,
      observed() {},
    }
  }

  #listen(listener: EndpointListener): () => void {
    this.#listeners.add(listener)
    for (const endpoint of this.#endpoints) listener.added?.(endpoint, specOf(endpoint))
    return () => this.#listeners.delete(listener)
  }

  #tell(endpoints: readonly Endpoint[]): void {
    const before = new Map(this.#endpoints.map((each) => [each.id, each]))
    const ids = new Set(endpoints.map(({ id }) => id))
    this.#endpoints = endpoints
    for (const listener of this.#listeners) {
      for (const gone of before.values()) if (!ids.has(gone.id)) listener.removed?.(gone)
      for (const endpoint of endpoints) {
        const old = before.get(endpoint.id)
        if (old === undefined) listener.added?.(endpoint, specOf(endpoint))
        else if (old.labels !== endpoint.labels) listener.updated?.(endpoint)
      }
    }
  }
}

function specOf({ namespace, name, address, port, rank, labels }: Endpoint) {
  return { namespace, name, address, port, rank, labels: Object.fromEntries(labels) }
}

function noMatch({ length }: readonly Endpoint[]): PrefixMatch {
  return {
    blocks: new Int32Array(length),
    weighted: new Float64Array(length),
    blockTokens: new Int32Array(length),
    usableBlocks: new Int32Array(length),
  }
}

/** @param at positions; -1 for none */
function partOf(match: PrefixMatch, at: readonly number[]): PrefixMatch {
  return {
    blocks: Int32Array.from(at, (i) => match.blocks[i] ?? 0),
    weighted: Float64Array.from(at, (i) => match.weighted[i] ?? 0),
    blockTokens: Int32Array.from(at, (i) => match.blockTokens[i] ?? 0),
    usableBlocks: Int32Array.from(at, (i) => match.usableBlocks[i] ?? 0),
  }
}
