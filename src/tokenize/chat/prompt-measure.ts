import { DEFAULT_LIMITS } from '../../framework/limits.ts'
import type { Fields } from './fields.ts'

/** Objects and arrays in all of the body, such as those of tools, for each message that a chat may have. */
const CONTAINERS_PER_MESSAGE = 20

/** Fields of a request that reach the template. Numbers elsewhere do not matter. */
const RENDERED = [...['messages', 'tools', 'documents', 'chat_template_kwargs', 'input', 'system']]

/** What must be known of a body before it is rendered. */
export interface Measure {
  readonly isLong: boolean
  /** Why it is too long, in words. */
  readonly reason: string
  /** True when what the template prints may have a number, or a key that is one. */
  readonly hasNumbers: boolean
}

/** Looks through a body once, without recursion. A chat with more messages than `maxMessages` is too long. */
export function measure(body: Fields, maxMessages: number = DEFAULT_LIMITS.maxMessages): Measure {
  let hasNumbers = false
  let isLong = [body.messages, body.input].some(
    (list) => Array.isArray(list) && list.length > maxMessages,
  )
  const look = (value: unknown): void => {
    if (typeof value === 'number') hasNumbers = true
    else if (typeof value === 'object' && value !== null) rest.push(value)
  }
  const rest: object[] = []
  for (const name of RENDERED) look(body[name])
  let containers = 0
  for (let next = rest.pop(); next !== undefined && !isLong; next = rest.pop()) {
    isLong = ++containers > CONTAINERS_PER_MESSAGE * maxMessages
    if (Array.isArray(next)) {
      for (const item of next as readonly unknown[]) look(item)
      continue
    }
    for (const [key, value] of Object.entries(next)) {
      const code = key.charCodeAt(0)
      if (code >= 0x30 && code <= 0x39) hasNumbers = true
      look(value)
    }
  }
  return {
    isLong,
    reason: `the chat has more than ${maxMessages} messages, or too many parts`,
    hasNumbers,
  }
}
