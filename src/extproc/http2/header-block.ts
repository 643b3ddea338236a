import type { Header } from './static-table.ts'

/**
 * A header block that leaves the other side's table as it is, so that it can be sent again, on any connection.
 *
 * @param headers of characters up to U+00FF; a name or value of at most 16,383 of them
 */
export function headerBlock(headers: readonly Header[]): Buffer {
  return Buffer.concat(headers.flatMap(([name, value]) => [LITERAL, ...text(name), ...text(value)]))
}

/** A literal with a new name, not to be kept. Source: RFC 7541, section 6.2.2. */
const LITERAL = Buffer.of(0)

function text(value: string): [length: Buffer, bytes: Buffer] {
  const { length } = value
  const rest = length - 127
  const prefix =
    rest < 0 ? [length] : rest < 128 ? [127, rest] : [127, (rest & 127) | 128, rest >> 7]
  return [Buffer.from(prefix), Buffer.from(value, 'latin1')]
}
