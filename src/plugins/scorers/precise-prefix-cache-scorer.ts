import { Type } from 'typebox'
import { PROMPT_TOKENS } from '../../framework/attributes.ts'
import type { Endpoint } from '../../framework/endpoint.ts'
import { definePlugin } from '../../framework/plugin.ts'
import type { InferenceRequest } from '../../framework/request.ts'
import {
  PREFIX_INDEX,
  PREFIX_MATCHER,
  type PrefixMatch,
  type PrefixMatcher,
  type TrackedPrefixIndex,
} from '../../framework/services.ts'
import { configureTracked, TRACKED_PARAMS, type TrackedParams } from '../data/tracked-params.ts'
import { trackedRemarks } from '../data/tracked-remarks.ts'
import { podScores } from './prefix-report.ts'

/**
 * Prefers endpoints whose KV cache holds the longest part of the prompt, as the engines' events say.
 *
 * The score is the weighted number of consecutive blocks from the first, divided by those that could match. Without exact
 * token ids, and for endpoints that never sent an event, the match is estimated from this picker's own picks.
 */
export const precisePrefixCacheScorer = definePlugin({
  kind: 'scorer',
  type: 'precise-prefix-cache-scorer',
  description:
    "Prefers endpoints whose KV cache holds the longest part of the prompt (tracked by the engines' events).",
  differsWhen:
    'KV events tell that some endpoints hold a part of a prompt and others do not (/endpoints shows their coverage)',
  params: Type.Object(TRACKED_PARAMS),
  inject: { index: PREFIX_INDEX, matcher: PREFIX_MATCHER },
  needs: [PROMPT_TOKENS],
  lint: trackedRemarks,
  create: (params, { index, matcher }) => new PrecisePrefixCacheScorer(params, index, matcher),
})

class PrecisePrefixCacheScorer {
  readonly #params: TrackedParams
  readonly #index: TrackedPrefixIndex
  readonly #matcher: PrefixMatcher
  #found: PrefixMatch | undefined

  constructor(params: TrackedParams, index: TrackedPrefixIndex, matcher: PrefixMatcher) {
    this.#params = params
    this.#index = index
    this.#matcher = matcher
  }

  activated(): void {
    configureTracked(this.#params, { index: this.#index, matcher: this.#matcher })
  }

  score(request: InferenceRequest, endpoints: readonly Endpoint[]): Float64Array {
    const match = this.#matcher.find(request, endpoints)?.match
    this.#found = match
    if (!match) return new Float64Array(endpoints.length)
    return match.weighted.map((blocks, i) => blocks / Math.max(1, match.usableBlocks[i]!))
  }

  report(_request: InferenceRequest, endpoints: readonly Endpoint[]) {
    return podScores(endpoints, this.#found)
  }
}
