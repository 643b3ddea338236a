import { createHash } from 'node:crypto'
import type { ChatPrompt } from '../framework/request.ts'
import { measure } from './chat/prompt-measure.ts'
import { type Doubt, doubt } from './doubt.ts'

/** Fields of a chat that `/tokenize` reads; others that change the prompt make a doubt. */
const CHAT_FIELDS = [
  'messages',
  'add_generation_prompt',
  'continue_final_message',
  'add_special_tokens',
  'chat_template',
  'chat_template_kwargs',
  'tools',
] as const

/** One question to an engine: the JSON to post. */
export interface EngineForms {
  /** For `/v1/chat/completions/render`: the request itself. */
  readonly render: string
  /** For `/tokenize`. */
  readonly tokenize: string
  /** What the chat path reads and `/tokenize` does not. */
  readonly doubt: Doubt | undefined
}

/**
 * The questions that a chat completion makes.
 *
 * Where the body has numbers its own text is sent, `model` once more at its end: parsing and printing it again would
 * write them otherwise, and of a key that stands twice the last counts.
 */
export function chatForms(model: string, prompt: ChatPrompt): EngineForms {
  const { body } = prompt
  const json = measure(body).hasNumbers ? prompt.text?.().trimEnd() : undefined
  const isObject = json?.endsWith('}') === true
  const whole = isObject
    ? `${json!.slice(0, -1)},"model":${JSON.stringify(model)}}`
    : JSON.stringify({ ...body, model })
  const form: Record<string, unknown> = { model }
  for (const field of CHAT_FIELDS) if (body[field] !== undefined) form[field] = body[field]
  return {
    render: whole,
    tokenize: isObject ? whole : JSON.stringify(form),
    doubt: unreadDoubt(body),
  }
}

/** Names a question in the cache of answers, without keeping it. */
export function formKey(form: string): string {
  return createHash('sha256').update(form).digest('base64')
}

function unreadDoubt(body: Readonly<Record<string, unknown>>): Doubt | undefined {
  const unread =
    body.documents !== undefined ||
    body.reasoning_effort !== undefined ||
    body.truncate_prompt_tokens !== undefined ||
    (Array.isArray(body.messages) &&
      body.messages.some((message: unknown) =>
        hasUnread(message as Record<string, unknown> | null),
      ))
  if (!unread) return undefined
  return doubt('engine-fields', "the engine's /tokenize does not read all fields of the request")
}

function hasUnread(message: Readonly<Record<string, unknown>> | null): boolean {
  if (message?.reasoning_content !== undefined) return true
  const content = message?.content
  return (
    Array.isArray(content) &&
    content.some((part: unknown) => typeof (part as { text?: unknown } | null)?.text !== 'string')
  )
}
