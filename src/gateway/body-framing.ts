import { type ClientResponse, isHttp2 } from './answer.ts'

const DIGITS = Buffer.from('0123456789abcdef')
const CR = 0x0d
const LF = 0x0a
/** Ends a body in chunks. */
export const LAST_CHUNK = Buffer.from('0\r\n\r\n')

/**
 * Takes over the framing of a response whose headers have been written: Node writes each chunk in four pieces.
 *
 * @returns true where the body is to be written in chunks as `chunkOf` makes them, ended by `LAST_CHUNK`
 */
export function takesChunks(response: ClientResponse): boolean {
  if (isHttp2(response) || !response.chunkedEncoding) return false
  response.chunkedEncoding = false
  return true
}

/** How many bytes stand before those of the body in a chunk of so many. */
export function chunkPrefixBytes(bytes: number): number {
  let digits = 1
  for (let left = bytes; left > 0xf; left >>>= 4) digits++
  return digits + 2
}

/**
 * One chunk with a copy of these pieces.
 *
 * @param bytes of the pieces together, at least one
 * @param prefixBytes what `chunkPrefixBytes` says of them
 * @param isLast true adds what ends the body
 */
export function chunkOf(
  pieces: readonly Buffer[],
  bytes: number,
  prefixBytes: number,
  isLast: boolean,
): Buffer {
  const end = prefixBytes + bytes
  const chunk = Buffer.allocUnsafe(end + 2 + (isLast ? LAST_CHUNK.length : 0))
  let left = bytes
  for (let at = prefixBytes - 3; at >= 0; at--, left >>>= 4) chunk[at] = DIGITS[left & 0xf]!
  chunk[prefixBytes - 2] = CR
  chunk[prefixBytes - 1] = LF
  let at = prefixBytes
  for (const piece of pieces) at += piece.copy(chunk, at)
  chunk[end] = CR
  chunk[end + 1] = LF
  if (isLast) LAST_CHUNK.copy(chunk, end + 2)
  return chunk
}
