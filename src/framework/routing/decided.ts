import type { Endpoint } from '../endpoint.ts'
import type { InferenceRequest } from '../request.ts'
import type { ProfileRuns } from './scheduler.ts'

/** A pick as it was made, before anything has followed from it. */
export interface Decided {
  readonly request: InferenceRequest
  /** All of the pool. */
  readonly endpoints: readonly Endpoint[]
  /** Those that the request could go to, not empty. */
  readonly candidates: readonly Endpoint[]
  /** Number of the configuration that decided. */
  readonly generation: number
  /** The clock's time at the pick, in epoch and in monotonic milliseconds. */
  readonly atMs: number
  readonly nowMs: number
  /** Of what was drawn for it, 32 bits. */
  readonly seed: number
  /** What the profiles did, or what they failed with. */
  readonly outcome: ProfileRuns | { readonly error: unknown }
}

/** Is told of every pick in its synchronous step, while load and indexes are still what the plugins saw. */
export interface DecisionRecorder {
  /** Never throws. */
  decided(decided: Decided): void
}
