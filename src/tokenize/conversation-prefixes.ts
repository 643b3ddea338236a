import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { ChatPrompt } from '../framework/request.ts'
import { measure } from './chat/prompt-measure.ts'

/** Memory of conversations: keys of 44 characters and four bytes an id. */
const CACHE_BYTES = 8 * 1024 * 1024
const ENTRY_BYTES = 300
/** Ids at the end of a conversation that the next turn may replace: the beginning of the answer. */
const MIN_MARGIN = 16
/** A template that replaces more rewrites what was said before. */
const MAX_MARGIN = 64
const MAX_MODELS = 1000

/** Fields of a chat completion that reach no template. All others tell conversations apart. */
const UNRENDERED: ReadonlySet<string> = new Set([
  ...['model', 'messages', 'stream', 'stream_options', 'user', 'cache_salt', 'store', 'metadata'],
  ...['temperature', 'top_p', 'top_k', 'min_p', 'n', 'seed', 'stop', 'stop_token_ids', 'best_of'],
  ...['max_tokens', 'max_completion_tokens', 'min_tokens', 'ignore_eos', 'logit_bias', 'priority'],
  ...['presence_penalty', 'frequency_penalty', 'repetition_penalty', 'length_penalty'],
  ...['logprobs', 'top_logprobs', 'prompt_logprobs', 'use_beam_search', 'request_id'],
])

/** How a model's conversations have continued so far. */
interface Continuity {
  /** Most ids at the end of one that were others in its continuation; undefined before any was compared. */
  margin: number | undefined
}

/** The beginning of a conversation as an engine gave it earlier. */
export interface KnownBeginning {
  /** Of the beginning, as far as its continuation will have them too. */
  readonly ids: Int32Array
  /** Messages that are not in it. */
  readonly rest: readonly unknown[]
}

/**
 * The ids that engines gave for conversations, to know the beginning of one that goes on. Only an engine knows the ids of
 * the whole, since a template may print earlier messages otherwise when others follow. So a beginning is believed for a
 * model only after one of its conversations has been compared with its continuation, and for none once one was found to
 * be rewritten.
 */
export class ConversationPrefixes {
  readonly #known = new LRUCache<string, Int32Array>({
    maxSize: CACHE_BYTES,
    sizeCalculation: (ids) => ids.length * 4 + ENTRY_BYTES,
  })
  readonly #models = new LRUCache<string, Continuity>({ max: MAX_MODELS })

  /** Keeps what an engine answered for a conversation, and compares it with what it began with. */
  learn(model: string, prompt: ChatPrompt, ids: Int32Array): void {
    const keys = keysOf(model, prompt)
    if (keys === undefined) return
    const earlier = this.#longest(keys)
    if (earlier !== undefined) {
      const { ids: before } = earlier
      let same = 0
      while (same < before.length && before[same] === ids[same]) same++
      const continuity = this.#models.get(model) ?? { margin: undefined }
      continuity.margin = Math.max(continuity.margin ?? MIN_MARGIN, before.length - same)
      this.#models.set(model, continuity)
    }
    this.#known.set(keys.at(-1)!, ids)
  }

  /** Undefined when nothing is known of the conversation's beginning, or when it cannot be believed. */
  find(model: string, prompt: ChatPrompt): KnownBeginning | undefined {
    const margin = this.#models.get(model)?.margin
    if (margin === undefined || margin > MAX_MARGIN) return undefined
    const keys = keysOf(model, prompt)
    const earlier = keys && this.#longest(keys)
    if (earlier === undefined || earlier.ids.length <= margin) return undefined
    return {
      ids: earlier.ids.subarray(0, earlier.ids.length - margin),
      rest: (prompt.body.messages as readonly unknown[]).slice(earlier.messages),
    }
  }

  clear(): void {
    this.#known.clear()
    this.#models.clear()
  }

  /** The longest part of a conversation that was answered, itself left out. */
  #longest(
    keys: readonly string[],
  ): { readonly ids: Int32Array; readonly messages: number } | undefined {
    for (let messages = keys.length - 1; messages > 0; messages--) {
      const ids = this.#known.get(keys[messages - 1]!)
      if (ids !== undefined) return { ids, messages }
    }
    return undefined
  }
}

/**
 * One key for each beginning of the conversation, that of all messages last; undefined for what a parsed body does not
 * tell in full: numbers are printed otherwise than they were sent.
 */
function keysOf(model: string, { body }: ChatPrompt): readonly string[] | undefined {
  const { messages } = body
  if (!Array.isArray(messages) || messages.length === 0) return undefined
  const { isLong, hasNumbers } = measure(body)
  if (isLong || hasNumbers) return undefined
  const others = Object.entries(body).filter(([name]) => !UNRENDERED.has(name))
  let key = digest(JSON.stringify([model, others]))
  return messages.map((message) => {
    key = digest(key + JSON.stringify(message))
    return key
  })
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64')
}
