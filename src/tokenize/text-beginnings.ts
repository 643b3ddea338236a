import { BeginningTree } from './beginning-tree.ts'

const ID_BYTES = 4

/** The longest beginning of a text that was seen before. */
export interface Beginning {
  /** Where it ends. */
  readonly end: number
  /** Its ids, in parts. */
  readonly ids: readonly Int32Array[]
  /** Pieces of text in it. */
  readonly pieces: number
  readonly node: unknown
}

/** What stands between a cut and the one before it. */
export interface Learned {
  /** Where the cut is in the text. */
  readonly at: number
  /** Copied where they are kept: they may be part of others. */
  readonly ids: Int32Array
  /** Pieces of text. */
  readonly pieces: number
}

/**
 * The ids of texts that were tokenized: a text that goes on from one of them need not be cut into pieces, each of which is
 * looked up. The least recently used goes first.
 */
export class TextBeginnings {
  readonly #tree: BeginningTree<Omit<Learned, 'at'>>

  /** @param maxBytes estimated as two bytes a character and four an id */
  constructor(maxBytes: number) {
    this.#tree = new BeginningTree(maxBytes, ({ ids }) => ids.length * ID_BYTES)
  }

  get bytes(): number {
    return this.#tree.bytes
  }

  find(text: string): Beginning {
    const { end, values, node } = this.#tree.find(text)
    let pieces = 0
    for (const value of values) pieces += value.pieces
    return { end, ids: values.map(({ ids }) => ids), pieces, node }
  }

  /**
   * Remembers what comes after a beginning that was found.
   *
   * @param text without halves of surrogate pairs
   * @param cuts in ascending order
   */
  learn(text: string, { end, node }: Beginning, cuts: readonly Learned[]): void {
    const parts = cuts.map(({ at, ids, pieces }) => ({ at, value: { ids: ids.slice(), pieces } }))
    this.#tree.learn(text, { end, node, values: [] }, parts)
  }
}
