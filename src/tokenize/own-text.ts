let room = Buffer.alloc(64 * 1024)
/** More is not kept for the next copy. */
const MAX_ROOM_BYTES = 1024 * 1024

/** A copy of a text, which may be a slice: a slice keeps all of what it was cut from in memory. */
export function ownText(text: string): string {
  const isAscii = Buffer.byteLength(text) === text.length
  const bytes = isAscii ? text.length : text.length * 2
  const memory = bytes <= room.length ? room : Buffer.allocUnsafeSlow(bytes)
  if (bytes <= MAX_ROOM_BYTES) room = memory
  const encoding = isAscii ? 'latin1' : 'utf16le'
  memory.write(text, 0, bytes, encoding)
  return memory.toString(encoding, 0, bytes)
}
