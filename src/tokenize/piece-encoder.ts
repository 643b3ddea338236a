import type { Doubt } from './doubt.ts'
import { type EncodePool, QUEUE_FULL } from './encode-pool.ts'
import { SegmentCache } from './segment-cache.ts'
import type { TokenizerFile, TokenizerFolder } from './tokenizer-file.ts'

/** New text that is encoded on the event loop where words are remembered, in UTF-16 units: a tenth of a millisecond, as a hop to a thread. */
const INLINE_CHARACTERS = 1152

/** Those of its words that are not remembered: 0.2 to 0.4 ms. */
const INLINE_NEW_CHARACTERS = 256

/** Text of one job for a thread, in UTF-16 units: those of one prompt are spread over the threads. */
const JOB_CHARACTERS = 16_384

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

/** The ids of each piece, a number that of an added token; undefined until they are there. */
type Parts = (Int32Array | number | undefined)[]

/** The ids of each piece; a number is that of an added token. */
export type EncodedPieces = readonly (Int32Array | number)[]

/** What was found in the cache and what was not, in pieces between added tokens. */
export interface CacheCounts {
  hit(count: number): void
  miss(count: number): void
}

export interface PieceEncoderParts {
  readonly folder: TokenizerFolder
  readonly file: TokenizerFile
  readonly cacheBytes: number
  readonly pool: EncodePool
  readonly counts: CacheCounts
  /** How long text may have to wait for a thread, so that it is sent at all. */
  readonly maxWaitMs: number
  /** New text that is encoded at once by a tokenizer that remembers no words, in UTF-16 units. */
  readonly wordlessCharacters: number
}

/** Finds the ids of pieces of text: those that were seen before are remembered, long new ones are encoded in threads. */
export class PieceEncoder {
  readonly #parts: PieceEncoderParts
  readonly #cache: SegmentCache
  /** Pieces that a thread is encoding. */
  readonly #pending = new Map<string, Pending>()

  constructor(parts: PieceEncoderParts) {
    this.#parts = parts
    this.#cache = new SegmentCache(parts.cacheBytes)
  }

  get cacheBytes(): number {
    return this.#cache.bytes
  }

  /**
   * Encodes pieces at once when little of them is new, else as soon as a thread has done it. Never rejects.
   *
   * @param isWhole whether nothing stands before the first of them
   * @param known how many pieces of the same text are known without being looked for here
   */
  encode(
    pieces: readonly (string | number)[],
    isWhole: boolean,
    known: number,
  ): EncodedPieces | Promise<EncodedPieces | Doubt> {
    const { firstDiffers } = this.#parts.file
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
      const first = i === 0 && isWhole
      const key = firstDiffers ? `${first ? '^' : ' '}${piece}` : piece
      const ids = this.#cache.get(key)
      parts.push(ids)
      if (ids !== undefined) continue
      const entry = missing.get(key)
      if (entry !== undefined) entry.at.push(i)
      else {
        missing.set(key, { piece, first, at: [i] })
        missingCharacters += piece.length
      }
    }
    this.#parts.counts.hit(known + texts - missing.size)
    this.#parts.counts.miss(missing.size)
    if (this.#encodeAtOnce(missing, missingCharacters, parts)) return parts as EncodedPieces
    return this.#encodeInThread(missing, parts).then(
      (failure) => failure ?? (parts as EncodedPieces),
    )
  }

  /** Fills the gaps of `parts` where that takes little time, else some of them: what is left missing takes longer. */
  #encodeAtOnce(missing: Map<string, Missing>, characters: number, parts: Parts): boolean {
    const { file, wordlessCharacters } = this.#parts
    const isShort = characters <= wordlessCharacters && !file.remembersWords
    if (!isShort && (characters > INLINE_CHARACTERS || !file.remembersWords)) return false
    for (const [key, { piece, first, at }] of missing) {
      const ids = isShort
        ? file.encode(piece, first)
        : file.encodeKnown(piece, INLINE_NEW_CHARACTERS)
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
    const { pool, maxWaitMs } = this.#parts
    if (mine.length > 0 && pool.waitMs > maxWaitMs) return QUEUE_FULL
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
    const { pool, folder } = this.#parts
    const entries = keys.map((key) => missing.get(key)!)
    const pieces = entries.map(({ piece }) => piece)
    const first = entries.map((entry) => entry.first)
    const job = pool.encode(folder, pieces, first).then((outcome) => {
      for (const [i, key] of keys.entries()) {
        this.#pending.delete(key)
        if (!('code' in outcome)) this.#cache.set(key, outcome[i]!)
      }
      return outcome
    })
    for (const [at, key] of keys.entries()) this.#pending.set(key, { job, at })
  }
}
