import type { DecisionMatch, FilterTrace, ProfileTrace, ScorerTrace } from './decision.ts'
import { type KeptNumbers, NumberRoom } from './kept-numbers.ts'

/** What one scorer said in a run, in arrays that the next run may use again. */
export interface ScorerRun {
  readonly name: string
  readonly weight: number
  /** Clamped to [0, 1]. */
  readonly scores: Float64Array
  readonly terms?: Readonly<Record<string, Float64Array>> | undefined
  readonly error?: string
}

/** A run whose arrays are used again for the next one. */
interface Run extends Omit<ProfileTrace, 'scorers'> {
  readonly scorers: readonly ScorerRun[]
}

/** Makes traces that may be kept: their numbers are copied. */
export class TraceKeeper {
  readonly #room = new NumberRoom()

  trace(run: Run): ProfileTrace {
    const arrays: Float64Array[] = [run.totals, run.metricsAgeMs]
    for (const { scores, terms } of run.scorers) {
      arrays.push(scores)
      if (terms !== undefined) for (const term in terms) arrays.push(terms[term]!)
    }
    return new KeptProfileTrace(run, this.#room.keep(arrays, run.endpoints.length))
  }

  match({ blocks, weighted, blockTokens }: DecisionMatch): DecisionMatch {
    return new KeptMatch(this.#room.keep([blocks, weighted, blockTokens], blocks.length))
  }
}

/** Places of a profile's own arrays; those of its scorers follow. */
const TOTALS = 0
const METRICS_AGE = 1
const FIRST_SCORES = 2

class KeptProfileTrace implements ProfileTrace {
  readonly profile: string
  readonly filters: readonly FilterTrace[]
  readonly endpoints: readonly string[]
  readonly scorers: readonly ScorerTrace[]
  readonly ties: number
  readonly picked: readonly string[]
  readonly #numbers: KeptNumbers

  constructor(run: Run, numbers: KeptNumbers) {
    this.profile = run.profile
    this.filters = run.filters
    this.endpoints = run.endpoints
    this.ties = run.ties
    this.picked = run.picked
    this.#numbers = numbers
    const scorers: ScorerTrace[] = []
    let place = FIRST_SCORES
    for (const scorer of run.scorers) {
      const kept = new KeptScorerTrace(scorer, numbers, place)
      scorers.push(kept)
      place += 1 + kept.termCount
    }
    this.scorers = scorers
  }

  get totals(): Float64Array {
    return this.#numbers.array(TOTALS)
  }
  get metricsAgeMs(): Float64Array {
    return this.#numbers.array(METRICS_AGE)
  }
}

class KeptScorerTrace implements ScorerTrace {
  readonly name: string
  readonly weight: number
  readonly error: string | undefined
  readonly #numbers: KeptNumbers
  readonly #place: number
  readonly #terms: readonly string[] | undefined

  constructor({ name, weight, error, terms }: ScorerRun, numbers: KeptNumbers, place: number) {
    this.name = name
    this.weight = weight
    this.error = error
    this.#numbers = numbers
    this.#place = place
    this.#terms = terms && namesOf(terms)
  }

  get termCount(): number {
    return this.#terms?.length ?? 0
  }
  get scores(): Float64Array {
    return this.#numbers.array(this.#place)
  }
  get terms(): Readonly<Record<string, Float64Array>> | undefined {
    const first = this.#place + 1
    return (
      this.#terms &&
      Object.fromEntries(this.#terms.map((name, i) => [name, this.#numbers.array(first + i)]))
    )
  }
}

class KeptMatch implements DecisionMatch {
  readonly #numbers: KeptNumbers

  constructor(numbers: KeptNumbers) {
    this.#numbers = numbers
  }

  get blocks(): Float64Array {
    return this.#numbers.array(0)
  }
  get weighted(): Float64Array {
    return this.#numbers.array(1)
  }
  get blockTokens(): Float64Array {
    return this.#numbers.array(2)
  }
}

/** Names that were the same the last time are kept once. */
let lastNames: readonly string[] = []
function namesOf(terms: Readonly<Record<string, unknown>>): readonly string[] {
  let count = 0
  let isSame = true
  for (const name in terms) if (lastNames[count++] !== name) isSame = false
  if (!isSame || count !== lastNames.length) lastNames = Object.keys(terms)
  return lastNames
}
