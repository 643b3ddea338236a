import type { Usage } from '../framework/plugin.ts'
import type { UsageScanner } from '../framework/services.ts'
import { BACKSLASH, CLOSE_BRACE, COLON, OPEN_BRACE, QUOTE } from './json-bytes.ts'

const KEY = Buffer.from('"usage"')
/** What is searched for: a search stops at each byte like the first, and quotes are far more frequent than `u`. */
const KEY_TAIL = KEY.subarray(1)

/** A usage object larger than this is none; real ones have a few hundred bytes. */
const MAX_OBJECT_BYTES = 8 * 1024

/**
 * Finds the token counts in a response: JSON or server-sent events, cut in any way.
 *
 * Looks for the bytes of a key `usage` with an object, on whatever level, and parses that object alone. Text that a model
 * generates cannot be taken for it: within a JSON string each quote has a backslash before it. Holds at most
 * `MAX_OBJECT_BYTES` between two chunks. Counts that come in several objects are merged, the later ones count.
 */
export function createUsageScanner(): UsageScanner {
  /** The end of what was pushed, from the key of a usage object that was not whole. */
  let held: Buffer | undefined
  /** The byte before what is held, or before the next chunk. */
  let before = 0
  const found: Partial<Record<Count, number>> = {}

  /** Position from which the bytes must be held, -1 for none. */
  const scan = (bytes: Buffer): number => {
    let from = 0
    for (;;) {
      const key = bytes.indexOf(KEY_TAIL, from) - 1
      if (key < -1) return begunKey(bytes, from)
      if (key < from || bytes[key] !== QUOTE) {
        // The quote at its end may open a key.
        from = key + KEY.length - 1
        continue
      }
      from = key + KEY.length
      if ((key > 0 ? bytes[key - 1] : before) === BACKSLASH) continue
      const open = valueAfter(bytes, from)
      if (open === NOT_AN_OBJECT) continue
      const end = open === INCOMPLETE ? INCOMPLETE : endOfObject(bytes, open)
      if (end === INCOMPLETE) {
        if (bytes.length - key > MAX_OBJECT_BYTES) continue
        return key
      }
      from = end
      merge(found, bytes.subarray(open, end))
    }
  }

  return {
    push(chunk) {
      if (chunk.length === 0) return
      const bytes = held ? Buffer.concat([held, chunk]) : asBuffer(chunk)
      const keep = scan(bytes)
      if (keep !== 0) before = bytes[(keep < 0 ? bytes.length : keep) - 1]!
      held = keep < 0 ? undefined : Buffer.from(bytes.subarray(keep))
    },
    usage(): Usage | undefined {
      const { prompt, completion, cached } = found
      if (prompt === undefined && completion === undefined) return undefined
      return { promptTokens: prompt ?? 0, completionTokens: completion ?? 0, cachedTokens: cached }
    },
  }
}

type Count = 'prompt' | 'completion' | 'cached'

const NOT_AN_OBJECT = -1
const INCOMPLETE = -2

/** Position of the `{` after the key's colon. */
function valueAfter(bytes: Buffer, at: number): number {
  at = skipSpace(bytes, at)
  if (at === bytes.length) return INCOMPLETE
  if (bytes[at] !== COLON) return NOT_AN_OBJECT
  at = skipSpace(bytes, at + 1)
  if (at === bytes.length) return INCOMPLETE
  return bytes[at] === OPEN_BRACE ? at : NOT_AN_OBJECT
}

function skipSpace(bytes: Buffer, at: number): number {
  while (at < bytes.length && (bytes[at] === 0x20 || (bytes[at]! >= 0x09 && bytes[at]! <= 0x0d)))
    at++
  return at
}

/** Position after the `}` that closes the object at `open`. */
function endOfObject(bytes: Buffer, open: number): number {
  let depth = 0
  let inString = false
  for (let at = open; at < bytes.length; at++) {
    const byte = bytes[at]
    if (inString) {
      if (byte === BACKSLASH) at++
      else if (byte === QUOTE) inString = false
    } else if (byte === QUOTE) inString = true
    else if (byte === OPEN_BRACE) depth++
    else if (byte === CLOSE_BRACE && --depth === 0) return at + 1
  }
  return INCOMPLETE
}

/** Where the key begins that the bytes break off in; -1 where they do not. */
function begunKey(bytes: Buffer, from: number): number {
  for (let at = Math.max(from, bytes.length - KEY.length + 1); at < bytes.length; at++) {
    if (bytes[at] === QUOTE && bytes.compare(KEY, 0, bytes.length - at, at) === 0) return at
  }
  return -1
}

/** Takes the counts of one usage object, in OpenAI's, the Responses API's and Anthropic's spelling. */
function merge(found: Partial<Record<Count, number>>, bytes: Buffer): void {
  let usage: Record<string, unknown>
  try {
    usage = JSON.parse(bytes.toString())
  } catch {
    // Balanced braces that are not JSON: not what an engine writes as usage.
    return
  }
  const prompt = count(usage.prompt_tokens) ?? inputOf(usage)
  const completion = count(usage.completion_tokens) ?? count(usage.output_tokens)
  const cached =
    cachedOf(usage.prompt_tokens_details) ??
    cachedOf(usage.input_tokens_details) ??
    count(usage.cache_read_input_tokens)
  if (prompt !== undefined) found.prompt = prompt
  if (completion !== undefined) found.completion = completion
  if (cached !== undefined) found.cached = cached
}

/** The Responses API counts all tokens of the input, Anthropic's those that its cache did not have or take. */
function inputOf(usage: Readonly<Record<string, unknown>>): number | undefined {
  const input = count(usage.input_tokens)
  if (input === undefined) return undefined
  const read = count(usage.cache_read_input_tokens) ?? 0
  return input + read + (count(usage.cache_creation_input_tokens) ?? 0)
}

function cachedOf(details: unknown): number | undefined {
  if (typeof details !== 'object' || details === null) return undefined
  return count((details as { readonly cached_tokens?: unknown }).cached_tokens)
}

function count(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined
}

function asBuffer(bytes: Uint8Array): Buffer {
  if (Buffer.isBuffer(bytes)) return bytes
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}
