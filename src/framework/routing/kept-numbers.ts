/** Of some hundred decisions of a small pool. */
const CHUNK_NUMBERS = 16_384

/** Arrays of one length, of which views are made when somebody looks at them. */
export class KeptNumbers {
  readonly #chunk: Float64Array
  readonly #at: number
  readonly #count: number

  constructor(chunk: Float64Array, at: number, count: number) {
    this.#chunk = chunk
    this.#at = at
    this.#count = count
  }

  /** The array that was kept at that place. */
  array(place: number): Float64Array {
    const from = this.#at + place * this.#count
    return this.#chunk.subarray(from, from + this.#count)
  }
}

/**
 * Room for the numbers of decisions. A thousand decisions are kept after their requests: with arrays of their own the garbage
 * collector would move some forty objects for each, which was a third of what a pick costs.
 */
export class NumberRoom {
  #chunk = new Float64Array(CHUNK_NUMBERS)
  #used = 0

  /** Copies arrays of `count` numbers each. */
  keep(arrays: readonly ArrayLike<number>[], count: number): KeptNumbers {
    const needed = arrays.length * count
    if (this.#used + needed > this.#chunk.length) {
      this.#chunk = new Float64Array(Math.max(CHUNK_NUMBERS, needed))
      this.#used = 0
    }
    const chunk = this.#chunk
    const at = this.#used
    let next = at
    for (const array of arrays) for (let i = 0; i < count; i++) chunk[next++] = array[i]!
    this.#used = next
    return new KeptNumbers(chunk, at, count)
  }
}
