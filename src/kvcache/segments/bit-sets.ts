/** Sets of up to 32 small numbers as the bits of an integer. */

/** The set of the numbers below `size`. */
export function firstBits(size: number): number {
  return size === 32 ? -1 : (1 << size) - 1
}

export function countBits(bits: number): number {
  bits -= (bits >>> 1) & 0x55555555
  bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333)
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}

/** The smallest number of a set that is not empty. */
export function lowestBit(bits: number): number {
  return 31 - Math.clz32(bits & -bits)
}

/** The smallest number that is not in the set, 32 when all are. */
export function trailingOnes(bits: number): number {
  const inverse = ~bits
  return inverse === 0 ? 32 : 31 - Math.clz32(inverse & -inverse)
}
