import type { ProfileTrace } from '../framework/routing/decision.ts'
import { influenceOf, winnerOf } from '../framework/routing/influence.ts'

/** How much one scorer of one profile mattered, of the decisions with two endpoints or more. */
export interface ScorerInfluence {
  readonly profile: string
  readonly scorer: string
  readonly weight: number
  readonly decisions: number
  /** Without it another endpoint would have won, or could have. */
  readonly decided: number
  /** It gave all endpoints the same score. */
  readonly equal: number
}

/** Counts it over the traces of one configuration. */
export class ScorerInfluences {
  readonly #scorers = new Map<
    string,
    { -readonly [K in keyof ScorerInfluence]: ScorerInfluence[K] }
  >()

  count({ profile, endpoints, scorers, totals, picked }: ProfileTrace): void {
    if (endpoints.length < 2) return
    const winner = winnerOf(totals, endpoints.indexOf(picked[0]!))
    for (const trace of scorers) {
      if (trace.error !== undefined) continue
      const { name: scorer, weight } = trace
      const key = JSON.stringify([profile, scorer, weight])
      let counts = this.#scorers.get(key)
      if (counts === undefined) {
        counts = { profile, scorer, weight, decisions: 0, decided: 0, equal: 0 }
        this.#scorers.set(key, counts)
      }
      const { isEqual, isDecided } = influenceOf(trace, totals, winner)
      counts.decisions++
      if (isDecided) counts.decided++
      if (isEqual) counts.equal++
    }
  }

  list(): readonly ScorerInfluence[] {
    return [...this.#scorers.values()]
  }
}
