/**
 * Moves the entries of a table that is given up, pairs whose first is a slot, to its beginning. Whether a place is empty
 * cannot be predicted, so nothing here depends on it.
 *
 * @returns where they end
 */
export function moveUp(table: Int32Array): number {
  let end = 0
  for (let i = 0; i < table.length; i += 2) {
    const slot = table[i]!
    table[end] = slot
    table[end + 1] = table[i + 1]!
    // Slots are above 0.
    end += ((0 - slot) >>> 31) << 1
  }
  return end
}
