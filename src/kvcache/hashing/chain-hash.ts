import { randomBytes } from 'node:crypto'

const C1 = 0x9e3779b1 | 0
const C2 = 0x85ebca6b | 0
const C3 = 0xc2b2ae35 | 0
const LORA = 0x4c6f5241
const SALT = 0x53414c54
const PRIVATE = 0x50524956
const EXTRA = 0x45585452

/**
 * Names blocks of tokens by keys of 64 bits, each chained to the block before it.
 *
 * A key depends on the tokens of its block and of every block before it, on the block size and on the root: two equal
 * keys mean two equal prefixes, however the chain was cut into calls. Keys are pairs of signed 32-bit integers
 * (lo, hi) and are never (0, 0). They differ from process to process unless a seed is given, so that no prompt can be
 * made to collide; they are not the engine's hashes.
 *
 * Results that are one pair are left in `lo` and `hi`, which the next call overwrites.
 */
export class ChainHasher {
  readonly #seedLo: number
  readonly #seedHi: number
  lo = 0
  hi = 0

  /** @param seed 8 bytes; random when absent */
  constructor(seed: Buffer = randomBytes(8)) {
    this.#seedLo = seed.readInt32LE(0)
    this.#seedHi = seed.readInt32LE(4)
  }

  /**
   * The parent of every first block, into `lo` and `hi`.
   *
   * @param adapter name of the LoRA adapter; undefined for the base model
   * @param cacheSalt undefined when the prefix cache is shared
   */
  root(blockTokens: number, adapter: string | undefined, cacheSalt: string | undefined): void {
    this.lo = this.#seedLo
    this.hi = this.#seedHi
    this.#mix(blockTokens, 0)
    if (adapter !== undefined) this.#mixText(LORA, adapter)
    if (cacheSalt !== undefined) this.#mixText(SALT, cacheSalt)
    this.#finish()
  }

  /** A root that no request has: the same for the same engine hash, into `lo` and `hi`. */
  privateRoot(blockTokens: number, engineLo: number, engineHi: number): void {
    this.lo = this.#seedLo
    this.hi = this.#seedHi
    this.#mix(PRIVATE, blockTokens)
    this.#mix(engineLo, engineHi)
    this.#finish()
  }

  /** The parent (`lo`, `hi`) altered by what a block depends on besides its tokens, into `lo` and `hi`. */
  mixExtra(bytes: Uint8Array, start: number, end: number): void {
    this.#mix(EXTRA, end - start)
    this.#mixBytes(bytes, start, end)
    this.#finish()
  }

  /** The keys of a chain as those of one model alone: others with the same name are as likely as equal keys are anyway. */
  marked(keys: Int32Array, model: string): Int32Array {
    this.root(0, model, undefined)
    const { lo, hi } = this
    const marked = new Int32Array(keys.length)
    for (let i = 0; i < keys.length; i += 2) {
      const a = keys[i]! ^ lo
      const b = keys[i + 1]! ^ hi
      marked[i] = (a | b) === 0 ? 1 : a
      marked[i + 1] = b
    }
    return marked
  }

  /**
   * Keys of `blocks` whole blocks after the parent (`lo`, `hi`), written as pairs to `keys` from block `at` on. Leaves
   * the last one in `lo` and `hi`.
   *
   * @param tokens token ids, the first of the first block at `start`
   */
  extend(
    tokens: Int32Array,
    start: number,
    blocks: number,
    blockTokens: number,
    keys: Int32Array,
    at: number,
  ): void {
    let a = this.lo
    let b = this.hi
    let t = start
    const fours = blockTokens & ~3
    for (let i = 0; i < blocks; i++) {
      const blockEnd = t + blockTokens
      const end = t + fours
      // Two states take every other pair of tokens: neither waits for the other. Each step is a bijection of the state for
      // given tokens and of the tokens for a given state.
      let c = a ^ C3
      let d = b ^ C1
      for (; t < end; t += 4) {
        a = Math.imul(a ^ tokens[t]!, C1)
        c = Math.imul(c ^ tokens[t + 2]!, C1)
        a ^= a >>> 15
        c ^= c >>> 15
        b = Math.imul(b ^ tokens[t + 1]!, C2)
        d = Math.imul(d ^ tokens[t + 3]!, C2)
        b ^= b >>> 13
        d ^= d >>> 13
        a = (a + ((b << 9) | (b >>> 23))) | 0
        c = (c + ((d << 9) | (d >>> 23))) | 0
        b ^= (a << 21) | (a >>> 11)
        d ^= (c << 21) | (c >>> 11)
      }
      for (; t < blockEnd; t++) {
        a = Math.imul(a ^ tokens[t]!, C1)
        a ^= a >>> 15
        b = (b + ((a << 9) | (a >>> 23))) | 0
      }
      a = (a + Math.imul(c, C2)) | 0
      b ^= (d << 15) | (d >>> 17)
      a = (a + Math.imul(b, C3)) | 0
      a ^= a >>> 16
      a = Math.imul(a, C2)
      a ^= a >>> 13
      b = (b + Math.imul(a, C3)) | 0
      b ^= b >>> 16
      b = Math.imul(b, C1)
      b ^= b >>> 13
      a = (a + b) | 0
      if ((a | b) === 0) a = 1
      const k = (at + i) << 1
      keys[k] = a
      keys[k + 1] = b
    }
    this.lo = a
    this.hi = b
  }

  #mix(x: number, y: number): void {
    let a = Math.imul(this.lo ^ x, C1)
    a ^= a >>> 15
    let b = Math.imul(this.hi ^ y, C2)
    b ^= b >>> 13
    a = (a + ((b << 9) | (b >>> 23))) | 0
    b ^= (a << 21) | (a >>> 11)
    this.lo = a
    this.hi = b
  }

  #mixText(tag: number, text: string): void {
    this.#mix(tag, text.length)
    for (let i = 0; i < text.length; i += 2) {
      this.#mix(text.charCodeAt(i), i + 1 < text.length ? text.charCodeAt(i + 1) : 0)
    }
  }

  #mixBytes(bytes: Uint8Array, start: number, end: number): void {
    for (let i = start; i < end; i += 2) this.#mix(bytes[i]!, i + 1 < end ? bytes[i + 1]! : 0)
  }

  #finish(): void {
    let a = (this.lo + Math.imul(this.hi, C3)) | 0
    a ^= a >>> 16
    a = Math.imul(a, C2)
    a ^= a >>> 13
    let b = (this.hi + Math.imul(a, C3)) | 0
    b ^= b >>> 16
    b = Math.imul(b, C1)
    b ^= b >>> 13
    if ((a | b) === 0) a = 1
    this.lo = a
    this.hi = b
  }
}
