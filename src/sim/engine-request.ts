import { SchedulerError } from '../framework/errors.ts'
import type { Prompt } from '../framework/request.ts'
import type { OpenAiApi } from '../framework/services.ts'
import type { LoraModule, SimEngineOptions } from './options.ts'

/** Ids that a client may send: the size of Qwen3's vocabulary with its padding. */
const VOCABULARY = 151_936

/** Tokens of a completion that names no `max_tokens` (vLLM's own default); a chat may fill the model's length. */
const DEFAULT_COMPLETION_TOKENS = 16

/** A request that the engine accepts. */
export interface EngineRequest {
  readonly model: string
  readonly lora: LoraModule | undefined
  /** The adapter's number, from 1; 0 for the base model. */
  readonly loraNumber: number
  readonly prompt: Prompt
  readonly stream: boolean
  readonly includeUsage: boolean
  readonly cacheSalt: string | undefined
  /** Undefined when an answer may fill the model's length. */
  readonly maxTokens: number | undefined
  readonly ignoreEos: boolean
}

/** A request that the engine refuses. */
export class EngineProblem {
  readonly status: number
  readonly type: string
  readonly message: string
  readonly param: string | null

  constructor(status: number, type: string, message: string, param: string | null) {
    this.status = status
    this.type = type
    this.message = message
    this.param = param
  }
}

export function badRequest(message: string, param: string | null = null): EngineProblem {
  return new EngineProblem(400, 'BadRequestError', message, param)
}

/** A body that is not what the API describes: vLLM's own type for what its models reject. */
function invalidBody(message: string, param: string | null): EngineProblem {
  return new EngineProblem(400, 'Bad Request', message, param)
}

/** The body as an object, or why it is none. */
export function readBody(bytes: Buffer): Readonly<Record<string, unknown>> | EngineProblem {
  let body: unknown
  try {
    body = JSON.parse(bytes.toString())
  } catch (error) {
    return invalidBody(
      `1 validation error:\n  JSON decode error: ${(error as Error).message}`,
      'body',
    )
  }
  if (typeof body === 'object' && body !== null && !Array.isArray(body)) {
    return body as Record<string, unknown>
  }
  return invalidBody('1 validation error:\n  Input should be a valid dictionary', 'body')
}

/** The model that a body names, or its adapter; the refusal when the engine has no such model. */
export function findModel(
  name: unknown,
  options: SimEngineOptions,
): { readonly model: string; readonly loraNumber: number } | EngineProblem {
  if (name === undefined || name === null || name === options.servedModelName) {
    return { model: options.servedModelName, loraNumber: 0 }
  }
  const at = options.loraModules.findIndex((module) => module.name === name)
  if (at >= 0) return { model: String(name), loraNumber: at + 1 }
  const hint = options.version === '0.32.0' ? ` Valid aliases: ${options.servedModelName}.` : ''
  return new EngineProblem(
    404,
    'NotFoundError',
    `The model \`${name}\` does not exist.${hint}`,
    'model',
  )
}

/** Reads a chat, completion or embedding request as vLLM does, in its order of checks. */
export function readEngineRequest(
  path: string,
  headers: ReadonlyMap<string, string>,
  bytes: Buffer,
  openAi: OpenAiApi,
  options: SimEngineOptions,
): EngineRequest | EngineProblem {
  const body = readBody(bytes)
  if (body instanceof EngineProblem) return body
  const chat = path === '/v1/chat/completions'
  if (chat && body.messages === undefined) {
    return invalidBody(
      "1 validation error:\n  {'type': 'missing', 'loc': 'body.messages', 'msg': 'Field required'}",
      'body.messages',
    )
  }
  const problem = checkFields(body, options)
  if (problem !== undefined) return problem
  const found = findModel(body.model, options)
  if (found instanceof EngineProblem) return found
  let parsed: ReturnType<OpenAiApi['parse']>
  try {
    parsed = openAi.parse(path, headers, [bytes])
  } catch (error) {
    if (error instanceof SchedulerError) return invalidBody(error.message, null)
    throw error
  }
  const { prompt } = parsed
  if (prompt === undefined)
    return invalidBody('1 validation error:\n  Field required', 'body.prompt')
  const unknown = unknownId(prompt)
  if (unknown !== undefined) return badRequest(`Token id ${unknown} is out of vocabulary`)
  const { stream_options: streamOptions } = body
  return {
    ...found,
    lora: options.loraModules[found.loraNumber - 1],
    prompt,
    stream: parsed.stream,
    includeUsage:
      (streamOptions as { include_usage?: unknown } | null | undefined)?.include_usage === true,
    cacheSalt: parsed.cacheSalt,
    maxTokens: parsed.maxOutputTokens ?? (chat ? undefined : DEFAULT_COMPLETION_TOKENS),
    ignoreEos: body.ignore_eos === true,
  }
}

function checkFields(
  body: Readonly<Record<string, unknown>>,
  options: SimEngineOptions,
): EngineProblem | undefined {
  const { temperature, n } = body
  const maxTokens = body.max_completion_tokens ?? body.max_tokens
  if (typeof temperature === 'number' && temperature < 0) {
    return badRequest(`temperature must be non-negative, got ${temperature}.`, 'temperature')
  }
  if (typeof maxTokens === 'number' && maxTokens < 1) {
    return badRequest(`max_tokens must be at least 1, got ${maxTokens}.`, 'max_tokens')
  }
  if (typeof maxTokens === 'number' && maxTokens > options.maxModelTokens) {
    return badRequest(
      `max_tokens=${maxTokens} cannot be greater than max_model_len=${options.maxModelTokens}. Please request fewer output tokens. (parameter=max_tokens, value=${maxTokens})`,
      'max_tokens',
    )
  }
  if (n !== undefined && n !== null && n !== 1) {
    return badRequest(`n must be 1 in the simulated engine, got ${String(n)}.`, 'n')
  }
  if (body.cache_salt === '') {
    return badRequest(
      "Parameter 'cache_salt' must be a non-empty string if provided. (parameter=cache_salt)",
      'cache_salt',
    )
  }
  if (body.continue_final_message === true && body.add_generation_prompt === true) {
    return badRequest(
      'Cannot set both `continue_final_message` and `add_generation_prompt` to True.',
    )
  }
  return undefined
}

/** The refusal of a prompt that does not fit with what it asks for. */
export function checkLength(
  promptTokens: number,
  maxTokens: number | undefined,
  options: SimEngineOptions,
): EngineProblem | undefined {
  const limit = options.maxModelTokens
  if (promptTokens === 0) return badRequest('The prompt must have at least one token.', 'prompt')
  if (promptTokens >= limit) {
    return badRequest(
      `This model's maximum context length is ${limit} tokens. However, your prompt contains ${promptTokens} input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=${promptTokens})`,
      'input_tokens',
    )
  }
  if (maxTokens !== undefined && promptTokens + maxTokens > limit) {
    return badRequest(
      `This model's maximum context length is ${limit} tokens. However, you requested ${promptTokens + maxTokens} tokens (${promptTokens} in the messages, ${maxTokens} in the completion). Please reduce the length of the messages or completion.`,
      'max_tokens',
    )
  }
  return undefined
}

function unknownId(prompt: Prompt): number | undefined {
  if (prompt.kind !== 'tokens') return undefined
  for (const ids of prompt.prompts) {
    const unknown = ids.find((id) => id < 0 || id >= VOCABULARY)
    if (unknown !== undefined) return unknown
  }
  return undefined
}
