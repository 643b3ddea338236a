import type { EngineBlockHasher, EngineHashAlgorithm } from '../../framework/services.ts'
import { createEngineBlockHasher } from './engine-hash.ts'

/** The algorithm and seed with which an engine's hashes are reproduced. */
export interface AlignedHashing {
  readonly algorithm: EngineHashAlgorithm
  readonly hashSeed: string
}

const ALGORITHMS: readonly EngineHashAlgorithm[] = ['sha256_cbor', 'sha256', 'sha256_cbor_64bit']
const COMMON_SEEDS: readonly string[] = ['vllm-none-hash', '42', '0']
const MAX_FAILURES = 16

interface Candidate extends AlignedHashing {
  readonly hasher: EngineBlockHasher
}

/** The hashings that are tried, the one that fitted last first. Shared by all engines of a pool. */
export class HashCandidates {
  #candidates: readonly Candidate[] = []

  constructor() {
    this.setSeed(undefined)
  }

  /** @param hashSeed the configured seed, tried beside the common ones */
  setSeed(hashSeed: string | undefined): void {
    const seeds = new Set(hashSeed === undefined ? COMMON_SEEDS : [hashSeed, ...COMMON_SEEDS])
    this.#candidates = ALGORITHMS.flatMap((algorithm) =>
      [...seeds].map((seed) => ({
        algorithm,
        hashSeed: seed,
        hasher: createEngineBlockHasher(algorithm, seed),
      })),
    )
  }

  /** The candidate that gives a chain's first block this hash; undefined when none does. */
  find(tokens: ArrayLike<number>, published: bigint): Candidate | undefined {
    const found = this.#candidates.find(
      ({ hasher }) => hasher.next(hasher.root, tokens, null).published === published,
    )
    if (found !== undefined && found !== this.#candidates[0]) {
      this.#candidates = [found, ...this.#candidates.filter((other) => other !== found)]
    }
    return found
  }
}

/**
 * Finds out how one engine hashes, from first blocks without extras whose tokens and hash an event told. Not needed to
 * match prompts; it verifies what is configured, and tells a salted block apart where events do not say the salt.
 */
export class HashAlignment {
  readonly #candidates: HashCandidates
  #aligned: Candidate | undefined
  #failures = 0

  constructor(candidates: HashCandidates) {
    this.#candidates = candidates
  }

  get aligned(): AlignedHashing | undefined {
    return this.#aligned
  }

  /** True when so many blocks were not reproduced that no more are tried. */
  get gaveUp(): boolean {
    return this.#aligned === undefined && this.#failures >= MAX_FAILURES
  }

  /** Whether `check` would learn something. */
  get undecided(): boolean {
    return this.#aligned === undefined && this.#failures < MAX_FAILURES
  }

  /**
   * Tries to reproduce a chain's first block.
   *
   * @returns true or false once aligned; undefined while it is not known how the engine hashes
   */
  check(tokens: ArrayLike<number>, lo: number, hi: number): boolean | undefined {
    const published = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
    if (this.#aligned !== undefined) {
      const { hasher } = this.#aligned
      return hasher.next(hasher.root, tokens, null).published === published
    }
    if (this.gaveUp) return undefined
    this.#aligned = this.#candidates.find(tokens, published)
    if (this.#aligned !== undefined) return true
    this.#failures++
    return undefined
  }
}
