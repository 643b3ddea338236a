import { isAscii, isUtf8 } from 'node:buffer'
import { SchedulerError } from '../framework/errors.ts'
import type {
  ChatApi,
  ChatPrompt,
  EncodingOptions,
  Prompt,
  SentMessages,
  TextPrompt,
} from '../framework/request.ts'
import type { ParsedRequest } from '../framework/services.ts'
import type { BodyScanner, ScannedBody } from './body-scanner.ts'
import { exceededBound, type JsonLimits } from './json-bounds.ts'

type Json = Readonly<Record<string, unknown>>

/** What bodies are read with. */
export interface BodyReading {
  readonly limits: JsonLimits
  readonly scanner: Pick<BodyScanner, 'scan'>
}

const MAX_TOKEN_ID = 0x7fffffff

/** Prompts of one request that are looked at; those after them do not change the pick. */
const MAX_PROMPTS = 1024

/**
 * Reads what routing needs from a request's JSON body.
 *
 * Chat completions, completions, embeddings, Anthropic's messages and responses have a prompt; any other path has none. A
 * path counts by its end, so that a gateway may put a prefix before it; a query is ignored. Error messages never quote the
 * body.
 *
 * @throws {SchedulerError} BAD_REQUEST when the body is not a JSON object or a field has a wrong shape
 */
export function parseRequest(
  path: string,
  body: readonly Uint8Array[],
  reading: BodyReading,
): ParsedRequest {
  const read = new Body(bytesOf(body), reading)
  return {
    model: optionalString(read, 'model') ?? '',
    prompt: promptOf(endpointOf(path), read),
    stream: read.get('stream') === true,
    cacheSalt: optionalString(read, 'cache_salt') || undefined,
    maxOutputTokens: maxOutputTokens(read),
  }
}

/** A body that is a JSON object: scanned where that can be done, else parsed. */
class Body {
  readonly bytes: Buffer
  /** Undefined for one that had to be parsed. */
  readonly scanned: ScannedBody | undefined
  #json: Json | undefined

  /** @throws {SchedulerError} BAD_REQUEST when it is none */
  constructor(bytes: Buffer, { limits, scanner }: BodyReading) {
    this.bytes = bytes
    this.scanned = scanner.scan(bytes)
    if (this.scanned === undefined) this.#json = parseObject(bytes, limits)
  }

  /** All of it, parsed once at most. */
  get json(): Json {
    return (this.#json ??= JSON.parse(this.text) as Json)
  }

  get text(): string {
    return textOf(this.bytes)
  }

  /** The value of a top-level member; undefined when there is none. */
  get(name: string): unknown {
    return this.scanned === undefined ? this.json[name] : this.scanned.get(name)
  }

  isTextOrList(name: string): boolean {
    if (this.scanned) return this.scanned.isString(name) || this.scanned.isArray(name)
    return typeof this.json[name] === 'string' || Array.isArray(this.json[name])
  }
}

/** A chat that is parsed when somebody wants more of it than an estimate does. */
class BodyChat implements ChatPrompt {
  readonly kind = 'chat'
  readonly api: ChatApi
  readonly #body: Body

  constructor(api: ChatApi, body: Body) {
    this.api = api
    this.#body = body
  }

  get body(): Json {
    return this.#body.json
  }

  text(): string {
    return this.#body.text
  }

  words(maxBytes: number): Int32Array | undefined {
    const { scanned } = this.#body
    // Elsewhere not all of the prompt is in the messages.
    const isAllInMessages = this.api === 'chat' || this.#body.get('system') === undefined
    return scanned?.hasMessages && isAllInMessages ? scanned.messagesWords(maxBytes) : undefined
  }

  sent(): SentMessages | undefined {
    const { scanned } = this.#body
    return scanned?.hasMessages === true ? scanned.messages() : undefined
  }
}

/** A prompt that is one string, decoded when somebody wants it as text. */
class BodyText implements TextPrompt {
  readonly kind = 'text'
  readonly encoding: EncodingOptions | undefined
  readonly #name: string
  readonly #body: ScannedBody
  #texts: readonly string[] | undefined

  constructor(name: string, body: ScannedBody, encoding: EncodingOptions | undefined) {
    this.#name = name
    this.#body = body
    this.encoding = encoding
  }

  get texts(): readonly string[] {
    return (this.#texts ??= [this.#body.get(this.#name) as string])
  }

  words(maxBytes: number): Int32Array {
    return this.#body.stringWords(this.#name, maxBytes)
  }
}

type Api = ChatApi | 'completions' | 'embeddings' | 'other'

function endpointOf(path: string): Api {
  const query = path.indexOf('?')
  const route = query < 0 ? path : path.slice(0, query)
  if (route.endsWith('/chat/completions')) return 'chat'
  if (route.endsWith('/completions')) return 'completions'
  if (route.endsWith('/embeddings')) return 'embeddings'
  if (route.endsWith('/messages')) return 'messages'
  if (route.endsWith('/responses')) return 'responses'
  return 'other'
}

function parseObject(bytes: Buffer, limits: JsonLimits): Json {
  if (bytes.length === 0) throw bad('the request body is empty; send a JSON object')
  const exceeded = exceededBound(bytes, limits)
  if (exceeded === 'depth') {
    throw bad(
      `the request body is nested deeper than ${limits.maxJsonDepth} objects and arrays (--max-json-depth); flatten it`,
    )
  }
  if (exceeded === 'values') {
    throw bad(
      `the request body holds more than ${limits.maxJsonContainers} objects and arrays or ${limits.maxJsonValues} values; send fewer`,
    )
  }
  const parsed = parseText(textOf(bytes))
  if (!isObject(parsed)) throw bad(`the request body must be a JSON object, got ${kindOf(parsed)}`)
  return parsed
}

/** The engine's own errors quote the text around the fault, hence nothing of them is handed on. */
function parseText(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    const cut = isCut(error instanceof Error ? error.message : '', text.length)
    throw bad(
      cut
        ? 'the request body ends in the middle of its JSON; send all of it'
        : 'the request body is not JSON; send a JSON object',
    )
  }
}

function isCut(message: string, length: number): boolean {
  if (/end of JSON input|^Unterminated string/.test(message)) return true
  const position = /at position (\d+)/.exec(message)
  return position !== null && Number(position[1]) >= length
}

/** ASCII is copied as it is, which is several times faster than decoding. */
function textOf(bytes: Buffer): string {
  if (isAscii(bytes)) return bytes.toString('latin1')
  if (!isUtf8(bytes)) throw bad('the request body is not valid UTF-8; encode it as UTF-8')
  const text = bytes.toString('utf8')
  return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text
}

function promptOf(api: Api, body: Body): Prompt | undefined {
  switch (api) {
    case 'chat':
    case 'messages':
      if (!body.scanned?.hasMessages) checkMessages(body.get('messages'))
      return new BodyChat(api, body)
    case 'responses':
      // Without a text or a list the engine takes its input from elsewhere.
      return body.isTextOrList('input') ? new BodyChat(api, body) : undefined
    case 'completions': {
      const encoding = completionEncoding(body)
      if (body.scanned?.isString('prompt')) return new BodyText('prompt', body.scanned, encoding)
      const prompt = body.get('prompt')
      // vLLM takes embeddings in the place of a prompt; there is nothing in them to match.
      if (isAbsent(prompt) && !isAbsent(body.get('prompt_embeds'))) return undefined
      return withEncoding(textOrTokens('prompt', prompt), encoding)
    }
    case 'embeddings': {
      const encoding = embeddingEncoding(body)
      if (body.scanned?.isString('input')) return new BodyText('input', body.scanned, encoding)
      const input = body.get('input')
      // vLLM also embeds a chat; its template then runs with other settings than a chat completion's.
      if (isAbsent(input) && !isAbsent(body.get('messages'))) return undefined
      return withEncoding(textOrTokens('input', input), encoding)
    }
    case 'other':
      return undefined
  }
}

function withEncoding(prompt: TextOrTokens, encoding: EncodingOptions | undefined): Prompt {
  return encoding === undefined ? prompt : { ...prompt, encoding }
}

/** What a completion asks for besides the defaults; undefined for nothing. */
function completionEncoding(body: Body): EncodingOptions | undefined {
  const embeds = isAbsent(body.get('prompt_embeds')) ? undefined : 'prompt_embeds'
  return encodingOf(body, isAbsent(body.get('suffix')) ? embeds : 'a suffix')
}

/** The same for embeddings, which engines cut at another side from release to release. */
function embeddingEncoding(body: Body): EncodingOptions | undefined {
  const isCut = !isAbsent(body.get('truncate_prompt_tokens'))
  return encodingOf(body, isCut ? 'truncate_prompt_tokens for embeddings' : undefined)
}

function encodingOf(body: Body, unfollowed: string | undefined): EncodingOptions | undefined {
  const keep = body.get('truncate_prompt_tokens')
  const side = body.get('truncation_side')
  const addSpecialTokens = body.get('add_special_tokens') === false ? false : undefined
  const truncateTokens = typeof keep === 'number' ? keep : undefined
  const asked = [addSpecialTokens, truncateTokens, unfollowed]
  if (asked.every((value) => value === undefined)) return undefined
  const truncationSide = side === 'left' || side === 'right' ? side : undefined
  return { addSpecialTokens, truncateTokens, truncationSide, unfollowed }
}

function checkMessages(messages: unknown): void {
  if (isAbsent(messages)) throw bad('"messages" is missing; send at least one message')
  if (!Array.isArray(messages)) throw bad(`"messages" must be an array, got ${kindOf(messages)}`)
  if (messages.length === 0) throw bad('"messages" is empty; send at least one message')
  for (let i = 0; i < messages.length; i++) {
    const message: unknown = messages[i]
    if (!isObject(message)) throw bad(`"messages[${i}]" must be an object, got ${kindOf(message)}`)
    if (typeof message.role !== 'string') {
      throw bad(`"messages[${i}].role" must be a string, got ${kindOf(message.role)}`)
    }
  }
}

type TextOrTokens = Exclude<Prompt, { kind: 'chat' }>

/** A string, strings, token ids, or arrays of token ids. */
function textOrTokens(field: string, value: unknown): TextOrTokens {
  if (typeof value === 'string') return { kind: 'text', texts: [value] }
  if (isAbsent(value)) throw bad(`"${field}" is missing; ${EXPECTED}`)
  if (!Array.isArray(value)) throw bad(`"${field}" must not be ${kindOf(value)}; ${EXPECTED}`)
  const first: unknown = value[0]
  if (first === undefined) throw bad(`"${field}" is empty; ${EXPECTED}`)
  if (typeof first === 'string') return { kind: 'text', texts: strings(field, value) }
  if (Array.isArray(first)) {
    const prompts = value.slice(0, MAX_PROMPTS).map((ids, i) => tokenIds(`${field}[${i}]`, ids))
    return { kind: 'tokens', prompts }
  }
  return { kind: 'tokens', prompts: [tokenIds(field, value)] }
}

const EXPECTED = 'send a string, an array of strings, token ids, or arrays of token ids'

function strings(field: string, values: readonly unknown[]): string[] {
  return values.slice(0, MAX_PROMPTS).map((value, i) => {
    if (typeof value !== 'string') {
      throw bad(`"${field}[${i}]" must be a string as "${field}[0]" is, got ${kindOf(value)}`)
    }
    return value
  })
}

function tokenIds(field: string, values: unknown): Int32Array {
  if (!Array.isArray(values)) {
    throw bad(`"${field}" must be an array of token ids, got ${kindOf(values)}`)
  }
  if (values.length === 0) throw bad(`"${field}" is empty; send at least one token id`)
  const ids = new Int32Array(values.length)
  for (let i = 0; i < values.length; i++) {
    const id: unknown = values[i]
    if (typeof id !== 'number' || !(id >= 0 && id <= MAX_TOKEN_ID) || !Number.isInteger(id)) {
      const got = typeof id === 'number' ? 'another number' : kindOf(id)
      throw bad(`"${field}[${i}]" must be a whole number from 0 to ${MAX_TOKEN_ID}, got ${got}`)
    }
    ids[i] = id
  }
  return ids
}

/** The newer chat field, then the field of completions, then the one of responses. */
function maxOutputTokens(body: Body): number | undefined {
  for (const field of ['max_completion_tokens', 'max_tokens', 'max_output_tokens']) {
    const value = body.get(field)
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  }
  return undefined
}

function optionalString(body: Body, field: string): string | undefined {
  const value = body.get(field)
  if (isAbsent(value)) return undefined
  if (typeof value !== 'string') throw bad(`"${field}" must be a string, got ${kindOf(value)}`)
  return value
}

function isAbsent(value: unknown): value is undefined | null {
  return value === undefined || value === null
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function kindOf(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'an array'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

/** One piece as it is, several copied together. */
function bytesOf(body: readonly Uint8Array[]): Buffer {
  return body.length === 1 ? asBuffer(body[0]!) : Buffer.concat(body)
}

function asBuffer(bytes: Uint8Array): Buffer {
  if (Buffer.isBuffer(bytes)) return bytes
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}

function bad(message: string): SchedulerError {
  return new SchedulerError('BAD_REQUEST', message)
}
