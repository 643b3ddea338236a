import type { PromptTokens } from '../../framework/attributes.ts'
import { sideTable } from '../../framework/side-table.ts'
import type { ChainHasher } from './chain-hash.ts'
import { KnownPrompts, LEAST_KNOWN_TOKENS } from './known-prompts.ts'

/** Memory for long prompts that may go on. */
const KNOWN_BYTES = 32 * 1024 * 1024

/** What tells keys of the same tokens apart. */
interface KeySpace {
  readonly blockTokens: number
  /** Name of the LoRA adapter; undefined for the base model. */
  readonly adapter: string | undefined
  /** Model to which the keys belong; undefined where all base models share them. */
  readonly model: string | undefined
  /** Undefined when the prefix cache is shared. */
  readonly cacheSalt: string | undefined
}

/** The keys of a request's prompts at one block size, hashed when they are first asked for. */
export class PromptKeys implements KeySpace {
  readonly blockTokens: number
  readonly adapter: string | undefined
  readonly model: string | undefined
  readonly cacheSalt: string | undefined
  /** Blocks per prompt: floor((tokens - 1) / blockTokens), since an engine computes at least the last token anew. */
  readonly counts: Int32Array
  /** Sum of `counts`. */
  readonly total: number
  /** Until it has been called: keys are kept as long as the response takes, and it knows the token ids. */
  #compute: (() => Int32Array) | undefined
  #pairs: Int32Array | undefined

  constructor(space: KeySpace, counts: Int32Array, compute: () => Int32Array) {
    this.blockTokens = space.blockTokens
    this.adapter = space.adapter
    this.model = space.model
    this.cacheSalt = space.cacheSalt
    this.counts = counts
    this.total = counts.reduce((sum, count) => sum + count, 0)
    this.#compute = compute
  }

  /** Pairs (lo, hi), prompt after prompt. */
  get pairs(): Int32Array {
    if (this.#pairs === undefined) {
      this.#pairs = this.#compute!()
      this.#compute = undefined
    }
    return this.#pairs
  }
}

/** Hashes a request's prompts once per block size; the keys live as long as the token ids. */
export class RequestKeys {
  readonly #hasher: ChainHasher
  readonly #asked = sideTable<PromptTokens, PromptKeys[]>()
  readonly #known = new KnownPrompts(KNOWN_BYTES)

  constructor(hasher: ChainHasher) {
    this.#hasher = hasher
  }

  /** Bytes that prompts take which may go on. */
  get bytes(): number {
    return this.#known.bytes
  }

  /**
   * The keys under which engines' events tell of a prompt's blocks.
   *
   * @param adapter name of the LoRA adapter; undefined for the base model
   */
  of(
    tokens: PromptTokens,
    blockTokens: number,
    adapter: string | undefined,
    cacheSalt: string | undefined,
  ): PromptKeys {
    const space = { blockTokens, adapter, model: undefined, cacheSalt }
    return this.#find(tokens, space) ?? this.#add(tokens, space, () => this.#hash(tokens, space))
  }

  /** Keys that a prompt has for one model alone. */
  ofModel(
    tokens: PromptTokens,
    blockTokens: number,
    model: string,
    cacheSalt: string | undefined,
  ): PromptKeys {
    const space = { blockTokens, adapter: undefined, model, cacheSalt }
    const found = this.#find(tokens, space)
    if (found !== undefined) return found
    const shared = this.of(tokens, blockTokens, undefined, cacheSalt)
    return this.#add(tokens, space, () => this.#hasher.marked(shared.pairs, model))
  }

  #find(tokens: PromptTokens, space: KeySpace): PromptKeys | undefined {
    const asked = this.#asked.get(tokens)
    if (asked === undefined) return undefined
    for (const keys of asked) {
      if (
        keys.blockTokens === space.blockTokens &&
        keys.adapter === space.adapter &&
        keys.model === space.model &&
        keys.cacheSalt === space.cacheSalt
      ) {
        return keys
      }
    }
    return undefined
  }

  #add(tokens: PromptTokens, space: KeySpace, compute: () => Int32Array): PromptKeys {
    const counts = Int32Array.from(tokens.prompts, ({ length }) =>
      usableBlocks(length, space.blockTokens),
    )
    const keys = new PromptKeys(space, counts, compute)
    const asked = this.#asked.get(tokens)
    if (asked === undefined) this.#asked.set(tokens, [keys])
    else asked.push(keys)
    return keys
  }

  #hash({ prompts }: PromptTokens, space: KeySpace): Int32Array {
    if (prompts.length === 1) return this.#hashOne(prompts[0]!, space)
    const hashed = prompts.map((prompt) => this.#hashOne(prompt, space))
    const pairs = new Int32Array(hashed.reduce((sum, { length }) => sum + length, 0))
    let at = 0
    for (const each of hashed) {
      pairs.set(each, at)
      at += each.length
    }
    return pairs
  }

  #hashOne(prompt: Int32Array, { blockTokens, adapter, cacheSalt }: KeySpace): Int32Array {
    const hasher = this.#hasher
    hasher.root(blockTokens, adapter, cacheSalt)
    const blocks = usableBlocks(prompt.length, blockTokens)
    const keys = new Int32Array(blocks * 2)
    if (prompt.length < LEAST_KNOWN_TOKENS) {
      hasher.extend(prompt, 0, blocks, blockTokens, keys, 0)
      return keys
    }
    const chain = `${blockTokens} ${hasher.lo} ${hasher.hi}`
    const known = this.#known.find(chain, prompt, blockTokens)
    const from = Math.min(known?.blocks ?? 0, blocks)
    if (from > 0) {
      keys.set(known!.keys.subarray(0, 2 * from))
      hasher.lo = keys[2 * from - 2]!
      hasher.hi = keys[2 * from - 1]!
    }
    hasher.extend(prompt, from * blockTokens, blocks - from, blockTokens, keys, from)
    this.#known.learn(chain, prompt, keys, known)
    return keys
  }
}

/** Blocks of a prompt that a cache can save: the last token is always computed. */
export function usableBlocks(tokens: number, blockTokens: number): number {
  return tokens === 0 ? 0 : Math.floor((tokens - 1) / blockTokens)
}
