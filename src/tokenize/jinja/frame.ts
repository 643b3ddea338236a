import type { Run } from './run.ts'
import { NOTHING, type Value } from './values.ts'

/** Variables of one block while it runs. */
export class Frame {
  readonly run: Run
  readonly #outer: Frame | undefined
  /** By the numbers that `Names` gives; what has not been set is `NOTHING`, not even Undefined. */
  readonly #slots: (Value | typeof NOTHING)[]

  constructor(run: Run, count: number, outer?: Frame) {
    this.run = run
    this.#outer = outer
    this.#slots = []
    for (let i = 0; i < count; i++) this.#slots.push(NOTHING)
  }

  get(slot: number): Value | typeof NOTHING {
    return this.#slots[slot]
  }

  set(slot: number, value: Value): void {
    this.#slots[slot] = value
  }

  /** The block so many blocks around this one; itself for 0. */
  around(blocks: number): Frame {
    let frame: Frame = this
    for (let i = 0; i < blocks; i++) frame = frame.#outer!
    return frame
  }
}
