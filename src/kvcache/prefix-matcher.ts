import { PROMPT_TOKENS, type PromptTokens } from '../framework/attributes.ts'
import type { Endpoint } from '../framework/endpoint.ts'
import type { Observer, Outcome } from '../framework/plugin.ts'
import type { InferenceRequest } from '../framework/request.ts'
import {
  type MatcherOptions,
  PREFIX_FINDING,
  type PrefixFinding,
  type PrefixMatch,
  type PrefixMatcher,
  type RoutedPrefixIndex,
  type Speculation,
  type TrackedPrefixIndex,
} from '../framework/services.ts'
import { sideTable } from '../framework/side-table.ts'
import { DEFAULT_TRUTH, type TruthLoop } from './truth/truth-loop.ts'

/** What was found, and where nothing but our own picks could tell. */
interface Found {
  readonly request: InferenceRequest
  readonly finding: PrefixFinding
  readonly blind: readonly boolean[]
}

export const DEFAULT_MATCHER_OPTIONS: MatcherOptions = {
  speculative: true,
  unseenMs: 2000,
  truth: DEFAULT_TRUTH,
}

/** After the first response byte the prompt is in the cache; its events have come by then. */
const AFTER_FIRST_BYTE_MS = 500

/**
 * Joins the index that engines' events feed with the one that learns from picks, and teaches both of each pick.
 *
 * An endpoint without complete events, and every endpoint where the token ids are a guess, is answered by whichever
 * index knows more; one whose events have proved wrong by our picks alone.
 */
export class KvPrefixMatcher implements PrefixMatcher, Observer {
  readonly #index: TrackedPrefixIndex
  readonly #routed: RoutedPrefixIndex
  readonly #truth: TruthLoop | undefined
  /** Token ids of the requests for which it was asked: a shadow profile asks with a copy of the request. */
  readonly #asked = sideTable<PromptTokens, true>()
  readonly #speculations = sideTable<InferenceRequest, Speculation | undefined>()
  #options = DEFAULT_MATCHER_OPTIONS
  /** Of the pick that is being made; what caches hold may change after it. */
  #current: Found | undefined

  /** @param truth says whose events have proved wrong; all are believed when absent */
  constructor(index: TrackedPrefixIndex, routed: RoutedPrefixIndex, truth?: TruthLoop) {
    this.#index = index
    this.#routed = routed
    this.#truth = truth
  }

  configure(options: MatcherOptions): void {
    this.#options = options
    this.#truth?.configure(options.truth)
  }

  find(request: InferenceRequest, endpoints: readonly Endpoint[]): PrefixFinding | undefined {
    const known = this.#current?.request === request ? partOf(this.#current, endpoints) : undefined
    if (known) return known
    const tokens = request.attributes.get(PROMPT_TOKENS)
    if (!tokens) return undefined
    const found = this.#match(request, tokens, endpoints)
    this.#asked.set(tokens, true)
    request.attributes.set(PREFIX_FINDING, found.finding)
    if (!this.#current) queueMicrotask(() => (this.#current = undefined))
    this.#current = found
    return found.finding
  }

  picked(request: InferenceRequest, endpoint: Endpoint): void {
    const tokens = request.attributes.get(PROMPT_TOKENS)
    if (!tokens || !this.#asked.get(tokens)) return
    this.#routed.record(request, tokens, endpoint)
    this.#index.touch(request, tokens, endpoint)
    if (!this.#options.speculative || !tokens.exact) return
    const untilTold = Number.POSITIVE_INFINITY
    this.#speculations.set(request, this.#index.speculate(request, tokens, endpoint, untilTold))
  }

  responded(request: InferenceRequest): void {
    this.#endSpeculation(request, AFTER_FIRST_BYTE_MS)
  }

  ended(request: InferenceRequest, _endpoint: Endpoint, { reason }: Outcome): void {
    const isUnseen = reason === 'not-watched'
    this.#endSpeculation(request, isUnseen ? this.#options.unseenMs : AFTER_FIRST_BYTE_MS)
  }

  #endSpeculation(request: InferenceRequest, delayMs: number): void {
    const speculation = this.#speculations.get(request)
    if (speculation === undefined) return
    speculation.expireIn(delayMs)
    this.#speculations.set(request, undefined)
  }

  #match(request: InferenceRequest, tokens: PromptTokens, endpoints: readonly Endpoint[]): Found {
    // Ids that are not the engine's simply match nothing: the tracked index may be asked with a guess.
    const match = this.#index.match(request, tokens, endpoints)
    const truth = this.#truth
    const distrusted = truth?.distrustsAny && endpoints.map((endpoint) => truth.reasonOf(endpoint))
    const blind: boolean[] = []
    const told: boolean[] = []
    let tracked = 0
    for (let i = 0; i < endpoints.length; i++) {
      const endpoint = endpoints[i]!
      const isTold =
        tokens.exact &&
        !(distrusted && distrusted[i] !== undefined) &&
        (this.#index.tracks(endpoint) || truth?.isProved(endpoint) === true)
      blind.push(!isTold)
      told.push(isTold)
      if (isTold) tracked++
    }
    const finding: PrefixFinding = {
      endpoints,
      match,
      source: tracked > 0 ? 'tracked' : 'routed',
      tracked,
      told,
      ...(distrusted && { distrusted }),
    }
    const found: Found = { request, finding, blind }
    if (tracked === endpoints.length) return found
    const estimate = this.#routed.match(request, tokens, endpoints)
    for (let i = 0; i < blind.length; i++) {
      if (!blind[i]) continue
      const estimatedTokens = estimate.blocks[i]! * estimate.blockTokens[i]!
      const knowsMore = estimatedTokens > match.blocks[i]! * match.blockTokens[i]!
      if (!knowsMore && !(distrusted && distrusted[i] !== undefined)) continue
      match.blocks[i] = estimate.blocks[i]!
      match.weighted[i] = estimate.weighted[i]!
      match.blockTokens[i] = estimate.blockTokens[i]!
      match.usableBlocks[i] = estimate.usableBlocks[i]!
    }
    return found
  }
}

/** What was found of some of the endpoints; undefined when not all of them were looked at. */
function partOf(
  { finding, blind }: Found,
  endpoints: readonly Endpoint[],
): PrefixFinding | undefined {
  const { endpoints: all, match } = finding
  if (endpoints === all) return finding
  const positionOf = new Map(all.map((endpoint, i) => [endpoint, i]))
  const positions: number[] = []
  for (const endpoint of endpoints) {
    const at = positionOf.get(endpoint)
    if (at === undefined) return undefined
    positions.push(at)
  }
  const part: PrefixMatch = {
    blocks: Int32Array.from(positions, (at) => match.blocks[at]!),
    weighted: Float64Array.from(positions, (at) => match.weighted[at]!),
    blockTokens: Int32Array.from(positions, (at) => match.blockTokens[at]!),
    usableBlocks: Int32Array.from(positions, (at) => match.usableBlocks[at]!),
  }
  const tracked = positions.filter((at) => !blind[at]).length
  return { endpoints, match: part, source: tracked > 0 ? 'tracked' : 'routed', tracked }
}
