import { flagValue, type VllmArgs } from './vllm-args.ts'
import type { Word } from './word.ts'

/** One field of `--kv-events-config`. */
export interface KvEventsField {
  readonly value: unknown
  /** The word that holds it. */
  readonly word: Word
  /** Where its text begins in the word's value. */
  readonly index: number
}

/** `--kv-events-config` of a vLLM command line, put together from its JSON and its parts. */
export interface KvEventsFlag {
  /** The JSON, or the first of the parts. */
  readonly word: Word
  readonly fields: ReadonlyMap<string, KvEventsField>
  /** Why the value cannot be read; undefined when it can. */
  readonly fault: string | undefined
}

/** Reads `--kv-events-config '{...}'` and `--kv-events-config.topic ...`; undefined when neither is given. */
export function kvEventsFlag(args: VllmArgs): KvEventsFlag | undefined {
  const whole = flagValue(args, 'kv-events-config')
  const parts = args.flags.filter(
    ({ name, keys, values }) =>
      name === 'kv-events-config' && keys.length > 0 && values[0] !== undefined,
  )
  const word = whole ?? parts[0]?.values[0]
  if (word === undefined) {
    const bare = args.flags.find(({ name }) => name === 'kv-events-config')
    return bare && { word: bare.word, fields: new Map(), fault: 'has no value' }
  }
  const fields = new Map<string, KvEventsField>()
  const fault = whole && readWhole(whole, fields)
  for (const { keys, values } of parts) {
    fields.set(keys.join('.'), { value: jsonOrText(values[0]!.value), word: values[0]!, index: 0 })
  }
  return { word, fields, fault }
}

function readWhole(word: Word, fields: Map<string, KvEventsField>): string | undefined {
  let config: unknown
  try {
    config = JSON.parse(word.value)
  } catch (error) {
    return `must be JSON: ${(error as Error).message}`
  }
  if (typeof config !== 'object' || config === null || Array.isArray(config)) {
    return `must be a JSON object, got ${word.value}`
  }
  for (const [key, value] of Object.entries(config)) {
    const index = valueIndex(word.value, key)
    fields.set(key, { value, word, index })
  }
  return undefined
}

/** A part's value is JSON where it can be read as such, else a text (vLLM's rule). */
function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** Where the value of a key begins in a JSON text, within its quotes if it has any. */
function valueIndex(json: string, key: string): number {
  const quoted = JSON.stringify(key)
  const at = json.indexOf(quoted)
  if (at < 0) return 0
  const [between] = /^\s*:\s*"?/.exec(json.slice(at + quoted.length)) ?? ['']
  return at + quoted.length + between.length
}
