import { PROMPT_TOKENS } from '../framework/attributes.ts'
import type { Endpoint } from '../framework/endpoint.ts'
import type { Observer, Outcome } from '../framework/plugin.ts'
import type { InferenceRequest } from '../framework/request.ts'
import { type Clock, type Endpoints, PREFIX_FINDING } from '../framework/services.ts'

/** What the answers of one endpoint have told in the last 15 minutes. */
export interface EndpointAnswers {
  /** Answers that told how many of their prompt tokens were cached. */
  readonly answers: number
  readonly promptTokens: number
  readonly cachedTokens: number
}

const MINUTES = 15
const MINUTE_MS = 60_000

/** Sums of one endpoint, by minute in a ring. */
class Minutes {
  readonly #answers = new Float64Array(MINUTES)
  readonly #promptTokens = new Float64Array(MINUTES)
  readonly #cachedTokens = new Float64Array(MINUTES)
  /** The last minute that the ring stands for. */
  #minute = 0
  /** True once a prefix scorer has seen a prompt that was sent here. */
  learned = false

  add(minute: number, promptTokens: number, cachedTokens: number): void {
    this.#advance(minute)
    const at = minute % MINUTES
    this.#answers[at]! += 1
    this.#promptTokens[at]! += promptTokens
    this.#cachedTokens[at]! += cachedTokens
  }

  sums(minute: number): EndpointAnswers {
    this.#advance(minute)
    const sum = (values: Float64Array) => values.reduce((a, b) => a + b, 0)
    return {
      answers: sum(this.#answers),
      promptTokens: sum(this.#promptTokens),
      cachedTokens: sum(this.#cachedTokens),
    }
  }

  #advance(minute: number): void {
    for (let next = Math.max(this.#minute + 1, minute - MINUTES + 1); next <= minute; next++) {
      for (const ring of [this.#answers, this.#promptTokens, this.#cachedTokens]) {
        ring[next % MINUTES] = 0
      }
    }
    this.#minute = Math.max(this.#minute, minute)
  }
}

const NO_ANSWERS: EndpointAnswers = { answers: 0, promptTokens: 0, cachedTokens: 0 }

/** How much of its prompts each endpoint had cached, as its own answers tell. */
export class EndpointUsage implements Observer {
  readonly #clock: Clock
  readonly #minutes = new Map<string, Minutes>()

  constructor(services: { readonly clock: Clock; readonly endpoints: Endpoints }) {
    this.#clock = services.clock
    services.endpoints.listen({
      added: ({ id }) => this.#minutes.set(id, new Minutes()),
      removed: ({ id }) => this.#minutes.delete(id),
    })
  }

  picked(request: InferenceRequest, endpoint: Endpoint): void {
    const minutes = this.#minutes.get(endpoint.id)
    if (minutes && request.attributes.get(PREFIX_FINDING)) minutes.learned = true
  }

  ended(request: InferenceRequest, endpoint: Endpoint, { usage }: Outcome): void {
    const cached = usage?.cachedTokens
    if (usage === undefined || cached === undefined) return
    // Of several prompts vLLM reports the last one's cached tokens only (0.10.0 to 0.32.0).
    if ((request.attributes.get(PROMPT_TOKENS)?.prompts.length ?? 1) !== 1) return
    this.#minutes.get(endpoint.id)?.add(this.#minute(), usage.promptTokens, cached)
  }

  /** What its answers of the last 15 minutes told. */
  of(endpoint: Endpoint): EndpointAnswers {
    return this.#minutes.get(endpoint.id)?.sums(this.#minute()) ?? NO_ANSWERS
  }

  /** True once prompts that were sent there have been learned from. */
  hasLearned(endpoint: Endpoint): boolean {
    return this.#minutes.get(endpoint.id)?.learned ?? false
  }

  #minute(): number {
    return Math.floor(this.#clock.nowMs() / MINUTE_MS)
  }
}
