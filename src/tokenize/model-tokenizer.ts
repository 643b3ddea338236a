import { DEFAULT_LIMITS } from '../framework/limits.ts'
import { ChatTemplate } from './chat/chat-template.ts'
import { type Doubt, doubt } from './doubt.ts'
import { type EncodePool, QUEUE_FULL } from './encode-pool.ts'
import { type EncoderDoubts, encoderDoubts } from './own-encoder.ts'
import { SegmentCache } from './segment-cache.ts'
import type { Cut } from './segments.ts'
import { type Beginning, type Learned, TextBeginnings } from './text-beginnings.ts'
import {
  readTokenizerConfig,
  TokenizerFile,
  type TokenizerFolder,
  tokenizerFolder,
} from './tokenizer-file.ts'
import type { SpecialTokens } from './truncate.ts'

/** New text that is encoded on the event loop where words are remembered, in UTF-16 units: a tenth of a millisecond. */
const INLINE_CHARACTERS = 1024

/** Those of its words that are not remembered: a third of a millisecond at the slowest rate seen (5 µs a byte). */
const INLINE_NEW_CHARACTERS = 64

/** New text that is encoded on the event loop by tokenizers that remember no words, where nothing else is said. */
const INLINE_WORDLESS_CHARACTERS = 4096

/** Text of one job for a thread, in UTF-16 units: those of one prompt are spread over the threads. */
const JOB_CHARACTERS = 16_384

const HALF_CHARACTER = doubt('half-character', 'the prompt has half of a surrogate pair')

/** A piece that a thread is encoding, and which one of its job it is. */
interface Pending {
  readonly job: Promise<readonly Int32Array[] | Doubt>
  readonly at: number
}

/** A piece that is not in the cache, and where it stands. */
interface Missing {
  readonly piece: string
  readonly first: boolean
  readonly at: number[]
}

/** The ids of each piece; undefined until they are there. */
type Parts = (Int32Array | number | undefined)[]

/** What was found in the cache and what was not, in pieces between added tokens. */
export interface CacheCounts {
  hit(count: number): void
  miss(count: number): void
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
  readonly #beginnings: TextBeginnings
  readonly #cache: SegmentCache
  readonly #counts: CacheCounts
  readonly #pool: EncodePool
  readonly #maxChars: number
  readonly #maxWaitMs: number
  readonly #wordlessCharacters: number
  /** Pieces that a thread is encoding. */
  readonly #pending = new Map<string, Pending>()

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
    this.#wordlessCharacters = wordlessCharacters
    this.#maxChars = maxChars
    this.#maxWaitMs = maxWaitMs
    this.folder = tokenizerFolder(path)
    this.#file = TokenizerFile.of(this.folder)
    const template = readTemplate(path)
    this.template = template instanceof ChatTemplate ? template : undefined
    this.templateFault = template instanceof ChatTemplate ? undefined : template
    this.encoderDoubts = encoderDoubts(path, this.template)
    this.#beginnings = new TextBeginnings(cacheBytes / 2)
    this.#cache = new SegmentCache(cacheBytes / 2)
    this.#pool = pool
    this.#counts = counts
  }

  get cacheBytes(): number {
    return this.#beginnings.bytes + this.#cache.bytes
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
    if (text.length > this.#maxChars) {
      return doubt('too-long', `the prompt has more than ${this.#maxChars} characters`)
    }
    const known = this.#beginnings.find(text)
    const { pieces, cuts } = this.#file.splitter.split(text, known.end)
    const parts: Parts = []
    const missing = new Map<string, Missing>()
    let missingCharacters = 0
    let texts = 0
    for (const [i, piece] of pieces.entries()) {
      if (typeof piece === 'number') {
        parts.push(piece)
        continue
      }
      texts++
      // A piece that is the first has another key than any text can be elsewhere.
      const isFirst = i === 0 && known.end === 0
      const key = this.#file.firstDiffers ? `${isFirst ? '^' : ' '}${piece}` : piece
      const ids = this.#cache.get(key)
      parts.push(ids)
      if (ids !== undefined) continue
      const entry = missing.get(key)
      if (entry !== undefined) entry.at.push(i)
      else {
        missing.set(key, { piece, first: isFirst, at: [i] })
        missingCharacters += piece.length
      }
    }
    this.#counts.hit(known.pieces + texts - missing.size)
    this.#counts.miss(missing.size)
    if (!this.#encodeAtOnce(missing, missingCharacters, parts)) {
      return this.#encodeInThread(missing, parts).then(
        (failure) => failure ?? this.#assemble(text, known, parts, cuts, addSpecialTokens),
      )
    }
    return this.#assemble(text, known, parts, cuts, addSpecialTokens)
  }

  /** Fills the gaps of `parts` where that takes little time, else some of them: what is left missing takes longer. */
  #encodeAtOnce(missing: Map<string, Missing>, characters: number, parts: Parts): boolean {
    const isShort = characters <= this.#wordlessCharacters && !this.#file.remembersWords
    if (!isShort && (characters > INLINE_CHARACTERS || !this.#file.remembersWords)) return false
    for (const [key, { piece, first, at }] of missing) {
      const ids = isShort
        ? this.#file.encode(piece, first)
        : this.#file.encodeKnown(piece, INLINE_NEW_CHARACTERS)
      if (ids === undefined) return false
      this.#cache.set(key, ids)
      for (const i of at) parts[i] = ids
      missing.delete(key)
    }
    return true
  }

  /**
   * Fills the gaps of `parts`; pieces that another request has sent already are waited for. Sends nothing where the threads
   * will not come to it in time.
   */
  async #encodeInThread(
    missing: ReadonlyMap<string, Missing>,
    parts: Parts,
  ): Promise<Doubt | undefined> {
    const mine = [...missing.keys()].filter((key) => !this.#pending.has(key))
    if (mine.length > 0 && this.#pool.waitMs > this.#maxWaitMs) return QUEUE_FULL
    for (let next = 0; next < mine.length; ) {
      const keys: string[] = []
      for (let chars = 0; next < mine.length && chars < JOB_CHARACTERS; next++) {
        keys.push(mine[next]!)
        chars += missing.get(mine[next]!)!.piece.length
      }
      this.#send(keys, missing)
    }
    const waits = Array.from(missing, ([key, { at }]) => ({ at, piece: this.#pending.get(key)! }))
    for (const { at, piece } of waits) {
      const outcome = await piece.job
      if ('code' in outcome) return outcome
      for (const i of at) parts[i] = outcome[piece.at]
    }
    return undefined
  }

  /** Has one thread encode those pieces. */
  #send(keys: readonly string[], missing: ReadonlyMap<string, Missing>): void {
    const entries = keys.map((key) => missing.get(key)!)
    const pieces = entries.map(({ piece }) => piece)
    const first = entries.map((entry) => entry.first)
    const job = this.#pool.encode(this.folder, pieces, first).then((outcome) => {
      for (const [i, key] of keys.entries()) {
        this.#pending.delete(key)
        if (!('code' in outcome)) this.#cache.set(key, outcome[i]!)
      }
      return outcome
    })
    for (const [at, key] of keys.entries()) this.#pending.set(key, { job, at })
  }

  #assemble(
    text: string,
    known: Beginning,
    parts: Parts,
    cuts: readonly Cut[],
    addSpecialTokens: boolean,
  ): EncodedText {
    const before = addSpecialTokens ? this.#file.before : NONE
    const after = addSpecialTokens ? this.#file.after : NONE
    let length = before.length + after.length
    for (const part of known.ids) length += part.length
    for (const part of parts) length += typeof part === 'number' ? 1 : part!.length
    const ids = new Int32Array(length)
    ids.set(before, 0)
    let at = before.length
    for (const part of known.ids) {
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
        ids.set(part!, at)
        at += part!.length
        texts++
      }
      if (cuts[cut]?.pieces !== i + 1) continue
      learned.push({ at: cuts[cut]!.at, ids: ids.slice(from, at), pieces: texts })
      from = at
      texts = 0
      cut++
    }
    ids.set(after, at)
    // What is known was well-formed, and ends behind an added token.
    const added = known.end === 0 ? text : text.slice(known.end)
    if (!(added as WellFormable).isWellFormed()) return { ids, doubt: HALF_CHARACTER }
    this.#beginnings.learn(text, known, learned)
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
