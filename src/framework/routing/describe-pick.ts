import { PROMPT_TOKENS } from '../attributes.ts'
import type { Endpoint } from '../endpoint.ts'
import type { InferenceRequest } from '../request.ts'
import { PREFIX_FINDING } from '../services.ts'
import type { Decision, DecisionMatch } from './decision.ts'
import { TraceKeeper } from './kept-trace.ts'
import type { ReadRequest } from './read-request.ts'
import { cachedTokensAt, promptTokensOf } from './request-load.ts'
import type { ProfileRuns } from './scheduler.ts'

/** One pick, before it is known what becomes of it. */
export interface Pick {
  readonly atMs: number
  readonly pool: string | undefined
  readonly generation: number
  readonly read: ReadRequest
  readonly runs: ProfileRuns
  readonly poolSize: number
  readonly candidates: number
  /** By their `hostPort`, the target first. */
  readonly destinations: readonly string[]
  readonly remark: string | undefined
  /** Absent without any. */
  readonly shadows?: NonNullable<Decision['shadows']>
  readonly phasesUs: Decision['phasesUs']
}

const keeper = new TraceKeeper()

/**
 * The decision that a pick is, with all that led to it.
 *
 * Written out, since objects that are spread into one of this size cost several times as much.
 */
export function decisionOf(pick: Pick): Decision {
  const { request, rule } = pick.read
  const { primary, traces } = pick.runs
  const target = primary.picked[0]!
  const decision: Decision & { shadows?: Decision['shadows'] } = {
    requestId: request.id,
    atMs: pick.atMs,
    pool: pick.pool,
    generation: pick.generation,
    model: request.model,
    targetModel: request.targetModel,
    modelRule: rule?.source,
    criticality: request.criticality,
    priority: request.priority,
    poolSize: pick.poolSize,
    candidates: pick.candidates,
    profiles: traces,
    primary: primary.trace.profile,
    endpoints: pick.destinations,
    promptTokens: tokensOf(request),
    predictedCachedTokens: cachedTokensAt(request, target),
    indexCoverage: coverageOf(request),
    match: matchAt(request, primary.scored),
    remark: pick.remark ?? distrustOf(request, target),
    phasesUs: pick.phasesUs,
    status: undefined,
    usage: undefined,
    ended: undefined,
    firstByteMs: undefined,
    durationMs: undefined,
  }
  if (pick.shadows) decision.shadows = pick.shadows
  return decision
}

function tokensOf(request: InferenceRequest): Decision['promptTokens'] {
  const tokens = request.attributes.get(PROMPT_TOKENS)
  if (tokens === undefined) return undefined
  const { exact, reason } = tokens
  const count = promptTokensOf(request)
  return reason === undefined ? { count, exact } : { count, exact, reason }
}

function coverageOf(request: InferenceRequest): Decision['indexCoverage'] {
  const finding = request.attributes.get(PREFIX_FINDING)
  if (finding === undefined) return undefined
  const { tracked, source, distrusted } = finding
  const endpoints = finding.endpoints.length
  if (distrusted === undefined) return { tracked, endpoints, source }
  const wrong = distrusted.filter((reason) => reason !== undefined).length
  return { tracked, endpoints, source, distrusted: wrong }
}

/** Says where the target's events have proved wrong, so that its match is an estimate. */
function distrustOf(request: InferenceRequest, target: Endpoint): string | undefined {
  const finding = request.attributes.get(PREFIX_FINDING)
  const reason = finding?.distrusted?.[finding.endpoints.indexOf(target)]
  return reason && `KV events of ${target.hostPort} prove wrong (${reason}): its match is estimated`
}

function matchAt(
  request: InferenceRequest,
  scored: readonly Endpoint[],
): DecisionMatch | undefined {
  const finding = request.attributes.get(PREFIX_FINDING)
  if (finding === undefined) return undefined
  const { endpoints, match } = finding
  if (endpoints === scored) return keeper.match(match)
  const positionOf = new Map(endpoints.map((endpoint, i) => [endpoint, i]))
  const at = scored.map((endpoint) => positionOf.get(endpoint) ?? -1)
  const pick = (values: ArrayLike<number>) => (i: number) => (i < 0 ? -1 : values[i]!)
  return keeper.match({
    blocks: at.map(pick(match.blocks)),
    weighted: at.map(pick(match.weighted)),
    blockTokens: at.map(pick(match.blockTokens)),
  })
}
