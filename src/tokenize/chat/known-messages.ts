import type { ChatPrompt } from '../../framework/request.ts'
import { BeginningTree, type FoundBeginning, type LearnedPart } from '../beginning-tree.ts'
import type { Fields } from './fields.ts'
import { messageSpans } from './message-spans.ts'

/** Memory of a parsed message beside its JSON, by character of that. */
const BYTES_PER_CHARACTER = 2

interface Known {
  readonly message: Fields
  /** Of its JSON. */
  readonly characters: number
}

/**
 * Messages of chats that were parsed: where the JSON of a chat begins with the same ones as that of an earlier one, only what
 * follows is parsed, and the messages before it are the same objects. They are frozen, by
 * which what is made of them knows that it can be kept.
 */
export class KnownMessages {
  readonly #tree: BeginningTree<Known>

  /** @param maxBytes estimated as two bytes a character of JSON, and as much again for what it is parsed to */
  constructor(maxBytes: number) {
    this.#tree = new BeginningTree(maxBytes, ({ characters }) => characters * BYTES_PER_CHARACTER)
  }

  get bytes(): number {
    return this.#tree.bytes
  }

  /** The same prompt, with a body of which only what is new has been parsed. */
  read(prompt: ChatPrompt): ChatPrompt {
    const json = prompt.text?.()
    if (json === undefined) return prompt
    const body = this.#parse(json)
    if (body === undefined) return prompt
    const { kind, api } = prompt
    return { kind, ...(api !== undefined && { api }), body, text: () => json }
  }

  /** Undefined for JSON that has to be parsed as a whole. */
  #parse(json: string): Fields | undefined {
    let found: FoundBeginning<Known> | undefined
    const spans = messageSpans(json, (start) => {
      found = this.#tree.find(json, start)
      return found.end
    })
    if (spans === undefined || found === undefined) return undefined
    const { end: from, values } = found
    const { start, starts, ends, end } = spans
    const added = starts.map((at, i) =>
      Object.freeze(JSON.parse(json.slice(at, ends[i])) as Fields),
    )
    const known = found
    // Not while the request waits: a long conversation takes milliseconds.
    setImmediate(() => this.#tree.learn(json, known, partsOf(from, ends, added)))
    const body = JSON.parse(json.slice(0, start) + json.slice(end)) as Fields
    return { ...body, messages: [...values.map(({ message }) => message), ...added] }
  }
}

function partsOf(
  start: number,
  ends: readonly number[],
  messages: readonly Fields[],
): LearnedPart<Known>[] {
  return ends.map((at, i) => {
    const characters = at - (i === 0 ? start : ends[i - 1]!)
    return { at, value: { message: messages[i]!, characters } }
  })
}
