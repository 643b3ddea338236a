import type { EngineBlockHash, EngineBlockHasher } from '../../framework/services.ts'
import { sideTable } from '../../framework/side-table.ts'
import type { SegmentIndex } from '../segments/segment-index.ts'
import type { Owner } from '../tracked-owners.ts'
import type { ChainHasher } from './chain-hash.ts'
import { tagExtras } from './engine-hash.ts'
import { isSlow } from './hash-candidates.ts'

/** What a request's prompt is asked under. */
export interface PromptSpace {
  readonly blockTokens: number
  /** Undefined for the base model. */
  readonly adapter: string | undefined
  readonly cacheSalt: string | undefined
}

/** A prompt's blocks by the hashes of one engine, as far as they were needed. */
interface EngineChain extends PromptSpace {
  readonly hasher: EngineBlockHasher
  readonly tagged: boolean
  readonly hashes: EngineBlockHash[]
}

/** Hashing a block takes 3 microseconds on the way of a request, by XXH3 12. */
const MAX_HASHED_BLOCKS = 1024
const MAX_XXHASHED_BLOCKS = 256
const SEVERAL_TENANTS = 8

/**
 * Finds a prompt's blocks that are in the index under the engine's own hash of the first of them: those whose salt the
 * events do not tell, and those stored after blocks that are not known.
 *
 * An engine that holds a block holds all before it, since it takes the last blocks of a chain away first. So blocks behind
 * unknown ones count with these.
 */
export class AnchoredBlocks {
  readonly #index: SegmentIndex
  readonly #hasher: ChainHasher
  readonly #chains = sideTable<Int32Array, EngineChain[]>()
  /** What `find` has found, unknown blocks before them included. */
  blocks = 0
  weighted = 0

  constructor(index: SegmentIndex, hasher: ChainHasher) {
    this.#index = index
    this.#hasher = hasher
  }

  /**
   * Looks one prompt up; leaves the answer in `blocks` and `weighted`.
   *
   * @param usable blocks of the prompt that the engine could use
   * @param isPicked whether what is found is marked as matched
   */
  find(
    owner: Owner,
    prompt: Int32Array,
    usable: number,
    space: PromptSpace,
    isPicked = false,
  ): void {
    this.blocks = 0
    this.weighted = 0
    const chain = owner.anchors && this.#chainOf(owner, prompt, space)
    if (chain === undefined) return
    const most = isSlow(owner.alignment?.aligned?.algorithm)
      ? MAX_XXHASHED_BLOCKS
      : MAX_HASHED_BLOCKS
    const last = Math.min(usable, owner.anchors === 'root' ? 1 : most)
    for (let at = 0; at < last; at++) {
      const { published } = this.#hashAt(chain, prompt, at)
      const lo = Number(BigInt.asIntN(32, published))
      const hi = Number(BigInt.asIntN(32, published >> 32n))
      if (!owner.join.get(lo, hi)) {
        if (this.blocks > 0) return
        continue
      }
      this.#follow(owner, prompt, at, usable, isPicked)
      // Other blocks may go on where these end.
      if (this.blocks > at) at = this.blocks - 1
    }
  }

  /** Lets events that do not tell the salt be recognized when they tell of this prompt. */
  expect(owner: Owner, prompt: Int32Array, space: PromptSpace): void {
    const { alignment } = owner
    if (alignment?.candidate === undefined || alignment.tellsExtras) return
    if (prompt.length < space.blockTokens) return
    const chain = this.#chainOf(owner, prompt, space)
    if (chain) alignment.candidate.known.add(this.#hashAt(chain, prompt, 0))
  }

  /** Counts the blocks from `at` on, whose key the owner's join has just given. */
  #follow(owner: Owner, prompt: Int32Array, at: number, usable: number, isPicked: boolean): void {
    const { blockTokens } = owner
    const count = usable - at
    const keys = new Int32Array(count * 2)
    keys[0] = this.#hasher.lo = owner.join.keyLo
    keys[1] = this.#hasher.hi = owner.join.keyHi
    this.#hasher.extend(prompt, (at + 1) * blockTokens!, count - 1, blockTokens!, keys, 1)
    this.#index.lookup(keys, 0, count)
    if (isPicked) this.#index.touch(keys, 0, count)
    const matched = this.#index.matched(owner.number)
    if (matched === 0) return
    const before = this.blocks > 0 ? this.weighted : at
    this.blocks = at + matched
    this.weighted = before + this.#index.weighted(owner.number)
  }

  /** Undefined where what the engine hashes cannot be known. */
  #chainOf(owner: Owner, prompt: Int32Array, space: PromptSpace): EngineChain | undefined {
    if (owner.alignment?.candidate === undefined) return undefined
    const { candidate, tagged, tellsExtras } = owner.alignment
    // Without extras events are of vLLM before 0.18, which hashes adapters by a number at first.
    if (space.adapter !== undefined && (!tellsExtras || tagged !== false)) return undefined
    if (space.cacheSalt !== undefined && tellsExtras && tagged === undefined) return undefined
    const { hasher } = candidate
    let chains = this.#chains.get(prompt)
    if (chains === undefined) this.#chains.set(prompt, (chains = []))
    const known = chains.find(
      (chain) =>
        chain.hasher === hasher &&
        chain.tagged === (tagged === true) &&
        chain.blockTokens === space.blockTokens &&
        chain.adapter === space.adapter &&
        chain.cacheSalt === space.cacheSalt,
    )
    if (known !== undefined) return known
    const chain = { ...space, hasher, tagged: tagged === true, hashes: [] }
    if (chains.length < SEVERAL_TENANTS) chains.push(chain)
    return chain
  }

  #hashAt(chain: EngineChain, prompt: Int32Array, block: number): EngineBlockHash {
    const { hasher, hashes, blockTokens, adapter, cacheSalt } = chain
    while (hashes.length <= block) {
      const at = hashes.length
      const extras: unknown[] = adapter === undefined ? [] : [adapter]
      if (at === 0 && cacheSalt !== undefined) extras.push(cacheSalt)
      const given = extras.length === 0 ? null : extras
      const tokens = prompt.subarray(at * blockTokens, (at + 1) * blockTokens)
      const form = chain.tagged ? tagExtras(given, undefined) : given
      hashes.push(hasher.next(hashes[at - 1] ?? hasher.root, tokens, form))
    }
    return hashes[block]!
  }
}
