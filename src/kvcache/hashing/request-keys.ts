import type { PromptTokens } from '../../framework/attributes.ts'
import type { ChainHasher } from './chain-hash.ts'

/** The keys of a request's prompts at one block size. */
export interface PromptKeys {
  readonly blockTokens: number
  readonly adapter: string | undefined
  readonly cacheSalt: string | undefined
  /** Pairs (lo, hi), prompt after prompt. */
  readonly pairs: Int32Array
  /** Blocks per prompt: floor((tokens - 1) / blockTokens), since an engine computes at least the last token anew. */
  readonly counts: Int32Array
  /** Sum of `counts`. */
  readonly total: number
}

/** Hashes a request's prompts once per block size; the keys live as long as the token ids. */
export class RequestKeys {
  readonly #hasher: ChainHasher
  readonly #known = new WeakMap<PromptTokens, PromptKeys[]>()

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
    const keys = this.#compute(tokens.prompts, blockTokens, adapter, cacheSalt)
    known.push(keys)
    return keys
  }

  #compute(
    prompts: readonly Int32Array[],
    blockTokens: number,
    adapter: string | undefined,
    cacheSalt: string | undefined,
  ): PromptKeys {
    const counts = Int32Array.from(prompts, (prompt) => usableBlocks(prompt.length, blockTokens))
    const total = counts.reduce((sum, count) => sum + count, 0)
    const pairs = new Int32Array(total * 2)
    let at = 0
    for (let p = 0; p < prompts.length; p++) {
      this.#hasher.root(blockTokens, adapter, cacheSalt)
      this.#hasher.extend(prompts[p]!, 0, counts[p]!, blockTokens, pairs, at)
      at += counts[p]!
    }
    return { blockTokens, adapter, cacheSalt, pairs, counts, total }
  }
}

/** Blocks of a prompt that a cache can save: the last token is always computed. */
export function usableBlocks(tokens: number, blockTokens: number): number {
  return tokens === 0 ? 0 : Math.floor((tokens - 1) / blockTokens)
}
