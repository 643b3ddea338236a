import { Agent, request } from 'undici'
import type { Prompt } from '../framework/request.ts'
import { type Doubt, doubt } from './doubt.ts'
import type { Tokens } from './outcome.ts'

/** Answers larger than this are not read: a million ids of seven characters each. */
const MAX_ANSWER_BYTES = 8 * 1024 * 1024
/** Text of one prompt that is sent, in UTF-16 units of JSON: as much as a local tokenizer would take. */
const MAX_BODY_CHARS = 4 * 1024 * 1024
const MAX_CONCURRENT = 256
const MAX_TEXTS = 64
/** What is read of an answer that is no success. */
const MAX_REFUSAL_BYTES = 64 * 1024

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

/** Whose fault it is that an engine gave no ids. */
export type EngineFault =
  /** The request's: every engine would say the same. */
  | 'request'
  /** This engine does not serve the model; another one may. */
  | 'model'
  /** The engine has no `/tokenize`. */
  | 'no-route'
  /** The engine cannot be reached. */
  | 'connect'
  /** The engine failed, or took too long. */
  | 'answer'

export interface EngineRefusal {
  readonly fault: EngineFault
  readonly doubt: Doubt
}

export interface EngineTokenizerOptions {
  /** True takes any certificate. */
  readonly insecureSkipVerify: boolean
}

const failure = (fault: EngineFault, text: string): EngineRefusal => ({
  fault,
  doubt: doubt('engine-failed', `the engine's /tokenize ${text}`),
})
const TOO_LARGE: EngineRefusal = {
  fault: 'request',
  doubt: doubt('too-long', `the engine's /tokenize answers more than ${MAX_ANSWER_BYTES} bytes`),
}
const QUEUE_FULL: EngineRefusal = {
  fault: 'request',
  doubt: doubt('queue-full', `${MAX_CONCURRENT} prompts wait for the engine to tokenize them`),
}

/** Asks engines' own `/tokenize` (https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html#tokenizer-api). */
export class EngineTokenizer {
  readonly #agent: Agent
  #running = 0

  constructor({ insecureSkipVerify }: EngineTokenizerOptions) {
    this.#agent = new Agent({
      connections: 8,
      pipelining: 1,
      // Below the five seconds after which uvicorn closes an idle connection.
      keepAliveTimeout: 4000,
      connect: { rejectUnauthorized: !insecureSkipVerify },
    })
  }

  /**
   * The ids of all prompts, or why the engine gave none. Never rejects.
   *
   * @param baseUrl such as `http://127.0.0.1:8000`
   */
  async tokenize(
    baseUrl: string,
    model: string,
    prompt: Prompt,
    signal: AbortSignal,
  ): Promise<Tokens | EngineRefusal> {
    if (prompt.kind === 'tokens') return { prompts: prompt.prompts, doubt: undefined }
    if (this.#running >= MAX_CONCURRENT) return QUEUE_FULL
    this.#running++
    try {
      const bodies = bodiesOf(model, prompt)
      if ('fault' in bodies) return bodies
      const prompts: Int32Array[] = []
      for (const body of bodies) {
        const ids = await this.#ask(`${baseUrl}/tokenize`, body, signal)
        if ('fault' in ids) return ids
        prompts.push(ids)
      }
      return { prompts, doubt: prompt.kind === 'chat' ? chatDoubt(prompt.body) : undefined }
    } catch (error) {
      // The message could quote the prompt.
      const { name, code } = error as { name: string; code?: unknown }
      // Nesting deeper than the stack.
      if (error instanceof RangeError) return failure('request', `cannot be asked: ${name}`)
      const unreached = typeof code === 'string' && !signal.aborted
      return failure(unreached ? 'connect' : 'answer', `failed: ${unreached ? code : name}`)
    } finally {
      this.#running--
    }
  }

  close(): Promise<void> {
    return this.#agent.destroy()
  }

  async #ask(url: string, body: string, signal: AbortSignal): Promise<Int32Array | EngineRefusal> {
    const response = await request(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
      dispatcher: this.#agent,
      signal,
    })
    const success = response.statusCode === 200
    const limit = success ? MAX_ANSWER_BYTES : MAX_REFUSAL_BYTES
    const chunks: Buffer[] = []
    let bytes = 0
    for await (const chunk of response.body as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes > limit) return success ? TOO_LARGE : refusal(response.statusCode, '')
      chunks.push(chunk)
    }
    const text = Buffer.concat(chunks).toString()
    if (!success) return refusal(response.statusCode, text)
    const answer = JSON.parse(text) as { tokens?: unknown } | null
    const tokens = answer?.tokens
    if (!Array.isArray(tokens) || !tokens.every((id) => Number.isInteger(id))) {
      return failure('answer', 'answers no list of tokens')
    }
    return Int32Array.from(tokens as number[])
  }
}

/**
 * Why an engine answers with that status. vLLM answers 404 with an error object for a model that it does not serve
 * (https://github.com/vllm-project/vllm/blob/main/vllm/entrypoints/openai/serving_engine.py); a 404 without one, and a 405,
 * come from a server that has no such route.
 */
function refusal(status: number, text: string): EngineRefusal {
  const said = `answers ${status}`
  if (status === 405) return failure('no-route', said)
  if (status === 404) return failure(namesError(text) ? 'model' : 'no-route', said)
  return failure(status >= 500 ? 'answer' : 'request', said)
}

function namesError(text: string): boolean {
  try {
    const body = JSON.parse(text) as { error?: unknown; object?: unknown } | null
    return body?.error !== undefined || body?.object === 'error'
  } catch {
    return false
  }
}

/** The bodies to send, one for each prompt. */
function bodiesOf(
  model: string,
  prompt: Exclude<Prompt, { kind: 'tokens' }>,
): readonly string[] | EngineRefusal {
  const forms =
    prompt.kind === 'chat' ? [chatForm(model, prompt.body)] : textForms(model, prompt.texts)
  if (forms.length > MAX_TEXTS) {
    const text = `the request has more than ${MAX_TEXTS} prompts`
    return { fault: 'request', doubt: doubt('too-long', text) }
  }
  const bodies = forms.map((form) => JSON.stringify(form))
  if (bodies.every((body) => body.length <= MAX_BODY_CHARS)) return bodies
  const text = `the prompt has more than ${MAX_BODY_CHARS} characters`
  return { fault: 'request', doubt: doubt('too-long', text) }
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
