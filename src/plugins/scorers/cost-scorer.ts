import { type Static, Type } from 'typebox'
import { PROMPT_TOKENS } from '../../framework/attributes.ts'
import type { Endpoint } from '../../framework/endpoint.ts'
import { definePlugin, type Observer, type Scorer } from '../../framework/plugin.ts'
import type { InferenceRequest } from '../../framework/request.ts'
import { answerTokensOf, promptTokensOf } from '../../framework/routing/request-load.ts'
import {
  COST_FINDING,
  type CostFinding,
  GHOST_INDEX,
  IN_FLIGHT,
  type InFlight,
  PREFIX_MATCHER,
  type PrefixMatch,
  type PrefixMatcher,
  type RoutedPrefixIndex,
} from '../../framework/services.ts'
import {
  COST_TERMS,
  type CostInputs,
  type CostTerm,
  type CostTerms,
  costTerms,
  scoresOf,
  termArrays,
  totalCosts,
} from './cost-terms.ts'
import { podScores } from './prefix-report.ts'

const Params = Type.Object({
  prefillTokensPerSecond: Type.Number({
    exclusiveMinimum: 0,
    default: 15_928,
    description: 'Prompt tokens that one endpoint computes per second.',
  }),
  decodeSecondsPerSequence: Type.Number({
    minimum: 0,
    default: 3e-5,
    description: 'What one more sequence adds to a decoding step, in seconds.',
  }),
  decodeSecondsPerContextToken: Type.Number({
    minimum: 0,
    default: 4.9e-8,
    description: 'What one more token of context adds to a decoding step, in seconds.',
  }),
  stepSeconds: Type.Number({
    minimum: 0,
    default: 0.013,
    description: 'A decoding step of an idle engine, in seconds.',
  }),
  othersWeight: Type.Number({
    minimum: 0,
    default: 0.3,
    description:
      'Weight of a second that others wait against one of this request; more favours the whole answer over its first token.',
  }),
  kvWeight: Type.Number({
    minimum: 0,
    default: 1,
    description: 'Weight of the wait for KV memory that is missing.',
  }),
  homeWeight: Type.Number({
    minimum: 0,
    default: 1,
    description: 'Weight of what a second copy of a prefix displaces.',
  }),
  kvRent: Type.Number({
    minimum: 0,
    default: 5,
    description: 'Price of KV memory when all endpoints fill up; 0 is no price.',
  }),
  scaleSeconds: Type.Number({
    exclusiveMinimum: 0,
    default: 1,
    description: 'Seconds more than the best at which an endpoint scores 0.5.',
  }),
})

type Params = Static<typeof Params>

/**
 * Prefers the endpoint on which this request causes the least delay: to itself, to those that are served there, and to
 * those whose cached prompts it would displace.
 *
 * The score is S / (S + C - min C) with C the sum of the terms of `cost-terms.ts` and S `scaleSeconds`: alone with
 * max-score-picker it picks the least cost, among other scorers its weight trades against seconds.
 */
export const costScorer = definePlugin({
  kind: 'scorer',
  type: 'cost-scorer',
  description: 'Prefers the endpoint on which this request causes the least delay, in seconds.',
  differsWhen: 'endpoints differ in load or in what they have cached of a prompt',
  params: Params,
  inject: { inFlight: IN_FLIGHT, matcher: PREFIX_MATCHER, ghost: GHOST_INDEX },
  needs: [PROMPT_TOKENS],
  watchesResponses: true,
  lint: (_params, { profile }) =>
    profile.some(({ type }) => type === 'max-score-picker') &&
    profile.filter(({ kind }) => kind === 'scorer').length === 1
      ? [
          {
            kind: 'unused',
            path: ['scaleSeconds'],
            message:
              'the only scorer beside max-score-picker picks the least cost on any scale, so that this has no effect; remove it',
          },
        ]
      : [],
  create: (params, services) => new CostScorer(params, services),
})

interface CostServices {
  readonly inFlight: InFlight
  readonly matcher: PrefixMatcher
  readonly ghost: RoutedPrefixIndex
}

/** What was computed for the last request. */
interface Scoring {
  readonly request: InferenceRequest
  readonly endpoints: readonly Endpoint[]
  readonly match: PrefixMatch | undefined
  readonly inputs: CostInputs
  readonly terms: CostTerms
  readonly totals: Float64Array
}

class CostScorer implements Scorer, Observer {
  readonly #params: Params
  readonly #services: CostServices
  /** What is known at the pick, used again for the next one; typed arrays are expensive to make. */
  #inputs = new EndpointInputs(0)
  #terms = termArrays(0)
  #last: Scoring | undefined
  /** What there is to report of the last pick. */
  #picked: { readonly finding: CostFinding; readonly match: PrefixMatch | undefined } | undefined

  constructor(params: Params, services: CostServices) {
    this.#params = params
    this.#services = services
  }

  score(request: InferenceRequest, endpoints: readonly Endpoint[]): Float64Array {
    const match = this.#services.matcher.find(request, endpoints)?.match
    const inputs = this.#read(request, endpoints, match)
    if (this.#terms.queue.length !== endpoints.length) this.#terms = termArrays(endpoints.length)
    const terms = costTerms(inputs, this.#params, this.#terms)
    const totals = totalCosts(terms)
    this.#last = { request, endpoints, match, inputs, terms, totals }
    this.#picked = undefined
    return scoresOf(totals, this.#params.scaleSeconds)
  }

  terms(): CostTerms | undefined {
    return this.#last?.terms
  }

  picked(request: InferenceRequest, endpoint: Endpoint): void {
    const last = this.#last
    this.#last = undefined
    const at = last?.request === request ? last.endpoints.indexOf(endpoint) : -1
    if (last && at >= 0) {
      const finding = this.#find(last, at)
      this.#picked = { finding, match: last.match }
      request.attributes.set(COST_FINDING, finding)
    }
    const tokens = request.attributes.get(PROMPT_TOKENS)
    if (tokens) this.#services.ghost.record(request, tokens, endpoint)
  }

  report(_request: InferenceRequest, endpoints: readonly Endpoint[]) {
    const picked = this.#picked
    this.#picked = undefined
    const report = podScores(endpoints, picked?.match)
    if (!picked) return report
    const { endpoint, terms, total, runnerUp } = picked.finding
    const cost: Record<string, unknown> = { endpoint: endpoint.hostPort, total: rounded(total) }
    for (const term of COST_TERMS) cost[term] = rounded(terms[term]!)
    if (runnerUp) {
      cost.runnerUp = runnerUp.endpoint.hostPort
      cost.margin = rounded(runnerUp.total - total)
    }
    return { message: report.message, fields: { scores: report.fields.scores, cost } }
  }

  #read(
    request: InferenceRequest,
    endpoints: readonly Endpoint[],
    match: PrefixMatch | undefined,
  ): CostInputs {
    const { inFlight, ghost } = this.#services
    const tokens = request.attributes.get(PROMPT_TOKENS)
    const past = tokens && ghost.match(request, tokens, endpoints)
    const count = endpoints.length
    if (this.#inputs.matched.length !== count) this.#inputs = new EndpointInputs(count)
    const inputs = this.#inputs
    const promptTokens = promptTokensOf(request)
    inputs.promptTokens = promptTokens
    inputs.answerTokens = answerTokensOf(request, inFlight.meanOutputTokens)
    for (let i = 0; i < count; i++) {
      const endpoint = endpoints[i]!
      const { metrics } = endpoint
      const kvCapacity = known(metrics?.kvBlocks) * known(metrics?.blockTokens)
      inputs.matched[i] = match ? Math.min(promptTokens, tokensAt(match, i)) : 0
      inputs.owned[i] = past ? Math.min(promptTokens, tokensAt(past, i)) : 0
      inputs.queued[i] = inFlight.queuedTokens(endpoint)
      inputs.requests[i] = inFlight.requests(endpoint)
      inputs.context[i] = inFlight.contextTokens(endpoint)
      inputs.kvUsed[i] = known(metrics?.kvCacheUsage) * kvCapacity
      inputs.kvPending[i] = inFlight.pendingKvTokens(endpoint)
      inputs.kvCapacity[i] = kvCapacity
    }
    return inputs
  }

  #find({ endpoints, inputs, terms, totals }: Scoring, at: number): CostFinding {
    let second = -1
    for (let i = 0; i < totals.length; i++) {
      if (i !== at && (second < 0 || totals[i]! < totals[second]!)) second = i
    }
    const { prefillTokensPerSecond, stepSeconds } = this.#params
    return {
      endpoint: endpoints[at]!,
      terms: termsAt(terms, at),
      total: totals[at]!,
      runnerUp: second < 0 ? undefined : { endpoint: endpoints[second]!, total: totals[second]! },
      promptTokens: inputs.promptTokens,
      matchedTokens: inputs.matched[at]!,
      knownTokens: inputs.owned.reduce(larger, inputs.matched[at]!),
      tokensBeforeFirst: inputs.queued[at]! + inputs.promptTokens - inputs.matched[at]!,
      firstTokenSeconds: stepSeconds + terms.queue[at]! + terms.prefill[at]! + terms.kv[at]!,
      prefillTokensPerSecond,
    }
  }
}

/** One number per endpoint and input. */
class EndpointInputs implements CostInputs {
  promptTokens = 0
  answerTokens = 0
  readonly matched: Float64Array
  readonly owned: Float64Array
  readonly queued: Float64Array
  readonly requests: Float64Array
  readonly context: Float64Array
  readonly kvUsed: Float64Array
  readonly kvPending: Float64Array
  readonly kvCapacity: Float64Array

  constructor(count: number) {
    this.matched = new Float64Array(count)
    this.owned = new Float64Array(count)
    this.queued = new Float64Array(count)
    this.requests = new Float64Array(count)
    this.context = new Float64Array(count)
    this.kvUsed = new Float64Array(count)
    this.kvPending = new Float64Array(count)
    this.kvCapacity = new Float64Array(count)
  }
}

/** One number that is none would make the costs of all endpoints none. */
function known(value = 0): number {
  return value > 0 && value < Number.POSITIVE_INFINITY ? value : 0
}

function termsAt(terms: CostTerms, at: number): Record<CostTerm, number> {
  const { queue, prefill, stall, decode, kv, rent, copy } = terms
  return {
    queue: queue[at]!,
    prefill: prefill[at]!,
    stall: stall[at]!,
    decode: decode[at]!,
    kv: kv[at]!,
    rent: rent[at]!,
    copy: copy[at]!,
  }
}

function larger(a: number, b: number): number {
  return Math.max(a, b)
}

function tokensAt({ blocks, blockTokens }: PrefixMatch, i: number): number {
  return blocks[i]! * blockTokens[i]!
}

/** Microseconds are enough for people. */
function rounded(seconds: number): number {
  return Math.round(seconds * 1e6) / 1e6
}
