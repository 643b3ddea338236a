import { type Doubt, doubt } from '../doubt.ts'
import type { ContentFormat } from './chat-template.ts'
import { parsePythonJson, wrapNumber } from './python-json.ts'

/**
 * Which release of vLLM prepares the messages: `current` (0.32.0) hands reasoning to the template, renders the role
 * developer as system and knows reasoning_effort; `early` (0.10.0) does none of these.
 */
export type EngineEra = 'current' | 'early'

/** A request's chat as a template's variables. */
export interface ChatVariables {
  readonly variables: Readonly<Record<string, unknown>>
  /** Why the engine may render something else; undefined when it renders the same. */
  readonly doubt: Doubt | undefined
}

/** The chat cannot be rendered here; the request gets an estimate. */
export class Unrenderable {
  readonly doubt: Doubt

  constructor(code: string, text: string) {
    this.doubt = doubt(code, text)
  }
}

/** Arguments of the rendering itself, which `chat_template_kwargs` may not be used to change here. */
const RESERVED = new Set([
  'messages',
  'tools',
  'documents',
  'add_generation_prompt',
  'continue_final_message',
  'chat_template',
  'tokenize',
])

type Fields = Readonly<Record<string, unknown>>

/**
 * Prepares a chat body for a template as vLLM does
 * (https://github.com/vllm-project/vllm/blob/main/vllm/entrypoints/chat_utils.py; numbers and defaults as answered by
 * 0.32.0 and 0.10.0).
 *
 * @param format the template's, see `ChatTemplate.contentFormat`
 */
export function chatVariables(
  body: Fields,
  format: ContentFormat,
  era: EngineEra,
): ChatVariables | Unrenderable {
  if (typeof body.chat_template === 'string') {
    return new Unrenderable('own-template', 'the request brings its own chat template')
  }
  if (body.truncate_prompt_tokens !== undefined && body.truncate_prompt_tokens !== null) {
    return new Unrenderable('truncation', 'the request asks the engine to truncate its prompt')
  }
  if (body.continue_final_message === true && body.add_generation_prompt === true) {
    return new Unrenderable('bad-messages', 'continue_final_message excludes add_generation_prompt')
  }
  if (!Array.isArray(body.messages) || body.messages.length === 0) {
    return new Unrenderable('bad-messages', 'the request has no messages')
  }
  const reader = new Reader(format, era)
  const messages: Fields[] = []
  for (const message of body.messages as readonly unknown[]) {
    const read = reader.message(message)
    if (read instanceof Unrenderable) return read
    messages.push(read)
  }
  const variables: Record<string, unknown> = {}
  const kwargs = body.chat_template_kwargs
  if (isFields(kwargs)) {
    for (const [name, value] of Object.entries(kwargs)) {
      if (RESERVED.has(name)) {
        reader.doubt = doubt(
          'template-kwargs',
          'chat_template_kwargs replaces an argument of the engine',
        )
      } else variables[name] = reader.json(value)
    }
  }
  if (era === 'current' && typeof body.reasoning_effort === 'string') {
    variables.reasoning_effort ??= body.reasoning_effort
    if (body.reasoning_effort === 'none') variables.enable_thinking ??= false
  }
  variables.messages = messages
  if (Array.isArray(body.tools) && body.tools.length > 0) {
    variables.tools = body.tools.map((tool) => reader.tool(tool))
  }
  if (Array.isArray(body.documents)) variables.documents = reader.json(body.documents)
  variables.add_generation_prompt =
    body.add_generation_prompt !== false && body.continue_final_message !== true
  return { variables, doubt: reader.doubt }
}

/** True when the two eras of vLLM could prepare this body differently. */
export function dependsOnEra(body: Fields): boolean {
  if (body.reasoning_effort !== undefined && body.reasoning_effort !== null) return true
  return (
    Array.isArray(body.messages) &&
    body.messages.some(
      (message) =>
        isFields(message) &&
        (message.role === 'developer' ||
          typeof message.reasoning === 'string' ||
          typeof message.reasoning_content === 'string'),
    )
  )
}

/** Reads messages and tools, and remembers the last doubt. */
class Reader {
  doubt: Doubt | undefined
  readonly #format: ContentFormat
  readonly #era: EngineEra

  constructor(format: ContentFormat, era: EngineEra) {
    this.#format = format
    this.#era = era
  }

  message(message: unknown): Fields | Unrenderable {
    if (!isFields(message) || typeof message.role !== 'string') {
      return new Unrenderable('bad-messages', 'a message has no role')
    }
    const content = this.#content(message.content)
    if (content instanceof Unrenderable) return content
    const role = this.#era === 'current' && message.role === 'developer' ? 'system' : message.role
    const result: Record<string, unknown> = { role, content }
    if (role === 'assistant') {
      const reasoning = message.reasoning ?? message.reasoning_content
      if (this.#era === 'current' && typeof reasoning === 'string') {
        result.reasoning = reasoning
        result.reasoning_content = reasoning
      }
      if (Array.isArray(message.tool_calls) && message.tool_calls.length > 0) {
        result.tool_calls = message.tool_calls.map((call) => this.#toolCall(call))
      }
    }
    if (role === 'tool' && typeof message.tool_call_id === 'string') {
      result.tool_call_id = message.tool_call_id
    }
    if (typeof message.name === 'string') result.name = message.name
    return result
  }

  /** A tool with the fields that the engine's own model of it has, in that order. */
  tool(tool: unknown): unknown {
    if (!isFields(tool) || !isFields(tool.function)) {
      this.doubt = doubt('bad-messages', 'a tool has no function')
      return this.json(tool)
    }
    const { name, description, parameters, strict, ...others } = tool.function
    const { type, function: _function, ...extra } = tool
    if (Object.keys(others).length > 0 || Object.keys(extra).length > 0) {
      this.doubt = doubt('tool-fields', 'a tool has fields that engines treat differently')
    }
    return {
      type: type ?? 'function',
      function: {
        name,
        description: description ?? null,
        parameters: this.json(parameters ?? null),
        ...(strict === undefined || strict === null ? {} : { strict }),
      },
    }
  }

  /** A parsed value as a template must get it. What parsing has lost makes a doubt. */
  json(value: unknown): unknown {
    if (typeof value === 'number') {
      if (Number.isInteger(value)) {
        this.doubt = doubt(
          'whole-numbers',
          'a whole number may have been written with a decimal point',
        )
      }
      return wrapNumber(value)
    }
    if (Array.isArray(value)) return value.map((item) => this.json(item))
    if (!isFields(value)) return value
    const result: Record<string, unknown> = {}
    for (const [key, item] of Object.entries(value)) define(result, key, this.json(item))
    this.#checkOrder(Object.keys(result))
    return result
  }

  #content(content: unknown): string | readonly Fields[] | Unrenderable {
    const texts: string[] = []
    if (typeof content === 'string') texts.push(content)
    else if (Array.isArray(content)) {
      for (const part of content as readonly unknown[]) {
        const text = typeof part === 'string' ? part : isFields(part) ? partText(part) : undefined
        if (text === undefined) {
          return new Unrenderable('media', 'a message has a part that is not text')
        }
        texts.push(text)
      }
    } else if (content !== null && content !== undefined) {
      return new Unrenderable('bad-messages', 'the content of a message is neither text nor parts')
    }
    if (this.#format === 'string') return texts.join('\n')
    return texts.map((text) => ({ type: 'text', text }))
  }

  #toolCall(call: unknown): unknown {
    if (!isFields(call) || !isFields(call.function)) {
      this.doubt = doubt('bad-messages', 'a tool call has no function')
      return this.json(call)
    }
    const { arguments: text, ...rest } = call.function
    return { ...call, function: { ...rest, arguments: this.#arguments(text) } }
  }

  /** The engine parses the arguments, which come as JSON text, and the template prints them again. */
  #arguments(text: unknown): unknown {
    if (text === '' || text === null || text === undefined) return {}
    if (typeof text !== 'string') return this.json(text)
    try {
      const value = parsePythonJson(text)
      this.#checkDeepOrder(value)
      return value
    } catch {
      this.doubt = doubt('bad-messages', 'the arguments of a tool call are not JSON')
      return text
    }
  }

  #checkDeepOrder(value: unknown): void {
    if (Array.isArray(value)) for (const item of value) this.#checkDeepOrder(item)
    else if (isFields(value)) {
      this.#checkOrder(Object.keys(value))
      for (const item of Object.values(value)) this.#checkDeepOrder(item)
    }
  }

  /** JavaScript moves keys that are whole numbers to the front. */
  #checkOrder(keys: readonly string[]): void {
    if (keys.length > 1 && /^\d+$/.test(keys[0]!)) {
      this.doubt = doubt('key-order', 'an object has keys that are numbers, whose order is lost')
    }
  }
}

function partText(part: Fields): string | undefined {
  switch (part.type) {
    case undefined:
    case 'text':
    case 'input_text':
    case 'output_text':
      return typeof part.text === 'string' ? part.text : undefined
    case 'refusal':
      return typeof part.refusal === 'string' ? part.refusal : undefined
    default:
      return undefined
  }
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Sets a key whatever its name: `__proto__` would be lost by assignment. */
function define(target: Record<string, unknown>, key: string, value: unknown): void {
  Object.defineProperty(target, key, {
    value,
    enumerable: true,
    configurable: true,
    writable: true,
  })
}
