import { Attributes } from '../framework/attributes.ts'
import { Cancellation } from '../framework/cancellation.ts'
import { SchedulerError } from '../framework/errors.ts'
import type { InferenceRequest } from '../framework/request.ts'
import type { EngineHashAlgorithm, Logger, Metrics } from '../framework/services.ts'
import { createEngineBlockHasher, tagExtras } from '../kvcache/hashing/engine-hash.ts'
import { API_PATHS, apiPathOf } from '../openai/api-path.ts'
import { openAiApi } from '../openai/openai-api.ts'
import { PromptTokenizer } from '../tokenize/prompt-tokenizer.ts'

export interface BodyTokenizerOptions {
  readonly tokenizersDir: string
  /** Undefined when unknown: then ids are exact where all releases agree. */
  readonly engineVersion?: string
  /** Tokens per KV block. */
  readonly blockSize: number
  readonly hashAlgorithm: EngineHashAlgorithm
  readonly hashSeed: string
  /** Undefined takes the model that the body names. */
  readonly model?: string
  /** `auto` tells it by the body's fields. */
  readonly api: string
  readonly trustRequestChatTemplate?: boolean
}

/** What is known of one body's tokens; the form of `epp tokenize --json`. */
export interface Tokenized {
  readonly model: string
  /** Tokens of all prompts. */
  readonly count: number
  readonly exact: boolean
  /** Why not exact. */
  readonly reason?: string
  /** How many ids of the first prompt are the engine's where not all are. */
  readonly exactUpTo?: number
  readonly blockSize: number
  readonly prompts: readonly {
    readonly tokenIds: readonly number[]
    /** Hashes of the full blocks as the engine's KV events carry them: 16 hexadecimal digits; only of exact ids. */
    readonly blockKeys: readonly string[]
  }[]
}

/** Longest time for one body: what a thread takes for the longest text. */
const BUDGET_MS = 60_000

/** From 0.31 on the engine hashes what a block depends on besides its tokens under tags. */
const TAGGED_SINCE = 31

/** Tokenizes request bodies as the picker does, without engines. */
export class BodyTokenizer {
  readonly #options: BodyTokenizerOptions
  readonly #tokenizer: PromptTokenizer

  constructor(options: BodyTokenizerOptions) {
    this.#options = options
    const versions = options.engineVersion === undefined ? [] : [options.engineVersion]
    this.#tokenizer = new PromptTokenizer({
      tokenizersDir: options.tokenizersDir,
      models: { baseOf: () => undefined },
      engines: { versions: () => versions, contextTokens: () => undefined },
      clock: { nowMs: () => performance.now(), epochMs: Date.now },
      logger: SILENT,
      metrics: UNCOUNTED,
      notices: { set: () => {}, list: () => [] },
      budgetMs: BUDGET_MS,
    })
    this.#tokenizer.configure({
      folders: {},
      fallbackModel: options.model,
      engineUrl: undefined,
      source: 'local',
      trustRequestChatTemplate: options.trustRequestChatTemplate ?? false,
    })
  }

  /** @throws {SchedulerError} BAD_REQUEST when the body is not JSON or has no prompt */
  async tokenize(body: string): Promise<Tokenized> {
    const { api, blockSize } = this.#options
    const path = API_PATHS[api] ?? apiPathOf(body)
    const parsed = openAiApi.parse(path, new Map(), [Buffer.from(body)])
    if (parsed.prompt === undefined) {
      throw new SchedulerError('BAD_REQUEST', `the body has no prompt for ${path}; check --api`)
    }
    const model = this.#options.model ?? parsed.model
    const request: InferenceRequest = {
      ...parsed,
      ...{ id: '', path, headers: new Map(), model, targetModel: model },
      ...{ criticality: 'Standard', priority: 0, bodyBytes: body.length },
      attributes: new Attributes(),
    }
    const tokens = await this.#tokenizer.tokenize(request, new Cancellation())
    const { exact, reason, exactUpTo } = tokens
    const prompts = tokens.prompts.map((ids, i) => {
      const known = exact ? ids : ids.subarray(0, i === 0 ? (exactUpTo ?? 0) : 0)
      return {
        tokenIds: Array.from(ids),
        blockKeys: this.#blockKeys(known, parsed.cacheSalt),
      }
    })
    return {
      model,
      count: tokens.prompts.reduce((sum, { length }) => sum + length, 0),
      exact,
      ...(reason !== undefined && { reason }),
      ...(exactUpTo !== undefined && { exactUpTo }),
      blockSize,
      prompts,
    }
  }

  close(): Promise<void> {
    return this.#tokenizer.close()
  }

  #blockKeys(ids: Int32Array, salt: string | undefined): string[] {
    const { blockSize, hashAlgorithm, hashSeed, engineVersion } = this.#options
    const hasher = createEngineBlockHasher(hashAlgorithm, hashSeed)
    const minor = Number(/^v?0\.(\d+)/.exec(engineVersion ?? '')?.[1] ?? TAGGED_SINCE)
    const salted = salt === undefined ? null : [salt]
    const first = minor >= TAGGED_SINCE ? tagExtras(salted, undefined) : salted
    const keys: string[] = []
    let parent = hasher.root
    for (let at = 0; at + blockSize <= ids.length; at += blockSize) {
      parent = hasher.next(parent, ids.subarray(at, at + blockSize), at === 0 ? first : null)
      keys.push(parent.published.toString(16).padStart(16, '0'))
    }
    return keys
  }
}

/** The answer says what there is to say. */
const SILENT: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  warnOnce: () => {},
  named: () => SILENT,
}

const UNCOUNTED: Metrics = {
  counter: () => ({ inc: () => {} }),
  gauge: () => ({ set: () => {} }),
  histogram: () => ({ observe: () => {} }),
  observed: () => {},
}
