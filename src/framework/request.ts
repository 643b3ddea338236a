import type { Attributes } from './attributes.ts'

/** What a request asks the model to continue. */
export type Prompt = TextPrompt | TokensPrompt | ChatPrompt

/** Completions and embeddings: one text per prompt. */
export interface TextPrompt {
  readonly kind: 'text'
  /** Decoded when first asked for. */
  readonly texts: readonly string[]
  /** As `ChatPrompt.words`, of the only text; absent or undefined where there are several. */
  words?(maxBytes: number): Int32Array | undefined
  /** Absent when the request asks for nothing but the defaults. */
  readonly encoding?: EncodingOptions | undefined
}

/** Completions with token ids: one array per prompt, used as they are unless they are to be cut. */
export interface TokensPrompt {
  readonly kind: 'tokens'
  readonly prompts: readonly Int32Array[]
  /** Absent when the request asks for nothing but the defaults. */
  readonly encoding?: EncodingOptions
}

/** A chat: the whole body, since templates read many of its fields. */
export interface ChatPrompt {
  readonly kind: 'chat'
  /** Whose format the body has: chat completions' when absent. */
  readonly api?: ChatApi
  /** Parsed when first asked for, which an estimate does not do. */
  readonly body: Readonly<Record<string, unknown>>
  /**
   * The body's JSON as it was sent, which tells more of numbers and of the order of keys than the parsed body; absent when
   * the body was made rather than parsed. It is decoded anew at each call.
   */
  text?(): string
  /**
   * The text that an estimate counts, straight from the bytes of the body: tools as they were sent, then each message's
   * role, text and tool calls, one to a line. At most `maxBytes` of its UTF-8, each four bytes as one little-endian number
   * without its highest bit, zeros at the end. Absent or undefined when the body was made rather than sent, or is uncommon.
   */
  words?(maxBytes: number): Int32Array | undefined
  /**
   * Where the messages stand in the bytes of the body: those that are known need not be decoded. Absent or undefined when
   * the body was made rather than sent, or is uncommon.
   */
  sent?(): SentMessages | undefined
}

/** The messages of a chat in the bytes of its body, which is JSON in UTF-8 that names them once. */
export interface SentMessages {
  /** All of the body. Never changed. */
  readonly bytes: Uint8Array
  readonly isAscii: boolean
  /** Where the list of messages begins and ends: its brackets included. */
  readonly start: number
  readonly end: number
  /** Of each message where it begins, where it ends, 30 bits by which messages can be told apart, and 1 where it is ASCII. */
  readonly spans: Int32Array
}

/** `chat` is `/v1/chat/completions`, `messages` Anthropic's `/v1/messages`, `responses` `/v1/responses`. */
export type ChatApi = 'chat' | 'messages' | 'responses'

/** How a request wants its text encoded. */
export interface EncodingOptions {
  /** `add_special_tokens`; true when undefined. */
  readonly addSpecialTokens: boolean | undefined
  /** `truncate_prompt_tokens`: ids to keep, -1 for as many as the model takes; undefined keeps all. */
  readonly truncateTokens: number | undefined
  /** `truncation_side`; undefined leaves it to the engine. */
  readonly truncationSide: 'left' | 'right' | undefined
  /** Something that the engine puts around the text and that is not followed here, such as `suffix`; undefined for nothing. */
  readonly unfollowed: string | undefined
}

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
  /**
   * Undefined when the request has no prompt that routing could use, and after `picked`: it would keep the whole body in
   * memory until the response ends.
   */
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
