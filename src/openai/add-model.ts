import { CLOSE_BRACE, OPEN_BRACE } from './json-bytes.ts'

const WHITESPACE: readonly number[] = [0x20, 0x09, 0x0a, 0x0d]

/** The JSON object with `"model"` as its last key, as `addString` does. */
export function addModel(body: readonly Uint8Array[], model: string): readonly Uint8Array[] {
  return addString(body, 'model', model)
}

/**
 * The JSON object with that key and string as its last member, nothing else touched or copied: where a key stands twice, parsers take
 * the last. What is no object is returned as it is.
 *
 * @param body in any pieces
 */
export function addString(
  body: readonly Uint8Array[],
  key: string,
  value: string,
): readonly Uint8Array[] {
  const last = body.findLastIndex((piece) => piece.some(isInk))
  const at = body[last]?.findLastIndex(isInk) ?? -1
  if (body[last]?.[at] !== CLOSE_BRACE) return body
  const before = [...body.slice(0, last), body[last].subarray(0, at)]
  const isEmpty = before.findLast((piece) => piece.some(isInk))?.findLast(isInk) === OPEN_BRACE
  const member = `${isEmpty ? '' : ','}"${key}":${JSON.stringify(value)}`
  return [...before, Buffer.from(member), body[last].subarray(at), ...body.slice(last + 1)]
}

function isInk(byte: number): boolean {
  return !WHITESPACE.includes(byte)
}
