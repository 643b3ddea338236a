import type { Scalar } from 'yaml'

/**
 * Where in the source a character of a scalar's value stands, through indentation, folding, quotes and escapes (YAML 1.2.2,
 * chapters 7.3 and 8.1).
 *
 * @param text the whole source
 * @param index of a UTF-16 unit in the value; one past the last is allowed
 * @returns an offset in `text`; the scalar's beginning when it cannot be told
 */
export function offsetInScalar(text: string, scalar: Scalar, index: number): number {
  const { range, value } = scalar
  if (!range || typeof value !== 'string' || index < 0) return range?.[0] ?? 0
  const source = text.slice(range[0], range[1])
  const found = scalar.type?.startsWith('BLOCK')
    ? blockOffset(source, value, index)
    : flowOffset(source, value, index, scalar.type)
  return range[0] + (found ?? 0)
}

/** Within `|` and `>`: each line loses its indentation; in the latter a line end may have become a blank. */
function blockOffset(source: string, value: string, index: number): number | undefined {
  const body = source.indexOf('\n') + 1
  const stated = Number(/^[|>][+-]?([1-9])?/.exec(source)?.[1])
  const [, indentation = ''] = /^(?:[ \t]*\n)*( *)/.exec(source.slice(body)) ?? []
  // A stated indentation counts from the parent node, which the source does not show.
  const indent = Number.isNaN(stated) ? indentation.length : 0
  let at = skipBlanks(source, body, indent)
  for (let i = 0; i < index; i++) {
    while (at < source.length && !agrees(value[i]!, source[at]!))
      at = skipLineEnd(source, at, indent)
    if (at >= source.length) return undefined
    at = source[at] === '\n' ? skipBlanks(source, at + 1, indent) : at + 1
  }
  while (index < value.length && at < source.length && !agrees(value[index]!, source[at]!)) {
    at = skipLineEnd(source, at, indent)
  }
  return at
}

function agrees(unit: string, source: string): boolean {
  return unit === source || (unit === ' ' && source === '\n')
}

function skipLineEnd(source: string, at: number, indent: number): number {
  return source[at] === '\n' ? skipBlanks(source, at + 1, indent) : at + 1
}

function skipBlanks(source: string, from: number, most: number): number {
  let at = from
  while (at < from + most && source[at] === ' ') at++
  return at
}

/** Plain and quoted: line ends with the blanks around them have become one blank, quotes are doubled or escaped. */
function flowOffset(
  source: string,
  value: string,
  index: number,
  type: Scalar.Type | undefined,
): number | undefined {
  let at = type === 'QUOTE_SINGLE' || type === 'QUOTE_DOUBLE' ? 1 : 0
  for (let i = 0; i <= index; i++) {
    const unit = value[i]
    while (at < source.length && skipped(source, at, unit, type)) at++
    if (i === index) return at
    if (at >= source.length) return undefined
    at += lengthOf(source, at, unit!, type)
  }
  return undefined
}

/** True for a character of the source that stands for nothing in front of the value's next unit. */
function skipped(
  source: string,
  at: number,
  unit: string | undefined,
  type: Scalar.Type | undefined,
): boolean {
  const character = source[at]!
  if (type === 'QUOTE_DOUBLE' && character === '\\') return source[at + 1] === '\n'
  if (character === unit || !/\s/.test(character)) return false
  return !(character === '\n' && unit === ' ')
}

/** How much of the source one unit of the value takes. */
function lengthOf(source: string, at: number, unit: string, type: Scalar.Type | undefined): number {
  if (type === 'QUOTE_SINGLE' && unit === "'") return 2
  if (type !== 'QUOTE_DOUBLE' || source[at] !== '\\') return 1
  return { x: 4, u: 6, U: 10 }[source[at + 1]!] ?? 2
}
