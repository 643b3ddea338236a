import { LRUCache } from 'lru-cache'
import { Agent, type Dispatcher, request } from 'undici'
import type { ChatPrompt, Prompt, TextPrompt } from '../framework/request.ts'
import { ConversationPrefixes, type KnownBeginning } from './conversation-prefixes.ts'
import { type Doubt, doubt } from './doubt.ts'
import { chatForms, formKey } from './engine-form.ts'
import type { Tokens } from './outcome.ts'

/** Answers larger than this are not read: a million ids of seven characters each. */
const MAX_ANSWER_BYTES = 8 * 1024 * 1024
/** Text of one prompt that is sent, in UTF-16 units of JSON: as much as a local tokenizer would take. */
const MAX_BODY_CHARS = 4 * 1024 * 1024
const MAX_CONCURRENT = 256
const MAX_TEXTS = 64
/** What is read of an answer that is no success. */
const MAX_REFUSAL_BYTES = 64 * 1024

/** Memory of answers: keys of 44 characters and four bytes an id. */
const CACHE_BYTES = 16 * 1024 * 1024
const ENTRY_BYTES = 300

/** How long an engine that answers no `/render` is not asked for it again. */
const NO_RENDER_MS = 300_000
const MAX_RENDERLESS = 10_000

/** What is said of a connection that the other side closed. */
const CLOSED: ReadonlySet<unknown> = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'])

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

/**
 * Asks engines for the ids of a prompt: `/v1/chat/completions/render` where an engine answers it, which is the chat's own
 * path, else `/tokenize` (https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html#tokenizer-api). A
 * conversation that was asked for before is answered from memory.
 */
export class EngineTokenizer {
  readonly #agent: Agent
  readonly #known = new LRUCache<string, Tokens>({
    maxSize: CACHE_BYTES,
    sizeCalculation: ({ prompts }) =>
      prompts.reduce((bytes, ids) => bytes + ids.length * 4, ENTRY_BYTES),
  })
  readonly #prefixes = new ConversationPrefixes()
  /** Engines that answer no `/render`. */
  readonly #renderless = new LRUCache<string, true>({ max: MAX_RENDERLESS, ttl: NO_RENDER_MS })
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
      return prompt.kind === 'chat'
        ? await this.#chat(baseUrl, model, prompt, signal)
        : await this.#texts(baseUrl, model, prompt, signal)
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

  /** What engines gave earlier for the beginning of a conversation; undefined when it is not known. */
  beginning(model: string, prompt: Prompt): KnownBeginning | undefined {
    if (prompt.kind !== 'chat' || !isChat(prompt)) return undefined
    try {
      return this.#prefixes.find(model, prompt)
    } catch (error) {
      // Nesting deeper than the stack.
      if (error instanceof RangeError) return undefined
      throw error
    }
  }

  /** Forgets all answers: the engines may be others. */
  forget(): void {
    this.#known.clear()
    this.#prefixes.clear()
    this.#renderless.clear()
  }

  close(): Promise<void> {
    return this.#agent.destroy()
  }

  async #texts(
    baseUrl: string,
    model: string,
    { texts, encoding }: TextPrompt,
    signal: AbortSignal,
  ): Promise<Tokens | EngineRefusal> {
    if (texts.length > MAX_TEXTS) return tooLong(`the request has more than ${MAX_TEXTS} prompts`)
    const addSpecialTokens = encoding?.addSpecialTokens
    const prompts: Int32Array[] = []
    for (const prompt of texts) {
      const form = JSON.stringify({ model, prompt, add_special_tokens: addSpecialTokens })
      if (form.length > MAX_BODY_CHARS) return TOO_LONG
      const answer = await this.#once(form, signal, () =>
        this.#ask(`${baseUrl}/tokenize`, form, 'tokens', signal),
      )
      if ('fault' in answer) return answer
      prompts.push(answer.prompts[0]!)
    }
    const isCut = encoding?.truncateTokens !== undefined || encoding?.unfollowed !== undefined
    return { prompts, doubt: isCut ? UNREAD : undefined }
  }

  async #chat(
    baseUrl: string,
    model: string,
    prompt: ChatPrompt,
    signal: AbortSignal,
  ): Promise<Tokens | EngineRefusal> {
    if (!isChat(prompt)) return OTHER_API
    const forms = chatForms(model, prompt)
    if (forms.render.length > MAX_BODY_CHARS) return TOO_LONG
    const answer = await this.#once(forms.render, signal, async () => {
      if (!this.#renderless.has(baseUrl)) {
        const url = `${baseUrl}/v1/chat/completions/render`
        const rendered = await this.#ask(url, forms.render, 'token_ids', signal)
        if (!('fault' in rendered && rendered.fault === 'no-route')) return rendered
        this.#renderless.set(baseUrl, true)
      }
      const tokens = await this.#ask(`${baseUrl}/tokenize`, forms.tokenize, 'tokens', signal)
      return 'fault' in tokens ? tokens : { ...tokens, doubt: forms.doubt }
    })
    if ('prompts' in answer && answer.doubt === undefined && !signal.aborted) {
      this.#prefixes.learn(model, prompt, answer.prompts[0]!)
    }
    return answer
  }

  /** From memory where the question was answered before, whichever engine did. */
  async #once(
    form: string,
    signal: AbortSignal,
    ask: () => Promise<Tokens | EngineRefusal>,
  ): Promise<Tokens | EngineRefusal> {
    const key = formKey(form)
    const known = this.#known.get(key)
    if (known !== undefined) return known
    const answer = await ask()
    if (!('fault' in answer) && !signal.aborted) this.#known.set(key, answer)
    return answer
  }

  /** @param field of the answer that has the ids */
  async #ask(
    url: string,
    body: string,
    field: 'tokens' | 'token_ids',
    signal: AbortSignal,
  ): Promise<Tokens | EngineRefusal> {
    const response = await this.#post(url, body, signal)
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
    const answer = JSON.parse(text) as Readonly<Record<string, unknown>> | null
    const tokens = answer?.[field]
    if (!Array.isArray(tokens) || !tokens.every((id) => Number.isInteger(id))) {
      // Early releases answer `/render` in other forms.
      return failure(field === 'tokens' ? 'answer' : 'no-route', 'answers no list of tokens')
    }
    const prompts = [Int32Array.from(tokens as number[])]
    const firstMedium = mediaStart(answer?.features)
    return firstMedium === undefined
      ? { prompts, doubt: undefined }
      : { prompts, doubt: MEDIA, exactUpTo: firstMedium }
  }

  /** Once more where the engine closed the connection, which it may do with a kept one just as it is used. */
  async #post(url: string, body: string, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
    const ask = () =>
      request(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
        dispatcher: this.#agent,
        signal,
      })
    try {
      return await ask()
    } catch (error) {
      if (signal.aborted || !CLOSED.has((error as { code?: unknown }).code)) throw error
      return await ask()
    }
  }
}

function isChat({ api }: ChatPrompt): boolean {
  return api === undefined || api === 'chat'
}

/** Position of the first placeholder of a medium in a rendered prompt; undefined when there is none. */
function mediaStart(features: unknown): number | undefined {
  const { mm_placeholders: byKind } = (features ?? {}) as { mm_placeholders?: unknown }
  const offsets = Object.values((byKind ?? {}) as Record<string, unknown>)
    .flat()
    .map((range) => Number((range as { offset?: unknown } | null)?.offset))
    .filter((offset) => Number.isInteger(offset) && offset >= 0)
  return offsets.length === 0 ? undefined : Math.min(...offsets)
}

const MEDIA = doubt(
  'media',
  'a message has a part that is not text, whose hash only the engine knows',
)
const UNREAD = doubt(
  'engine-fields',
  "the engine's /tokenize does not read all fields of the request",
)
const OTHER_API: EngineRefusal = {
  fault: 'request',
  doubt: doubt('engine-fields', 'engines tokenize chat completions and completions only'),
}
const TOO_LONG = tooLong(`the prompt has more than ${MAX_BODY_CHARS} characters`)

function tooLong(text: string): EngineRefusal {
  return { fault: 'request', doubt: doubt('too-long', text) }
}

/**
 * Why an engine answers with that status. vLLM answers 404 with an error object for a model that it does not serve
 * (https://github.com/vllm-project/vllm/blob/main/vllm/entrypoints/openai/serving_engine.py); a 404 without one, and a 405,
 * come from a server that has no such route.
 */
function refusal(status: number, text: string): EngineRefusal {
  const said = `answers ${status}`
  // Newer releases answer 403 for `/render` unless started with a flag.
  if (status === 405 || status === 403) return failure('no-route', said)
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
