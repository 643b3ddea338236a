import type { Draw } from './draw.ts'

/** The tokens of a conversation that grows. */
export class Conversation {
  readonly #draw: Draw
  #ids: Int32Array
  #length: number

  /** @param beginning tokens that it shares with others */
  constructor(draw: Draw, beginning: Int32Array) {
    this.#draw = draw
    this.#ids = Int32Array.from(beginning)
    this.#length = beginning.length
  }

  get length(): number {
    return this.#length
  }

  /** Adds what somebody says: so many tokens. */
  grow(tokens: number): void {
    const length = this.#length + tokens
    if (length > this.#ids.length) {
      const grown = new Int32Array(Math.max(length, this.#ids.length * 2))
      grown.set(this.#ids)
      this.#draw.fill(grown, this.#ids.length)
      this.#ids = grown
    }
    this.#length = length
  }

  /** Token ids from `from` to `to`, or to the end. What was given does not change as the conversation grows. */
  part(from: number, to: number = this.#length): Int32Array {
    return this.#ids.subarray(from, to)
  }
}
