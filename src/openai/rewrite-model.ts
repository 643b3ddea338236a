import {
  BACKSLASH,
  CLOSE_BRACE,
  CLOSE_BRACKET,
  COLON,
  COMMA,
  OPEN_BRACE,
  OPEN_BRACKET,
  QUOTE,
} from './json-bytes.ts'

/** Bytes that a letter of a key takes as a \u escape, the longest way to write it. */
const ESCAPE_BYTES = 6

/** Bytes of one value, quotes included; positions count through all pieces. */
interface Span {
  readonly start: number
  readonly end: number
}

/** The same bytes with the string value of the top-level `model` replaced, as `rewriteString` does. */
export function rewriteModel(body: readonly Uint8Array[], model: string): readonly Uint8Array[] {
  return rewriteString(body, 'model', model)
}

/**
 * The same bytes with the string value of the top-level key replaced, and nothing else touched or copied.
 *
 * The pieces of the answer are views of the pieces given, and the new value. A key that stands several times is replaced
 * each time, since parsers differ in which one counts. Without such a value the body itself is returned.
 *
 * @param body a JSON object, in any pieces; what is not JSON is returned with no promise of where it was changed
 * @param key ASCII
 */
export function rewriteString(
  body: readonly Uint8Array[],
  key: string,
  text: string,
): readonly Uint8Array[] {
  const spans = stringValues(body, key)
  if (spans.length === 0) return body
  const value = Buffer.from(JSON.stringify(text))
  const rewritten: Uint8Array[] = []
  let next = 0
  let base = 0
  for (const piece of body) {
    const end = base + piece.length
    let at = base
    while (next < spans.length && spans[next]!.start < end) {
      const span = spans[next]!
      if (span.start >= base) {
        if (span.start > at) rewritten.push(piece.subarray(at - base, span.start - base))
        rewritten.push(value)
      }
      at = Math.min(span.end, end)
      // A value that goes on in the next piece is met again there.
      if (span.end > end) break
      next++
    }
    if (at === base) rewritten.push(piece)
    else if (at < end) rewritten.push(piece.subarray(at - base))
    base = end
  }
  return rewritten
}

/** Finds the string values of top-level keys of that name. */
function stringValues(body: readonly Uint8Array[], wanted: string): Span[] {
  const maxKeyBytes = wanted.length * ESCAPE_BYTES
  const spans: Span[] = []
  let base = 0
  let depth = 0
  let inString = false
  /** The byte before belongs to an escape that is not over. */
  let escaped = false
  let stringStart = 0
  /** At the top level: true from `{` or `,` to the key's colon. */
  let expectsKey = false
  /** The bytes of a top-level key, kept while they can still be the key sought. */
  let key: number[] | undefined
  let isWanted = false
  for (const piece of body) {
    let at = 0
    while (at < piece.length) {
      if (inString) {
        if (escaped) {
          key?.push(piece[at]!)
          escaped = false
          at++
          continue
        }
        const end = endOfString(piece, at, key, maxKeyBytes)
        if (end < 0) {
          escaped = isEscaped(piece, at, piece.length)
          at = piece.length
          continue
        }
        at = end + 1
        inString = false
        if (depth !== 1) continue
        if (expectsKey) {
          isWanted = key !== undefined && key.length <= maxKeyBytes && isKey(key, wanted)
          key = undefined
        } else if (isWanted) {
          spans.push({ start: stringStart, end: base + at })
        }
        continue
      }
      switch (piece[at]) {
        case QUOTE:
          inString = true
          stringStart = base + at
          if (depth === 1 && expectsKey) key = []
          break
        case OPEN_BRACE:
        case OPEN_BRACKET:
          depth++
          expectsKey = depth === 1
          break
        case CLOSE_BRACE:
        case CLOSE_BRACKET:
          depth--
          break
        case COLON:
          if (depth === 1) expectsKey = false
          break
        case COMMA:
          if (depth === 1) {
            expectsKey = true
            isWanted = false
          }
          break
      }
      at++
    }
    base += piece.length
  }
  return spans
}

/**
 * Position of the quote that ends the string, from `at` on, -1 when it is not in this piece. Collects into `key`, one byte
 * more than `maxKeyBytes` where there are more.
 */
function endOfString(
  piece: Uint8Array,
  at: number,
  key: number[] | undefined,
  maxKeyBytes: number,
): number {
  let end = piece.indexOf(QUOTE, at)
  while (end > at && isEscaped(piece, at, end)) end = piece.indexOf(QUOTE, end + 1)
  if (key !== undefined) {
    const stop = end < 0 ? piece.length : end
    for (let i = at; i < stop && key.length <= maxKeyBytes; i++) key.push(piece[i]!)
  }
  return end
}

/** True when an odd number of backslashes stands right before `position`, none of them before `from`. */
function isEscaped(piece: Uint8Array, from: number, position: number): boolean {
  let first = position
  while (first > from && piece[first - 1] === BACKSLASH) first--
  return (position - first) % 2 === 1
}

function isKey(bytes: readonly number[], wanted: string): boolean {
  if (bytes.length < wanted.length) return false
  const text = Buffer.from(bytes).toString('latin1')
  if (!text.includes('\\')) return text === wanted
  try {
    return JSON.parse(`"${text}"`) === wanted
  } catch {
    // Not JSON, so no parser takes it for the key.
    return false
  }
}
