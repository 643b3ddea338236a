import type { Clock, ExpectedHashing, Logger, Metrics, Notices } from '../../framework/services.ts'
import type { TrackedEndpoint, TrackedOwners } from '../tracked-owners.ts'
import type { HashAlignment } from './hash-alignment.ts'
import { type AlignedHashing, HashCandidates } from './hash-candidates.ts'

type Mismatch = 'block_size' | 'hash_seed'

interface Learned {
  /** As its events say. */
  blockTokens?: number
  /** As its metrics page says. */
  reportedTokens?: number
  /** Undefined inside means that no candidate reproduces the engine's hashes. */
  hashing?: AlignedHashing | 'unknown'
}

/** Compares what is configured of the engines' hashing with what they show, and says where they differ. */
export class HashingCheck {
  readonly candidates: HashCandidates
  readonly #logger: Logger
  readonly #notices: Notices
  readonly #learned = new Map<TrackedEndpoint, Learned>()
  readonly #mismatches: Readonly<Record<Mismatch, Set<TrackedEndpoint>>> = {
    block_size: new Set(),
    hash_seed: new Set(),
  }
  #expected: ExpectedHashing = {}

  constructor(
    services: {
      readonly clock: Clock
      readonly logger: Logger
      readonly notices: Notices
      readonly metrics: Metrics
    },
    owners: TrackedOwners,
  ) {
    const { logger, notices, metrics } = services
    this.candidates = new HashCandidates(services.clock)
    this.#logger = logger
    this.#notices = notices
    metrics.observed(
      'epp_kv_hashing_mismatches',
      'Endpoints that differ from what is configured of them.',
      () =>
        Object.entries(this.#mismatches).map(([kind, { size }]) => ({
          labels: { kind },
          value: size,
        })),
    )
    owners.onRemoved((tracked) => {
      this.#learned.delete(tracked)
      this.#say(tracked, 'block_size', undefined)
      this.#say(tracked, 'hash_seed', undefined)
    })
  }

  get expected(): ExpectedHashing {
    return this.#expected
  }

  configure(expected: ExpectedHashing): void {
    this.#expected = expected
    this.candidates.setSeed(expected.hashSeed)
    for (const tracked of this.#learned.keys()) this.#compare(tracked)
  }

  sawBlockTokens(tracked: TrackedEndpoint, blockTokens: number): void {
    const learned = this.#of(tracked)
    if (learned.blockTokens === blockTokens) return
    learned.blockTokens = blockTokens
    this.#compare(tracked)
  }

  /** What an endpoint's metrics page says of its blocks; counts until its events say something. */
  sawReported(tracked: TrackedEndpoint, blockTokens: number): void {
    const learned = this.#of(tracked)
    if (learned.reportedTokens === blockTokens) return
    learned.reportedTokens = blockTokens
    this.#compare(tracked)
  }

  sawHashing(tracked: TrackedEndpoint, hashing: AlignedHashing | undefined): void {
    const learned = this.#of(tracked)
    const said = hashing ?? 'unknown'
    if (learned.hashing === said) return
    learned.hashing = said
    this.#compare(tracked)
  }

  /** What is known of a publisher's hashing, and what is configured where that differs; for people. */
  describe({ aligned, gaveUp }: HashAlignment, blockTokens: number | undefined): string {
    const block = blockTokens === undefined ? '' : ` block ${blockTokens}`
    const seen = aligned
      ? `aligned: ${aligned.algorithm} seed ${aligned.hashSeed}${block}`
      : `${gaveUp ? 'not aligned: no known algorithm and seed gives its hashes' : 'not seen yet'}${block && `,${block}`}`
    const { blockTokens: wantedTokens, hashSeed } = this.#expected
    const differs = [
      hashSeed !== undefined && aligned !== undefined && aligned.hashSeed !== hashSeed
        ? `seed ${hashSeed}`
        : '',
      wantedTokens !== undefined && blockTokens !== undefined && wantedTokens !== blockTokens
        ? `block ${wantedTokens}`
        : '',
    ].filter((text) => text !== '')
    return differs.length === 0 ? seen : `${seen}; configured: ${differs.join(' ')}`
  }

  #of(tracked: TrackedEndpoint): Learned {
    let learned = this.#learned.get(tracked)
    if (learned === undefined) this.#learned.set(tracked, (learned = {}))
    return learned
  }

  #compare(tracked: TrackedEndpoint): void {
    const { hostPort } = tracked.endpoint
    const { blockTokens: eventTokens, reportedTokens, hashing } = this.#of(tracked)
    const blockTokens = eventTokens ?? reportedTokens
    const source =
      eventTokens === undefined
        ? `the metrics page of ${hostPort} says`
        : `the events of ${hostPort} say`
    const { blockTokens: wantedTokens, hashSeed } = this.#expected
    const sizeDiffers =
      wantedTokens !== undefined && blockTokens !== undefined && wantedTokens !== blockTokens
    this.#say(
      tracked,
      'block_size',
      sizeDiffers
        ? `configured block size ${wantedTokens}, but ${source} ${blockTokens}; ${blockTokens} is used: correct blockSize in the profile`
        : undefined,
    )
    let seedText: string | undefined
    if (hashSeed !== undefined && hashing === 'unknown') {
      seedText = `the block hashes of ${hostPort} are not reproduced by any --prefix-caching-hash-algo with the configured hashSeed "${hashSeed}"; matching works without it: remove hashSeed, or compare it with the engine's PYTHONHASHSEED`
    } else if (
      hashSeed !== undefined &&
      hashing !== undefined &&
      hashing !== 'unknown' &&
      hashing.hashSeed !== hashSeed
    ) {
      seedText = `configured hashSeed "${hashSeed}", but ${hostPort} hashes by ${hashing.algorithm} with seed "${hashing.hashSeed}"; matching works all the same: correct hashSeed in the profile`
    }
    this.#say(tracked, 'hash_seed', seedText)
  }

  #say(tracked: TrackedEndpoint, kind: Mismatch, text: string | undefined): void {
    const key = `kv-${kind.replace('_', '-')}:${tracked.endpoint.hostPort}`
    this.#notices.set(key, text)
    if (text === undefined) this.#mismatches[kind].delete(tracked)
    else {
      this.#mismatches[kind].add(tracked)
      this.#logger.warnOnce(`${key}:${text}`, text)
    }
  }
}
