/** Bits of the code of each byte, then of the end of a string. Source: RFC 7541, appendix B. */
// biome-ignore format: 32 in a line
const CODE_BITS: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
  30,
]
const LONGEST_BITS = 30
const END_OF_STRING = 256

/** The codes are canonical: those of one length follow one another in the order of the bytes, after those that are shorter. */
const bytesByCode: number[] = []
/** By length in bits: the code after the last of that length, and where those of that length begin in `bytesByCode`. */
const codeEnds = new Int32Array(LONGEST_BITS + 1)
const offsets = new Int32Array(LONGEST_BITS + 1)
for (let bits = 1, code = 0; bits <= LONGEST_BITS; bits++) {
  code <<= 1
  offsets[bits] = bytesByCode.length - code
  for (let byte = 0; byte < CODE_BITS.length; byte++) {
    if (CODE_BITS[byte] !== bits) continue
    bytesByCode.push(byte)
    code++
  }
  codeEnds[bits] = code
}

/** By the eight bits that come next: the byte whose code they begin with, times 16, and the bits of that code; 0 where it is longer. */
const shortCodes = new Uint16Array(256)
for (let bits = 1; bits <= 8; bits++) {
  const first = codeEnds[bits - 1]! * 2
  for (let code = first; code < codeEnds[bits]!; code++) {
    const byte = bytesByCode[offsets[bits]! + code]!
    shortCodes.fill((byte << 4) | bits, code << (8 - bits), (code + 1) << (8 - bits))
  }
}

/**
 * Decodes `bytes[start, end)` to `target`, which has room for 8 bytes of each 5.
 *
 * @returns how many bytes those are; -1 where the code is none
 */
export function decodeHuffman(bytes: Buffer, start: number, end: number, target: Buffer): number {
  const stopBit = end * 8
  let length = 0
  let bitAt = start * 8
  while (bitAt < stopBit) {
    const at = bitAt >> 3
    // Ones fill the last byte.
    const pair = (bytes[at]! << 8) | (at + 1 < end ? bytes[at + 1]! : 255)
    const short = shortCodes[(pair >> (8 - (bitAt & 7))) & 255]!
    const bits = short & 15
    if (short === 0) {
      const long = longCode(bytes, bitAt, stopBit)
      if (long === NO_CODE || long.byte === END_OF_STRING) break
      target[length++] = long.byte
      bitAt += long.bits
    } else if (bitAt + bits > stopBit) break
    else {
      target[length++] = short >> 4
      bitAt += bits
    }
  }
  return isFilling(bytes, bitAt, stopBit) ? length : -1
}

const NO_CODE = { byte: -1, bits: 0 }

function longCode(bytes: Buffer, bitAt: number, stopBit: number): { byte: number; bits: number } {
  const stop = Math.min(stopBit, bitAt + LONGEST_BITS)
  let code = 0
  for (let at = bitAt, bits = 1; at < stop; at++, bits++) {
    code = (code << 1) | ((bytes[at >> 3]! >> (7 - (at & 7))) & 1)
    // A length that no code has ends where the one before it, doubled, did.
    if (code < codeEnds[bits]!) return { byte: bytesByCode[offsets[bits]! + code]!, bits }
  }
  return NO_CODE
}

/** What fills the last byte is the beginning of the code that ends a string: ones, fewer than eight. */
function isFilling(bytes: Buffer, bitAt: number, stopBit: number): boolean {
  const bits = stopBit - bitAt
  const mask = (1 << bits) - 1
  return bits === 0 || (bits < 8 && (bytes[(stopBit >> 3) - 1]! & mask) === mask)
}
