import type { EndReason, Usage } from '../plugin.ts'
import type { Criticality } from '../request.ts'
import type { ShadowTrace } from './shadow.ts'

/** What one filter did. */
export interface FilterTrace {
  readonly name: string
  /** `hostPort` of those it dropped. */
  readonly dropped: readonly string[]
  /** Why it failed, where its `onError` is `neutral`: it dropped none. */
  readonly error?: string
}

/** What one scorer said: arrays follow `ProfileTrace.endpoints`. */
export interface ScorerTrace {
  readonly name: string
  readonly weight: number
  /** Clamped to [0, 1]. */
  readonly scores: Float64Array
  /** What the scores are made of, in the scorer's own unit; absent when it does not say. */
  readonly terms?: Readonly<Record<string, Float64Array>> | undefined
  /** Why it failed, where its `onError` is `neutral`: every score is 0.5. */
  readonly error?: string | undefined
}

/** One run of one profile. */
export interface ProfileTrace {
  readonly profile: string
  readonly filters: readonly FilterTrace[]
  /** `hostPort` of the endpoints that were scored. */
  readonly endpoints: readonly string[]
  readonly scorers: readonly ScorerTrace[]
  /** Weighted sums, in the order of `endpoints`. */
  readonly totals: Float64Array
  /** Endpoints that shared the highest total; 1 when there was no tie. */
  readonly ties: number
  /** By their `hostPort`, the target first. */
  readonly picked: readonly string[]
  /** Age of each endpoint's metrics at the pick in milliseconds, NaN when there were none. */
  readonly metricsAgeMs: Float64Array
}

/** Blocks of a prompt that endpoints held, as a prefix scorer found; -1 where it was not asked. */
export interface DecisionMatch {
  readonly blocks: ArrayLike<number>
  /** Each block counted by its medium's weight. */
  readonly weighted: ArrayLike<number>
  /** Tokens per block on that endpoint. */
  readonly blockTokens: ArrayLike<number>
}

/** The whole reason for one pick, and what became of it. */
export interface Decision {
  readonly requestId: string
  /** Epoch milliseconds. */
  readonly atMs: number
  /** `namespace/name` of the pool; undefined where endpoints come from flags or a file. */
  readonly pool: string | undefined
  /** Configuration generation that decided. */
  readonly generation: number
  readonly model: string
  readonly targetModel: string
  /** The object that renamed the model or told its criticality; undefined when none speaks of it. */
  readonly modelRule: string | undefined
  readonly criticality: Criticality
  readonly priority: number
  /** Endpoints in the pool before subset and filters. */
  readonly poolSize: number
  /** Endpoints that the gateway's subset left; equal to `poolSize` without one. */
  readonly candidates: number
  readonly profiles: readonly ProfileTrace[]
  /** Name of the profile whose result counts. */
  readonly primary: string
  /** By their `hostPort`, the target first. */
  readonly endpoints: readonly string[]
  /** Prompt tokens, and whether they are the engine's own ids; undefined without token data. */
  readonly promptTokens:
    | {
        readonly count: number
        readonly exact: boolean
        /** Why they are not exact. */
        readonly reason?: string
      }
    | undefined
  /** Prompt tokens expected in the target's prefix cache; undefined when no prefix scorer ran. */
  readonly predictedCachedTokens: number | undefined
  /** Which index the prediction came from; undefined when no prefix scorer ran. */
  readonly indexCoverage:
    | {
        readonly tracked: number
        readonly endpoints: number
        readonly source: 'tracked' | 'routed'
        /** Endpoints whose events have proved wrong, so that they are not believed; absent without any. */
        readonly distrusted?: number
      }
    | undefined
  /** What the primary profile's endpoints held of the prompt, in the order of its `endpoints`; undefined when no prefix scorer ran. */
  readonly match: DecisionMatch | undefined
  /** What the decision had to do without, in words; undefined when nothing was missing. */
  readonly remark: string | undefined
  /** What shadow profiles would have picked; absent without any. */
  readonly shadows?: readonly ShadowTrace[]
  /** Time from the complete request to the pick, in microseconds, by phase. */
  readonly phasesUs: Readonly<Record<string, number>>
  /** Filled in later. */
  status: number | undefined
  usage: Usage | undefined
  ended: EndReason | undefined
  /** From the pick to the first byte of the answer's body, in milliseconds; undefined when none was seen. */
  firstByteMs: number | undefined
  /** From the pick to the end of the answer; undefined while it is under way, and where answers are not seen. */
  durationMs: number | undefined
}

/** The last decisions, the newest first to be found. */
export class DecisionLog {
  readonly #capacity: number
  readonly #ring: Decision[] = []
  #next = 0

  /** @param capacity decisions kept, at least 1 */
  constructor(capacity: number) {
    this.#capacity = capacity
  }

  add(decision: Decision): void {
    this.#ring[this.#next] = decision
    this.#next = (this.#next + 1) % this.#capacity
  }

  /** The newest first, at most `limit`. */
  list(limit: number): readonly Decision[] {
    const found: Decision[] = []
    for (let i = 1; i <= this.#ring.length && found.length < limit; i++) {
      found.push(this.#ring[(this.#next - i + this.#capacity * 2) % this.#capacity]!)
    }
    return found
  }

  /** The newest decision of that request id. */
  find(requestId: string): Decision | undefined {
    return this.list(this.#capacity).find((decision) => decision.requestId === requestId)
  }
}
