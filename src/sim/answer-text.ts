import type { Tokenizer } from '../framework/services.ts'

/** Ids that are looked at for words, and words that are enough. */
const ID_RANGE = [200, 30_000] as const
const ENOUGH_WORDS = 2048

/** Words of an engine without a tokenizer; their ids are their places in this list. */
const PLAIN_WORDS = (
  'the of and to in is that for it as was with on be by at this have from or one had not but what all were when we there ' +
  'can an your which their said if do will each about how up out them then she many some so these would other into has ' +
  'more her two like him see time could no make than first been its who now people my made over did down only way find use may'
).split(' ')

/** The shortest and longest answer that ends by itself, in tokens. */
const ANSWER_TOKENS = [64, 256] as const

/** One answer in the making: the next token, and whether the model ends with it. */
export type AnswerSource = () => { readonly id: number; readonly last: boolean }

/**
 * Makes answers of words that are one token each, so that an answer sent back in a conversation has the very ids that
 * were generated. The same prompt under the same seed gets the same answer.
 */
export class AnswerText {
  readonly #words: ReadonlyMap<number, string>
  readonly #ids: readonly number[]
  readonly #seed: number

  /**
   * @param tokenizer used for its decoding, which may take it a second to get ready
   * @param model whose vocabulary to use
   */
  constructor(tokenizer: Tokenizer, model: string, seed: string) {
    this.#words = findWords(tokenizer, model)
    this.#ids = [...this.#words.keys()]
    this.#seed = fold(2166136261, Buffer.from(seed))
  }

  /** The text of a generated id, the space before it included. */
  text(id: number): string {
    return this.#words.get(id) ?? ''
  }

  /**
   * @param promptIds decide the answer together with the seed
   * @param endless true when the model may not end the answer by itself
   */
  answer(promptIds: Int32Array, endless: boolean): AnswerSource {
    const bytes = new Uint8Array(promptIds.buffer, promptIds.byteOffset, promptIds.byteLength)
    const random = xorshift(fold(this.#seed, bytes))
    const [min, max] = ANSWER_TOKENS
    let left = endless ? Number.POSITIVE_INFINITY : min + Math.floor(random() * (max - min))
    return () => ({ id: this.#ids[Math.floor(random() * this.#ids.length)]!, last: --left <= 0 })
  }
}

function findWords(tokenizer: Tokenizer, model: string): ReadonlyMap<number, string> {
  const words = new Map<number, string>()
  for (let id = ID_RANGE[0]; id < ID_RANGE[1] && words.size < ENOUGH_WORDS; id++) {
    const text = tokenizer.decode(model, [id])
    if (text === undefined) break
    if (/^ [a-z]{3,10}$/.test(text)) words.set(id, text)
  }
  if (words.size > 0) return words
  return new Map(PLAIN_WORDS.map((word, i) => [i, ` ${word}`]))
}

/** FNV-1a over bytes, 32 bits. */
function fold(hash: number, bytes: Uint8Array): number {
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 16777619)
  return hash >>> 0
}

/** Numbers in [0, 1) from a 32-bit state that is never 0. */
function xorshift(seed: number): () => number {
  let state = seed === 0 ? 1 : seed
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}
