import type { Decision, DecisionLog } from '../framework/routing/decision.ts'
import type { Explanation } from '../framework/routing/explanation.ts'

/** One condition of readiness. */
export interface ReadyCheck {
  readonly name: string
  readonly ok: boolean
  readonly detail: string
}

/** What is blind, stale or without effect, in words. */
export interface Notice {
  readonly key: string
  readonly text: string
  readonly sinceEpochMs: number
}

/** One model server as `/endpoints` shows it; what is not known is absent. Further fields may be there. */
export interface EndpointPage {
  /** `namespace/name`; undefined where endpoints come from flags or a file. */
  readonly pool?: string | undefined
  readonly name: string
  readonly namespace?: string
  /** `host:port`. */
  readonly address: string
  readonly rank?: number
  readonly labels?: Readonly<Record<string, string>>
  readonly version?: string | undefined
  readonly state?: string
  /** Requests picked and not ended, and their prompt tokens that are to be computed. */
  readonly inFlight?: number
  readonly inFlightTokens?: number
  readonly waiting?: number | undefined
  readonly running?: number | undefined
  /** In [0, 1]. */
  readonly kvCacheUsage?: number | undefined
  readonly scrapeAgeMs?: number | undefined
  readonly coverage?: string | undefined
  /** Who tells what its cache holds: engines' events, this picker's own picks, nobody. */
  readonly index?: 'tracked' | 'routed' | 'none'
  readonly blocks?: number | undefined
  readonly lastEventAgeMs?: number | undefined
  /** What its answers of the last 15 minutes told. */
  readonly cache?: {
    readonly answers: number
    readonly promptTokens: number
    readonly cachedTokens: number
  }
  /** What a proxy says that has taken it out; absent while it has not. */
  readonly ejected?: unknown
  /** Whether what its events tell is believed; absent where nobody compares. */
  readonly trust?: { readonly state: string; readonly reason?: string | undefined } | undefined
  readonly publishers?: unknown
}

/** What `/config` shows of one pool. */
export interface ConfigPage {
  readonly pool: string | undefined
  readonly generation: number
  readonly source: string
  readonly lastReload:
    | { readonly at: string; readonly source: string; readonly result: string }
    | undefined
  readonly warnings: readonly unknown[]
  readonly needsRestart: readonly string[]
  readonly text: string
}

/** Sums over requests; see the telemetry that makes them. */
export interface RoutingSums {
  readonly requests: number
  readonly answers: number
  readonly promptTokens: number
  readonly cachedTokens: number
  readonly comparedPromptTokens: number
  readonly predictedTokens: number
  readonly comparedCachedTokens: number
  readonly offeredTokens: number
}

/** The same for one second, and requests by `host:port`. */
export interface RoutingSecond extends RoutingSums {
  /** Whole seconds since 1970. */
  readonly second: number
  readonly byEndpoint: Readonly<Record<string, number>>
}

/** A request to explain. */
export interface AskedRequest {
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>
  readonly body: Buffer
  /** Of the API; told by the body's fields when absent. */
  readonly path?: string
  /** `namespace/name`; may be absent where there is one pool. */
  readonly pool?: string
}

/** What the pages are made from. */
export interface AdminSources {
  readonly version: string
  epochMs(): number
  readonly metricsContentType: string
  metricsText(): Promise<string>
  ready(): readonly ReadyCheck[]
  /** Does not make the picker unready. */
  notices(): readonly Notice[]
  endpoints(): readonly EndpointPage[]
  /** One for each pool. */
  configurations(): readonly ConfigPage[]
  readonly decisions: DecisionLog
  /** Why a request went where it did. */
  explanation(decision: Decision): Explanation
  /** What would be decided of a request now. @throws {SchedulerError} what is wrong with it */
  explain(asked: AskedRequest, signal: AbortSignal): Promise<unknown>
  /** Bytes that the body of such a request may have. */
  readonly maxBodyBytes: number
  readonly history: {
    readonly keptSeconds: number
    readonly total: RoutingSums
    /** Seconds after this one that have ended. */
    since(afterSecond: number): readonly RoutingSecond[]
  }
}
