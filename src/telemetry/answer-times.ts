import type { Endpoint } from '../framework/endpoint.ts'
import type { Observer, Outcome } from '../framework/plugin.ts'
import type { InferenceRequest } from '../framework/request.ts'
import type { Decision } from '../framework/routing/decision.ts'

/** How long an answer took, in milliseconds from the pick. */
export interface AnswerTime {
  /** To the first byte of its body; undefined when none was seen. */
  readonly firstByteMs: number | undefined
  /** To its end. */
  readonly durationMs: number
}

/** How long the answer to each decision took; forgotten with the decision. */
export class AnswerTimes implements Observer {
  readonly #decisions = new WeakMap<InferenceRequest, Decision>()
  readonly #times = new WeakMap<Decision, AnswerTime>()

  picked(request: InferenceRequest, _endpoint: Endpoint, decision: Decision): void {
    this.#decisions.set(request, decision)
  }

  ended(request: InferenceRequest, _endpoint: Endpoint, outcome: Outcome): void {
    const decision = this.#decisions.get(request)
    const { reason, firstByteMs, durationMs } = outcome
    if (decision && reason !== 'not-watched') this.#times.set(decision, { firstByteMs, durationMs })
  }

  /** Undefined while the answer is under way, and where answers are not seen. */
  of(decision: Decision): AnswerTime | undefined {
    return this.#times.get(decision)
  }
}
