import { Agent, request } from 'undici'
import type { Prompt } from '../framework/request.ts'
import { type Doubt, doubt } from './doubt.ts'

/** Answers larger than this are not read: a million ids of seven characters each. */
const MAX_ANSWER_BYTES = 8 * 1024 * 1024
const MAX_CONCURRENT = 64
const MAX_TEXTS = 64

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

/** Ids of each prompt; `doubt` when the engine's chat path may use others. */
export interface EngineTokens {
  readonly prompts: readonly Int32Array[]
  readonly doubt: Doubt | undefined
}

/** Asks an engine's own `/tokenize` (https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html#tokenizer-api). */
export class EngineTokenizer {
  readonly #url: string
  readonly #agent: Agent
  readonly #timeoutMs: number
  #running = 0

  /** @param baseUrl such as `http://127.0.0.1:8000` */
  constructor(baseUrl: string, timeoutMs: number) {
    this.#url = `${baseUrl.replace(/\/+$/, '')}/tokenize`
    this.#timeoutMs = timeoutMs
    this.#agent = new Agent({ connections: 8, pipelining: 1 })
  }

  /** The answer is a doubt when the engine did not give ids. Never rejects. */
  async tokenize(
    model: string,
    prompt: Prompt,
    signal: AbortSignal,
  ): Promise<EngineTokens | Doubt> {
    if (prompt.kind === 'tokens') return { prompts: prompt.prompts, doubt: undefined }
    const bodies =
      prompt.kind === 'chat' ? [chatForm(model, prompt.body)] : textForms(model, prompt.texts)
    if (bodies.length > MAX_TEXTS)
      return doubt('too-long', `the request has more than ${MAX_TEXTS} prompts`)
    if (this.#running >= MAX_CONCURRENT) {
      return doubt('queue-full', `${MAX_CONCURRENT} prompts wait for the engine to tokenize them`)
    }
    this.#running++
    try {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(this.#timeoutMs)])
      const prompts: Int32Array[] = []
      for (const body of bodies) {
        const ids = await this.#ask(body, limit)
        if ('code' in ids) return ids
        prompts.push(ids)
      }
      return { prompts, doubt: prompt.kind === 'chat' ? chatDoubt(prompt.body) : undefined }
    } catch (error) {
      return doubt('engine-failed', `the engine's /tokenize failed: ${(error as Error).name}`)
    } finally {
      this.#running--
    }
  }

  close(): Promise<void> {
    return this.#agent.destroy()
  }

  async #ask(body: unknown, signal: AbortSignal): Promise<Int32Array | Doubt> {
    const response = await request(this.#url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      dispatcher: this.#agent,
      signal,
    })
    if (response.statusCode !== 200) {
      await response.body.dump({ limit: MAX_ANSWER_BYTES })
      return doubt('engine-failed', `the engine's /tokenize answers ${response.statusCode}`)
    }
    const chunks: Buffer[] = []
    let bytes = 0
    for await (const chunk of response.body as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes > MAX_ANSWER_BYTES) {
        return doubt(
          'too-long',
          `the engine's /tokenize answers more than ${MAX_ANSWER_BYTES} bytes`,
        )
      }
      chunks.push(chunk)
    }
    const answer = JSON.parse(Buffer.concat(chunks).toString()) as { tokens?: unknown } | null
    const tokens = answer?.tokens
    if (!Array.isArray(tokens) || !tokens.every((id) => Number.isInteger(id))) {
      return doubt('engine-failed', "the engine's /tokenize answers no list of tokens")
    }
    return Int32Array.from(tokens as number[])
  }
}

function textForms(model: string, texts: readonly string[]): unknown[] {
  return texts.map((prompt) => ({ model, prompt }))
}

function chatForm(model: string, body: Readonly<Record<string, unknown>>): unknown {
  const form: Record<string, unknown> = { model }
  for (const field of CHAT_FIELDS) if (body[field] !== undefined) form[field] = body[field]
  return form
}

/** What the chat path reads and `/tokenize` does not (seen on 0.32.0). */
function chatDoubt(body: Readonly<Record<string, unknown>>): Doubt | undefined {
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
