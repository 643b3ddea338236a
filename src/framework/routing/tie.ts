/** Totals closer than this count as equal: sums of the same scores differ by rounding when scorers are reordered. */
const TIE = 1e-9

/** True when two totals differ by no more than rounding. */
export function isTied(a: number, b: number): boolean {
  return Math.abs(a - b) <= TIE
}
