import { setImmediate as nextTurn } from 'node:timers/promises'

/** Work of one kind is done for so long in each turn of the event loop, then other work of the process goes on. */
const SLICE_MS = 4

/** What one kind of work takes of each turn of the event loop; all who share a slice take no more together. */
export class TurnSlice {
  #startedMs = 0
  /** Ends with the turn in which the slice began; undefined before the turn's first piece of work. */
  #ends: Promise<void> | undefined

  /** Fulfils in a turn that has time left; undefined where this one has. */
  time(): Promise<void> | undefined {
    return this.isUsedUp() ? this.#later() : undefined
  }

  async #later(): Promise<void> {
    while (this.isUsedUp()) await this.#ends
  }

  /** True when this turn has no time left; the first to ask in a turn begins the slice. */
  isUsedUp(): boolean {
    const nowMs = performance.now()
    if (this.#ends === undefined) {
      this.#startedMs = nowMs
      this.#ends = nextTurn().then(() => {
        this.#ends = undefined
      })
    }
    return nowMs - this.#startedMs > SLICE_MS
  }
}
