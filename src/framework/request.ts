import type { Attributes } from './attributes.ts'

/** What a request asks the model to continue. */
export type Prompt =
  /** Completions and embeddings: one text per prompt. */
  | { readonly kind: 'text'; readonly texts: readonly string[] }
  /** Completions with token ids: one array per prompt, used as they are. */
  | { readonly kind: 'tokens'; readonly prompts: readonly Int32Array[] }
  /** Chat: the whole parsed body, since templates read many of its fields. */
  | { readonly kind: 'chat'; readonly body: Readonly<Record<string, unknown>> }

export type Criticality = 'Critical' | 'Standard' | 'Sheddable'

/** The word for a priority: above 0 Critical, 0 Standard, below 0 Sheddable. */
export function criticalityOf(priority: number): Criticality {
  return priority > 0 ? 'Critical' : priority < 0 ? 'Sheddable' : 'Standard'
}

/** One request as plugins see it. They must not keep it after the call. */
export interface InferenceRequest {
  /** The `x-request-id`, made when the client sent none. */
  readonly id: string
  /** Path without query, such as `/v1/chat/completions`. */
  readonly path: string
  /** Header names in lower case. */
  readonly headers: ReadonlyMap<string, string>
  /** The model that the client named; empty when the request has no body. */
  readonly model: string
  /** The model after rewriting: the one that the engine is asked for. */
  readonly targetModel: string
  readonly criticality: Criticality
  /** Larger is served first, below 0 may be shed; 0 when nothing says otherwise. */
  readonly priority: number
  /** Undefined when the request has no prompt that routing could use. */
  readonly prompt: Prompt | undefined
  /** Isolates the prefix cache of one tenant (`cache_salt`); undefined when absent. */
  readonly cacheSalt: string | undefined
  /** The client's cap on generated tokens; undefined when absent. */
  readonly maxOutputTokens: number | undefined
  readonly stream: boolean
  readonly bodyBytes: number
  /** Data made for this request by producers. */
  readonly attributes: Attributes
}
