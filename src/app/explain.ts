import type { AskedRequest } from '../admin/sources.ts'
import { PROMPT_TOKENS } from '../framework/attributes.ts'
import { Cancellation } from '../framework/cancellation.ts'
import { sharesPort } from '../framework/endpoint.ts'
import { SchedulerError } from '../framework/errors.ts'
import type { Decision } from '../framework/routing/decision.ts'
import { droppedOf, type Explanation, explanationOf } from '../framework/routing/explanation.ts'
import type { IncomingRequest } from '../framework/services.ts'
import { apiPathOf } from '../openai/api-path.ts'
import type { Pool } from './pool.ts'

/** What `/explain` says of a request that is not sent. */
export type Explained = Explanation &
  Pick<
    Decision,
    | 'requestId'
    | 'pool'
    | 'generation'
    | 'model'
    | 'targetModel'
    | 'modelRule'
    | 'criticality'
    | 'priority'
    | 'poolSize'
    | 'candidates'
    | 'promptTokens'
    | 'indexCoverage'
    | 'remark'
  > & {
    /** ISO 8601. */
    readonly at: string
  }

/** What it says of one that could not be routed. */
export type Unroutable = Explanation & {
  readonly model: string
  readonly targetModel: string
  readonly error: { readonly code: string; readonly message: string }
}

/**
 * What would be decided of a request now.
 *
 * @throws {SchedulerError} as the director's `explain`; POOL_UNKNOWN
 */
export async function explainRequest(
  pools: readonly Pool[],
  { headers, body, path, pool: name }: AskedRequest,
  signal: AbortSignal,
): Promise<Explained | Unroutable> {
  const pool = poolOf(pools, name)
  const nameOf = namesOf(pool)
  const incoming: IncomingRequest = {
    headers: new Map([...headers, [':path', path ?? apiPathOf(body.toString())]]),
    body: body.length === 0 ? [] : [body],
    subset: undefined,
  }
  const trial = await pool.director.explain(incoming, Cancellation.following(signal))
  if (trial.decision === undefined) {
    const { error, model, targetModel, filters } = trial
    return {
      ...{ model, targetModel, error: { code: error.code, message: error.message } },
      ...{ winner: null, reason: error.message, margin: null, wouldChange: [] },
      profiles: Array.from(filters, ([profile, traces]) => ({
        profile,
        endpoints: droppedOf(traces, nameOf),
        failed: {},
      })),
    }
  }
  const { decision, request, scored } = trial
  const tokens = request.attributes.get(PROMPT_TOKENS)
  const byMedium = tokens && pool.prefixIndex.byMedium(request, tokens, scored)
  const { atMs, pool: poolName, generation, model, targetModel, modelRule } = decision
  const { criticality, priority, poolSize, candidates, promptTokens, remark } = decision
  return {
    ...explanationOf(decision, { nameOf, ...(byMedium && { byMedium }) }),
    ...{ requestId: decision.requestId, at: new Date(atMs).toISOString(), pool: poolName },
    ...{ generation, model, targetModel, modelRule, criticality, priority },
    ...{ poolSize, candidates, promptTokens, indexCoverage: decision.indexCoverage, remark },
  }
}

/** Why a request went where it did. */
export function explainDecision(pools: readonly Pool[], decision: Decision): Explanation {
  const pool = pools.find(({ name }) => name === decision.pool)
  return explanationOf(decision, { nameOf: pool ? namesOf(pool) : (hostPort) => hostPort })
}

function poolOf(pools: readonly Pool[], name: string | undefined): Pool {
  const found = name === undefined && pools.length === 1 ? pools[0] : undefined
  const pool = found ?? pools.find((each) => each.name === name && name !== undefined)
  if (pool) return pool
  const names = pools.map((each) => each.name ?? '').join(', ')
  throw new SchedulerError(
    'POOL_UNKNOWN',
    name === undefined
      ? `there are several pools; say which with ?pool=: ${names || 'none is known yet'}`
      : `there is no pool "${name}"; there are: ${names || 'none yet'}`,
  )
}

function namesOf(pool: Pool): (hostPort: string) => string {
  const names = new Map(
    pool.endpoints
      .list()
      .map((each) => [each.hostPort, sharesPort(each) ? `${each.name}#${each.rank}` : each.name]),
  )
  return (hostPort) => names.get(hostPort) || hostPort
}
