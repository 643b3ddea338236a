import { PROMPT_TOKENS } from '../attributes.ts'
import type { Endpoint } from '../endpoint.ts'
import type { InferenceRequest } from '../request.ts'
import { PREFIX_FINDING } from '../services.ts'
import type { Decision, DecisionMatch } from './decision.ts'
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

/** The decision that a pick is, with all that led to it. */
export function decisionOf({ read, runs, destinations, ...rest }: Pick): Decision {
  const { request, rule } = read
  const { primary, traces } = runs
  return {
    ...rest,
    requestId: request.id,
    model: request.model,
    targetModel: request.targetModel,
    modelRule: rule?.source,
    criticality: request.criticality,
    priority: request.priority,
    profiles: traces,
    primary: primary.trace.profile,
    endpoints: destinations,
    remark: rest.remark ?? distrustOf(request, primary.picked[0]!),
    ...prefixOf(request, primary.picked[0]!, primary.scored),
    status: undefined,
    usage: undefined,
    ended: undefined,
  }
}

/** The parts of a decision that come from token data and from a prefix scorer's finding. */
function prefixOf(request: InferenceRequest, target: Endpoint, scored: readonly Endpoint[]) {
  const tokens = request.attributes.get(PROMPT_TOKENS)
  const finding = request.attributes.get(PREFIX_FINDING)
  return {
    promptTokens: tokens && {
      count: promptTokensOf(request),
      exact: tokens.exact,
      ...(tokens.reason !== undefined && { reason: tokens.reason }),
    },
    predictedCachedTokens: cachedTokensAt(request, target),
    indexCoverage: finding && {
      tracked: finding.tracked,
      endpoints: finding.endpoints.length,
      source: finding.source,
      ...(finding.distrusted && {
        distrusted: finding.distrusted.filter((reason) => reason !== undefined).length,
      }),
    },
    match: matchAt(request, scored),
  }
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
  if (endpoints === scored) return match
  const positionOf = new Map(endpoints.map((endpoint, i) => [endpoint, i]))
  const at = scored.map((endpoint) => positionOf.get(endpoint) ?? -1)
  const pick = (values: ArrayLike<number>) => (i: number) => (i < 0 ? -1 : values[i]!)
  return {
    blocks: Int32Array.from(at, pick(match.blocks)),
    weighted: Float64Array.from(at, pick(match.weighted)),
    blockTokens: Int32Array.from(at, pick(match.blockTokens)),
  }
}
