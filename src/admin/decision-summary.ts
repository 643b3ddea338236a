import type { Decision, ProfileTrace } from '../framework/routing/decision.ts'
import type { ShadowTrace } from '../framework/routing/shadow.ts'

/** What one endpoint got from each scorer. */
export interface Standing {
  /** `host:port`. */
  readonly endpoint: string
  /** Weighted scores, in the order of the scorers. */
  readonly weighted: readonly number[]
  readonly total: number
}

/** What a shadow profile would have picked. */
export interface ShadowSummary {
  readonly result: 'same' | 'different' | 'failed' | 'skipped'
  /** `host:port`; absent when it failed or was skipped. */
  readonly endpoint?: string
}

/** A decision in one line: who won, by what, and what became of it. */
export interface DecisionSummary {
  readonly requestId: string
  /** Epoch milliseconds. */
  readonly atMs: number
  readonly pool: string | undefined
  readonly model: string
  readonly targetModel: string
  /** `host:port` that was picked. */
  readonly endpoint: string
  readonly scorers: readonly string[]
  /** Undefined where the profile scored nothing. */
  readonly winner: Standing | undefined
  /** The best of the others; undefined when there was none. */
  readonly runnerUp: Standing | undefined
  /** Endpoints that shared the highest total; 1 when there was no tie. */
  readonly ties: number
  readonly promptTokens: { readonly count: number; readonly exact: boolean } | undefined
  readonly predictedCachedTokens: number | undefined
  readonly cachedTokens: number | undefined
  readonly remark: string | undefined
  /** Whether shadow profiles would have picked the same, by profile; absent without any. */
  readonly shadows?: Readonly<Record<string, ShadowSummary>>
  readonly status: number | undefined
  /** Undefined while the answer is under way. */
  readonly ended: string | undefined
  readonly firstByteMs: number | undefined
}

export function decisionSummary(decision: Decision): DecisionSummary {
  const trace = decision.profiles.find(({ profile }) => profile === decision.primary)
  const endpoint = decision.endpoints[0] ?? ''
  const first = trace?.endpoints.indexOf(endpoint) ?? -1
  return {
    requestId: decision.requestId,
    atMs: decision.atMs,
    pool: decision.pool,
    model: decision.model,
    targetModel: decision.targetModel,
    endpoint,
    scorers: trace?.scorers.map(({ name }) => name) ?? [],
    winner: trace && standing(trace, first),
    runnerUp: trace && standing(trace, bestBut(trace, first)),
    ties: trace?.ties ?? 1,
    promptTokens: decision.promptTokens,
    predictedCachedTokens: decision.predictedCachedTokens,
    cachedTokens: decision.usage?.cachedTokens,
    remark: decision.remark,
    ...(decision.shadows && { shadows: Object.fromEntries(decision.shadows.map(shadowSummary)) }),
    status: decision.status,
    ended: decision.ended,
    firstByteMs: decision.firstByteMs,
  }
}

function shadowSummary({ profile, result, trace }: ShadowTrace): [string, ShadowSummary] {
  const endpoint = trace?.picked[0]
  return [profile, { result, ...(endpoint !== undefined && { endpoint }) }]
}

function bestBut({ totals }: ProfileTrace, left: number): number {
  let best = -1
  for (const [i, total] of totals.entries()) {
    if (i !== left && (best < 0 || total > totals[best]!)) best = i
  }
  return best
}

function standing(trace: ProfileTrace, at: number): Standing | undefined {
  const endpoint = trace.endpoints[at]
  if (endpoint === undefined) return undefined
  return {
    endpoint,
    weighted: trace.scorers.map(({ scores, weight }) => scores[at]! * weight),
    total: trace.totals[at]!,
  }
}
