import type { PromptTokens } from '../../framework/attributes.ts'
import { sideTable } from '../../framework/side-table.ts'
import type { ChainHasher } from './chain-hash.ts'

/** The keys of a request's prompts at one block size, hashed when they are first asked for. */
export class PromptKeys {
  readonly blockTokens: number
  readonly adapter: string | undefined
  readonly cacheSalt: string | undefined
  /** Blocks per prompt: floor((tokens - 1) / blockTokens), since an engine computes at least the last token anew. */
  readonly counts: Int32Array
  /** Sum of `counts`. */
  readonly total: number
  readonly #hasher: ChainHasher
  /** Until they have been hashed: keys are kept as long as the response takes. */
  #prompts: readonly Int32Array[]
  #pairs: Int32Array | undefined

  constructor(
    hasher: ChainHasher,
    prompts: readonly Int32Array[],
    blockTokens: number,
    adapter: string | undefined,
    cacheSalt: string | undefined,
  ) {
    this.blockTokens = blockTokens
    this.adapter = adapter
    this.cacheSalt = cacheSalt
    this.counts = Int32Array.from(prompts, (prompt) => usableBlocks(prompt.length, blockTokens))
    this.total = this.counts.reduce((sum, count) => sum + count, 0)
    this.#hasher = hasher
    this.#prompts = prompts
  }

  /** Pairs (lo, hi), prompt after prompt. */
  get pairs(): Int32Array {
    return (this.#pairs ??= this.#compute())
  }

  #compute(): Int32Array {
    const { blockTokens, adapter, cacheSalt, counts } = this
    const pairs = new Int32Array(this.total * 2)
    let at = 0
    for (const [p, prompt] of this.#prompts.entries()) {
      this.#hasher.root(blockTokens, adapter, cacheSalt)
      this.#hasher.extend(prompt, 0, counts[p]!, blockTokens, pairs, at)
      at += counts[p]!
    }
    this.#prompts = []
    return pairs
  }
}

/** Hashes a request's prompts once per block size; the keys live as long as the token ids. */
export class RequestKeys {
  readonly #hasher: ChainHasher
  readonly #known = sideTable<PromptTokens, PromptKeys[]>()

  constructor(hasher: ChainHasher) {
    this.#hasher = hasher
  }

  of(
    tokens: PromptTokens,
    blockTokens: number,
    adapter: string | undefined,
    cacheSalt: string | undefined,
  ): PromptKeys {
    let known = this.#known.get(tokens)
    if (known === undefined) this.#known.set(tokens, (known = []))
    for (const keys of known) {
      if (
        keys.blockTokens === blockTokens &&
        keys.adapter === adapter &&
        keys.cacheSalt === cacheSalt
      ) {
        return keys
      }
    }
    const keys = new PromptKeys(this.#hasher, tokens.prompts, blockTokens, adapter, cacheSalt)
    known.push(keys)
    return keys
  }
}

/** Blocks of a prompt that a cache can save: the last token is always computed. */
export function usableBlocks(tokens: number, blockTokens: number): number {
  return tokens === 0 ? 0 : Math.floor((tokens - 1) / blockTokens)
}
