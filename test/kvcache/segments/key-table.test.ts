import assert from 'node:assert/strict'
import { ENTERED, KeyTable, KNOWN } from '../../../src/kvcache/segments/key-table.ts'
import { MemoryBudget } from '../../../src/kvcache/segments/memory-budget.ts'
import { keyAt, pageOf, SegmentPages } from '../../../src/kvcache/segments/segment-pages.ts'
import { below, seeded } from '../random.ts'

describe('KeyTable', () => {
  it('agrees with a map through keys that come and go', () => {
    const pick = below(seeded(41))
    const budget = new MemoryBudget(1 << 26)
    const segments = new SegmentPages(budget)
    const table = new KeyTable(segments, budget)
    const free: number[] = []
    for (let i = 0; i < 2_000; i++) free.push(segments.allocate(4))
    const slots = new Map<string, number>()
    for (let step = 0; step < 200_000; step++) {
      // All in two partitions, with equal halves, so that keys are in each other's way.
      const lo = pick(1_500)
      const hi = 7 + 1024 * pick(2) + pick(2)
      const name = `${lo} ${hi}`
      const known = slots.get(name)
      assert.equal(table.find(lo, hi), known ?? 0)
      if (pick(2) === 0) {
        const slot = free.at(-1)
        if (slot === undefined) continue
        assert.equal(table.enter(lo, hi, slot), known === undefined ? ENTERED : KNOWN)
        if (known !== undefined) continue
        free.pop()
        const page = segments.pages[pageOf(slot)]!
        page[keyAt(slot)] = lo
        page[keyAt(slot) + 1] = hi
        slots.set(name, slot)
      } else if (known !== undefined) {
        table.leave(lo, hi, known)
        slots.delete(name)
        free.push(known)
      }
      assert.equal(table.size, slots.size)
    }
  })
})
