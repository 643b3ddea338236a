import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Tokenizer } from '@huggingface/tokenizers'
import { type Doubt, doubt } from './doubt.ts'
import { dropTables } from './drop-tables.ts'
import { type AddedToken, SegmentSplitter } from './segments.ts'
import { partsOf, takesParts } from './text-parts.ts'
import { type TokenizerParts, unfollowedFeature } from './tokenizer-features.ts'
import { preparedTokenizer } from './tokenizer-preparation.ts'
import { WordEncoder } from './word-encoder.ts'

/** The file that makes a folder a tokenizer's folder. */
export const TOKENIZER_FILE = 'tokenizer.json'

/** One model's folder, as its files are at one time. */
export interface TokenizerFolder {
  readonly path: string
  /** Another one when a file of it is another. */
  readonly stamp: string
}

export function tokenizerFolder(path: string): TokenizerFolder {
  const files = [TOKENIZER_FILE, 'tokenizer_config.json', 'chat_template.jinja', 'config.json']
  return { path, stamp: files.map((name) => stampOf(join(path, name))).join() }
}

function stampOf(file: string): string {
  try {
    const { ino, mtimeMs, size } = statSync(file)
    return `${ino} ${mtimeMs} ${size}`
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code)
  }
}

/** The folder's tokenizer_config.json; empty when there is none. @throws when it is not JSON */
export function readTokenizerConfig(folder: string): Readonly<Record<string, unknown>> {
  let text: string
  try {
    text = readFileSync(join(folder, 'tokenizer_config.json'), 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {}
    throw error
  }
  return JSON.parse(text) as Record<string, unknown>
}

/** Those of this process that are in use, by the path of their folder. */
const inUse = new Map<string, { readonly stamp: string; readonly file: WeakRef<TokenizerFile> }>()

/**
 * One model's tokenizer, read from its folder. Reading takes about 0.7 s and 150 MB for a vocabulary of 150,000.
 *
 * Encoding costs about 0.1 µs per byte of words that were encoded lately; of others about 2.5 µs in English, 5 µs at worst.
 */
export class TokenizerFile {
  readonly splitter: SegmentSplitter
  /** Ids that `add_special_tokens` puts before and after a text. */
  readonly before: Int32Array
  readonly after: Int32Array
  /** Set when the tokenizer uses a feature that is not followed exactly. */
  readonly doubt: Doubt | undefined
  /** True when the first piece of a text is tokenized otherwise than the same piece further on. */
  readonly firstDiffers: boolean
  readonly #tokenizer: Tokenizer
  /** An added token that stands before a piece that is not the first one, while it is tokenized. */
  readonly #lead: string | undefined
  readonly #leadLength: number
  /** Undefined for a tokenizer that does not cut text into words that are encoded each by itself. */
  readonly #words: WordEncoder | undefined

  /**
   * The folder's tokenizer, which all pools and engines of this process share while the folder's files stay as they are.
   *
   * @throws as the constructor
   */
  static of({ path, stamp }: TokenizerFolder): TokenizerFile {
    const known = inUse.get(path)
    const shared = known?.stamp === stamp ? known.file.deref() : undefined
    if (shared !== undefined) return shared
    const file = new TokenizerFile(path)
    inUse.set(path, { stamp, file: new WeakRef(file) })
    return file
  }

  /** @throws when the folder's files are missing, are not JSON or use something unknown */
  constructor(folder: string) {
    const file = JSON.parse(readFileSync(join(folder, TOKENIZER_FILE), 'utf8')) as {
      added_tokens?: readonly AddedToken[]
    } & TokenizerParts
    const added = file.added_tokens ?? []
    const prepared = preparedTokenizer(file)
    this.#tokenizer = new Tokenizer(prepared, readTokenizerConfig(folder))
    this.#words = WordEncoder.of(prepared, this.#tokenizer)
    dropTables(prepared, this.#tokenizer, this.#words?.pairs)
    this.splitter = new SegmentSplitter(added, takesParts(file) ? partsOf : undefined)
    this.firstDiffers = JSON.stringify(file.pre_tokenizer ?? null).includes('"first"')
    this.#lead = added.find((token) => !token.normalized && !token.rstrip)?.content
    this.#leadLength = this.#lead === undefined ? 0 : this.#encode(this.#lead, false).length
    const bare = this.#encode('a', false)
    const whole = this.#encode('a', true)
    const start = whole.findIndex((_, i) => bare.every((id, k) => whole[i + k] === id))
    this.before = Int32Array.from(whole.slice(0, Math.max(start, 0)))
    this.after = Int32Array.from(start < 0 ? [] : whole.slice(start + bare.length))
    const feature = unfollowedFeature(file)
    this.doubt =
      feature === undefined
        ? undefined
        : doubt('tokenizer-feature', `the tokenizer has ${feature}, which is not followed exactly`)
  }

  /** Ids of one piece of `splitter.split`; `first` when no piece stands before it. */
  encode(piece: string, first: boolean): Int32Array {
    if (this.#words !== undefined) return this.#words.encode(piece)!
    if (first || !this.firstDiffers || this.#lead === undefined) {
      return Int32Array.from(this.#encode(piece, false))
    }
    return Int32Array.from(this.#encode(this.#lead + piece, false).slice(this.#leadLength))
  }

  /** Whether words that were encoded lately take little time. */
  get remembersWords(): boolean {
    return this.#words !== undefined
  }

  /**
   * The same where words are remembered and it takes little time; else undefined.
   *
   * @param maxNew characters of words that were not encoded lately
   */
  encodeKnown(piece: string, maxNew: number): Int32Array | undefined {
    return this.#words?.encode(piece, maxNew)
  }

  /** Text of ids, special tokens left out. */
  decode(ids: ArrayLike<number>): string {
    if (ids.length === 0) return ''
    return this.#tokenizer.decode(Array.from(ids), {
      skip_special_tokens: true,
      clean_up_tokenization_spaces: false,
    })
  }

  #encode(text: string, addSpecialTokens: boolean): number[] {
    return this.#tokenizer.encode(text, { add_special_tokens: addSpecialTokens }).ids
  }
}
