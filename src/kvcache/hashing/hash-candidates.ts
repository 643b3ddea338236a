import type {
  Clock,
  EngineBlockHash,
  EngineBlockHasher,
  EngineHashAlgorithm,
} from '../../framework/services.ts'
import { createEngineBlockHasher } from './engine-hash.ts'

/** The algorithm and seed with which an engine's hashes are reproduced. */
export interface AlignedHashing {
  readonly algorithm: EngineHashAlgorithm
  readonly hashSeed: string
}

/** One hashing, and the last blocks that it was seen to give. */
export interface HashCandidate extends AlignedHashing {
  readonly hasher: EngineBlockHasher
  readonly known: KnownHashes
}

const ALGORITHMS: readonly EngineHashAlgorithm[] = [
  'sha256_cbor',
  'sha256',
  'sha256_cbor_64bit',
  'xxhash_cbor',
  'xxhash',
]
const COMMON_SEEDS: readonly string[] = ['vllm-none-hash', '42', '0']
const MAX_KNOWN = 16_384
/** Blocks that may be hashed to check engines: in a burst, in each second that follows, and at once. */
const BURST = 20_000
const PER_SECOND = 2_000
const AT_ONCE = 1_000
/** What a block of XXH3 counts, which takes longer; and first blocks for which it is tried. */
const SLOW = 4
const SLOW_TRIES = 4

/** Whole digests by what of them is published: a chain is continued from the whole one. The longest unused go first. */
export class KnownHashes {
  readonly #hashes = new Map<bigint, EngineBlockHash>()

  get(published: bigint): EngineBlockHash | undefined {
    const hash = this.#hashes.get(published)
    if (hash === undefined) return undefined
    this.#hashes.delete(published)
    this.#hashes.set(published, hash)
    return hash
  }

  add(hash: EngineBlockHash): void {
    this.#hashes.set(hash.published, hash)
    if (this.#hashes.size > MAX_KNOWN) this.#hashes.delete(this.#hashes.keys().next().value!)
  }
}

/** The hashings that are tried, the one that fitted last first. Shared by all engines of a pool. */
export class HashCandidates {
  readonly #clock: Clock
  #candidates: readonly HashCandidate[] = []
  #room = BURST
  #roomAtMs: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#roomAtMs = clock.nowMs()
    this.setSeed(undefined)
  }

  /** @param hashSeed the configured seed, tried beside the common ones */
  setSeed(hashSeed: string | undefined): void {
    const seeds = new Set(hashSeed === undefined ? COMMON_SEEDS : [hashSeed, ...COMMON_SEEDS])
    this.#candidates = ALGORITHMS.flatMap((algorithm) =>
      [...seeds].map(
        (seed) =>
          this.#candidates.find((old) => old.algorithm === algorithm && old.hashSeed === seed) ?? {
            algorithm,
            hashSeed: seed,
            hasher: createEngineBlockHasher(algorithm, seed),
            known: new KnownHashes(),
          },
      ),
    )
  }

  /**
   * The candidate that gives a chain's first block this hash; undefined when none does.
   *
   * @param forms what else the block may have been hashed with
   * @param failures first blocks of the engine for which this has failed before
   */
  find(
    tokens: ArrayLike<number>,
    forms: readonly (readonly unknown[] | null)[],
    published: bigint,
    failures: number,
  ): HashCandidate | undefined {
    const found = this.#candidates.find(
      ({ algorithm, hasher }) =>
        (failures < SLOW_TRIES || !isSlow(algorithm)) &&
        forms.some((extras) => hasher.next(hasher.root, tokens, extras).published === published),
    )
    if (found !== undefined && found !== this.#candidates[0]) {
      this.#candidates = [found, ...this.#candidates.filter((other) => other !== found)]
    }
    return found
  }

  /** True, and counted, when there is time to hash so many blocks. */
  mayHash(blocks: number, algorithm: EngineHashAlgorithm | undefined): boolean {
    const cost = blocks * (isSlow(algorithm) ? SLOW : 1)
    if (cost > AT_ONCE) return false
    const nowMs = this.#clock.nowMs()
    this.#room = Math.min(BURST, this.#room + ((nowMs - this.#roomAtMs) * PER_SECOND) / 1000)
    this.#roomAtMs = nowMs
    if (this.#room < cost) return false
    this.#room -= cost
    return true
  }
}

/** True for XXH3, computed here without the help of native code. */
export function isSlow(algorithm: EngineHashAlgorithm | undefined): boolean {
  return algorithm?.startsWith('xxhash') === true
}
