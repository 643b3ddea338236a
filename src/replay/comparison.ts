import type { Endpoint } from '../framework/endpoint.ts'
import type { ProfileTrace } from '../framework/routing/decision.ts'
import type { RecordedDecision, RecordedOutcome } from './recording.ts'
import type { ReplayedPick } from './replay-run.ts'
import { type ScorerInfluence, ScorerInfluences } from './scorer-influence.ts'

/** Where the requests of one configuration go, as the recorded states tell. */
export interface Picks {
  /** Requests for which somebody is picked. */
  readonly picked: number
  /** Tokens expected in the caches of the picked endpoints. */
  readonly matchedTokens: number
  /** Of the prompt tokens of those decisions for which that is known; NaN when there are none. */
  readonly hitRate: number
  /** The most picks of one endpoint over their mean; NaN without picks. */
  readonly pickSkew: number
  /** The same of the prompt tokens that endpoints have to compute. */
  readonly uncachedSkew: number
  /** In-flight tokens that were found where requests go, over the mean of the candidates; NaN without any. */
  readonly inFlightRatio: number
  readonly scorers: readonly ScorerInfluence[]
}

/** One request that goes elsewhere. */
export interface MovedRequest {
  /** First 12 hex digits of the SHA-256 of its id. */
  readonly requestHash: string
  readonly file: string
  readonly line: number
  /** Epoch milliseconds. */
  readonly atMs: number
  readonly promptTokens: number | undefined
  /** `host:port`; undefined for nobody. */
  readonly from: string | undefined
  readonly to: string | undefined
  /** Tokens expected in the caches there. */
  readonly matchedFrom: number | undefined
  readonly matchedTo: number | undefined
  /** By how much the old configuration ranks the new pick below its own; undefined where it did not score both. */
  readonly totalLost: number | undefined
}

export interface EndpointShare {
  /** `host:port`. */
  readonly endpoint: string
  readonly name: string
  readonly before: number
  readonly after: number
}

export interface ComparisonResult {
  readonly decisions: number
  readonly moved: number
  /** Decisions for which only one of the two picks somebody; among the moved ones. */
  readonly refused: { readonly before: number; readonly after: number }
  readonly before: Picks
  readonly after: Picks
  /** Share of the prompt tokens in blocks that some earlier prompt had: what endless caches would hold; NaN without keys. */
  readonly ceiling: number
  /** What the engines counted of the recorded picks; undefined where they said nothing. */
  readonly engines:
    | { readonly answers: number; readonly promptTokens: number; readonly cachedTokens: number }
    | undefined
  readonly endpoints: readonly EndpointShare[]
  /** By what is lost of matched tokens, then of the old configuration's total. */
  readonly mostDifferent: readonly MovedRequest[]
}

const SHOWN_REQUESTS = 10

/** Sums up how two configurations differ over the same decisions. */
export class Comparison {
  readonly #before = new PickSums()
  readonly #after = new PickSums()
  readonly #names = new Map<string, string>()
  readonly #moved: MovedRequest[] = []
  readonly #refused = { before: 0, after: 0 }
  readonly #engines = { answers: 0, promptTokens: 0, cachedTokens: 0 }
  #decisions = 0
  #movedCount = 0
  #seenTokens = 0
  #keyedTokens = 0

  /** @param before without a trace where only the pick is known */
  add(decision: RecordedDecision, before: ReplayedPick, after: ReplayedPick): void {
    this.#decisions++
    for (const { endpoint } of decision.endpoints) {
      this.#names.set(endpoint.hostPort, endpoint.name)
    }
    this.#before.add(decision, before)
    this.#after.add(decision, after)
    const promptTokens = promptTokensOf(decision)
    if (decision.seenTokens !== undefined && promptTokens !== undefined) {
      this.#seenTokens += Math.min(decision.seenTokens, promptTokens)
      this.#keyedTokens += promptTokens
    }
    if (before.target?.hostPort === after.target?.hostPort) return
    this.#movedCount++
    if (before.target === undefined) this.#refused.before++
    if (after.target === undefined) this.#refused.after++
    this.#keep(movedRequest(decision, before, after))
  }

  ended({ usage }: RecordedOutcome): void {
    if (usage?.cachedTokens === undefined) return
    this.#engines.answers++
    this.#engines.promptTokens += usage.promptTokens
    this.#engines.cachedTokens += usage.cachedTokens
  }

  result(): ComparisonResult {
    const before = this.#before.counts
    const after = this.#after.counts
    return {
      decisions: this.#decisions,
      moved: this.#movedCount,
      refused: { ...this.#refused },
      before: this.#before.result(this.#names.size),
      after: this.#after.result(this.#names.size),
      ceiling: this.#seenTokens / this.#keyedTokens,
      engines: this.#engines.answers === 0 ? undefined : { ...this.#engines },
      endpoints: [...this.#names].map(([endpoint, name]) => ({
        ...{ endpoint, name },
        before: before.get(endpoint) ?? 0,
        after: after.get(endpoint) ?? 0,
      })),
      mostDifferent: this.#moved,
    }
  }

  #keep(moved: MovedRequest): void {
    const at = this.#moved.findIndex((each) => isMore(moved, each))
    this.#moved.splice(at < 0 ? this.#moved.length : at, 0, moved)
    this.#moved.splice(SHOWN_REQUESTS)
  }
}

/** Sums of one configuration. */
class PickSums {
  readonly counts = new Map<string, number>()
  readonly #uncached = new Map<string, number>()
  readonly #influences = new ScorerInfluences()
  #picked = 0
  #matchedTokens = 0
  #promptTokens = 0
  #inFlightThere = 0
  #inFlightMean = 0

  add(decision: RecordedDecision, { target, trace }: ReplayedPick): void {
    if (trace) this.#influences.count(trace)
    if (target === undefined) return
    this.#picked++
    addTo(this.counts, target.hostPort, 1)
    const promptTokens = promptTokensOf(decision) ?? 0
    const matched = matchedTokensAt(decision, target)
    if (matched !== undefined) {
      this.#matchedTokens += matched
      this.#promptTokens += promptTokens
    }
    addTo(this.#uncached, target.hostPort, promptTokens - (matched ?? 0))
    const { candidates } = decision
    const there = candidates.find(({ endpoint }) => endpoint.id === target.id)
    this.#inFlightThere += there?.load.tokens ?? 0
    this.#inFlightMean +=
      candidates.reduce((sum, { load }) => sum + load.tokens, 0) / candidates.length
  }

  /** @param endpoints how many there were */
  result(endpoints: number): Picks {
    return {
      picked: this.#picked,
      matchedTokens: this.#matchedTokens,
      hitRate: this.#matchedTokens / this.#promptTokens,
      pickSkew: skewOf(this.counts, endpoints),
      uncachedSkew: skewOf(this.#uncached, endpoints),
      inFlightRatio: this.#inFlightThere / this.#inFlightMean,
      scorers: this.#influences.list(),
    }
  }
}

/** Tokens of all prompts; undefined without token data. */
function promptTokensOf({ request }: RecordedDecision): number | undefined {
  return request.tokens?.n.reduce((sum, count) => sum + count, 0)
}

/** Prompt tokens expected in the cache of a candidate; undefined where nothing tells. */
function matchedTokensAt(decision: RecordedDecision, { id }: Endpoint): number | undefined {
  const match = decision.finding?.match ?? decision.routed
  const at = decision.candidates.findIndex(({ endpoint }) => endpoint.id === id)
  if (match === undefined || at < 0) return undefined
  const tokens = match.blocks[at]! * match.blockTokens[at]!
  return Math.min(tokens, promptTokensOf(decision) ?? tokens)
}

function movedRequest(
  decision: RecordedDecision,
  before: ReplayedPick,
  after: ReplayedPick,
): MovedRequest {
  const matchedOf = ({ target }: ReplayedPick) => target && matchedTokensAt(decision, target)
  return {
    requestHash: decision.request.id,
    ...{ file: decision.file, line: decision.line, atMs: decision.atMs },
    promptTokens: promptTokensOf(decision),
    from: before.target?.hostPort,
    to: after.target?.hostPort,
    matchedFrom: matchedOf(before),
    matchedTo: matchedOf(after),
    totalLost: totalLost(before.trace, before.target, after.target),
  }
}

function totalLost(
  trace: ProfileTrace | undefined,
  from: Endpoint | undefined,
  to: Endpoint | undefined,
): number | undefined {
  if (trace === undefined || from === undefined || to === undefined) return undefined
  const a = trace.totals[trace.endpoints.indexOf(from.hostPort)]
  const b = trace.totals[trace.endpoints.indexOf(to.hostPort)]
  return a === undefined || b === undefined ? undefined : a - b
}

function isMore(a: MovedRequest, b: MovedRequest): boolean {
  const lost = ({ matchedFrom = 0, matchedTo = 0 }: MovedRequest) => matchedFrom - matchedTo
  if (lost(a) !== lost(b)) return lost(a) > lost(b)
  return (a.totalLost ?? 0) > (b.totalLost ?? 0)
}

function addTo(sums: Map<string, number>, key: string, value: number): void {
  sums.set(key, (sums.get(key) ?? 0) + value)
}

function skewOf(sums: ReadonlyMap<string, number>, endpoints: number): number {
  const values = [...sums.values()]
  const sum = values.reduce((a, b) => a + b, 0)
  return Math.max(...values) / (sum / endpoints)
}
