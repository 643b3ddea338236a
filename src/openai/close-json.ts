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

/** `\uXXXX` without its last digit: the longest escape that a cut can leave behind. */
const LONGEST_CUT_ESCAPE = 5

/**
 * The beginning of a JSON text as a JSON text of its own: a string that is a value ends where the bytes end; a key, a number
 * or a word of which that cannot be known is left out; what is open is closed.
 *
 * @returns undefined where nothing is open, so that there is nothing to close
 */
export function closeJson(bytes: Buffer): Buffer | undefined {
  /** The closing bytes of what is open, the outermost first. */
  const open: number[] = []
  /** True where a string would be a key. */
  let isKey = false
  /** Where a text that ends here and is closed would be whole. */
  let end = 0
  let at = 0
  while (at < bytes.length) {
    const byte = bytes[at]!
    if (byte === QUOTE) {
      const close = closingQuote(bytes, at + 1)
      if (close < 0) {
        if (isKey || open.length === 0) break
        return closed(bytes.subarray(0, endOfText(bytes, at + 1)), [QUOTE, ...open.reverse()])
      }
      at = close + 1
      if (!isKey) end = at
      continue
    }
    at++
    if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      open.push(byte === OPEN_BRACE ? CLOSE_BRACE : CLOSE_BRACKET)
      isKey = byte === OPEN_BRACE
      end = at
    } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
      open.pop()
      isKey = false
      end = at
    } else if (byte === COLON) isKey = false
    else if (byte === COMMA) {
      // A number or a word is whole once something follows it.
      end = at - 1
      isKey = open.at(-1) === CLOSE_BRACE
    }
  }
  return open.length === 0 ? undefined : closed(bytes.subarray(0, end), open.reverse())
}

function closed(text: Buffer, closing: readonly number[]): Buffer {
  return Buffer.concat([text, Buffer.from(closing)])
}

/** Position of the quote that ends the string whose text begins at `from`; -1 when it is not there. */
function closingQuote(bytes: Buffer, from: number): number {
  let at = bytes.indexOf(QUOTE, from)
  while (at >= 0 && backslashesBefore(bytes, from, at) % 2 === 1) at = bytes.indexOf(QUOTE, at + 1)
  return at
}

function backslashesBefore(bytes: Buffer, from: number, position: number): number {
  let first = position
  while (first > from && bytes[first - 1] === BACKSLASH) first--
  return position - first
}

/** Where the text that begins at `from` and is cut ends, without an escape or a character that is not whole. */
function endOfText(bytes: Buffer, from: number): number {
  let end = bytes.length
  const tail = bytes.subarray(Math.max(from, end - LONGEST_CUT_ESCAPE))
  const backslash = tail.lastIndexOf(BACKSLASH)
  if (backslash >= 0) {
    const position = end - tail.length + backslash
    const isEscape = backslashesBefore(bytes, from, position) % 2 === 0
    const isWhole = position + 1 < end && bytes[position + 1] !== 0x75
    if (isEscape && !isWhole) end = position
  }
  return endOfCharacters(bytes, from, end)
}

/** `end`, or where the character of UTF-8 begins that it cuts. */
function endOfCharacters(bytes: Buffer, from: number, end: number): number {
  let first = end - 1
  while (first >= from && end - first < 4 && (bytes[first]! & 0xc0) === 0x80) first--
  if (first < from) return end
  const lead = bytes[first]!
  const needed = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1
  return end - first < needed ? first : end
}
