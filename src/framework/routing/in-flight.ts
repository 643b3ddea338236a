import type { Endpoint } from '../endpoint.ts'
import type { InFlight } from '../services.ts'

/** One request's load on one endpoint, taken off once. */
export interface Reservation {
  /** Takes the load off; calls after the first do nothing. */
  release(): void
}

/**
 * Counts the requests that were picked and have not ended, per endpoint.
 *
 * Kept by slot; a slot that serves a new endpoint starts at zero, and what is released late for the old one is ignored.
 */
export class InFlightLedger implements InFlight {
  readonly #ids: (string | undefined)[] = []
  readonly #requests: number[] = []
  readonly #lastPicks: number[] = []
  #picks = 0

  requests(endpoint: Endpoint): number {
    return this.#ids[endpoint.slot] === endpoint.id ? this.#requests[endpoint.slot]! : 0
  }

  lastPick(endpoint: Endpoint): number {
    return this.#ids[endpoint.slot] === endpoint.id ? this.#lastPicks[endpoint.slot]! : 0
  }

  /** Adds one request to the endpoint's load, at once. */
  reserve(endpoint: Endpoint): Reservation {
    const { id, slot } = endpoint
    if (this.#ids[slot] !== id) {
      this.#ids[slot] = id
      this.#requests[slot] = 0
    }
    this.#requests[slot]! += 1
    this.#lastPicks[slot] = ++this.#picks
    let held = true
    return {
      release: () => {
        if (!held) return
        held = false
        if (this.#ids[slot] === id) this.#requests[slot]! -= 1
      },
    }
  }

  /** Forgets a removed endpoint. */
  forget(endpoint: Endpoint): void {
    if (this.#ids[endpoint.slot] === endpoint.id) this.#ids[endpoint.slot] = undefined
  }
}
