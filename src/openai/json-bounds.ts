import { DEFAULT_LIMITS, type Limits } from '../framework/limits.ts'
import { BACKSLASH, COMMA, OPEN_BRACE, OPEN_BRACKET, QUOTE } from './json-bytes.ts'

/** How much a body may hold, whatever its bytes. */
export type JsonLimits = Pick<Limits, 'maxJsonContainers' | 'maxJsonValues'>

/**
 * True when parsing a JSON text would make more objects or values than a request can need: a few bytes of text become
 * many of memory, and the event loop stands still meanwhile. Strings are skipped, whatever they hold.
 *
 * @param bytes what is not JSON gets some answer
 */
export function exceedsJsonBounds(
  bytes: Uint8Array,
  { maxJsonContainers, maxJsonValues }: JsonLimits = DEFAULT_LIMITS,
): boolean {
  if (bytes.length <= Math.min(maxJsonContainers, maxJsonValues)) return false
  let containers = 0
  let commas = 0
  for (let at = 0; at < bytes.length; at++) {
    switch (bytes[at]) {
      case QUOTE:
        at = endOfString(bytes, at + 1)
        if (at < 0) return false
        break
      case COMMA:
        if (++commas > maxJsonValues) return true
        break
      case OPEN_BRACKET:
      case OPEN_BRACE:
        if (++containers > maxJsonContainers) return true
        break
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
