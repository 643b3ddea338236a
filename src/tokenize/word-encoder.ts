import type { Tokenizer } from '@huggingface/tokenizers'
import { BytePairs, type PairModel } from './byte-pairs.ts'
import { ownText } from './own-text.ts'
import type { Part, TokenizerParts } from './tokenizer-features.ts'

type PreTokenizer = NonNullable<Tokenizer['pre_tokenizer']>
type TokenizerModel = NonNullable<Tokenizer['model']>

/** Words of one generation; there are two, so that some 60,000 are remembered in up to 8 MB. */
const GENERATION_WORDS = 32_768
/** Longer ones are rare, and seldom come again. */
const MAX_WORD_CHARACTERS = 64

/** What the other way of encoding must agree on, before words are trusted. */
const SAMPLE = "It's  two\n\n words,\tand 3456 \u00e9t\u00e9 \u4f60\u597d!  "

/** One id, or several. */
type Ids = number | Int32Array

/**
 * Encodes text word by word, for tokenizers that cut text with a pattern and encode each word by itself. The ids of words are
 * remembered, which is some twenty times as fast as to find them: most words of a text have been seen before.
 */
export class WordEncoder {
  readonly #normalizer: Tokenizer['normalizer']
  readonly #pattern: RegExp
  readonly #split: PreTokenizer
  /** What is done to each word before the model has it. */
  readonly #after: readonly PreTokenizer[]
  readonly #model: TokenizerModel
  /** Undefined where the library joins all pairs. */
  readonly pairs: BytePairs | undefined
  /** Words used lately, and those used before them. */
  #young = new Map<string, Ids>()
  #old = new Map<string, Ids>()
  #ids = new Int32Array(1024)

  private constructor(
    { normalizer, model }: Tokenizer,
    [split, ...after]: readonly [Split, ...PreTokenizer[]],
    part: Part,
  ) {
    this.pairs = BytePairs.of(part, model as TokenizerModel & PairModel)
    this.#normalizer = normalizer
    this.#split = split
    this.#pattern = split.pattern
    this.#after = after
    this.#model = model!
  }

  /** Undefined for a tokenizer whose words are not independent of one another. */
  static of(file: TokenizerParts, tokenizer: Tokenizer): WordEncoder | undefined {
    if (!hasIndependentWords(file)) return undefined
    const parts = flat(tokenizer.pre_tokenizer!) as unknown as readonly [Split, ...PreTokenizer[]]
    const encoder = new WordEncoder(tokenizer, parts, file.model!)
    const whole = tokenizer.encode(SAMPLE, { add_special_tokens: false }).ids
    const same = encoder.encode(SAMPLE)!
    return same.length === whole.length && same.every((id, i) => id === whole[i])
      ? encoder
      : undefined
  }

  /**
   * Ids of a text without added tokens.
   *
   * @param maxNew characters of words that are not remembered, of which no more are encoded: then undefined
   */
  encode(text: string, maxNew = Number.POSITIVE_INFINITY): Int32Array | undefined {
    const normal = this.#normalizer === null ? text : this.#normalizer.normalize(text)
    let left = maxNew
    let length = 0
    for (const word of this.#wordsOf(normal)) {
      let ids = this.#known(word)
      if (ids === undefined) {
        left -= word.length
        if (left < 0) return undefined
        ids = this.#find(word)
      }
      const count = typeof ids === 'number' ? 1 : ids.length
      if (length + count > this.#ids.length) this.#grow(length + count)
      if (typeof ids === 'number') this.#ids[length] = ids
      else this.#ids.set(ids, length)
      length += count
    }
    return this.#ids.slice(0, length)
  }

  /** A pattern that leaves nothing out gives all words at once, which is several times as fast. */
  #wordsOf(text: string): readonly string[] {
    const words = text.match(this.#pattern)
    if (words === null) return text === '' ? [] : [text]
    let length = 0
    for (const word of words) length += word.length
    if (length === text.length && !words.includes('')) return words
    return this.#split.pre_tokenize_text(text)
  }

  #known(word: string): Ids | undefined {
    const ids = this.#young.get(word)
    if (ids !== undefined) return ids
    const older = this.#old.get(word)
    if (older !== undefined) this.#remember(word, older)
    return older
  }

  #find(word: string): Ids {
    let tokens: string[] = [word]
    for (const part of this.#after) tokens = part.pre_tokenize(tokens)
    const [token = ''] = tokens
    const found =
      (tokens.length === 1 ? this.pairs?.idsOf(token) : undefined) ?? this.#byModel(tokens)
    const ids = found.length === 1 ? found[0]! : Int32Array.from(found)
    if (word.length <= MAX_WORD_CHARACTERS) this.#remember(ownText(word), ids)
    return ids
  }

  #byModel(tokens: string[]): readonly number[] {
    const { tokens_to_ids: idOf, unk_token_id: unknown } = this.#model
    return this.#model(tokens).map((token: string) => idOf.get(token) ?? unknown ?? 0)
  }

  #remember(word: string, ids: Ids): void {
    if (this.#young.size >= GENERATION_WORDS) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#young.set(word, ids)
  }

  #grow(length: number): void {
    const larger = new Int32Array(Math.max(length, this.#ids.length * 2))
    larger.set(this.#ids)
    this.#ids = larger
  }
}

/** What a pre-tokenizer of the kind Split has besides what the library's types tell. */
type Split = PreTokenizer & { readonly pattern: RegExp }

/** The steps of a pre-tokenizer, one after the other. */
function flat(part: PreTokenizer): readonly PreTokenizer[] {
  const { tokenizers } = part as { readonly tokenizers?: readonly PreTokenizer[] }
  return tokenizers === undefined ? [part] : tokenizers.flatMap(flat)
}

function flatParts(part: Part): readonly Part[] {
  return part.type === 'Sequence'
    ? (part.pretokenizers as readonly Part[]).flatMap(flatParts)
    : [part]
}

/** Steps that treat each word by itself, wherever it stands. */
const WORDWISE = ['Split', 'ByteLevel']

function hasIndependentWords(parts: TokenizerParts): boolean {
  const { pre_tokenizer: words, model, added_tokens: added = [] } = parts
  // Those that are looked for after normalization may reach over several words.
  if (!words || added.some(({ normalized }) => normalized !== false)) return false
  const [first, ...others] = flatParts(words)
  return (
    first?.type === 'Split' &&
    first.behavior === 'Isolated' &&
    first.invert === false &&
    others.every(({ type }) => WORDWISE.includes(type as string)) &&
    model?.type === 'BPE' &&
    model.fuse_unk !== true
  )
}
