import { DEFAULT_LIMITS, type Limits } from '../framework/limits.ts'
import {
  BACKSLASH,
  CLOSE_BRACE,
  CLOSE_BRACKET,
  COMMA,
  OPEN_BRACE,
  OPEN_BRACKET,
  QUOTE,
} from './json-bytes.ts'

/** How much a body may hold, whatever its bytes. */
export type JsonLimits = Pick<Limits, 'maxJsonContainers' | 'maxJsonValues' | 'maxJsonDepth'>

/**
 * Which bound parsing a JSON text would exceed: `values` when it makes more objects or values than a request can need (a
 * few bytes of text become many of memory, and the event loop stands still meanwhile), `depth` when they are nested
 * deeper; undefined when none. Strings are skipped, whatever they hold.
 *
 * @param bytes what is not JSON gets some answer
 */
export function exceededBound(
  bytes: Uint8Array,
  { maxJsonContainers, maxJsonValues, maxJsonDepth }: JsonLimits = DEFAULT_LIMITS,
): 'values' | 'depth' | undefined {
  const isShort = bytes.length <= Math.min(maxJsonContainers, maxJsonValues)
  if (isShort && !opensMoreThan(bytes, maxJsonDepth)) return undefined
  let depth = 0
  let containers = 0
  let commas = 0
  for (let at = 0; at < bytes.length; at++) {
    switch (bytes[at]) {
      case QUOTE:
        at = endOfString(bytes, at + 1)
        if (at < 0) return undefined
        break
      case COMMA:
        if (++commas > maxJsonValues) return 'values'
        break
      case OPEN_BRACKET:
      case OPEN_BRACE:
        if (++containers > maxJsonContainers) return 'values'
        if (++depth > maxJsonDepth) return 'depth'
        break
      case CLOSE_BRACKET:
      case CLOSE_BRACE:
        depth--
        break
    }
  }
  return undefined
}

/** True when more objects and arrays begin, those in strings counted too: far faster than to look at every byte. */
function opensMoreThan(bytes: Uint8Array, most: number): boolean {
  if (bytes.length <= most) return false
  let left = most
  for (const opening of [OPEN_BRACE, OPEN_BRACKET]) {
    for (let at = bytes.indexOf(opening); at >= 0; at = bytes.indexOf(opening, at + 1)) {
      if (--left < 0) return true
    }
  }
  return false
}

/** Position of the quote that ends a string, -1 when none does. */
function endOfString(bytes: Uint8Array, from: number): number {
  for (let end = bytes.indexOf(QUOTE, from); end >= 0; end = bytes.indexOf(QUOTE, end + 1)) {
    let first = end
    while (first > from && bytes[first - 1] === BACKSLASH) first--
    if ((end - first) % 2 === 0) return end
  }
  return -1
}
