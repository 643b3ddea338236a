import { seededRandom } from '../../framework/random.ts'
import type { Random } from '../../framework/services.ts'

const VOCABULARY = 150_000

/** A log-normal length, cut to a range. */
export interface Length {
  readonly mean: number
  /** Standard deviation over mean. */
  readonly variation: number
  readonly least: number
  readonly most: number
}

/** Draws what a workload is made of; one source says the same for one seed. */
export class Draw {
  readonly #random: Random
  #spare = 0

  constructor(random: Random) {
    this.#random = random
  }

  /** A source that says something else for each pair. */
  static of(seed: number, stream: number): Draw {
    // Neighbours must not begin alike: a generator's first number mixes the two.
    const mixed = seededRandom((seed * 0x9e3779b1 + stream * 0x85ebca6b) >>> 0).next()
    return new Draw(seededRandom(Math.floor(mixed * 2 ** 32)))
  }

  /** In [0, 1). */
  share(): number {
    return this.#random.next()
  }

  /** A whole number from `least` to `most`, both included. */
  whole(least: number, most: number): number {
    return least + Math.floor(this.share() * (most - least + 1))
  }

  /** Exponential, of that mean. */
  pause(mean: number): number {
    return -Math.log(1 - this.share()) * mean
  }

  /** A whole number. */
  length({ mean, variation, least, most }: Length): number {
    const variance = Math.log(1 + variation * variation)
    const normal = Math.sqrt(-2 * Math.log(1 - this.share())) * Math.cos(2 * Math.PI * this.share())
    const drawn = Math.exp(Math.log(mean) - variance / 2 + Math.sqrt(variance) * normal)
    return Math.round(Math.min(most, Math.max(least, drawn)))
  }

  /** Token ids. */
  tokens(count: number): Int32Array {
    const ids = new Int32Array(count)
    this.fill(ids, 0)
    return ids
  }

  /** Writes token ids from `from` to the end. */
  fill(ids: Int32Array, from: number): void {
    // Ids need no more than to differ: a linear generator is much quicker than `share`.
    let state = (this.#spare ||= Math.floor(this.share() * 2 ** 32) | 1)
    for (let i = from; i < ids.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) | 0
      ids[i] = (state >>> 8) % VOCABULARY
    }
    this.#spare = state
  }
}
