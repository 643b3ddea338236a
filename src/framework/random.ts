import type { Random } from './services.ts'

/** A generator of numbers in [0, 1) that repeats itself for the same seed (mulberry32). */
export function seededRandom(seed: number): Random {
  return new SeededRandom(seed)
}

/** The same as an object that can begin anew with another seed. */
export class SeededRandom implements Random {
  #state: number

  /** @param seed its lower 32 bits count */
  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** What is drawn from now on depends on `seed` alone. */
  restart(seed: number): void {
    this.#state = seed >>> 0
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    const state = this.#state
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/**
 * The chance of picks: each pick draws from a seed of its own, so that one pick can be made again without those before it.
 *
 * Seeds of 2^32 picks in a row are all different.
 */
export class PickRandom extends SeededRandom {
  readonly #seed: number
  #picks = 0

  /** @param seed its lower 32 bits count */
  constructor(seed: number) {
    super(seed)
    this.#seed = seed >>> 0
  }

  /** Begins the draws of the next pick. @returns its seed, of 32 bits: `restart` with it gives the same draws */
  nextPick(): number {
    this.#picks = (this.#picks + 1) >>> 0
    const seed = mixed((this.#seed + Math.imul(this.#picks, 0x9e3779b1)) >>> 0)
    this.restart(seed)
    return seed
  }
}

/** Another number for each number of 32 bits, near ones far apart (the finalizer of MurmurHash3). */
function mixed(value: number): number {
  value ^= value >>> 16
  value = Math.imul(value, 0x85ebca6b)
  value ^= value >>> 13
  value = Math.imul(value, 0xc2b2ae35)
  return (value ^ (value >>> 16)) >>> 0
}
