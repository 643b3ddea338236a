import type { Clock } from '../services.ts'
import type { Reservation } from './in-flight.ts'

/** A prompt of unknown fate counts as computed after this long, */
const FIRST_BYTE_MS = 1000
/** and its answer as given after this long. */
const END_MS = 10_000

/** Things that fall due after one fixed delay, in the order in which they came. */
class Delayed<T> {
  readonly #delayMs: number
  readonly #due: (value: T) => void
  #held: { readonly value: T; readonly atMs: number }[] = []
  #first = 0

  constructor(delayMs: number, due: (value: T) => void) {
    this.#delayMs = delayMs
    this.#due = due
  }

  add(value: T, nowMs: number): void {
    this.#held.push({ value, atMs: nowMs + this.#delayMs })
  }

  expire(nowMs: number): void {
    while (this.#first < this.#held.length && this.#held[this.#first]!.atMs <= nowMs) {
      this.#due(this.#held[this.#first++]!.value)
    }
    if (this.#first * 2 < this.#held.length) return
    this.#held = this.#held.slice(this.#first)
    this.#first = 0
  }
}

/**
 * Load of requests whose responses are not seen (`--responses never`): it stays for a time that answers usually take,
 * since a load that vanished with the pick would let the next pick fall on the same endpoint.
 */
export class UnseenLoads {
  readonly #clock: Clock
  readonly #firstBytes = new Delayed<Reservation>(FIRST_BYTE_MS, (each) => each.firstByte())
  readonly #ends = new Delayed<Reservation>(END_MS, (each) => each.release())

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** A reservation whose release only begins the wait. */
  hold(reservation: Reservation): Reservation {
    return {
      firstByte: () => reservation.firstByte(),
      release: () => {
        const nowMs = this.#clock.nowMs()
        this.#firstBytes.add(reservation, nowMs)
        this.#ends.add(reservation, nowMs)
      },
    }
  }

  /** Takes off what has been there long enough. */
  expire(): void {
    const nowMs = this.#clock.nowMs()
    this.#firstBytes.expire(nowMs)
    this.#ends.expire(nowMs)
  }
}
