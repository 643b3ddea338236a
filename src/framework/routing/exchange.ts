import type { Endpoint } from '../endpoint.ts'
import type { EndReason, Outcome } from '../plugin.ts'
import type { InferenceRequest } from '../request.ts'
import type { Clock, Routed, UsageScanner } from '../services.ts'
import type { Decision } from './decision.ts'
import { DECISION_HEADER } from './decision-header.ts'
import type { Reservation } from './in-flight.ts'
import type { Observers } from './observers.ts'
import type { HeaderChanges } from './outgoing.ts'
import { responseHeadersOf } from './response-headers.ts'

export interface ExchangeState {
  readonly request: InferenceRequest
  readonly decision: Decision
  readonly target: Endpoint
  readonly observers: Observers
  readonly reservation: Reservation
  /** Takes the reservation over where nothing will tell when it is to be released. */
  fade(reservation: Reservation, pickedMs: number): void
  readonly usageScanner: UsageScanner
  readonly clock: Clock
  readonly destination: string
  readonly watchResponse: boolean
  /** What the response is to say of the decision; undefined for nothing. */
  readonly decisionHeader: string | undefined
  body: readonly Uint8Array[]
  readonly changes: HeaderChanges
  onEnd(exchange: Exchange): void
}

/** One request between its pick and its end; ends once, whatever comes. */
export class Exchange implements Routed {
  slot = -1
  readonly #state: ExchangeState
  /** Monotonic milliseconds. */
  readonly startedMs: number
  #status: number | undefined
  #firstByteMs: number | undefined
  #responseBytes = 0
  #ended = false

  constructor(state: ExchangeState) {
    this.#state = state
    this.startedMs = state.clock.nowMs()
  }

  get requestId() {
    return this.#state.request.id
  }
  get destination() {
    return this.#state.destination
  }
  get setHeaders() {
    return this.#state.changes.setHeaders
  }
  get removeHeaders() {
    return this.#state.changes.removeHeaders
  }
  get watchResponse() {
    return this.#state.watchResponse
  }

  takeBody(): readonly Uint8Array[] {
    const { body } = this.#state
    this.#state.body = []
    return body
  }

  responseHeaders(
    status: number | undefined,
    headers: ReadonlyMap<string, string>,
    servedEndpoint?: string,
  ): ReadonlyMap<string, string> | undefined {
    this.#status = status
    this.#state.decision.status = status
    if (this.#ended) return undefined
    const { observers, request, target, decisionHeader } = this.#state
    const start = { status, headers, servedEndpoint }
    const set = responseHeadersOf(observers.ofHeaders, request, target, start)
    if (decisionHeader === undefined) return set
    return new Map([...(set ?? []), [DECISION_HEADER, decisionHeader]])
  }

  responseBody(chunk: Uint8Array): void {
    if (this.#ended) return
    this.#responseBytes += chunk.byteLength
    if (this.#firstByteMs === undefined && chunk.byteLength > 0) {
      const { observers, request, target, clock, reservation } = this.#state
      this.#firstByteMs = clock.nowMs() - this.startedMs
      reservation.firstByte()
      observers.responded(request, target)
    }
    this.#state.usageScanner.push(chunk)
  }

  end(reason: EndReason): void {
    if (this.#ended) return
    this.#ended = true
    const { observers, request, target, decision, reservation, usageScanner, clock } = this.#state
    if (reason === 'not-watched') this.#state.fade(reservation, this.startedMs)
    else reservation.release()
    const outcome: Outcome = {
      reason,
      status: this.#status,
      usage: usageScanner.usage(),
      responseBytes: this.#responseBytes,
      firstByteMs: this.#firstByteMs,
      durationMs: clock.nowMs() - this.startedMs,
    }
    decision.ended = reason
    decision.usage = outcome.usage
    if (reason !== 'not-watched') {
      decision.firstByteMs = outcome.firstByteMs
      decision.durationMs = outcome.durationMs
    }
    observers.ended(request, target, outcome)
    this.#state.onEnd(this)
  }
}
