import { DEFAULT_LIMITS } from '../framework/limits.ts'
import { ChatTemplate } from './chat/chat-template.ts'
import { type Doubt, doubt } from './doubt.ts'
import type { EncodePool } from './encode-pool.ts'
import { type EncoderDoubts, encoderDoubts } from './own-encoder.ts'
import { SegmentCache } from './segment-cache.ts'
import {
  readTokenizerConfig,
  TokenizerFile,
  type TokenizerFolder,
  tokenizerFolder,
} from './tokenizer-file.ts'
import type { SpecialTokens } from './truncate.ts'

/**
 * New text that is encoded on the event loop, in UTF-8 bytes: 20 ms at the slowest rate seen (5 µs a byte); longer text
 * goes to a thread.
 */
const INLINE_BYTES = 4096

const HALF_CHARACTER = doubt('half-character', 'the prompt has half of a surrogate pair')

/** A piece that is not in the cache, and where it stands. */
interface Missing {
  readonly piece: string
  readonly first: boolean
  readonly at: number[]
}

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
  readonly #cache: SegmentCache
  readonly #counts: CacheCounts
  readonly #pool: EncodePool
  readonly #maxChars: number
  /** Pieces that a thread is encoding. */
  readonly #pending = new Map<string, Promise<Int32Array | Doubt>>()

  /**
   * @param maxChars text of one prompt that is tokenized at all, in UTF-16 units
   * @throws when the folder's files cannot be read or parsed
   */
  constructor(
    path: string,
    cacheBytes: number,
    pool: EncodePool,
    counts: CacheCounts,
    maxChars: number = DEFAULT_LIMITS.maxPromptChars,
  ) {
    this.#maxChars = maxChars
    this.folder = tokenizerFolder(path)
    this.#file = new TokenizerFile(path)
    const template = readTemplate(path)
    this.template = template instanceof ChatTemplate ? template : undefined
    this.templateFault = template instanceof ChatTemplate ? undefined : template
    this.encoderDoubts = encoderDoubts(path, this.template)
    this.#cache = new SegmentCache(cacheBytes)
    this.#pool = pool
    this.#counts = counts
  }

  get cacheBytes(): number {
    return this.#cache.bytes
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
    const parts: (Int32Array | number | undefined)[] = []
    const missing = new Map<string, Missing>()
    let missingBytes = 0
    let texts = 0
    for (const [i, piece] of this.#file.splitter.split(text).entries()) {
      if (typeof piece === 'number') {
        parts.push(piece)
        continue
      }
      texts++
      // A piece that is the first has another key than any text can be elsewhere.
      const key = this.#file.firstDiffers ? `${i === 0 ? '^' : ' '}${piece}` : piece
      const known = this.#cache.get(key)
      parts.push(known)
      if (known !== undefined) continue
      const entry = missing.get(key)
      if (entry !== undefined) entry.at.push(i)
      else {
        missing.set(key, { piece, first: i === 0, at: [i] })
        missingBytes += Buffer.byteLength(piece)
      }
    }
    this.#counts.hit(texts - missing.size)
    this.#counts.miss(missing.size)
    if (missingBytes > INLINE_BYTES) {
      return this.#encodeInThread(missing, parts).then(
        (failure) => failure ?? this.#assemble(text, parts, addSpecialTokens),
      )
    }
    for (const [key, entry] of missing) {
      const ids = this.#file.encode(entry.piece, entry.first)
      this.#cache.set(key, ids)
      for (const i of entry.at) parts[i] = ids
    }
    return this.#assemble(text, parts, addSpecialTokens)
  }

  /** Fills the gaps of `parts`; pieces that another request has sent already are waited for. */
  async #encodeInThread(
    missing: ReadonlyMap<string, Missing>,
    parts: (Int32Array | number | undefined)[],
  ): Promise<Doubt | undefined> {
    const mine = [...missing.keys()].filter((key) => !this.#pending.has(key))
    if (mine.length > 0) {
      const entries = mine.map((key) => missing.get(key)!)
      const job = this.#pool.encode(
        this.folder,
        entries.map(({ piece }) => piece),
        entries.map(({ first }) => first),
      )
      for (const [i, key] of mine.entries()) {
        const ids = job.then((outcome) => {
          this.#pending.delete(key)
          if ('code' in outcome) return outcome
          this.#cache.set(key, outcome[i]!)
          return outcome[i]!
        })
        this.#pending.set(key, ids)
      }
    }
    const waits = [...missing].map(async ([key, entry]) => {
      const ids = await this.#pending.get(key)!
      if ('code' in ids) return ids
      for (const i of entry.at) parts[i] = ids
      return undefined
    })
    return (await Promise.all(waits)).find((failure) => failure !== undefined)
  }

  #assemble(
    text: string,
    parts: readonly (Int32Array | number | undefined)[],
    addSpecialTokens: boolean,
  ): EncodedText {
    const before = addSpecialTokens ? this.#file.before : NONE
    const after = addSpecialTokens ? this.#file.after : NONE
    let length = before.length + after.length
    for (const part of parts) length += typeof part === 'number' ? 1 : part!.length
    const ids = new Int32Array(length)
    ids.set(before, 0)
    let at = before.length
    for (const part of parts) {
      if (typeof part === 'number') ids[at++] = part
      else {
        ids.set(part!, at)
        at += part!.length
      }
    }
    ids.set(after, at)
    return { ids, doubt: (text as WellFormable).isWellFormed() ? this.#file.doubt : HALF_CHARACTER }
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
