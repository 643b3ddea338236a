import { endianness } from 'node:os'
import type { Prompt } from '../framework/request.ts'

/** Bytes of one pseudo token: about one token of English under a vocabulary of 150,000. */
const BYTES_PER_TOKEN = 4

/** Bytes of a prompt that an estimate reads; what follows adds nothing. About a million tokens. */
const MAX_BYTES = 4 * 1024 * 1024

const IS_LITTLE_ENDIAN = endianness() === 'LE'

/**
 * Pseudo token ids of a prompt, one array per prompt of the request: each four bytes of its UTF-8 text as one
 * little-endian number without its highest bit, the last one padded with zeros. Equal beginnings give equal ids, so that prefixes can be
 * compared; they are not an engine's ids. Token ids of the client come back as they are.
 */
export function estimateTokens(prompt: Prompt): Int32Array[] {
  if (prompt.kind === 'tokens') return [...prompt.prompts]
  const words = prompt.words?.(MAX_BYTES)
  if (words !== undefined) return [words]
  if (prompt.kind === 'text') return prompt.texts.map(pseudoTokens)
  return [pseudoTokens(flattenChat(prompt.body))]
}

function pseudoTokens(text: string): Int32Array {
  const read = text.length > MAX_BYTES ? text.slice(0, MAX_BYTES) : text
  const bytes = Math.min(Buffer.byteLength(read), MAX_BYTES)
  const ids = new Int32Array(Math.ceil(bytes / BYTES_PER_TOKEN))
  // The text is written into the ids themselves: a copy less, and no call for each.
  const memory = Buffer.from(ids.buffer)
  memory.write(read, 0, bytes, 'utf8')
  if (!IS_LITTLE_ENDIAN) memory.swap32()
  for (let i = 0; i < ids.length; i++) ids[i]! &= 0x7fffffff
  return ids
}

/** Tools, then what stands before all messages, then each message's role and text, one to a line: the order of every template. */
function flattenChat(body: Readonly<Record<string, unknown>>): string {
  const { tools, system, instructions, messages, input } = body
  const lines: string[] = []
  if (Array.isArray(tools)) lines.push(jsonOf(tools))
  // Anthropic's API has its system message beside the others, the API of responses too.
  for (const content of [system, instructions]) {
    if (content !== undefined && content !== null)
      flattenMessage({ role: 'system', content }, lines)
  }
  const sent = messages ?? (typeof input === 'string' ? [{ role: 'user', content: input }] : input)
  if (Array.isArray(sent)) for (const message of sent) flattenMessage(message, lines)
  return lines.join('\n')
}

function flattenMessage(message: unknown, lines: string[]): void {
  if (typeof message !== 'object' || message === null) return
  const { role, content, tool_calls: toolCalls } = message as Record<string, unknown>
  // The API of responses has calls of tools, and what they came to, among the messages.
  if (role === undefined && content === undefined) return void lines.push(jsonOf(message))
  lines.push(typeof role === 'string' ? role : '')
  if (typeof content === 'string') lines.push(content)
  else if (Array.isArray(content)) for (const part of content) lines.push(flattenPart(part))
  if (Array.isArray(toolCalls)) lines.push(jsonOf(toolCalls))
}

function flattenPart(part: unknown): string {
  if (typeof part === 'string') return part
  if (typeof part !== 'object' || part === null) return ''
  const { text } = part as Record<string, unknown>
  return typeof text === 'string' ? text : jsonOf(part)
}

/** JSON text; nothing for what is nested deeper than the stack. */
function jsonOf(value: unknown): string {
  try {
    return JSON.stringify(value)
  } catch {
    return ''
  }
}
