/** A typed key for one piece of data that travels with a request, made by a producer or a scorer. */
export interface AttributeKey<T> {
  readonly symbol: symbol
  readonly name: string
  readonly _value?: T
}

export function attributeKey<T>(name: string): AttributeKey<T> {
  return { symbol: Symbol(name), name }
}

/** The data that travels with one request. */
export class Attributes {
  readonly #values: Map<symbol, unknown>

  /** @param data to begin with, that of another request; none when absent */
  constructor(data?: Attributes) {
    this.#values = new Map(data === undefined ? [] : data.#values)
  }

  get<T>(key: AttributeKey<T>): T | undefined {
    return this.#values.get(key.symbol) as T | undefined
  }

  set<T>(key: AttributeKey<T>, value: T): void {
    this.#values.set(key.symbol, value)
  }
}

/** Token ids of a request's prompts. */
export interface PromptTokens {
  /** One array per prompt: a chat has one, a completion may have several. After `picked` they are empty. */
  readonly prompts: readonly Int32Array[]
  /** True when the ids are the ones the engine will use; false for an estimate. */
  readonly exact: boolean
  /** Why the ids are an estimate; absent when exact. */
  readonly reason?: string
  /**
   * How many ids at the beginning of the first prompt are the engine's all the same, such as those before an image; absent
   * when exact, or when none is known to be. Ids after them are a guess in which different images differ.
   */
  readonly exactUpTo?: number
}

/** The request's prompts as token ids; produced by `token-producer`. */
export const PROMPT_TOKENS = attributeKey<PromptTokens>('PromptTokens')
