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

/** One request inside the engine: its tokens, its blocks, and how far it is computed. */
export class Sequence {
  readonly input: SequenceInput
  readonly arrivedAtMs: number
  /** Prompt and answer. */
  readonly ids: number[]
  readonly blocks: number[] = []
  /** Blocks whose hash the pool knows. */
  hashedBlocks = 0
  /** Tokens whose KV is there. */
  computed = 0
  generated = 0
  /** Prompt tokens taken from the cache at the first admission; undefined before it. */
  cachedTokens: number | undefined
  state: 'waiting' | 'running' | 'ended' = 'waiting'
  readonly #hasher: EngineBlockHasher
  readonly #blockTokens: number
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
    this.ids = Array.from(input.promptIds)
    this.#hasher = hasher
    this.#blockTokens = blockTokens
    this.#version = version
  }

  /** The hash of a whole block of this request; `index` must not be beyond its last whole block. */
  hash(index: number): EngineBlockHash {
    while (this.#hashes.length <= index) {
      const at = this.#hashes.length
      const tokens = this.ids.slice(at * this.#blockTokens, (at + 1) * this.#blockTokens)
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
