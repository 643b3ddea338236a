import type { Counter, Metrics, Notices } from '../services.ts'
import type { ScorerTrace } from './decision.ts'
import { isTied } from './tie.ts'

/** What a scorer said. */
type Said = Pick<ScorerTrace, 'scores' | 'weight'>

/** Requests in a row with equal scores after which a scorer is named. */
const EQUAL_REQUESTS = 1000

/** One scorer of one profile. */
export interface InfluenceOf {
  readonly profile: string
  readonly scorer: string
  readonly weight: number
  /** When the scorer's scores differ, in words that follow "when"; undefined when it does not say. */
  readonly differsWhen: string | undefined
}

/**
 * Counts how often one scorer of one profile made a difference, of the requests that had two endpoints or more: without it
 * another endpoint would have had a higher total than the winner, or one as high that is lower with it.
 */
export class Influence {
  readonly #of: InfluenceOf
  readonly #notices: Notices
  readonly #requests: Counter
  readonly #decided: Counter
  readonly #equal: Counter
  #equalInARow = 0

  constructor(of: InfluenceOf, metrics: Metrics, notices: Notices) {
    this.#of = of
    this.#notices = notices
    const labels = { profile: of.profile, scorer: of.scorer }
    this.#requests = metrics.counter(
      'epp_scorer_requests_total',
      'Requests with at least two endpoints that a scorer scored.',
      labels,
    )
    this.#decided = metrics.counter(
      'epp_scorer_decided_total',
      'Those of them in which without this scorer another endpoint would have won, or could have.',
      labels,
    )
    this.#equal = metrics.counter(
      'epp_scorer_equal_total',
      'Those of them in which it gave all endpoints the same score.',
      labels,
    )
  }

  /**
   * Counts one request.
   *
   * @param totals weighted sums, in the order of the scores
   * @param winner position of the highest total; where several share it, of the one that was picked
   */
  count(said: Said, totals: Float64Array, winner: number): void {
    if (said.scores.length < 2) return
    this.#requests.inc()
    const { isEqual, isDecided } = influenceOf(said, totals, winner)
    if (isDecided) this.#decided.inc()
    if (isEqual) this.#equal.inc()
    this.#noteEqual(isEqual)
  }

  #noteEqual(isEqual: boolean): void {
    const { profile, scorer, weight, differsWhen } = this.#of
    if (!isEqual) {
      if (this.#equalInARow >= EQUAL_REQUESTS) this.#notices.set(this.#key, undefined)
      this.#equalInARow = 0
    } else if (++this.#equalInARow === EQUAL_REQUESTS && weight > 0) {
      const need = differsWhen === undefined ? '' : `; its scores differ when ${differsWhen}`
      this.#notices.set(
        this.#key,
        `scorer "${scorer}" of profile "${profile}" has given all endpoints the same score for ${EQUAL_REQUESTS} requests and more: it decides nothing${need}`,
      )
    }
  }

  get #key(): string {
    return `scorer-equal:${this.#of.profile}/${this.#of.scorer}`
  }
}

/** Whether a scorer gave all endpoints the same score, and whether it made a difference; parameters as in `Influence.count`. */
export function influenceOf(
  { scores, weight }: Said,
  totals: Float64Array,
  winner: number,
): { readonly isEqual: boolean; readonly isDecided: boolean } {
  const first = scores[0]!
  const highest = totals[winner]!
  const left = highest - weight * scores[winner]!
  let isEqual = true
  let isDecided = false
  for (let i = 0; i < scores.length; i++) {
    const score = scores[i]!
    if (!isTied(score, first)) isEqual = false
    const other = totals[i]! - weight * score
    const ties = isTied(other, left)
    if ((other > left && !ties) || (ties && !isTied(totals[i]!, highest))) isDecided = true
  }
  return { isEqual, isDecided }
}

/** Position of the highest total; of the picked endpoint where it has it. */
export function winnerOf(totals: Float64Array, picked: number): number {
  const best = highestOf(totals)
  return isTied(totals[picked]!, best) ? picked : totals.indexOf(best)
}

export function highestOf(totals: Float64Array): number {
  let best = Number.NEGATIVE_INFINITY
  for (let i = 0; i < totals.length; i++) best = Math.max(best, totals[i]!)
  return best
}
