import type { Clock } from '../../framework/services.ts'

/** How many messages a publisher may still send: so many a second, and as many at once after a pause. */
export class MessageRate {
  readonly #perSecond: number
  readonly #clock: Clock
  #left: number
  #atMs: number
  #isOver = false

  constructor(perSecond: number, clock: Clock) {
    this.#perSecond = perSecond
    this.#clock = clock
    this.#left = perSecond
    this.#atMs = clock.nowMs()
  }

  /** Counts a message: `over` for the first of those that are too many, `still-over` for the others of them. */
  take(): 'within' | 'over' | 'still-over' {
    const nowMs = this.#clock.nowMs()
    const gained = ((nowMs - this.#atMs) / 1000) * this.#perSecond
    this.#left = Math.min(this.#perSecond, this.#left + gained)
    this.#atMs = nowMs
    const wasOver = this.#isOver
    this.#isOver = this.#left < 1
    if (this.#isOver) return wasOver ? 'still-over' : 'over'
    this.#left--
    return 'within'
  }
}
