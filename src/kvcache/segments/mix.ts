/** Spreads the hashes that engines give their blocks, which may be small numbers, over 32 bits. */
export function mix(lo: number, hi: number): number {
  let h = Math.imul(lo ^ Math.imul(hi, 0x85ebca6b), 0x9e3779b1)
  h ^= h >>> 15
  return Math.imul(h, 0xc2b2ae35)
}
