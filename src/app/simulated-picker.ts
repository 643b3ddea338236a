import type { CheckedConfig } from '../config/parse.ts'
import { EndpointStore } from '../datalayer/endpoint-store.ts'
import type { Generation } from '../framework/build.ts'
import { Cancellation } from '../framework/cancellation.ts'
import type { EndpointSpec } from '../framework/endpoint.ts'
import type { MetricsScraping } from '../framework/metrics-scraping.ts'
import { PickRandom } from '../framework/random.ts'
import { DecisionLog } from '../framework/routing/decision.ts'
import { Director } from '../framework/routing/director.ts'
import { RequestLog } from '../framework/routing/request-log.ts'
import type {
  Clock,
  Models,
  Notices,
  OpenAiApi,
  ParsedRequest,
  Tokenizer,
} from '../framework/services.ts'
import type { ReplayedMessage } from '../kvcache/events/recovery.ts'
import { openAiApi } from '../openai/openai-api.ts'
import type {
  EngineMessage,
  EngineState,
  PickerSetting,
  RoutedRequest,
  SimulatedPicker,
} from '../sim/simulation/picker.ts'
import { createLogger } from '../telemetry/logger.ts'
import type { MetricsScope, PrometheusMetrics } from '../telemetry/metrics.ts'
import { createNotices } from '../telemetry/notices.ts'
import { PoolState } from './pool-state.ts'
import { asksForEvents } from './settings.ts'

const MODEL = 'simulated-model'
/** Who says what endpoints there are. */
const SOURCE = 'simulation'
const PORT = 8000
const REPLAY_PORT = 5558
const PATH = '/v1/completions'
/** As `--request-timeout` has it. */
const REQUEST_TIMEOUT_MS = 3_600_000
const OK = 200
const NO_HEADERS: ReadonlyMap<string, string> = new Map()
const FIRST_CHUNK = Buffer.from('data: {"choices":[{"text":"x"}]}\n\n')
/** A token id and its comma. */
const BODY_BYTES_PER_TOKEN = 6
const MAX_WARNINGS = 20

/** One model, which every engine serves. */
const MODELS_OF_ALL: Models = {
  serves: () => true,
  baseOf: () => undefined,
  isBase: (model) => model === MODEL,
}

/** Pages come in whatever tables say. */
const SCRAPING: MetricsScraping = {
  engines: () => () => {},
  source: () => {},
  reset: () => {},
}

/** Prompts come as token ids, which are the engine's own. */
const TOKENS_AS_THEY_ARE: Tokenizer = {
  tokenize: ({ prompt }) => ({
    prompts: prompt?.kind === 'tokens' ? prompt.prompts : [],
    exact: true,
  }),
  decode: () => undefined,
  configure: () => {},
}

/** What a simulated picker is made of. */
export interface SimulatedPickerOptions extends PickerSetting {
  readonly config: CheckedConfig
  readonly metrics: PrometheusMetrics
  /** False for engines that send no events, whatever the configuration asks for. */
  readonly events: boolean
}

/**
 * A picker as `Pool` puts it together, its configuration's plugins and all, where the transport, the scraper, the tokenizer
 * and the engines' sockets are the simulation.
 */
export class ProductPicker implements SimulatedPicker {
  readonly followsEvents: boolean
  readonly #clock: Clock
  readonly #metrics: MetricsScope
  readonly #notices: Notices
  readonly #endpoints: EndpointStore
  readonly #state: PoolState
  readonly #director: Director
  readonly #parsed = new WeakMap<readonly Uint8Array[], ParsedRequest>()
  readonly #numbers: ReadonlyMap<string, number>
  readonly #topics: readonly Buffer[]
  readonly #said = new Set<string>()
  readonly #specs: EndpointSpec[]
  #replacements = 0

  /** @throws {SchedulerError} when a plugin cannot be built */
  constructor(options: SimulatedPickerOptions) {
    const { config, clock, seed, engines } = options
    this.#clock = clock
    this.#metrics = options.metrics.scope({})
    const metrics = this.#metrics
    const random = new PickRandom(seed)
    const notices = createNotices(clock.epochMs)
    this.#notices = notices
    const logger = createLogger({
      format: 'text',
      level: 'warn',
      write: (line) => this.#say(line),
      epochMs: clock.epochMs,
    })
    const services = { clock, random, logger, metrics, notices }
    this.followsEvents = options.events && asksForEvents(config)

    const endpoints = new EndpointStore(services)
    this.#endpoints = endpoints
    this.#specs = Array.from({ length: engines }, (_, i) => specOf(i, 0))
    endpoints.replace(SOURCE, [...this.#specs])
    this.#numbers = new Map(endpoints.list().map(({ hostPort }, i) => [hostPort, i]))
    this.#topics = endpoints.list().map(({ hostPort }) => Buffer.from(`kv@${hostPort}@${MODEL}`))
    const keySeed = Buffer.alloc(8)
    keySeed.writeUInt32LE(seed >>> 0)
    this.#state = new PoolState(
      {
        ...services,
        ...{ endpoints, models: MODELS_OF_ALL, tokenizer: TOKENS_AS_THEY_ARE, scraping: SCRAPING },
        // Which blocks meet in one bucket of an index depends on their keys: equal flags give equal output.
        keySeed,
      },
      config,
    )
    const { inFlight, matcher, truth } = this.#state
    this.#director = new Director(
      {
        ...services,
        endpoints,
        models: MODELS_OF_ALL,
        openAi: this.#bodies(),
        inFlight,
        decisions: new DecisionLog(1),
        requestLog: new RequestLog(logger, 'off'),
        observers: [
          this.#state.observer('prefix-matcher', matcher),
          this.#state.observer('truth-loop', truth),
        ],
        refused: () => {},
      },
      { requestTimeoutMs: REQUEST_TIMEOUT_MS },
      this.#state.generation(1, config),
    )
    const { replay } = options
    if (replay !== undefined && this.followsEvents) this.#recover(replay)
  }

  async route(id: string, prompt: Int32Array, maxTokens: number): Promise<RoutedRequest> {
    const headers = new Map([
      [':path', PATH],
      ['x-request-id', id],
    ])
    // As long as its JSON would be.
    const body = [Buffer.alloc(prompt.length * BODY_BYTES_PER_TOKEN)]
    this.#parsed.set(body, {
      model: MODEL,
      prompt: { kind: 'tokens', prompts: [prompt] },
      stream: true,
      cacheSalt: undefined,
      maxOutputTokens: maxTokens,
    })
    const incoming = { headers, body, subset: undefined }
    const routed = await this.#director.route(incoming, new Cancellation())
    const [target] = routed.destination.split(',')
    const isWatched = routed.watchResponse
    return {
      engine: this.#numbers.get(target!)!,
      firstToken: () => {
        if (!isWatched) return
        routed.responseHeaders(OK, NO_HEADERS)
        routed.responseBody(FIRST_CHUNK)
      },
      ended: (usage) => {
        if (!isWatched) return
        routed.responseBody(lastChunk(usage))
        routed.end('completed')
      },
      broken: () => {
        if (isWatched) routed.end('aborted')
      },
    }
  }

  receive(engine: number, { sequence, payload }: EngineMessage): void {
    const number = Buffer.alloc(8)
    number.writeBigUInt64BE(BigInt(sequence))
    this.#state.cache.intake.receive({ kind: 'bound' }, [this.#topics[engine]!, number, payload])
  }

  scraped(engine: number, state: EngineState): void {
    const { queriedTokens, hitTokens, finishedRequests, kvUsage, ...rest } = state
    const endpoint = this.#endpoints
      .list()
      .find(({ hostPort }) => this.#numbers.get(hostPort) === engine)!
    this.#endpoints.setMetrics(endpoint.id, {
      ...rest,
      kvCacheUsage: kvUsage,
      hashAlgorithm: undefined,
      adapters: undefined,
      prefixCache: { queriedTokens, hitTokens, finishedRequests },
      custom: new Map(),
      scrapedAtMs: this.#clock.nowMs(),
    })
  }

  replaced(engine: number): void {
    this.#specs[engine] = specOf(engine, ++this.#replacements)
    this.#endpoints.replace(SOURCE, [...this.#specs])
  }

  warnings(): readonly string[] {
    const notices = this.#notices.list()
    return [...this.#said, ...notices.map(({ text }) => text)]
  }

  async close(): Promise<void> {
    const generation: Generation = this.#director.generation
    this.#director[Symbol.dispose]()
    await generation[Symbol.asyncDispose]()
    this.#state.close()
    this.#metrics[Symbol.dispose]()
  }

  /** Bodies are looked up instead of parsed; what engines answer is read as it always is. */
  #bodies(): OpenAiApi {
    const parse = (body: readonly Uint8Array[]) => this.#parsed.get(body)!
    return {
      ...openAiApi,
      parse: (_path, _headers, body) => parse(body),
      parsePart: (_path, _headers, body) => ({ ...parse(body), isCut: false }),
      rewriteModel: (body) => body,
      addModel: (body) => body,
      setSalt: (body) => body,
    }
  }

  #recover(replay: NonNullable<PickerSetting['replay']>): void {
    const topics = this.#topics
    const byAddress = new Map(this.#endpoints.list().map(({ address }, i) => [address, i]))
    this.#state.cache.intake.recoverFrom({
      port: REPLAY_PORT,
      async *replay(address: string, _port: number, from: number): AsyncGenerator<ReplayedMessage> {
        const engine = byAddress.get(address)!
        for await (const message of replay(engine)) {
          if (message.sequence >= from) yield { ...message, topic: topics[engine]!.toString() }
        }
      },
    })
  }

  #say(line: string): void {
    const [, , logger, ...rest] = line.trimEnd().split('\t')
    if (this.#said.size < MAX_WARNINGS) this.#said.add(`${logger}: ${rest.join(' ')}`)
  }
}

/** @param incarnation tells engines at one address apart */
function specOf(engine: number, incarnation: number): EndpointSpec {
  return {
    namespace: 'simulation',
    name: `engine-${engine}`,
    address: `10.0.${engine >> 8}.${engine & 255}`,
    port: PORT,
    rank: 0,
    labels: {},
    uid: String(incarnation),
  }
}

function lastChunk(usage: Parameters<RoutedRequest['ended']>[0]): Buffer {
  const { promptTokens, completionTokens, cachedTokens } = usage
  return Buffer.from(
    `data: {"choices":[],"usage":{"prompt_tokens":${promptTokens},"completion_tokens":${completionTokens},"prompt_tokens_details":{"cached_tokens":${cachedTokens}}}}\n\n`,
  )
}
