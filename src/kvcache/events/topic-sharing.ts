import type { Clock } from '../../framework/services.ts'

const MIN_EVIDENCE = 3
const EVIDENCE_MS = 10_000
const CALM_MS = 30_000
/** Messages remembered: one that comes twice says nothing. */
const REMEMBERED = 64

/**
 * Tells that two engines send under one topic: the numbers of messages then go on from two places in turn, which those of
 * one engine never do, be it restarted or cut off.
 */
export class TopicSharing {
  readonly #clock: Clock
  /** Of the message before, and of the one from which that did not go on. */
  #last = -1
  #other = -1
  #evidence = 0
  #evidenceAtMs = 0
  #shared = false
  readonly #sequences = new Float64Array(REMEMBERED).fill(-1)
  readonly #timestamps = new Float64Array(REMEMBERED)

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /**
   * Takes note of a live message's number; true while the topic is shared.
   *
   * @param timestamp the engine's time of the message
   */
  see(sequence: number, timestamp: number): boolean {
    const place = sequence % REMEMBERED
    if (this.#sequences[place] === sequence && this.#timestamps[place] === timestamp) {
      return this.#shared
    }
    this.#sequences[place] = sequence
    this.#timestamps[place] = timestamp
    const nowMs = this.#clock.nowMs()
    const sinceMs = nowMs - this.#evidenceAtMs
    if (sequence === this.#last + 1) this.#last = sequence
    else {
      const goesOn = this.#other >= 0 && sequence === this.#other + 1
      this.#other = this.#last
      this.#last = sequence
      if (goesOn) {
        this.#evidence = sinceMs > EVIDENCE_MS ? 1 : this.#evidence + 1
        this.#evidenceAtMs = nowMs
        this.#shared ||= this.#evidence >= MIN_EVIDENCE
        return this.#shared
      }
    }
    if (this.#shared && sinceMs > CALM_MS) this.#shared = false
    return this.#shared
  }
}
