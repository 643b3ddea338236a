import type { Endpoint } from '../endpoint.ts'
import type { Clock } from '../services.ts'
import type { Reservation } from './in-flight.ts'

/** A scrape that arrives so long after a pick has the request in it, on its way to the engine before. */
const ON_ITS_WAY_MS = 100
/** Where no scrape comes, a prompt of unknown fate counts as computed after this long, */
const FIRST_BYTE_MS = 1000
/** and its answer as given after this long. */
const END_MS = 10_000

interface Unseen {
  readonly reservation: Reservation
  readonly pickedMs: number
}

/** The unseen loads of one endpoint, in the order of their picks. */
class EndpointLoads {
  #held: Unseen[] = []
  /** Those before have been taken off, */
  #first = 0
  /** and those before have been told of a first byte. */
  #firstQueued = 0

  add(unseen: Unseen): void {
    this.#held.push(unseen)
  }

  /** @returns true when none is left */
  expire(nowMs: number, scrapedAtMs: number | undefined): boolean {
    const seenMs = (scrapedAtMs ?? Number.NEGATIVE_INFINITY) - ON_ITS_WAY_MS
    const held = this.#held
    while (this.#first < held.length) {
      const { reservation, pickedMs } = held[this.#first]!
      if (pickedMs > seenMs && pickedMs + END_MS > nowMs) break
      reservation.release()
      this.#first++
    }
    this.#firstQueued = Math.max(this.#first, this.#firstQueued)
    while (this.#firstQueued < held.length) {
      const { reservation, pickedMs } = held[this.#firstQueued]!
      if (pickedMs + FIRST_BYTE_MS > nowMs) break
      reservation.firstByte()
      this.#firstQueued++
    }
    if (this.#first * 2 >= held.length) {
      this.#held = held.slice(this.#first)
      this.#firstQueued -= this.#first
      this.#first = 0
    }
    return this.#held.length === 0
  }
}

/**
 * Load of requests whose responses are not seen. A load that vanished with the pick would let the next pick fall on the
 * same endpoint; it stays until the endpoint's own metrics have the request in them, or a time is over.
 */
export class UnseenLoads {
  readonly #clock: Clock
  /** By endpoint id. */
  readonly #loads = new Map<string, EndpointLoads>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Takes over a reservation that was made at `pickedMs`; picks of one endpoint come in their order. */
  add(endpoint: Endpoint, reservation: Reservation, pickedMs: number): void {
    let loads = this.#loads.get(endpoint.id)
    if (loads === undefined) this.#loads.set(endpoint.id, (loads = new EndpointLoads()))
    loads.add({ reservation, pickedMs })
  }

  /** Takes off what the endpoints' last scrapes have in them, and what has been there long enough. */
  expire(endpoints: readonly Endpoint[]): void {
    if (this.#loads.size === 0) return
    const nowMs = this.#clock.nowMs()
    for (const { id, metrics } of endpoints) {
      if (this.#loads.get(id)?.expire(nowMs, metrics?.scrapedAtMs)) this.#loads.delete(id)
    }
  }

  /** Forgets a removed endpoint, whose load has gone with it. */
  forget(endpoint: Endpoint): void {
    this.#loads.delete(endpoint.id)
  }
}
