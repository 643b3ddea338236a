import { PROMPT_TOKENS } from '../attributes.ts'
import type { Generation } from '../build.ts'
import type { Cancellation } from '../cancellation.ts'
import { type Endpoint, networkAddress } from '../endpoint.ts'
import { SchedulerError } from '../errors.ts'
import type { InferenceRequest } from '../request.ts'
import type {
  Endpoints,
  IncomingRequest,
  Models,
  OpenAiApi,
  Random,
  RequestRules,
} from '../services.ts'
import { produceAll } from './produce.ts'
import { type ReadRequest, readRequest } from './read-request.ts'
import type { RequestLog } from './request-log.ts'

/** Rules of a picker without any objects. */
const NO_RULES: RequestRules = { priorityOf: () => undefined, ruleOf: () => undefined }

const NO_BODY = 'no body: prefix scorers neutral'
const CUT_BODY = 'the gateway passes the beginning of the body alone: token counts are not exact'

export interface PreparationServices {
  readonly endpoints: Endpoints
  readonly models: Models
  readonly openAi: OpenAiApi
  readonly random: Random
  readonly requestLog: RequestLog
}

/** Takes a request from its bytes to the moment of its pick. */
export class Preparation {
  readonly #services: PreparationServices
  readonly #subsetHints: boolean
  /** What objects say of models and priorities. */
  rules = NO_RULES

  /** @param options `subsetHints` false leaves the gateway's subset of endpoints unread */
  constructor(services: PreparationServices, options: { readonly subsetHints?: boolean }) {
    this.#services = services
    this.#subsetHints = options.subsetHints ?? true
  }

  /** @throws {SchedulerError} BAD_REQUEST, MODEL_MISSING */
  read(id: string, incoming: IncomingRequest, saltHeader: string | undefined): ReadRequest {
    const { openAi, random } = this.#services
    return readRequest(id, incoming, { openAi, random, rules: this.rules, saltHeader })
  }

  /**
   * Sees that the model is served, and has producers make the request's data.
   *
   * @throws {SchedulerError} MODEL_UNKNOWN, CANCELLED, as `candidates`, what a producer refuses the request with
   */
  async complete(
    { producers }: Generation,
    { request, isCut }: ReadRequest,
    incoming: IncomingRequest,
    cancellation: Cancellation,
  ): Promise<void> {
    const { models, requestLog } = this.#services
    if (request.targetModel !== '') {
      const served = models.serves(request.targetModel)
      if (!(typeof served === 'boolean' ? served : await served)) {
        throw new SchedulerError(
          'MODEL_UNKNOWN',
          `the model "${request.targetModel}" does not exist; GET /v1/models lists those that do`,
        )
      }
    }
    if (producers.length > 0 && request.prompt !== undefined) {
      await produceAll(producers, request, this.candidates(incoming), cancellation, (error) =>
        requestLog.producerFailed(request.id, error),
      )
    }
    if (isCut) markInexact(request)
    if (cancellation.isCancelled) {
      throw new SchedulerError('CANCELLED', 'the client went away before its request was routed')
    }
  }

  /**
   * The endpoints that the request may go to, as they are now; never empty.
   *
   * @throws {SchedulerError} POOL_EMPTY, SUBSET_EMPTY
   */
  candidates({ subset, avoid }: IncomingRequest): readonly Endpoint[] {
    const all = reachable(this.#services.endpoints.list(), avoid)
    if (all.length === 0) {
      throw new SchedulerError('POOL_EMPTY', 'no model server is ready; the pool has 0 endpoints')
    }
    if (subset === undefined || !this.#subsetHints) return all
    const allowed = new Set(subset)
    const left = all.filter(
      ({ address, hostPort }) =>
        allowed.has(networkAddress(hostPort)) ||
        allowed.has(address) ||
        allowed.has(`[${address}]`),
    )
    if (left.length > 0) return left
    throw new SchedulerError(
      'SUBSET_EMPTY',
      `none of the ${subset.length} endpoints that the gateway allows is among the pool's ${all.length}`,
    )
  }
}

/** @throws {SchedulerError} POOL_EMPTY when all are to be avoided */
function reachable(
  all: readonly Endpoint[],
  avoid: ReadonlySet<string> | undefined,
): readonly Endpoint[] {
  if (avoid === undefined || all.length === 0) return all
  const left = all.filter(({ hostPort }) => !avoid.has(networkAddress(hostPort)))
  if (left.length > 0) return left
  throw new SchedulerError(
    'POOL_EMPTY',
    all.length === 1
      ? 'the only model server of the pool is unreachable; try again'
      : `all ${all.length} model servers of the pool are unreachable; try again`,
  )
}

/** What the pick has to do without, in words; undefined when nothing is missing. */
export function remarkOf(
  { bodySeen }: IncomingRequest,
  { isCut }: ReadRequest,
): string | undefined {
  if (bodySeen === 'none') return NO_BODY
  return isCut ? CUT_BODY : undefined
}

/** Token ids of a body that is cut go on otherwise than these. */
function markInexact({ attributes }: InferenceRequest): void {
  const tokens = attributes.get(PROMPT_TOKENS)
  if (tokens !== undefined)
    attributes.set(PROMPT_TOKENS, { ...tokens, exact: false, reason: CUT_BODY })
}
