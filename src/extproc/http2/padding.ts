import { ERROR, FLAG, need } from './protocol.ts'

/**
 * Where the payload `bytes[start, end)` begins and ends without its padding, where its flags say that it has some. Source:
 * RFC 9113, section 6.1.
 *
 * @throws {ConnectionError} where there is more padding than payload
 */
export function unpadded(
  flags: number,
  bytes: Buffer,
  start: number,
  end: number,
): [start: number, end: number] {
  if ((flags & FLAG.padded) === 0) return [start, end]
  const paddingBytes = start < end ? bytes[start]! : 0
  need(start + 1 + paddingBytes <= end, ERROR.protocol, 'there is more padding than payload')
  return [start + 1, end - paddingBytes]
}
