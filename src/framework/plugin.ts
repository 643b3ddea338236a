import type { Static, TObject } from 'typebox'
import type { AttributeKey } from './attributes.ts'
import type { Cancellation } from './cancellation.ts'
import type { Endpoint } from './endpoint.ts'
import type { InferenceRequest } from './request.ts'
import type { Decision } from './routing/decision.ts'
import type { Inject, Services } from './token.ts'

/**
 * Narrows the candidates. Called in the order of the YAML, never with an empty list; what it returns must be a part of that
 * list, in any order. An empty result fails the request with `NO_ENDPOINTS`, naming the filter; anything else that is no
 * part of it is a fault (`PLUGIN_CONTRACT`). What a fault does to the request says `onError` of the configuration.
 */
export interface Filter {
  filter(request: InferenceRequest, endpoints: readonly Endpoint[]): readonly Endpoint[]
}

/** A line that a scorer wants in the log for each request that it scored. */
export interface ScorerReport {
  readonly message: string
  readonly fields: Readonly<Record<string, unknown>>
}

/**
 * Scores the candidates that the filters left.
 *
 * `score` returns one number per endpoint in the order given, 1 is best, 0 worst. The host clamps what is outside [0, 1]
 * (NaN becomes 0) and counts it; another length is a fault (`PLUGIN_CONTRACT`). What a fault does to the request says
 * `onError` of the configuration.
 */
export interface Scorer {
  score(request: InferenceRequest, endpoints: readonly Endpoint[]): ArrayLike<number>
  /** What the scores of the last `score` are made of: per name one number per endpoint; kept in the decision. */
  terms?(): Readonly<Record<string, Float64Array>> | undefined
  /** Called after the pick, for the request and endpoints of the last `score`; undefined for no line. */
  report?(request: InferenceRequest, endpoints: readonly Endpoint[]): ScorerReport | undefined
}

/** A candidate with its weighted sum of scores. */
export interface Scored {
  readonly endpoint: Endpoint
  readonly score: number
}

/** Chooses from a list that is never empty: the first of the answer is the target, the others are fallbacks. */
export interface Picker {
  pick(request: InferenceRequest, scored: readonly Scored[]): readonly Endpoint[]
}

/** What a profile picked; undefined when it found no endpoint. */
export type ProfileResults = ReadonlyMap<string, readonly Endpoint[] | undefined>

/** What to do next: run some profiles, or take the result of one of those that ran. */
export type HandlerStep = { readonly run: readonly string[] } | { readonly primary: string }

/** Decides which profiles run for a request, and which result counts. */
export interface Handler {
  next(request: InferenceRequest, profiles: readonly string[], results: ProfileResults): HandlerStep
}

/**
 * Makes one piece of data for a request before the profiles run. `cancellation.signal` fires when the client goes away, or
 * the time is over. It runs only when a configured plugin needs its data.
 * A rejection is counted and leaves the attribute unset, as does a promise that is not settled within the `timeBudgetMs` of
 * the configuration; the request goes on, unless the error refuses it (`BAD_REQUEST` and its like).
 */
export interface Producer {
  produce(
    request: InferenceRequest,
    endpoints: readonly Endpoint[],
    cancellation: Cancellation,
  ): Promise<unknown> | unknown
}

/** How a request's life ended. */
export type EndReason =
  | 'completed'
  | 'aborted'
  | 'client-gone'
  | 'endpoint-gone'
  | 'timeout'
  | 'not-watched'

/** Tokens that the engine counted for one request. */
export interface Usage {
  readonly promptTokens: number
  readonly completionTokens: number
  /** Prompt tokens that the engine took from its prefix cache; undefined when it does not say. */
  readonly cachedTokens: number | undefined
}

/** What is known when a request has ended. */
export interface Outcome {
  readonly reason: EndReason
  /** HTTP status of the engine's answer; undefined when none was seen. */
  readonly status: number | undefined
  readonly usage: Usage | undefined
  /** Response body bytes seen. */
  readonly responseBytes: number
  /** From the pick to the first byte of the response body; undefined when none was seen. */
  readonly firstByteMs: number | undefined
  /** From the pick to the end. */
  readonly durationMs: number
}

/** The beginning of a response, as the gateway shows it. */
export interface ResponseStart {
  /** HTTP status; undefined when the gateway does not say. */
  readonly status: number | undefined
  /** Header names in lower case, pseudo headers included. */
  readonly headers: ReadonlyMap<string, string>
  /** `ip:port` that served the request in the gateway's words; undefined when it does not say. */
  readonly servedEndpoint: string | undefined
}

/**
 * Told of a request's life, and of the plugin's own. Any plugin may have these methods beside its own; a throw is caught
 * and counted.
 */
export interface Observer {
  /** When the configuration that has this plugin comes into force: the place to configure a shared service. */
  activated?(): void
  /** In the same synchronous step as the pick. Prompt and token ids are forgotten after it. */
  picked?(request: InferenceRequest, endpoint: Endpoint, decision: Decision): void
  /**
   * Once, when the response's headers come; only where responses are watched (`watchesResponses`).
   *
   * @returns headers to set on the response, names in lower case, in the place of those that it has; undefined for none.
   *   Those that frame the message, such as `content-length`, are a fault: counted and left out.
   */
  responseHeaders?(
    request: InferenceRequest,
    endpoint: Endpoint,
    response: ResponseStart,
  ): ReadonlyMap<string, string> | undefined
  /** At the first byte of the response body. */
  responded?(request: InferenceRequest, endpoint: Endpoint): void
  /** Once, whatever way the request ended. */
  ended?(request: InferenceRequest, endpoint: Endpoint, outcome: Outcome): void
}

/** The method that each kind of plugin must have. */
export interface Kinds {
  filter: Filter
  scorer: Scorer
  picker: Picker
  handler: Handler
  producer: Producer
  observer: Observer
}

export type Kind = keyof Kinds

/** A plugin of a configuration, as others see it. */
export interface ConfiguredPlugin {
  readonly name: string
  readonly kind: Kind
  readonly type: string
  /** Checked against its schema, defaults filled in. */
  readonly params: unknown
}

/** What stands around a plugin in a configuration. */
export interface PluginUse {
  /** The name of the plugin itself. */
  readonly name: string
  /** All plugins in the order of the file, this one included. */
  readonly plugins: readonly ConfiguredPlugin[]
  /** Those of one profile that lists it, in its order, this one included; empty when none does. */
  readonly profile: readonly ConfiguredPlugin[]
  /** Names of all profiles. */
  readonly profiles: readonly string[]
}

/** Something about params that their schema cannot say. */
export interface Remark {
  /** `error`: it cannot work so. `warning`: it has no effect. `unused`: the same of one param, said only where the file has it and with another value than the default. */
  readonly kind: 'error' | 'warning' | 'unused'
  /** From the params down; empty for the plugin as a whole, whose name the message is then given as its subject. */
  readonly path: readonly (string | number)[]
  /** What is the matter, with the value, then what to do. */
  readonly message: string
  /** Names of which the value was probably meant to be one. */
  readonly known?: readonly string[]
}

/** What a plugin reads of a request that is recorded only for those that say so. */
export interface Reads {
  readonly headers: readonly string[]
}

/** A plugin as its author writes it: a value, no class, no registration. */
export interface PluginInput<K extends Kind, P extends TObject, I extends Inject> {
  readonly kind: K
  /** The name used in YAML: lower case, words joined by hyphens. */
  readonly type: string
  /** Older names under which the plugin is also known. */
  readonly aliases?: readonly string[]
  /** One sentence for `epp plugins` and the schema. */
  readonly description: string
  /** JSON Schema of `parameters`; defaults live here only. */
  readonly params: P
  /** Services to inject. */
  readonly inject?: I
  /** Data that must be there before the profiles run. */
  readonly needs?: readonly AttributeKey<unknown>[]
  /** The data that a producer makes. */
  readonly produces?: AttributeKey<unknown>
  /**
   * Request headers whose values decide what it does, in any case: they are kept where decisions are recorded, to be made
   * again from the record. A function of its params where these name them.
   */
  readonly reads?: Reads | ((params: Static<P>) => Reads)
  /** True when it must be told of responses: then the gateway sends them past us. A function of its params where that depends. */
  readonly watchesResponses?: boolean | ((params: Static<P>) => boolean)
  /**
   * For a scorer: when its scores differ between endpoints, in words that follow "when", such as "engines report waiting
   * requests". Shown where they never do.
   */
  readonly differsWhen?: string
  /**
   * Says what of params that fit the schema cannot work or has no effect. Called at each load and by `epp check`, once for
   * each profile that lists the plugin, and once when none does.
   */
  lint?(params: Static<P>, use: PluginUse): readonly Remark[]
  /** Of a handler: the profiles that it may ever run, by name; all when absent. */
  selects?(params: Static<P>, profiles: readonly string[]): readonly string[]
  create(params: Static<P>, services: Services<I>): Kinds[K] & Observer
}

/** A plugin as the host knows it. */
export interface Plugin<
  K extends Kind = Kind,
  P extends TObject = TObject,
  I extends Inject = Inject,
> extends PluginInput<K, P, I> {
  readonly aliases: readonly string[]
  readonly inject: I
  readonly needs: readonly AttributeKey<unknown>[]
  readonly watchesResponses: boolean | ((params: Static<P>) => boolean)
}

/** A plugin whose params and services are not known statically. */
// biome-ignore lint/suspicious/noExplicitAny: `create` takes what this very plugin's schema describes
export type AnyPlugin = { readonly [K in Kind]: Plugin<K, any, any> }[Kind]

/** Makes a plugin; params and services of `create` get their types from the schema and from `inject`. */
export function definePlugin<
  K extends Kind,
  P extends TObject,
  I extends Inject = Record<never, never>,
>(plugin: PluginInput<K, P, I>): Plugin<K, P, I> {
  return Object.freeze({
    aliases: [],
    inject: {} as I,
    needs: [],
    watchesResponses: false,
    ...plugin,
  })
}
