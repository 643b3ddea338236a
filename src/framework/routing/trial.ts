import type { Generation } from '../build.ts'
import type { Cancellation } from '../cancellation.ts'
import type { Endpoint } from '../endpoint.ts'
import { SchedulerError } from '../errors.ts'
import type { InferenceRequest } from '../request.ts'
import type { Clock, Endpoints, IncomingRequest } from '../services.ts'
import type { Decision, FilterTrace } from './decision.ts'
import { decisionOf } from './describe-pick.ts'
import { requestId } from './headers.ts'
import { namedEndpoints } from './outgoing.ts'
import { type Preparation, remarkOf } from './preparation.ts'
import { runProfiles, type Trials } from './scheduler.ts'

/** What would be decided of a request, were it sent now. */
export type Trial = Picked | Refused

export interface Picked {
  readonly decision: Decision
  readonly request: InferenceRequest
  /** The primary profile's endpoints, in the order in which the decision has them. */
  readonly scored: readonly Endpoint[]
}

export interface Refused {
  readonly decision?: undefined
  readonly error: SchedulerError
  readonly model: string
  readonly targetModel: string
  /** Of the profiles that ran, what their filters dropped. */
  readonly filters: ReadonlyMap<string, readonly FilterTrace[]>
}

export interface TrialServices {
  readonly clock: Clock
  readonly endpoints: Endpoints
  /** `namespace/name` of the pool. */
  readonly pool: string | undefined
}

/**
 * Takes a request to its pick without picking: no load is reserved, nothing is counted, nobody is told.
 *
 * @throws {SchedulerError} what is wrong with the request or the pool before the profiles run
 */
export async function tryOut(
  generation: Generation,
  preparation: Preparation,
  incoming: IncomingRequest,
  cancellation: Cancellation,
  { clock, endpoints, pool }: TrialServices,
): Promise<Trial> {
  const startMs = performance.now()
  const read = preparation.read(
    requestId(incoming.headers),
    incoming,
    generation.requests.saltHeader,
  )
  await preparation.complete(generation, read, incoming, cancellation)
  const { request } = read
  const producedMs = performance.now()
  const candidates = preparation.candidates(incoming)
  const trials: Trials = new Map()
  try {
    const runs = runProfiles(generation, request, candidates, clock.nowMs(), trials)
    const scheduledMs = performance.now()
    return {
      request,
      scored: runs.primary.scored,
      decision: decisionOf({
        atMs: clock.epochMs(),
        pool,
        generation: generation.id,
        read,
        runs,
        poolSize: endpoints.list().length,
        candidates: candidates.length,
        destinations: namedEndpoints(runs.primary, undefined),
        remark: remarkOf(incoming, read),
        phasesUs: {
          produce: Math.round((producedMs - startMs) * 1000),
          schedule: Math.round((scheduledMs - producedMs) * 1000),
        },
      }),
    }
  } catch (error) {
    if (!(error instanceof SchedulerError)) throw error
    return {
      error,
      model: request.model,
      targetModel: request.targetModel,
      filters: new Map([...trials].map(([name, { filters }]) => [name, filters])),
    }
  }
}
