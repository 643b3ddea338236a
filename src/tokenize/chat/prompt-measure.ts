import { DEFAULT_LIMITS } from '../../framework/limits.ts'
import { sideTable } from '../../framework/side-table.ts'
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

/** What one value and all that is in it have. */
interface Contents {
  /** Objects and arrays. */
  readonly containers: number
  readonly hasNumbers: boolean
}

/** Of values that nobody may change, such as messages that came before. */
const frozen = sideTable<object, Contents>()

/** Looks through a body once, without recursion. A chat with more messages than `maxMessages` is too long. */
export function measure(body: Fields, maxMessages: number = DEFAULT_LIMITS.maxMessages): Measure {
  let isLong = [body.messages, body.input].some(
    (list) => Array.isArray(list) && list.length > maxMessages,
  )
  let hasNumbers = false
  let containers = 0
  const most = CONTAINERS_PER_MESSAGE * maxMessages
  const add = (value: unknown): void => {
    if (isLong) return
    const contents = contentsOf(value, most)
    hasNumbers ||= contents.hasNumbers
    containers += contents.containers
    isLong = containers > most
  }
  for (const name of RENDERED) {
    const value = body[name]
    if (!Array.isArray(value)) add(value)
    else {
      containers++
      for (const one of value as readonly unknown[]) add(one)
    }
  }
  return {
    isLong: isLong || containers > most,
    reason: `the chat has more than ${maxMessages} messages, or too many parts`,
    hasNumbers,
  }
}

const NOTHING: Contents = { containers: 0, hasNumbers: false }
const NUMBER: Contents = { containers: 0, hasNumbers: true }

/** @param most after how many containers it stops to count */
function contentsOf(value: unknown, most: number): Contents {
  if (typeof value === 'number') return NUMBER
  if (typeof value !== 'object' || value === null) return NOTHING
  if (!Object.isFrozen(value)) return counted(value, most)
  let contents = frozen.get(value)
  if (contents === undefined) {
    contents = counted(value, Number.POSITIVE_INFINITY)
    frozen.set(value, contents)
  }
  return contents
}

function counted(value: object, most: number): Contents {
  let hasNumbers = false
  let containers = 0
  const rest: object[] = [value]
  const look = (one: unknown): void => {
    if (typeof one === 'number') hasNumbers = true
    else if (typeof one === 'object' && one !== null) rest.push(one)
  }
  for (let next = rest.pop(); next !== undefined && containers <= most; next = rest.pop()) {
    containers++
    if (Array.isArray(next)) {
      for (const item of next as readonly unknown[]) look(item)
      continue
    }
    for (const [key, item] of Object.entries(next)) {
      const code = key.charCodeAt(0)
      if (code >= 0x30 && code <= 0x39) hasNumbers = true
      look(item)
    }
  }
  return { containers, hasNumbers }
}
