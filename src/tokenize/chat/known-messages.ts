import { LRUCache } from 'lru-cache'
import type { ChatPrompt, SentMessages } from '../../framework/request.ts'
import type { Fields } from './fields.ts'
import { parsePythonJson } from './python-json.ts'

const SPAN_NUMBERS = 4

/** Memory of a message besides its JSON and what that is parsed to: list links, map slot. */
const ENTRY_BYTES = 300
/** Memory of a message by byte of its JSON, which is kept, and of what it is parsed to. */
const BYTES_PER_BYTE = 3

/** A body of which the messages are known or were read one by one. */
export interface ReadChat extends ChatPrompt {
  /** The same as `parsePythonJson` of all of it. */
  pythonBody?(): Fields
  /** How many bytes of messages were not known; absent where messages are not told apart. */
  readonly newBytes?: number
}

/** A message that was parsed, and its JSON, which stands in `bytes` with those that came with it. */
interface Known {
  readonly bytes: Buffer
  readonly from: number
  readonly to: number
  readonly message: Fields
  /** Undefined until somebody wants it. */
  python: Fields | undefined
}

/**
 * Messages of chats that were parsed: those whose bytes came before are neither decoded nor parsed again, and are the same
 * objects. They are frozen, by which what is made of them knows that it can be kept. The least recently used go first.
 */
export class KnownMessages {
  readonly #known: LRUCache<number, Known>

  /** @param maxBytes estimated as three bytes a byte of JSON */
  constructor(maxBytes: number) {
    this.#known = new LRUCache({
      maxSize: maxBytes,
      maxEntrySize: Math.ceil(maxBytes / 4),
      sizeCalculation: ({ from, to }) => ENTRY_BYTES + (to - from) * BYTES_PER_BYTE,
    })
  }

  get bytes(): number {
    return this.#known.calculatedSize
  }

  /** The same prompt, with a body of which only what is new has been parsed. */
  read(prompt: ChatPrompt): ReadChat {
    const sent = prompt.sent?.()
    if (sent === undefined) return prompt
    const bytes = asBuffer(sent.bytes)
    const messages: Known[] = []
    const added: Known[] = []
    const hashes: number[] = []
    let newBytes = 0
    const { spans } = sent
    for (let i = 0; i < spans.length; i += SPAN_NUMBERS) {
      const [start, end, hash] = [spans[i]!, spans[i + 1]!, spans[i + 2]!]
      let known = this.#find(hash, bytes, start, end)
      if (known === undefined) {
        const text = bytes.toString(spans[i + 3] === 1 ? 'latin1' : 'utf8', start, end)
        const message = Object.freeze(JSON.parse(text) as Fields)
        known = { bytes, from: start, to: end, message, python: undefined }
        added.push(known)
        hashes.push(hash)
        newBytes += end - start
      }
      messages.push(known)
    }
    // Not while the request waits.
    if (added.length > 0) setImmediate(() => this.#learn(hashes, added))
    const rest = restOf(sent, bytes)
    const { kind, api, text } = prompt
    return {
      ...{ kind, ...(api !== undefined && { api }) },
      ...(text !== undefined && { text: () => text.call(prompt) }),
      body: bodyOf(
        JSON.parse(rest) as Fields,
        messages.map(({ message }) => message),
      ),
      newBytes,
      pythonBody: () => {
        const fields = parsePythonJson(rest)
        // With names that are numbers the whole body has another form.
        if (fields instanceof Map) return parsePythonJson(prompt.text!()) as Fields
        return bodyOf(fields as Fields, messages.map(pythonOf))
      },
    }
  }

  #find(hash: number, bytes: Buffer, start: number, end: number): Known | undefined {
    const known = this.#known.get(hash)
    if (known === undefined || known.to - known.from !== end - start) return undefined
    const isSame = bytes.compare(known.bytes, known.from, known.to, start, end) === 0
    return isSame ? known : undefined
  }

  /** Keeps copies of the messages' bytes: those of the body would stay in memory as a whole. */
  #learn(hashes: readonly number[], added: readonly Known[]): void {
    let length = 0
    for (const { from, to } of added) length += to - from
    const copy = Buffer.allocUnsafe(length)
    let at = 0
    for (const [i, { bytes, from, to, message, python }] of added.entries()) {
      bytes.copy(copy, at, from, to)
      const end = at + to - from
      this.#known.set(hashes[i]!, { bytes: copy, from: at, to: end, message, python })
      at = end
    }
  }
}

/** @param rest with messages too, none, so that the order of the fields stays */
function bodyOf(rest: Fields, messages: readonly Fields[]): Fields {
  return { ...rest, messages }
}

/** The JSON of a body without its messages. */
function restOf({ isAscii, start, end }: SentMessages, bytes: Buffer): string {
  const encoding = isAscii ? 'latin1' : 'utf8'
  return `${bytes.toString(encoding, 0, start)}[]${bytes.toString(encoding, end)}`
}

function pythonOf(known: Known): Fields {
  const { bytes, from, to } = known
  known.python ??= Object.freeze(parsePythonJson(bytes.toString('utf8', from, to)) as Fields)
  return known.python
}

function asBuffer(bytes: Uint8Array): Buffer {
  if (Buffer.isBuffer(bytes)) return bytes
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}
