import type { TruthOptions } from '../../framework/services.ts'
import type { CacheEvidence } from './cache-witness.ts'
import { causeOf, newTally, type TruthCause } from './truth-reason.ts'
import type { TruthSample, Verdict } from './truth-sample.ts'

/** `named`: still distrusted, and the reason has been found, or is another one now. */
export type TrustChange = 'lost' | 'named' | 'regained'

/** Wrong answers that are kept to find the reason. */
const MAX_WRONG_KEPT = 16
const RENAMED_AFTER = 3
/** Windows after which old events say nothing about new answers. */
const STALE_WINDOWS = 20

/** Whether one endpoint's events are believed, by its last answers. */
export class EndpointTruth {
  /** True once the engine has told how many tokens were cached: later answers without it mean 0. */
  reports = false
  #window: boolean[] = []
  readonly #wrong: TruthSample[] = []
  #before: CacheEvidence | undefined
  #tally = newTally()
  #rightInRow = 0
  #cause: TruthCause | undefined
  /** Answers in a row that showed another reason. */
  #others = 0
  #provedEpoch: number | undefined

  /** Why its events are not believed; undefined when they are. */
  get cause(): TruthCause | undefined {
    return this.#cause
  }

  /** Answers in the window that were predicted wrong. */
  get wrongCount(): number {
    return this.#window.filter((isRight) => !isRight).length
  }

  /** Answers in the window. */
  get judged(): number {
    return this.#window.length
  }

  /** The last answer that was predicted wrong. */
  get lastWrong(): TruthSample | undefined {
    return this.#wrong.at(-1)
  }

  /** True where answers have proved the events right again, though some are known to be missing. */
  get isProved(): boolean {
    return this.#provedEpoch !== undefined
  }

  /** The same, as long as nothing was forgotten since. */
  isProvedAt(epoch: number): boolean {
    return this.#provedEpoch === epoch
  }

  /**
   * Takes an answer into account.
   *
   * @param pickedMs when it was picked, in the clock's milliseconds
   */
  add(
    sample: TruthSample,
    verdict: Verdict,
    pickedMs: number,
    now: CacheEvidence,
    options: TruthOptions,
  ): TrustChange | undefined {
    this.#count(sample, pickedMs, now)
    if (verdict === 'silent') return undefined
    this.#window.push(verdict === 'right')
    if (this.#window.length > options.window) {
      this.#window = this.#window.slice(-options.window)
    }
    if (verdict === 'right') return this.#right(now, options)
    this.#rightInRow = 0
    this.#wrong.push(sample)
    if (this.#wrong.length > MAX_WRONG_KEPT) this.#wrong.shift()
    return this.#wrongAgain(now, options)
  }

  #right(now: CacheEvidence, options: TruthOptions): TrustChange | undefined {
    this.#rightInRow++
    const isOver = this.#cause !== undefined && this.#rightInRow >= options.recoverAfter
    const isStale = this.#tally.answers >= STALE_WINDOWS * options.window
    if (isOver || (this.#cause === undefined && (this.wrongCount === 0 || isStale))) {
      this.#before = now
      this.#tally = newTally()
    }
    if (!isOver) return undefined
    this.#cause = undefined
    this.#window = []
    this.#wrong.length = 0
    this.#provedEpoch = now.epoch
    return 'regained'
  }

  #wrongAgain(now: CacheEvidence, options: TruthOptions): TrustChange | undefined {
    const known = this.#cause
    if (known === undefined && this.wrongCount < options.window * options.maxWrong) return undefined
    const cause = causeOf({ now, before: this.#before, tally: this.#tally, wrong: this.#wrong })
    if (known !== undefined && !this.#isBetter(known, cause)) return undefined
    this.#cause = cause
    this.#provedEpoch = undefined
    this.#others = 0
    return known === undefined ? 'lost' : 'named'
  }

  /** A named reason gives way to another one that several answers in a row show. */
  #isBetter(known: TruthCause, cause: TruthCause): boolean {
    if (cause.reason === 'unknown' || cause.reason === known.reason) {
      this.#others = 0
      return false
    }
    return known.reason === 'unknown' || ++this.#others >= RENAMED_AFTER
  }

  #count(sample: TruthSample, pickedMs: number, { lastEventMs }: CacheEvidence): void {
    const tally = this.#tally
    tally.answers++
    // Events may come after the answer: what was not heard then may have been since.
    if (tally.unheard > 0 && lastEventMs >= tally.unheardSinceMs) {
      tally.heard++
      tally.unheard = 0
    }
    const isHeard = lastEventMs >= pickedMs
    if (sample.engineTokens - sample.cachedTokens > sample.blockTokens) {
      if (isHeard) tally.heard++
      else {
        tally.unheard++
        tally.unheardSinceMs = pickedMs
      }
    }
    if (sample.beginning === 'same') tally.same++
    else if (sample.beginning === 'other-salt') tally.otherSalt++
    else if (sample.beginning === 'other-adapter') tally.otherAdapter++
    else if (sample.cachedTokens > 0) {
      // It was stored before, and announced then, unless events do not come.
      if (sample.beginning === 'absent' && tally.unheard === 0) tally.otherTokens++
    } else if (isHeard) tally.otherTokens++
  }
}
