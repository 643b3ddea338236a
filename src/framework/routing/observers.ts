import type { Endpoint } from '../endpoint.ts'
import type { Observer, Outcome } from '../plugin.ts'
import type { InferenceRequest } from '../request.ts'
import type { Decision } from './decision.ts'
import type { Configured } from './profile.ts'

/** Those who are told of requests, by what they want to be told. */
export class Observers {
  /** Those that may set headers of responses. */
  readonly ofHeaders: readonly Configured<Observer>[]
  readonly #ofPicks: readonly Configured<Observer>[]
  readonly #ofFirstBytes: readonly Configured<Observer>[]
  readonly #ofEnds: readonly Configured<Observer>[]

  /** @param all in the order in which they are told */
  constructor(all: readonly Configured<Observer>[]) {
    this.ofHeaders = all.filter(({ plugin }) => plugin.responseHeaders !== undefined)
    this.#ofPicks = all.filter(({ plugin }) => plugin.picked !== undefined)
    this.#ofFirstBytes = all.filter(({ plugin }) => plugin.responded !== undefined)
    this.#ofEnds = all.filter(({ plugin }) => plugin.ended !== undefined)
  }

  picked(request: InferenceRequest, target: Endpoint, decision: Decision): void {
    for (const { plugin, probe } of this.#ofPicks) {
      probe.notify(() => plugin.picked?.(request, target, decision))
    }
  }

  responded(request: InferenceRequest, target: Endpoint): void {
    for (const { plugin, probe } of this.#ofFirstBytes) {
      probe.notify(() => plugin.responded?.(request, target))
    }
  }

  ended(request: InferenceRequest, target: Endpoint, outcome: Outcome): void {
    for (const { plugin, probe } of this.#ofEnds) {
      probe.notify(() => plugin.ended?.(request, target, outcome))
    }
  }
}
