import type { ChainHasher } from '../hashing/chain-hash.ts'

/** What the first block of a chain is told to depend on besides its tokens. */
export interface ChainSpace {
  readonly salted: boolean
  readonly adapter: boolean
}

/**
 * What is known of a prompt's first block: stored as it is asked for, stored for others, not stored at all (`absent`), or
 * not among the last.
 */
export type Beginning = 'same' | 'other-salt' | 'other-adapter' | 'absent' | 'unknown'

const KEPT = 128
// Key of the tokens alone (lo, hi), key as it is entered (lo, hi), space. Keys are never (0, 0).
const INTS = 5
const SALTED = 1
const ADAPTER = 2

/**
 * The first blocks of the chains that one publisher stored last, by our own keys of their tokens: they tell whether an
 * engine computed a prompt's own tokens, and for whom it keeps them.
 */
export class ChainBeginnings {
  readonly #hasher: ChainHasher
  readonly #ring = new Int32Array(KEPT * INTS)
  readonly #key = new Int32Array(2)
  #count = 0

  constructor(hasher: ChainHasher) {
    this.#hasher = hasher
  }

  /** Chains begun since the start. */
  get count(): number {
    return this.#count
  }

  /** Takes note of a chain whose first block was entered under the key (`lo`, `hi`). */
  saw(tokens: Int32Array, blockTokens: number, lo: number, hi: number, space: ChainSpace): void {
    this.#hash(tokens, blockTokens, undefined, undefined)
    const at = (this.#count++ % KEPT) * INTS
    const ring = this.#ring
    ring[at] = this.#key[0]!
    ring[at + 1] = this.#key[1]!
    ring[at + 2] = lo
    ring[at + 3] = hi
    ring[at + 4] = (space.salted ? SALTED : 0) | (space.adapter ? ADAPTER : 0)
  }

  /** Looks for a prompt's first block; the prompt has at least `blockTokens`. */
  find(
    prompt: Int32Array,
    blockTokens: number,
    adapter: string | undefined,
    cacheSalt: string | undefined,
  ): Beginning {
    this.#hash(prompt, blockTokens, undefined, undefined)
    const [lo, hi] = this.#key as unknown as readonly [number, number]
    this.#hash(prompt, blockTokens, adapter, cacheSalt)
    const [ownLo, ownHi] = this.#key as unknown as readonly [number, number]
    const ring = this.#ring
    let found: Beginning = this.#count <= KEPT ? 'absent' : 'unknown'
    for (let back = 1; back <= Math.min(this.#count, KEPT); back++) {
      const at = ((this.#count - back) % KEPT) * INTS
      if (ring[at] !== lo || ring[at + 1] !== hi) continue
      if (ring[at + 2] === ownLo && ring[at + 3] === ownHi) return 'same'
      if (found !== 'unknown' && found !== 'absent') continue
      const space = ring[at + 4]!
      const isAlike = ((space & ADAPTER) !== 0) === (adapter !== undefined)
      const isSalted = (space & SALTED) !== 0 || cacheSalt !== undefined
      found = isAlike && (isSalted || adapter === undefined) ? 'other-salt' : 'other-adapter'
    }
    return found
  }

  #hash(
    tokens: Int32Array,
    blockTokens: number,
    adapter: string | undefined,
    cacheSalt: string | undefined,
  ): void {
    this.#hasher.root(blockTokens, adapter, cacheSalt)
    this.#hasher.extend(tokens, 0, 1, blockTokens, this.#key, 0)
  }
}
