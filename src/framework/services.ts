import { attributeKey, type PromptTokens } from './attributes.ts'
import type { Cancellation } from './cancellation.ts'
import type { Endpoint, EndpointMetrics, EndpointSpec } from './endpoint.ts'
import type { EndReason, Usage } from './plugin.ts'
import type { Criticality, InferenceRequest, Prompt } from './request.ts'
import { token } from './token.ts'

/** Time: monotonic milliseconds for ages and intervals, epoch milliseconds for what people read. */
export interface Clock {
  nowMs(): number
  epochMs(): number
}
export const CLOCK = token<Clock>('Clock')

/** A seedable source of numbers in [0, 1). */
export interface Random {
  next(): number
}
export const RANDOM = token<Random>('Random')

export type LogFields = Readonly<Record<string, unknown>>

/** One named logger. Never given prompt text, token ids, credentials or a cache salt. */
export interface Logger {
  debug(message: string, fields?: LogFields): void
  info(message: string, fields?: LogFields): void
  warn(message: string, fields?: LogFields): void
  error(message: string, fields?: LogFields): void
  /** Warns the first time that `key` is seen and counts silently afterwards. */
  warnOnce(key: string, message: string, fields?: LogFields): void
  /** The logger of another name, in the same log. */
  named(name: string): Logger
}
export const LOGGER = token<Logger>('Logger')

export interface Counter {
  inc(value?: number): void
}
export interface Gauge {
  set(value: number): void
}
export interface Histogram {
  observe(value: number): void
}

/** Prometheus metrics. Label values are bounded: past a cap per label they become `other`. */
export interface Metrics {
  /** @param labels fixed values; the returned counter is bound to them. */
  counter(name: string, help: string, labels?: Readonly<Record<string, string>>): Counter
  gauge(name: string, help: string, labels?: Readonly<Record<string, string>>): Gauge
  histogram(
    name: string,
    help: string,
    buckets: readonly number[],
    labels?: Readonly<Record<string, string>>,
  ): Histogram
  /** A gauge whose samples are asked for at scrape time. */
  observed(
    name: string,
    help: string,
    samples: () => Iterable<{ labels: Readonly<Record<string, string>>; value: number }>,
  ): void
}
export const METRICS = token<Metrics>('Metrics')

/** Something that is blind, stale or without effect, in words; shown by `/readyz?verbose` and the dashboard. */
export interface Notices {
  /** Sets or replaces the notice `key`; `text` undefined removes it. */
  set(key: string, text: string | undefined): void
  list(): readonly { readonly key: string; readonly text: string; readonly sinceEpochMs: number }[]
}
export const NOTICES = token<Notices>('Notices')

/** Told when endpoints come and go. `removed` comes before the slot can be used again. */
export interface EndpointListener {
  added?(endpoint: Endpoint, spec: EndpointSpec): void
  /** Its labels have changed. */
  updated?(endpoint: Endpoint): void
  removed?(endpoint: Endpoint): void
}

/** The endpoints there are. */
export interface Endpoints {
  /** Immutable snapshots; the same array until something changes. */
  list(): readonly Endpoint[]
  /** Calls `added` at once for those already there. Returns a function that ends it. */
  listen(listener: EndpointListener): () => void
}
export const ENDPOINTS = token<Endpoints>('Endpoints')

/** Where discovery puts what it finds. */
export interface EndpointSink {
  /** States the whole set that `source` knows; the difference to its last set is added, removed or updated. */
  replace(source: string, specs: readonly EndpointSpec[]): void
}

/** Where the scraper puts what an endpoint said. */
export interface EndpointMetricsSink {
  setMetrics(endpointId: string, metrics: EndpointMetrics | undefined): void
}

/** Load that this picker has put on endpoints and that has not ended. Changes within the pick. */
export interface InFlight {
  /** Requests picked for the endpoint and not ended. */
  requests(endpoint: Endpoint): number
  /** Number of the last pick of this endpoint, 0 when never picked; larger is later. */
  lastPick(endpoint: Endpoint): number
  /** Prompt tokens to be computed there for requests picked and not ended: those that its cache did not hold at the pick. */
  tokens(endpoint: Endpoint): number
  /** The part of `tokens` whose requests have not answered with a first byte yet. */
  queuedTokens(endpoint: Endpoint): number
  /** Prompt tokens, cached or not, and half the expected answer, of requests picked and not ended. */
  contextTokens(endpoint: Endpoint): number
  /** Tokens of KV cache that requests picked there and not in the last scrape will need. */
  pendingKvTokens(endpoint: Endpoint): number
  /** Tokens of an answer as the past tells: an average that forgets, the newest counting 2 %. */
  readonly meanOutputTokens: number
}
export const IN_FLIGHT = token<InFlight>('InFlight')

/** How much of a request's prompt each endpoint holds. Arrays follow the endpoints of the question. */
export interface PrefixMatch {
  /** Consecutive whole blocks from the first one, summed over prompts, never more than the engine can use. */
  readonly blocks: Int32Array
  /** The same with each block counted by its medium's weight (GPU 1.0, CPU 0.8). */
  readonly weighted: Float64Array
  /** Tokens per block on that endpoint. */
  readonly blockTokens: Int32Array
  /** Blocks that could match: the sum over prompts of floor((tokens - 1) / blockTokens). */
  readonly usableBlocks: Int32Array
}

/** What a prefix scorer found for one request; the decision's prediction is made from it. */
export interface PrefixFinding {
  readonly endpoints: readonly Endpoint[]
  readonly match: PrefixMatch
  /** `tracked` when engines' events told it, `routed` when it is learned from our own picks. */
  readonly source: 'tracked' | 'routed'
  /** How many of the endpoints are covered by events. */
  readonly tracked: number
  /**
   * Of each endpoint, why its events are not believed after they have proved wrong; undefined where they are, absent where
   * all are.
   */
  readonly distrusted?: readonly (TruthReason | undefined)[]
  /** Of each endpoint, whether `match` is what its events say; absent where they were not asked. */
  readonly told?: readonly boolean[]
}
export const PREFIX_FINDING = attributeKey<PrefixFinding>('PrefixFinding')

/** Why predictions from an endpoint's events prove wrong. */
export type TruthReason =
  | 'no-events'
  | 'gap'
  | 'block-size'
  | 'tokenizer'
  | 'salt'
  | 'lora'
  | 'hash'
  | 'memory'
  | 'not-cached'
  | 'unknown'

/** When predictions from an endpoint's events are not believed any more, and when they are again. */
export interface TruthOptions {
  /** How many of the endpoint's last telling answers count. */
  readonly window: number
  /** Share of the window in (0, 1] that was predicted wrong when the events are not believed any more. */
  readonly maxWrong: number
  /** Share of the prompt by which a prediction may differ; a block it may in any case. */
  readonly tolerance: number
  /** Prompts of fewer tokens are not judged. */
  readonly minTokens: number
  /** Telling answers in a row that must be predicted right until the events are believed again. */
  readonly recoverAfter: number
}

/** What a cost scorer expected of the endpoint that was picked. */
export interface CostFinding {
  readonly endpoint: Endpoint
  /** Seconds by term. */
  readonly terms: Readonly<Record<string, number>>
  /** Their sum, in seconds. */
  readonly total: number
  /** The best of the others; undefined when there was none. */
  readonly runnerUp: { readonly endpoint: Endpoint; readonly total: number } | undefined
  readonly promptTokens: number
  /** Prompt tokens expected in the endpoint's cache. */
  readonly matchedTokens: number
  /** The most prompt tokens that any endpoint was sent before, whether its cache has kept them or not. */
  readonly knownTokens: number
  /** Prompt tokens to be computed there before the first token comes, those of this prompt included. */
  readonly tokensBeforeFirst: number
  /** Expected seconds from the pick to the first token. */
  readonly firstTokenSeconds: number
  /** The rate that this was computed with. */
  readonly prefillTokensPerSecond: number
}
export const COST_FINDING = attributeKey<CostFinding>('CostFinding')

/** A prompt counted as present on an endpoint before the engine has said so. */
export interface Speculation {
  /** Forgets it after `delayMs` from now; a second call replaces the first. */
  expireIn(delayMs: number): void
}

/** What an operator says of the engines' hashing; verified against the events, never needed. */
export interface ExpectedHashing {
  readonly blockTokens?: number
  readonly hashSeed?: string
}

/** Which endpoint holds which KV blocks. */
export interface PrefixIndex {
  match(
    request: InferenceRequest,
    tokens: PromptTokens,
    endpoints: readonly Endpoint[],
  ): PrefixMatch
}

/** The index fed by the engines' KV events. */
export interface TrackedPrefixIndex extends PrefixIndex {
  /** True when events of this endpoint have been applied and none is known to be missing. */
  tracks(endpoint: Endpoint): boolean
  /** The request goes to `endpoint`: the blocks of its prompt are the last to be forgotten where memory is short. */
  touch(request: InferenceRequest, tokens: PromptTokens, endpoint: Endpoint): void
  /** Counts the request's blocks as present on `endpoint` for `ttlMs`; infinite: until `expireIn` says otherwise. */
  speculate(
    request: InferenceRequest,
    tokens: PromptTokens,
    endpoint: Endpoint,
    ttlMs: number,
  ): Speculation
  configure(options: {
    readonly expected: ExpectedHashing
    readonly mediumWeights: Readonly<Record<string, number>>
  }): void
}
export const PREFIX_INDEX = token<TrackedPrefixIndex>('PrefixIndex')

/**
 * The index that learns from our own picks and needs no events. Of each endpoint it remembers the latest prompts, as much as
 * the engine's cache can hold; how it is used up inside the engine it does not know.
 */
export interface RoutedPrefixIndex extends PrefixIndex {
  /** Records that the request's prompt was sent to `endpoint`; several may tell of one pick, one after the other. */
  record(request: InferenceRequest, tokens: PromptTokens, endpoint: Endpoint): void
  configure(options: {
    /** Tokens per block; undefined takes it from the endpoint's metrics, at least 64. */
    readonly blockTokens: number | undefined
    readonly maxPrefixTokens: number
    /** Blocks remembered per endpoint at most, and of the ghost index twice as many. */
    readonly blocksPerEndpoint: number
  }): void
}
export const ROUTED_PREFIX_INDEX = token<RoutedPrefixIndex>('RoutedPrefixIndex')

/**
 * The same picks with a longer memory than the engines' own: which endpoint a prompt belongs to, though its cache may have
 * dropped it. What is recorded or configured here is so in ROUTED_PREFIX_INDEX too, and the other way round.
 */
export const GHOST_INDEX = token<RoutedPrefixIndex>('GhostIndex')

/**
 * What endpoints hold of a request's prompt: as the engines' events tell where they do and the token ids are exact, else
 * as this picker's own picks suggest.
 */
export interface PrefixMatcher {
  /**
   * Undefined without token data. Looked up once per request and set of endpoints within one pick, and kept with the
   * request as PREFIX_FINDING. A request for which it was asked is learned from when it has been picked.
   */
  find(request: InferenceRequest, endpoints: readonly Endpoint[]): PrefixFinding | undefined
  configure(options: MatcherOptions): void
}
export interface MatcherOptions {
  /** Whether a prompt counts as present where it was sent, before the engine's events say so. */
  readonly speculative: boolean
  /** How long that lasts where responses are not seen; else it ends soon after the first byte. */
  readonly unseenMs: number
  /** When events are not believed any more; always believed when absent. */
  readonly truth?: TruthOptions
}
export const PREFIX_MATCHER = token<PrefixMatcher>('PrefixMatcher')

/** Turns prompts into token ids. */
export interface Tokenizer {
  /**
   * The ids of the request's prompts: exact where a tokenizer is at hand, else an estimate that says why.
   * Never rejects for what a client sent.
   */
  tokenize(
    request: InferenceRequest,
    cancellation: Cancellation,
  ): Promise<PromptTokens> | PromptTokens
  /** The text of token ids, special tokens left out; undefined without a tokenizer for the model. */
  decode(model: string, ids: ArrayLike<number>): string | undefined
  configure(options: {
    /** Served model name to folder under the tokenizers directory. */
    readonly folders: Readonly<Record<string, string>>
    /** Model whose folder to use when the served name has none (`tokenProcessorConfig.model`). */
    readonly fallbackModel: string | undefined
    /** Ask the engine's own `/tokenize` instead of a local tokenizer. */
    readonly engineUrl: string | undefined
    /** Where ids come from when `engineUrl` does not say; `auto` when absent. */
    readonly source?: TokenSource
    /** Requests of one model whose counts differ from the engine's after which `auto` asks the engines; 3 when absent. */
    readonly maxMismatches?: number
    /** Whether a chat template that a request brings is rendered; false when absent. */
    readonly trustRequestChatTemplate?: boolean
  }): void
  /**
   * Tells how many tokens an engine counted in a request whose ids were made here and said to be exact, and how many there
   * were `here`. Where they differ, the model is watched.
   */
  counted?(model: string, here: number, engine: number): void
}

/**
 * `local`: the model's own files, never an engine. `engine`: the engines of the pool, whatever files there are. `auto`:
 * files where there are any and they prove right, else the engines.
 */
export type TokenSource = 'auto' | 'local' | 'engine'
export const TOKENIZER = token<Tokenizer>('Tokenizer')

/** Which models the endpoints serve, as their `/v1/models` say. */
export interface Models {
  /**
   * False only when every endpoint answered `/v1/models` within the last 30 s, none lists the model, and a fresh look
   * does not list it either.
   */
  serves(model: string): Promise<boolean> | boolean
  /** The base model of a LoRA adapter, `undefined` for a base model or an unknown name. */
  baseOf(model: string): string | undefined
  /** True when some endpoint lists it as a base model. */
  isBase(model: string): boolean
}
export const MODELS = token<Models>('Models')

/** What engines say of themselves besides their models. */
export interface EngineVersions {
  /**
   * Releases of the engines as their `/version` says, each once, in no order; undefined among them for one that has not
   * said. The same array until something changes.
   */
  versions(): readonly (string | undefined)[]
  /** The release of one endpoint by its id; undefined when it has not said. */
  versionOf(endpointId: string): string | undefined
  /** Tokens that a model takes, the least that any endpoint says (`max_model_len`); undefined when none does. */
  contextTokens(model: string): number | undefined
}

/** What an operator's objects say of one model's name. */
export interface ModelRule {
  /** The model to ask the engine for; undefined leaves the name as it is. */
  readonly targetModel: string | undefined
  /** Undefined when the objects do not say. */
  readonly criticality: Criticality | undefined
  /** Kind, namespace and name of the object that decided, for people. */
  readonly source: string
}

/** What an operator's objects say about models and priorities, as one immutable snapshot. */
export interface RequestRules {
  /** The priority of an objective by its name: larger is served first, below 0 may be shed; undefined without such an objective. */
  priorityOf(objective: string): number | undefined
  /**
   * @param model as the client named it; empty when it named none
   * @param draw numbers in [0, 1) that choose among weighted targets
   * @returns undefined when no object speaks of it
   */
  ruleOf(model: string, draw: Random): ModelRule | undefined
}

/** What a request's bytes say. */
export interface ParsedRequest {
  /** Empty when the body names none. */
  readonly model: string
  readonly prompt: Prompt | undefined
  readonly stream: boolean
  readonly cacheSalt: string | undefined
  readonly maxOutputTokens: number | undefined
}

/** Finds the engine's token counts in response bytes, without parsing each chunk. */
export interface UsageScanner {
  push(chunk: Uint8Array): void
  /** The last usage seen; undefined when there was none. */
  usage(): Usage | undefined
}

/** The OpenAI wire format. */
export interface OpenAiApi {
  /** @throws {SchedulerError} BAD_REQUEST when the body is not JSON or its prompt has a wrong shape. */
  parse(
    path: string,
    headers: ReadonlyMap<string, string>,
    body: readonly Uint8Array[],
  ): ParsedRequest
  /**
   * What the beginning of a body says: its last string or list may be cut. What cannot be read is as if it were absent.
   *
   * @returns `isCut` false where it is a whole body after all, read as `parse` does
   * @throws {SchedulerError} BAD_REQUEST as `parse`, for a whole body
   */
  parsePart(
    path: string,
    headers: ReadonlyMap<string, string>,
    body: readonly Uint8Array[],
  ): ParsedRequest & { readonly isCut: boolean }
  /** The same bytes with the value of the top-level `model` replaced, all else untouched. */
  rewriteModel(body: readonly Uint8Array[], model: string): readonly Uint8Array[]
  /** The same bytes with a top-level `model`, for a body that has none. */
  addModel(body: readonly Uint8Array[], model: string): readonly Uint8Array[]
  /** The same bytes with the top-level `cache_salt` replaced, or added where `before` is undefined. */
  setSalt(
    body: readonly Uint8Array[],
    salt: string,
    before: string | undefined,
  ): readonly Uint8Array[]
  usageScanner(): UsageScanner
}

/** One request as a transport received it. */
export interface IncomingRequest {
  /** Header names in lower case, pseudo headers included. */
  readonly headers: ReadonlyMap<string, string>
  /** The body's bytes in the pieces in which they came; empty when there is none. */
  readonly body: readonly Uint8Array[]
  /** `ip` or `ip:port` entries that the gateway allows; undefined when it gave no hint. */
  readonly subset: readonly string[] | undefined
  /** How the gateway addressed the picker; absent where the request did not come from a gateway. */
  readonly call?: GatewayCall
  /** What of a body `body` is: its beginning, or nothing though there is one; absent where it is all there is. */
  readonly bodySeen?: 'part' | 'none'
  /** `host:port` of servers known to be broken, whose endpoints are not picked; none when absent. */
  readonly avoid?: ReadonlySet<string>
}

/** How the gateway addressed the picker; nothing that a client could say. */
export interface GatewayCall {
  /** The call's `:authority`, such as `epp-default-qwen.envoy-gateway-system:9002`. */
  readonly authority: string
  /** The call's initial metadata `x-epp-pool`: `name` or `namespace/name`; undefined without it. */
  readonly pool: string | undefined
}

/** The answer to a transport: where the request goes, and whom to tell what becomes of it. */
export interface Routed {
  readonly requestId: string
  /** `ip:port`, further ones after commas. */
  readonly destination: string
  /** Headers to set on the request besides the destination. */
  readonly setHeaders: ReadonlyMap<string, string>
  readonly removeHeaders: readonly string[]
  /** The bytes to send on: those that came in unless a field had to change. Forgotten here; to be called once at most. */
  takeBody(): readonly Uint8Array[]
  /** False when nothing needs the response: the transport may step out after the request. */
  readonly watchResponse: boolean
  /**
   * @param servedEndpoint `ip:port` that served in the gateway's words; undefined when it does not say
   * @returns headers to set on the response; undefined for none
   */
  responseHeaders(
    status: number | undefined,
    headers: ReadonlyMap<string, string>,
    servedEndpoint?: string,
  ): ReadonlyMap<string, string> | undefined
  responseBody(chunk: Uint8Array): void
  /** Ends the request; calls after the first do nothing. */
  end(reason: EndReason): void
}

/** What a transport asks. */
export interface Router {
  /** @throws {SchedulerError} with the code that says why the request cannot be routed. */
  route(request: IncomingRequest, cancellation: Cancellation): Promise<Routed>
  /** False when no response is looked at at present, which may be told to the gateway before the pick. */
  mayWatchResponse(call: GatewayCall | undefined): boolean
}

/** One block's hash as a vLLM engine computes it. */
export interface EngineBlockHash {
  /** What continues the chain: the whole digest, or the 64-bit integer where the algorithm is the 64-bit one. */
  readonly digest: Uint8Array | bigint
  /** What the engine's events carry: the last 8 bytes of the digest, big-endian, unsigned. */
  readonly published: bigint
}

/** Hashes blocks exactly as vLLM does under one algorithm and seed. */
export interface EngineBlockHasher {
  readonly root: EngineBlockHash
  /** @param extras in vLLM's order and form; null when there are none */
  next(
    parent: EngineBlockHash,
    tokens: ArrayLike<number>,
    extras: readonly unknown[] | null,
  ): EngineBlockHash
}
export type EngineHashAlgorithm =
  | 'sha256'
  | 'sha256_cbor'
  | 'sha256_cbor_64bit'
  | 'xxhash'
  | 'xxhash_cbor'

/** What an engine announces about its KV cache. */
export type KvEvent =
  | {
      readonly type: 'BlockStored'
      readonly blockHashes: readonly bigint[]
      readonly parentBlockHash: bigint | null
      readonly tokenIds: ArrayLike<number>
      readonly blockTokens: number
      readonly loraName: string | null
      /** One entry per block. */
      readonly extraKeys: readonly (readonly unknown[] | null)[]
    }
  | { readonly type: 'BlockRemoved'; readonly blockHashes: readonly bigint[] }
  | { readonly type: 'AllBlocksCleared' }

/** Sends an engine's events as vLLM does. */
export interface KvEventPublisher {
  /** One message; sequence numbers begin at 0. */
  publish(events: readonly KvEvent[]): void
  close(): Promise<void>
}
