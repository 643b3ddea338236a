import { PROMPT_TOKENS } from '../framework/attributes.ts'
import type { Endpoint } from '../framework/endpoint.ts'
import type { Observer, Outcome } from '../framework/plugin.ts'
import type { InferenceRequest } from '../framework/request.ts'
import { type Clock, PREFIX_FINDING } from '../framework/services.ts'

/** What is summed up over the requests of one second, or of all time. */
export interface RoutingSums {
  /** Requests picked. */
  requests: number
  /** Answers that told how many of their prompt tokens were cached. */
  answers: number
  /** Prompt tokens of those answers. */
  promptTokens: number
  /** Those of them that engines took from their caches. */
  cachedTokens: number
  /** Prompt tokens of those answers for which something was predicted. */
  comparedPromptTokens: number
  /** What was predicted for them. */
  predictedTokens: number
  /** What the engines took from their caches for them. */
  comparedCachedTokens: number
  /** The most that any endpoint was known to hold, or what the engine had cached where that was more. */
  offeredTokens: number
}

/** One second in which something happened. */
export interface RoutingSecond extends Readonly<RoutingSums> {
  /** Whole seconds since 1970. */
  readonly second: number
  /** Requests picked by `host:port`; those beyond the first 16 endpoints of the second under `other`. */
  readonly byEndpoint: Readonly<Record<string, number>>
}

const MAX_NAMED_ENDPOINTS = 16
const OTHERS = 'other'

/** The last quarter of an hour, second by second: numbers only, so many of them whatever the load. */
export class RoutingHistory implements Observer {
  readonly keptSeconds: number
  /** Since the start. */
  readonly total: Readonly<RoutingSums>
  readonly #clock: Clock
  readonly #total = noSums()
  readonly #ring: Second[] = []

  /** @param keptSeconds seconds that are remembered, at least 1 */
  constructor(clock: Clock, keptSeconds = 900) {
    this.#clock = clock
    this.keptSeconds = keptSeconds
    this.total = this.#total
  }

  picked(_request: InferenceRequest, { hostPort }: Endpoint): void {
    const second = this.#now()
    second.sums.requests++
    this.#total.requests++
    const { byEndpoint } = second
    const isNamed = byEndpoint.has(hostPort) || byEndpoint.size < MAX_NAMED_ENDPOINTS
    const name = isNamed ? hostPort : OTHERS
    byEndpoint.set(name, (byEndpoint.get(name) ?? 0) + 1)
  }

  ended(request: InferenceRequest, endpoint: Endpoint, { usage }: Outcome): void {
    const cached = usage?.cachedTokens
    if (usage === undefined || cached === undefined) return
    // Of several prompts vLLM reports the last one's cached tokens only (0.10.0 to 0.32.0).
    if ((request.attributes.get(PROMPT_TOKENS)?.prompts.length ?? 1) !== 1) return
    const compared = comparison(request, endpoint, cached)
    for (const sums of [this.#now().sums, this.#total]) {
      sums.answers++
      sums.promptTokens += usage.promptTokens
      sums.cachedTokens += cached
      if (compared === undefined) continue
      sums.comparedPromptTokens += usage.promptTokens
      sums.predictedTokens += compared.predicted
      sums.comparedCachedTokens += cached
      sums.offeredTokens += compared.offered
    }
  }

  /** Whole seconds after `afterSecond` that have ended, in order; quiet ones are left out. */
  since(afterSecond: number): readonly RoutingSecond[] {
    const now = this.#second()
    const oldest = Math.max(afterSecond, now - this.keptSeconds - 1)
    return this.#ring
      .filter(({ second }) => second > oldest && second < now)
      .sort((a, b) => a.second - b.second)
      .map(({ second, sums, byEndpoint }) => ({
        ...{ second, ...sums },
        byEndpoint: Object.fromEntries(byEndpoint),
      }))
  }

  #second(): number {
    return Math.floor(this.#clock.epochMs() / 1000)
  }

  #now(): Second {
    const second = this.#second()
    const at = second % this.keptSeconds
    const kept = this.#ring[at]
    if (kept?.second === second) return kept
    const fresh = { second, sums: noSums(), byEndpoint: new Map<string, number>() }
    this.#ring[at] = fresh
    return fresh
  }
}

interface Second {
  readonly second: number
  readonly sums: RoutingSums
  readonly byEndpoint: Map<string, number>
}

function noSums(): RoutingSums {
  return {
    ...{ requests: 0, answers: 0, promptTokens: 0, cachedTokens: 0, comparedPromptTokens: 0 },
    ...{ predictedTokens: 0, comparedCachedTokens: 0, offeredTokens: 0 },
  }
}

/** What a prefix scorer knew of the prompt, in tokens; undefined when none looked at this endpoint. */
function comparison(
  request: InferenceRequest,
  endpoint: Endpoint,
  cachedTokens: number,
): { readonly predicted: number; readonly offered: number } | undefined {
  const finding = request.attributes.get(PREFIX_FINDING)
  const at = finding?.endpoints.indexOf(endpoint) ?? -1
  if (!finding || at < 0) return undefined
  const { blocks, blockTokens } = finding.match
  let offered = cachedTokens
  for (const [i, matched] of blocks.entries()) {
    offered = Math.max(offered, matched * blockTokens[i]!)
  }
  return { predicted: blocks[at]! * blockTokens[at]!, offered }
}
