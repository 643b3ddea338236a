/** Where the messages of a chat's JSON stand. */
export interface MessageSpans {
  /** Behind the bracket that opens the list. */
  readonly start: number
  /** At the first character of each message that is not known. */
  readonly starts: readonly number[]
  /** Behind the last character of each of them. */
  readonly ends: readonly number[]
  /** At the bracket that closes the list. */
  readonly end: number
}

const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const BACKSLASH = 0x5c
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d

/**
 * Finds the messages in a chat's JSON; undefined when there is no list of objects, or the JSON names it twice or may do so.
 *
 * @param json valid JSON of an object
 * @param knownEnd how far messages are known already: behind one of them, or `start` for none
 */
export function messageSpans(
  json: string,
  knownEnd: (start: number) => number,
): MessageSpans | undefined {
  let found: MessageSpans | undefined
  let at = spaces(json, 0) + 1
  for (;;) {
    at = spaces(json, at)
    if (json.charCodeAt(at) === COMMA) at = spaces(json, at + 1)
    if (json.charCodeAt(at) !== QUOTE) break
    const keyEnd = stringEnd(json, at)
    const key = json.slice(at + 1, keyEnd - 1)
    at = spaces(json, keyEnd)
    if (json.charCodeAt(at) !== COLON) return undefined
    at = spaces(json, at + 1)
    if (found !== undefined && (key === 'messages' || key.includes('\\'))) return undefined
    if (key !== 'messages') at = valueEnd(json, at)
    else {
      if (json.charCodeAt(at) !== OPEN_BRACKET) return undefined
      found = listOfObjects(json, at + 1, knownEnd(at + 1))
      if (found === undefined) return undefined
      at = found.end + 1
    }
  }
  return json.charCodeAt(at) === CLOSE_BRACE ? found : undefined
}

function listOfObjects(json: string, start: number, from: number): MessageSpans | undefined {
  const starts: number[] = []
  const ends: number[] = []
  let at = spaces(json, from)
  while (json.charCodeAt(at) !== CLOSE_BRACKET) {
    if (json.charCodeAt(at) === COMMA) at = spaces(json, at + 1)
    if (json.charCodeAt(at) !== OPEN_BRACE) return undefined
    starts.push(at)
    at = nestedEnd(json, at)
    ends.push(at)
    at = spaces(json, at)
  }
  return { start, starts, ends, end: at }
}

/** Behind a value. */
function valueEnd(json: string, start: number): number {
  const first = json.charCodeAt(start)
  if (first === QUOTE) return stringEnd(json, start)
  if (first === OPEN_BRACE || first === OPEN_BRACKET) return nestedEnd(json, start)
  let at = start
  for (let code = first; at < json.length; code = json.charCodeAt(++at)) {
    if (code === COMMA || code === CLOSE_BRACE || code === CLOSE_BRACKET || isSpace(code)) break
  }
  return at
}

/** Behind an object or a list. */
function nestedEnd(json: string, start: number): number {
  let depth = 0
  for (let at = start; at < json.length; ) {
    const code = json.charCodeAt(at)
    if (code === QUOTE) {
      at = stringEnd(json, at)
      continue
    }
    at++
    if (code === OPEN_BRACE || code === OPEN_BRACKET) depth++
    else if ((code === CLOSE_BRACE || code === CLOSE_BRACKET) && --depth === 0) return at
  }
  return json.length
}

/** Behind a string. */
function stringEnd(json: string, start: number): number {
  for (let at = json.indexOf('"', start + 1); at >= 0; at = json.indexOf('"', at + 1)) {
    let before = at - 1
    while (json.charCodeAt(before) === BACKSLASH) before--
    // After an even number of backslashes the quote is not escaped.
    if ((at - before) % 2 === 1) return at + 1
  }
  return json.length
}

function spaces(json: string, start: number): number {
  let at = start
  while (isSpace(json.charCodeAt(at))) at++
  return at
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09
}
