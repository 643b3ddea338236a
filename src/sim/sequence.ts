import type { EngineBlockHash, EngineBlockHasher } from '../framework/services.ts'
import type { EngineVersion, LoraModule } from './options.ts'

/** Why an answer ended. */
export type FinishReason = 'stop' | 'length'

/** What the engine core is asked to run. */
export interface SequenceInput {
  readonly promptIds: Int32Array
  /** Tokens to generate at most, at least 1. */
  readonly maxTokens: number
  readonly lora: LoraModule | undefined
  /** The adapter's number, as 0.10.0 hashes it. */
  readonly loraNumber: number
  readonly cacheSalt: string | undefined
  /** The next token of the answer; `last` when the model ends the answer with it. */
  next(): { readonly id: number; readonly last: boolean }
  /** Told of each token as it is sampled. */
  sampled(id: number, finished: FinishReason | undefined): void
}

/** Tokens of answer for which there is room at first. */
const LEAST_ROOM = 256

/** One request inside the engine: its tokens, its blocks, and how far it is computed. */
export class Sequence {
  readonly input: SequenceInput
  readonly arrivedAtMs: number
  readonly blocks: number[] = []
  /** Blocks whose hash the pool knows. */
  hashedBlocks = 0
  /** Tokens whose KV is there. */
  computed = 0
  /** Tokens that the step under way computes. */
  scheduled = 0
  generated = 0
  /** Prompt tokens taken from the cache at the first admission; undefined before it. */
  cachedTokens: number | undefined
  state: 'waiting' | 'running' | 'ended' = 'waiting'
  /** Prompt and answer, with room for more. */
  #ids: Int32Array
  #length: number
  readonly #hasher: EngineBlockHasher
  readonly blockTokens: number
  readonly #version: EngineVersion
  readonly #hashes: EngineBlockHash[] = []

  constructor(
    input: SequenceInput,
    arrivedAtMs: number,
    hasher: EngineBlockHasher,
    blockTokens: number,
    version: EngineVersion,
  ) {
    this.input = input
    this.arrivedAtMs = arrivedAtMs
    this.#ids = input.promptIds
    this.#length = input.promptIds.length
    this.#hasher = hasher
    this.blockTokens = blockTokens
    this.#version = version
  }

  /** Tokens of prompt and answer. */
  get length(): number {
    return this.#length
  }

  /** Token ids of prompt and answer; those that were given do not change. */
  ids(from: number, to: number): Int32Array {
    return this.#ids.subarray(from, Math.min(to, this.#length))
  }

  /** Adds a token to the answer. */
  append(id: number): void {
    if (this.#length === this.#ids.length) {
      const grown = new Int32Array(this.#length + Math.max(LEAST_ROOM, this.generated))
      grown.set(this.#ids)
      this.#ids = grown
    }
    this.#ids[this.#length++] = id
    this.generated++
  }

  /** The hash of a whole block of this request; `index` must not be beyond its last whole block. */
  hash(index: number): EngineBlockHash {
    while (this.#hashes.length <= index) {
      const at = this.#hashes.length
      const tokens = this.ids(at * this.blockTokens, (at + 1) * this.blockTokens)
      const parent = this.#hashes.at(-1) ?? this.#hasher.root
      this.#hashes.push(this.#hasher.next(parent, tokens, this.#hashedExtras(at)))
    }
    return this.#hashes[index]!
  }

  /** What the block's event says besides its tokens: adapter name, and the salt on the first block. */
  extraKeys(index: number): readonly unknown[] | null {
    const { lora, cacheSalt } = this.input
    const keys: unknown[] = []
    if (lora !== undefined) keys.push(lora.name)
    if (cacheSalt !== undefined && index === 0) keys.push(cacheSalt)
    return keys.length === 0 ? null : keys
  }

  /** What the hash covers: 0.31 and later tag each extra, 0.10.0 hashes the adapter's number. */
  #hashedExtras(index: number): readonly unknown[] | null {
    const { lora, loraNumber, cacheSalt } = this.input
    const tagged = this.#version === '0.32.0'
    const extras: unknown[] = []
    if (lora !== undefined) extras.push(tagged ? ['lora', lora.name, lora.path] : loraNumber)
    if (cacheSalt !== undefined && index === 0) {
      extras.push(tagged ? ['cache_salt', cacheSalt] : cacheSalt)
    }
    return extras.length === 0 ? null : extras
  }
}
