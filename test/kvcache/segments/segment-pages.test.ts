import assert from 'node:assert/strict'
import { MemoryBudget } from '../../../src/kvcache/segments/memory-budget.ts'
import {
  headerAt,
  keyAt,
  pageOf,
  SegmentPages,
  STATE,
  segmentSize,
} from '../../../src/kvcache/segments/segment-pages.ts'
import { below, seeded } from '../random.ts'

describe('SegmentPages', () => {
  it('gives out segments that do not overlap, of the size asked for, and uses freed ones again', () => {
    const pick = below(seeded(31))
    const segments = new SegmentPages(new MemoryBudget(1 << 24))
    // Slots taken, by the segment that has them; every int of a segment is filled with its number.
    const living: { base: number; size: number; mark: number }[] = []
    let marks = 0
    let topAtHalf = 0
    const STEPS = 40_000
    for (let step = 0; step < STEPS; step++) {
      if (step === STEPS / 2) topAtHalf = segments.topSlot
      if (living.length < 3_000 && pick(2) === 0) {
        const wanted = 1 + pick(40)
        const base = segments.allocate(wanted)
        assert.notEqual(base, 0)
        const page = segments.pages[pageOf(base)]!
        const size = segmentSize(page, base)
        assert.equal(base % size, 0)
        assert.ok(size >= Math.min(wanted, 32) && (size === 4 || size < wanted * 2), `${size}`)
        assert.equal(segments.holds(base, 0, 0), true, 'a new segment has no keys')
        const mark = ++marks
        for (let slot = base; slot < base + size; slot++) {
          page[keyAt(slot)] = mark
          page[keyAt(slot) + 1] = -mark
          assert.equal(segments.baseOf(slot), base)
        }
        page[headerAt(base) + STATE] = size
        living.push({ base, size, mark })
      } else if (living.length > 0) {
        const { base, size, mark } = living.splice(pick(living.length), 1)[0]!
        for (let slot = base; slot < base + size; slot++) {
          assert.equal(segments.holds(slot, mark, -mark), true)
        }
        segments.free(base)
        assert.equal(segments.holds(base, mark, -mark), false)
      }
    }
    assert.ok(segments.topSlot <= topAtHalf * 1.5, `${topAtHalf} grew to ${segments.topSlot} slots`)
  })

  it('fills the gaps of a unit before it takes another one', () => {
    const segments = new SegmentPages(new MemoryBudget(1 << 24))
    const bases = Array.from({ length: 8 }, () => segments.allocate(4))
    segments.free(bases[3]!)
    segments.free(bases[6]!)
    const again = [segments.allocate(3), segments.allocate(4)]
    assert.deepEqual(new Set(again), new Set([bases[3], bases[6]]))
    assert.equal(segments.topSlot, 64)
    segments.allocate(4)
    assert.equal(segments.topSlot, 96)
  })

  it('answers 0 when the budget does not allow another page', () => {
    const segments = new SegmentPages(new MemoryBudget(1 << 20))
    let slots = 0
    while (segments.allocate(32) !== 0) slots += 32
    assert.ok(slots > 60_000 && slots <= 65_536, `${slots}`)
    assert.ok(segments.bytes <= 1 << 20)
  })
})
