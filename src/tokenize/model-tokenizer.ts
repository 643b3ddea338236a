import { setImmediate as nextTurn } from 'node:timers/promises'
import { DEFAULT_LIMITS } from '../framework/limits.ts'
import { ChatTemplate } from './chat/chat-template.ts'
import { type Doubt, doubt } from './doubt.ts'
import type { EncodePool } from './encode-pool.ts'
import { type EncoderDoubts, encoderDoubts } from './own-encoder.ts'
import { PartBeginnings } from './part-beginnings.ts'
import { type CacheCounts, type EncodedPieces, PieceEncoder } from './piece-encoder.ts'
import type { Cut } from './segments.ts'
import { type Learned, TextBeginnings } from './text-beginnings.ts'
import {
  readTokenizerConfig,
  TokenizerFile,
  type TokenizerFolder,
  tokenizerFolder,
} from './tokenizer-file.ts'
import type { SpecialTokens } from './truncate.ts'

/** New text that is encoded on the event loop by tokenizers that remember no words, where nothing else is said, in UTF-16 units. */
const INLINE_WORDLESS_CHARACTERS = 4096

/** Text of a chat that is joined in one turn of the event loop is cut and looked up in the next where it is longer: some 2 ms each. */
const MAX_TURN_CHARACTERS = 128 * 1024

const HALF_CHARACTER = doubt('half-character', 'the prompt has half of a surrogate pair')

/** A text of which a beginning is known. */
interface Source {
  /** What comes after the beginning, from `start` on. */
  readonly text: string
  readonly start: number
  /** Whether the beginning is empty. */
  readonly isWhole: boolean
  /** Of the beginning, in parts. */
  readonly ids: readonly Int32Array[]
  /** Pieces of text in the beginning. */
  readonly pieces: number
  /** Remembers what comes after the beginning. */
  learn(cuts: readonly Learned[]): void
}

/** Ids of one text; `doubt` when the engine's may differ. */
export interface EncodedText {
  readonly ids: Int32Array
  readonly doubt: Doubt | undefined
}

/** One model's tokenizer and chat template, with the ids of the text that it has seen. */
export class ModelTokenizer {
  readonly folder: TokenizerFolder
  readonly template: ChatTemplate | undefined
  /** Why chats cannot be rendered; undefined when they can. */
  readonly templateFault: Doubt | undefined
  /** Set where the engine does not use the template, or not the tokenizer. */
  readonly encoderDoubts: EncoderDoubts
  readonly #file: TokenizerFile
  readonly #texts: TextBeginnings
  readonly #chats: PartBeginnings
  readonly #pieces: PieceEncoder
  readonly #maxChars: number

  /**
   * @param maxChars text of one prompt that is tokenized at all, in UTF-16 units
   * @param maxWaitMs how long text may have to wait for a thread, so that it is sent at all
   * @param wordlessCharacters new text that is encoded at once by a tokenizer that remembers no words, in UTF-16 units
   * @throws when the folder's files cannot be read or parsed
   */
  constructor(
    path: string,
    cacheBytes: number,
    pool: EncodePool,
    counts: CacheCounts,
    maxChars: number = DEFAULT_LIMITS.maxPromptChars,
    maxWaitMs: number = Number.POSITIVE_INFINITY,
    wordlessCharacters: number = INLINE_WORDLESS_CHARACTERS,
  ) {
    this.#maxChars = maxChars
    this.folder = tokenizerFolder(path)
    this.#file = TokenizerFile.of(this.folder)
    const template = readTemplate(path)
    this.template = template instanceof ChatTemplate ? template : undefined
    this.templateFault = template instanceof ChatTemplate ? undefined : template
    this.encoderDoubts = encoderDoubts(path, this.template)
    this.#chats = new PartBeginnings(cacheBytes / 2)
    this.#texts = new TextBeginnings(cacheBytes / 4)
    this.#pieces = new PieceEncoder({
      ...{ folder: this.folder, file: this.#file, cacheBytes: cacheBytes / 4 },
      ...{ pool, counts, maxWaitMs, wordlessCharacters },
    })
  }

  get cacheBytes(): number {
    return this.#chats.bytes + this.#texts.bytes + this.#pieces.cacheBytes
  }

  /** How many ids `addSpecialTokens` puts around a text. */
  get specialTokens(): SpecialTokens {
    return { before: this.#file.before.length, after: this.#file.after.length }
  }

  decode(ids: ArrayLike<number>): string {
    return this.#file.decode(ids)
  }

  /**
   * Encodes a text: at once when little of it is new, else as soon as a thread has done it. The answer is a doubt when
   * it could not be done. Never rejects.
   */
  encode(
    text: string,
    addSpecialTokens: boolean,
  ): EncodedText | Promise<EncodedText | Doubt> | Doubt {
    if (text.length > this.#maxChars) return this.#tooLong()
    const known = this.#texts.find(text)
    const { end: start, ids, pieces } = known
    const learn = (cuts: readonly Learned[]) => this.#texts.learn(text, known, cuts)
    return this.#encode({ text, start, isWhole: start === 0, ids, pieces, learn }, addSpecialTokens)
  }

  /**
   * The same of a text in parts, which is known from earlier texts as far as the parts are the same.
   *
   * @param parts none of them empty
   */
  encodeParts(
    parts: readonly string[],
    addSpecialTokens: boolean,
  ): EncodedText | Promise<EncodedText | Doubt> | Doubt {
    let length = 0
    for (const part of parts) length += part.length
    if (length > this.#maxChars) return this.#tooLong()
    const known = this.#chats.find(parts)
    const { rest: text, isWhole, ids, pieces } = known
    const learn = (cuts: readonly Learned[]) => this.#chats.learn(parts, known, cuts)
    const source = { text, start: 0, isWhole, ids, pieces, learn }
    if (text.length <= MAX_TURN_CHARACTERS) return this.#encode(source, addSpecialTokens)
    return nextTurn().then(() => this.#encode(source, addSpecialTokens))
  }

  #tooLong(): Doubt {
    return doubt('too-long', `the prompt has more than ${this.#maxChars} characters`)
  }

  #encode(source: Source, addSpecialTokens: boolean): EncodedText | Promise<EncodedText | Doubt> {
    const { pieces, cuts } = this.#file.splitter.split(source.text, source.start)
    const encoded = this.#pieces.encode(pieces, source.isWhole, source.pieces)
    if (!(encoded instanceof Promise)) {
      return this.#assemble(source, encoded, cuts, addSpecialTokens)
    }
    return encoded.then((parts) =>
      'code' in parts ? parts : this.#assemble(source, parts, cuts, addSpecialTokens),
    )
  }

  #assemble(
    source: Source,
    parts: EncodedPieces,
    cuts: readonly Cut[],
    addSpecialTokens: boolean,
  ): EncodedText {
    const before = addSpecialTokens ? this.#file.before : NONE
    const after = addSpecialTokens ? this.#file.after : NONE
    let length = before.length + after.length
    for (const part of source.ids) length += part.length
    for (const part of parts) length += typeof part === 'number' ? 1 : part.length
    const ids = new Int32Array(length)
    ids.set(before, 0)
    let at = before.length
    for (const part of source.ids) {
      ids.set(part, at)
      at += part.length
    }
    const learned: Learned[] = []
    let from = at
    let cut = 0
    let texts = 0
    for (const [i, part] of parts.entries()) {
      if (typeof part === 'number') ids[at++] = part
      else {
        ids.set(part, at)
        at += part.length
        texts++
      }
      if (cuts[cut]?.pieces !== i + 1) continue
      learned.push({ at: cuts[cut]!.at, ids: ids.subarray(from, at), pieces: texts })
      from = at
      texts = 0
      cut++
    }
    ids.set(after, at)
    // What is known was well-formed, and ends behind an added token.
    const added = source.start === 0 ? source.text : source.text.slice(source.start)
    if (!(added as WellFormable).isWellFormed()) return { ids, doubt: HALF_CHARACTER }
    source.learn(learned)
    return { ids, doubt: this.#file.doubt }
  }
}

const NONE = new Int32Array(0)

/** A string of Node 20 and later; the library of types is older. */
type WellFormable = string & { isWellFormed(): boolean }

/** The chat template of a folder, or why there is none; texts need none. */
function readTemplate(path: string): ChatTemplate | Doubt {
  const config = readTokenizerConfig(path)
  try {
    return ChatTemplate.read(path, config) ?? doubt('no-template', `${path} has no chat template`)
  } catch (error) {
    return doubt(
      'bad-template',
      `the chat template in ${path} cannot be followed: ${(error as Error).message}`,
    )
  }
}
