import type { EngineBlockHash } from '../../framework/services.ts'
import { tagExtras } from './engine-hash.ts'
import type { AlignedHashing, HashCandidate, HashCandidates } from './hash-candidates.ts'

/** Blocks of one publisher by what became of their check. */
export interface HashCounts {
  /** Their hashes are what the aligned hashing gives. */
  readonly recognized: number
  /** They are not. */
  readonly unrecognized: number
  /** Not to be judged: of an adapter whose path is hashed and not told, after a block that is not known, or too many at once. */
  readonly unjudged: number
}

/** What an event tells of blocks that follow one another. */
export interface HashedBlocks {
  /** Undefined for the first of a chain. */
  readonly parent: bigint | undefined
  readonly tokens: Int32Array
  readonly blockTokens: number
  readonly count: number
  hashOf(block: number): bigint
  /** What vLLM up to 0.30 hashes besides; null for nothing, undefined for what no version of vLLM hashes. */
  extrasOf(block: number): readonly unknown[] | null | undefined
  /** False when events do not tell the salt and images. */
  readonly tellsExtras: boolean
  /** The adapter's name; undefined for the base model. */
  readonly adapter: string | undefined
}

const MAX_FAILURES = 16

/**
 * Finds out how one engine hashes from what its events tell anyway, and checks every block against it. Not needed to match
 * prompts: it verifies what is configured, tells a salted block apart where events do not say the salt, and lets blocks be
 * found by the engine's own hashes.
 */
export class HashAlignment {
  readonly #candidates: HashCandidates
  #aligned: HashCandidate | undefined
  #tagged: boolean | undefined
  #tellsExtras = false
  /** First blocks in a row that were not reproduced. */
  #failures = 0
  #recognized = 0
  #unrecognized = 0
  #unjudged = 0

  constructor(candidates: HashCandidates) {
    this.#candidates = candidates
  }

  get aligned(): AlignedHashing | undefined {
    return this.#aligned
  }

  get candidate(): HashCandidate | undefined {
    return this.#aligned
  }

  /** Whether extras are hashed under tags, as from vLLM 0.31 on; undefined before a block with extras was recognized. */
  get tagged(): boolean | undefined {
    return this.#tagged
  }

  /** False when the publisher's events do not tell the salt and images. */
  get tellsExtras(): boolean {
    return this.#tellsExtras
  }

  /** True when so many blocks were not reproduced that the engine's hashing counts as unknown. */
  get gaveUp(): boolean {
    return this.#aligned === undefined && this.#failures >= MAX_FAILURES
  }

  get counts(): HashCounts {
    return {
      recognized: this.#recognized,
      unrecognized: this.#unrecognized,
      unjudged: this.#unjudged,
    }
  }

  /** The engine is another one than before. */
  reset(): void {
    this.#aligned = undefined
    this.#tagged = undefined
    this.#failures = 0
  }

  /**
   * Checks the blocks of an event.
   *
   * @returns whether the first one was reproduced; undefined when it could not be judged
   */
  check(blocks: HashedBlocks): boolean | undefined {
    const { count } = blocks
    if (count === 0) return undefined
    this.#tellsExtras = blocks.tellsExtras
    const isRoot = blocks.parent === undefined
    if (this.gaveUp || (this.#aligned === undefined && !isRoot)) return this.#skip(count)
    // A first block alone is always judged: it tells whom the chain belongs to.
    const isWhole = this.#candidates.mayHash(count, this.#aligned?.algorithm)
    if (!isWhole && !isRoot) return this.#skip(count)
    if (!isRoot) return this.#follow(blocks, this.#parentOf(blocks.parent!), 0, count)
    if (this.#knowsRoot(blocks)) {
      const { root } = this.#aligned!.hasher
      const isReproduced = this.#follow(blocks, root, 0, isWhole ? count : 1)
      if (!isWhole) this.#unjudged += count - 1
      return isReproduced
    }
    const salted = blocks.tellsExtras ? undefined : this.#aligned?.known.get(blocks.hashOf(0))
    if (salted === undefined) return this.#failed(blocks)
    this.#recognized++
    this.#follow(blocks, salted, 1, count)
    return false
  }

  /** Judges blocks from `from` on; answers for the first of them. */
  #follow(
    blocks: HashedBlocks,
    before: EngineBlockHash | undefined,
    from: number,
    count: number,
  ): boolean | undefined {
    if (before === undefined) return this.#skip(count - from)
    const aligned = this.#aligned!
    let parent = before
    for (let i = from; i < count; i++) {
      const next = this.#next(aligned, parent, blocks, i)
      if (next === undefined) {
        // What follows depends on a block that is not known.
        if (this.#needsPath(blocks)) return this.#skip(count - i)
        this.#unrecognized++
        this.#unjudged += count - i - 1
        return i > from
      }
      this.#recognized++
      aligned.known.add(next)
      parent = next
    }
    return true
  }

  /** The hash of the block if it is the published one. */
  #next(
    { hasher }: HashCandidate,
    parent: EngineBlockHash,
    blocks: HashedBlocks,
    index: number,
  ): EngineBlockHash | undefined {
    const { blockTokens } = blocks
    const tokens = blocks.tokens.subarray(index * blockTokens, (index + 1) * blockTokens)
    const extras = blocks.extrasOf(index)
    if (extras === undefined) return undefined
    const published = blocks.hashOf(index)
    for (const tagged of extras === null ? [false] : this.#forms()) {
      const form = tagged ? tagExtras(extras, undefined) : extras
      const hash = hasher.next(parent, tokens, form)
      if (hash.published !== published) continue
      if (extras !== null) this.#tagged = tagged
      return hash
    }
    return undefined
  }

  /** True when a chain's first block is reproduced; finds a hashing that does where there is none, or where it has changed. */
  #knowsRoot(blocks: HashedBlocks): boolean {
    const aligned = this.#aligned
    if (aligned !== undefined && this.#next(aligned, aligned.hasher.root, blocks, 0)) {
      this.#failures = 0
      return true
    }
    // An adapter's path may be hashed too: no search would end.
    if (this.#failures >= MAX_FAILURES || blocks.adapter !== undefined) return false
    const extras = blocks.extrasOf(0)
    if (extras === undefined) return false
    const forms = extras === null ? [null] : [extras, tagExtras(extras, undefined)]
    const tokens = blocks.tokens.subarray(0, blocks.blockTokens)
    const found = this.#candidates.find(tokens, forms, blocks.hashOf(0), this.#failures)
    if (found === undefined) return false
    this.#aligned = found
    this.#failures = 0
    return true
  }

  #failed(blocks: HashedBlocks): boolean | undefined {
    if (this.#needsPath(blocks)) return this.#skip(blocks.count)
    this.#failures++
    // Where extras are not told, many blocks in a row may be salted ones.
    if (blocks.tellsExtras && this.#failures >= MAX_FAILURES) this.#aligned = undefined
    if (this.#aligned === undefined) return this.#skip(blocks.count)
    this.#unrecognized++
    this.#unjudged += blocks.count - 1
    return false
  }

  #skip(count: number): undefined {
    this.#unjudged += count
    return undefined
  }

  #parentOf(published: bigint): EngineBlockHash | undefined {
    const aligned = this.#aligned!
    // There the published number is the whole digest.
    if (aligned.algorithm === 'sha256_cbor_64bit') return { digest: published, published }
    return aligned.known.get(published)
  }

  /** With an adapter the hash covers its path, unless the engine is known to hash its name alone. */
  #needsPath({ adapter }: HashedBlocks): boolean {
    return adapter !== undefined && this.#tagged !== false
  }

  #forms(): readonly boolean[] {
    return this.#tagged === undefined ? [false, true] : [this.#tagged]
  }
}
