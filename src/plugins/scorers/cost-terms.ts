/** What the formula is calibrated with; defaults are those of Qwen3-32B on two H100. */
export interface CostParams {
  /** R: prompt tokens that an endpoint computes per second. */
  readonly prefillTokensPerSecond: number
  /** c: what one more sequence adds to a decoding step, in seconds. */
  readonly decodeSecondsPerSequence: number
  /** d: what one more token of context adds to a decoding step, in seconds. */
  readonly decodeSecondsPerContextToken: number
  /** a: a decoding step of an empty engine, in seconds. */
  readonly stepSeconds: number
  /** w: weight of a second of others against one of this request. */
  readonly othersWeight: number
  readonly kvWeight: number
  readonly kvRent: number
  readonly homeWeight: number
}

/** What is known at the pick; arrays have one number per endpoint, in tokens where nothing else is said. */
export interface CostInputs {
  readonly promptTokens: number
  /** L: expected answer. */
  readonly answerTokens: number
  /** Of the prompt, in the endpoint's cache or being computed there; at most `promptTokens`. */
  readonly matched: Float64Array
  /** Of the prompt, sent there before, cached or not. */
  readonly owned: Float64Array
  /** Dispatched, to be computed, no first byte yet. */
  readonly queued: Float64Array
  /** Requests in flight. */
  readonly requests: Float64Array
  readonly context: Float64Array
  readonly kvUsed: Float64Array
  readonly kvPending: Float64Array
  /** 0 where it is unknown: `kv` and `rent` are 0 there. */
  readonly kvCapacity: Float64Array
}

export const COST_TERMS = ['queue', 'prefill', 'stall', 'decode', 'kv', 'rent', 'copy'] as const
export type CostTerm = (typeof COST_TERMS)[number]

/** Seconds per term, one number per endpoint. */
export type CostTerms = Readonly<Record<CostTerm, Float64Array>>

/** The rent rises with this power of the fill: memory has no price before even the emptiest endpoint fills up. */
const SCARCITY_POWER = 4
/** The rent stops rising when this share of the cache is left: beyond that the missing KV decides. */
const RENT_FLOOR = 0.1

/**
 * The delay in seconds that a request would cause on each endpoint, by cause.
 *
 * | term | seconds |
 * |---|---|
 * | queue | prompts dispatched there before this one, until they are computed |
 * | prefill | what the cache does not hold of this prompt |
 * | stall | everyone decoding there waits meanwhile |
 * | decode | this request and the others slow each other's steps |
 * | kv | wait for KV memory that is missing, to be released |
 * | rent | the share of the free KV memory that it takes, once the whole fleet fills up |
 * | copy | a second copy of a prefix that lives elsewhere displaces as many warm tokens |
 *
 * @param terms where they are put; new arrays when absent
 */
export function costTerms(
  inputs: CostInputs,
  params: CostParams,
  terms: CostTerms = termArrays(inputs.matched.length),
): CostTerms {
  const count = inputs.matched.length
  const { promptTokens, answerTokens, matched, owned, kvCapacity } = inputs
  const { prefillTokensPerSecond: rate, othersWeight } = params
  const perSequence = params.decodeSecondsPerSequence
  const perToken = params.decodeSecondsPerContextToken
  const rentPrice = params.kvRent * fillOfEmptiest(inputs) ** SCARCITY_POWER
  let home = 0
  for (let e = 0; e < count; e++) home = Math.max(home, matched[e]!, owned[e]!)
  for (let e = 0; e < count; e++) {
    const requests = inputs.requests[e]!
    const context = inputs.context[e]!
    const uncached = promptTokens - matched[e]!
    const prefill = uncached / rate
    terms.queue[e] = inputs.queued[e]! / rate
    terms.prefill[e] = prefill
    terms.stall[e] = othersWeight * requests * prefill
    terms.decode[e] =
      othersWeight *
      answerTokens *
      (perSequence * (requests + 1) + perToken * (context + promptTokens))
    terms.copy[e] = (params.homeWeight * (home - Math.max(matched[e]!, owned[e]!))) / rate
    const capacity = kvCapacity[e]!
    terms.kv[e] = 0
    terms.rent[e] = 0
    if (capacity <= 0) continue
    /** Seconds that a request keeps its memory. */
    const life = answerTokens * (params.stepSeconds + perSequence * requests + perToken * context)
    // Half their answers is what those in flight have yet to write, on average.
    const growing = (requests * answerTokens) / 2
    const held = inputs.kvUsed[e]! + inputs.kvPending[e]! + growing
    const needed = uncached + answerTokens
    const missing = Math.max(0, held + needed - capacity)
    terms.kv[e] = (params.kvWeight * life * missing) / Math.max(inputs.kvUsed[e]!, capacity / 4)
    terms.rent[e] = (rentPrice * life * needed) / Math.max(capacity - held, capacity * RENT_FLOOR)
  }
  return terms
}

export function termArrays(count: number): CostTerms {
  return {
    queue: new Float64Array(count),
    prefill: new Float64Array(count),
    stall: new Float64Array(count),
    decode: new Float64Array(count),
    kv: new Float64Array(count),
    rent: new Float64Array(count),
    copy: new Float64Array(count),
  }
}

/** The sum of the terms per endpoint, in seconds. */
export function totalCosts(terms: CostTerms): Float64Array {
  const { queue, prefill, stall, decode, kv, rent, copy } = terms
  const totals = new Float64Array(queue.length)
  for (let e = 0; e < totals.length; e++) {
    totals[e] = queue[e]! + prefill[e]! + stall[e]! + decode[e]! + kv[e]! + rent[e]! + copy[e]!
  }
  return totals
}

/** S / (S + cost - least cost): 1 for the least, 0.5 for one that costs `scaleSeconds` more. */
export function scoresOf(totals: Float64Array, scaleSeconds: number): Float64Array {
  let least = Number.POSITIVE_INFINITY
  for (let e = 0; e < totals.length; e++) least = Math.min(least, totals[e]!)
  const scores = new Float64Array(totals.length)
  for (let e = 0; e < scores.length; e++) {
    scores[e] = scaleSeconds / (scaleSeconds + (totals[e]! - least))
  }
  return scores
}

/** Used share of the KV memory where least is used, among those whose capacity is known; 0 when none is. */
function fillOfEmptiest({ kvUsed, kvCapacity }: CostInputs): number {
  let least = Number.POSITIVE_INFINITY
  for (let e = 0; e < kvUsed.length; e++) {
    if (kvCapacity[e]! > 0) least = Math.min(least, kvUsed[e]! / kvCapacity[e]!)
  }
  return Number.isFinite(least) ? least : 0
}
