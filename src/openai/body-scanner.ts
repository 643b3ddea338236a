import { isAscii, isUtf8 } from 'node:buffer'
import { endianness } from 'node:os'
import type { SentMessages } from '../framework/request.ts'
import { BODY_SCAN_WASM } from './body-scan-wasm.ts'
import type { JsonLimits } from './json-bounds.ts'

/** Where the compiled code expects the body, and where it lists the top-level members (wasm/body-scan.ts). */
const INPUT = 589_824
const MEMBERS = 1024
const MESSAGES = 262_144
const MESSAGE_NUMBERS = 4
const MEMBER_NUMBERS = 4
const WORD_BYTES = 4
const SLACK_BYTES = 128
const PAGE_BYTES = 65_536

/** Longer bodies are parsed: the memory stays as large as the largest body asks for, twice its size. */
const MAX_BODY_BYTES = 8 * 1024 * 1024

/** What of it is used here; TypeScript's library has it among what browsers have. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object
  readonly Instance: new (module: object) => { readonly exports: unknown }
  readonly CompileError: new () => Error
}

/** What the compiled code offers. */
interface Scan {
  readonly memory: { readonly buffer: ArrayBuffer; grow(pages: number): number }
  scan(length: number, maxContainers: number, maxValues: number, maxDepth: number): number
  hashMessages(): number
  messagesText(to: number, first: number, end: number, limit: number, isAscii: boolean): number
  stringText(to: number, start: number, end: number, limit: number, isAscii: boolean): number
}

/** One memory. */
class Room {
  readonly #code: Scan
  #bytes: Uint8Array
  #words: Int32Array
  /** How many bodies have been put into it. */
  bodies = 0

  constructor(module: object) {
    this.#code = new WebAssembly.Instance(module).exports as Scan
    this.#bytes = new Uint8Array(this.#code.memory.buffer)
    this.#words = new Int32Array(this.#code.memory.buffer)
  }

  /** Puts the body in and has it read. Returns where each member's key begins and ends, and its value; undefined if it is not read. */
  load(body: Buffer, limits: JsonLimits): readonly number[] | undefined {
    const { length } = body
    const missing = INPUT + 2 * length + SLACK_BYTES - this.#bytes.length
    if (missing > 0) {
      this.#code.memory.grow(Math.ceil(missing / PAGE_BYTES))
      this.#bytes = new Uint8Array(this.#code.memory.buffer)
      this.#words = new Int32Array(this.#code.memory.buffer)
    }
    this.#bytes.set(body, INPUT)
    this.bodies++
    const { maxJsonContainers, maxJsonValues, maxJsonDepth } = limits
    const count = this.#code.scan(length, maxJsonContainers, maxJsonValues, maxJsonDepth)
    if (count < 0) return undefined
    const members: number[] = []
    const from = MEMBERS / WORD_BYTES
    for (let i = 0; i < count * MEMBER_NUMBERS; i++) members.push(this.#words[from + i]! - INPUT)
    return members
  }

  /** The messages of the body that was put in last, as `SentMessages.spans` has them. */
  messages(): Int32Array {
    const count = this.#code.hashMessages()
    const from = MESSAGES / WORD_BYTES
    const spans = this.#words.slice(from, from + count * MESSAGE_NUMBERS)
    for (let i = 0; i < spans.length; i += MESSAGE_NUMBERS) {
      spans[i]! -= INPUT
      spans[i + 1]! -= INPUT
    }
    return spans
  }

  /** A text of the body of `length` bytes that was put in last; `write` puts it where it is told to. */
  words(length: number, write: (code: Scan, to: number) => number): Int32Array {
    const to = (INPUT + length + 31) & ~15
    const bytes = write(this.#code, to)
    const from = to / WORD_BYTES
    return this.#words.slice(from, from + Math.ceil(bytes / WORD_BYTES))
  }
}

const OPEN_BRACKET = 0x5b
const QUOTE = 0x22

/**
 * Finds out of a body's bytes what routing needs, and whether they are JSON, without making objects of them: several times
 * faster than to parse it.
 */
export class BodyScanner {
  readonly #limits: JsonLimits
  #module: object | undefined
  #room: Room | undefined

  constructor(limits: JsonLimits) {
    this.#limits = limits
    // Words of a text are read as this machine's numbers.
    if (endianness() !== 'LE') return
    try {
      this.#module = new WebAssembly.Module(Buffer.from(BODY_SCAN_WASM, 'base64'))
    } catch (error) {
      // A processor without the instructions that it needs: bodies are parsed.
      if (!(error instanceof WebAssembly.CompileError)) throw error
    }
  }

  /** Undefined for what is no JSON object within the limits, and for some that are: then a parser decides. */
  scan(bytes: Buffer): ScannedBody | undefined {
    if (this.#module === undefined || bytes.length > MAX_BODY_BYTES) return undefined
    const ascii = isAscii(bytes)
    if (!ascii && !isUtf8(bytes)) return undefined
    this.#room ??= new Room(this.#module)
    const body = new ScannedBody(bytes, ascii, this.#room, this.#limits)
    return body.isRead ? body : undefined
  }
}

/** A body that is JSON: its top-level members, and the text of its messages. */
export class ScannedBody {
  readonly bytes: Buffer
  readonly isAscii: boolean
  readonly #room: Room
  readonly #limits: JsonLimits
  /** Its number among the bodies of the room: the last one is in the memory. */
  #number: number
  /** Of each member where in `bytes` the key begins and ends, and where the value does; undefined where it could not be read. */
  readonly #members: readonly number[] | undefined

  constructor(bytes: Buffer, ascii: boolean, room: Room, limits: JsonLimits) {
    this.bytes = bytes
    this.isAscii = ascii
    this.#room = room
    this.#limits = limits
    this.#members = room.load(bytes, limits)
    this.#number = room.bodies
  }

  get isRead(): boolean {
    return this.#members !== undefined
  }

  /** The value of a top-level member, as JSON.parse has it; undefined when there is none. */
  get(name: string): unknown {
    const at = this.#find(name)
    if (at < 0) return undefined
    const start = this.#valueStart(at)
    const end = this.#valueEnd(at)
    if (this.bytes[start] === QUOTE) {
      const text = this.#text(start + 1, end - 1)
      if (!text.includes('\\')) return text
    }
    return JSON.parse(this.#text(start, end))
  }

  isString(name: string): boolean {
    return this.#begins(name, QUOTE)
  }

  isArray(name: string): boolean {
    return this.#begins(name, OPEN_BRACKET)
  }

  /** Whether there are messages; all are objects with a role. */
  get hasMessages(): boolean {
    return this.#find('messages') >= 0
  }

  /** The messages as they were sent, which there must be. */
  messages(): SentMessages {
    this.#reload()
    const at = this.#find('messages')
    const { bytes, isAscii: ascii } = this
    const [start, end] = [this.#valueStart(at), this.#valueEnd(at)]
    return { bytes, isAscii: ascii, start, end, spans: this.#room.messages() }
  }

  /** The bytes of `tools`, then each message's role, text and tool calls, one to a line, as `ChatPrompt.words` says. */
  messagesWords(maxBytes: number): Int32Array {
    const tools = this.isArray('tools') ? this.#find('tools') : -1
    const start = tools < 0 ? 0 : INPUT + this.#valueStart(tools)
    const end = tools < 0 ? 0 : INPUT + this.#valueEnd(tools)
    return this.#words((code, to) => code.messagesText(to, start, end, maxBytes, this.isAscii))
  }

  /** The same of a top-level string. */
  stringWords(name: string, maxBytes: number): Int32Array {
    const at = this.#find(name)
    const start = INPUT + this.#valueStart(at) + 1
    const end = INPUT + this.#valueEnd(at) - 1
    return this.#words((code, to) => code.stringText(to, start, end, maxBytes, this.isAscii))
  }

  #text(start: number, end: number): string {
    return this.bytes.toString(this.isAscii ? 'latin1' : 'utf8', start, end)
  }

  /** Position of a member among `#members`; -1 when there is none. */
  #find(name: string): number {
    const members = this.#members!
    for (let at = 0; at < members.length; at += MEMBER_NUMBERS) {
      const key = members[at]!
      if (members[at + 1]! - key === name.length && this.#stands(name, key)) return at
    }
    return -1
  }

  /** @param name of ASCII */
  #stands(name: string, start: number): boolean {
    for (let i = 0; i < name.length; i++) {
      if (this.bytes[start + i] !== name.charCodeAt(i)) return false
    }
    return true
  }

  #valueStart(at: number): number {
    return this.#members![at + 2]!
  }

  #valueEnd(at: number): number {
    return this.#members![at + 3]!
  }

  #begins(name: string, byte: number): boolean {
    const at = this.#find(name)
    return at >= 0 && this.bytes[this.#valueStart(at)] === byte
  }

  #words(write: (code: Scan, to: number) => number): Int32Array {
    this.#reload()
    return this.#room.words(this.bytes.length, write)
  }

  /** Another body may have come since. */
  #reload(): void {
    if (this.#room.bodies === this.#number) return
    this.#room.load(this.bytes, this.#limits)
    this.#number = this.#room.bodies
  }
}
