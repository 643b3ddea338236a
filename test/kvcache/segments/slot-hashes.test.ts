import assert from 'node:assert/strict'
import { MemoryBudget } from '../../../src/kvcache/segments/memory-budget.ts'
import {
  HASH_PAGE_BYTES,
  HASH_PARTITIONS,
  SlotHashes,
} from '../../../src/kvcache/segments/slot-hashes.ts'
import { below, seeded } from '../random.ts'

describe('SlotHashes', () => {
  it('agrees with maps through names given, taken away and moved', () => {
    const pick = below(seeded(4))
    const budget = new MemoryBudget(1 << 30)
    const hashes = new SlotHashes(budget)
    const slotOf = new Map<string, number>()
    const hashOf = new Map<number, readonly [number, number]>()
    // Half of the hashes differ in high bits only, as small integers of either sign do; (0, 0) is among them.
    const anyHash = () =>
      pick(2) === 0 ? ([pick(3_000), 0] as const) : ([0, pick(3_000) - 1500] as const)
    const anySlot = () => 1 + pick(2_000) + (pick(2) << 16)
    for (let step = 0; step < 60_000; step++) {
      const action = pick(10)
      const slot = anySlot()
      if (action < 6) {
        const count = 1 + pick(4)
        const given = Array.from({ length: count }, anyHash)
        const others = hashes.enter(slot, Int32Array.from([0, 0, ...given.flat()]), 1, count)
        for (const [i, [lo, hi]] of given.entries()) {
          const before = hashOf.get(slot + i)
          const name = `${lo} ${hi}`
          const isSame = before?.[0] === lo && before[1] === hi
          const isNew = before === undefined && (lo | hi) !== 0 && !slotOf.has(name)
          assert.equal((others >>> i) & 1, isSame || isNew ? 0 : 1, `step ${step}`)
          if (!isNew) continue
          slotOf.set(name, slot + i)
          hashOf.set(slot + i, [lo, hi])
        }
      } else if (action < 9) {
        const count = 1 + pick(4)
        hashes.leave(slot, count)
        for (let i = 0; i < count; i++) {
          const [lo, hi] = hashOf.get(slot + i) ?? [0, 0]
          slotOf.delete(`${lo} ${hi}`)
          hashOf.delete(slot + i)
        }
      } else {
        const to = anySlot()
        if (hashOf.has(to) || to === slot) continue
        assert.equal(hashes.makeRoom(to), true)
        hashes.move(slot, to)
        const hash = hashOf.get(slot)
        if (hash !== undefined) {
          hashOf.set(to, hash)
          hashOf.delete(slot)
          slotOf.set(hash.join(' '), to)
        }
      }
      const [lo, hi] = anyHash()
      const expected = slotOf.get(`${lo} ${hi}`) ?? 0
      assert.equal(hashes.find(lo, hi), expected, `step ${step}`)
      assert.equal(hashes.has(slot, lo, hi), expected === slot)
    }
    assert.ok(slotOf.size > 300, `${slotOf.size}`)
    assert.equal(hashes.bytes, budget.usedBytes)
    for (const slot of hashOf.keys()) hashes.leave(slot, 1)
    for (const page of [0, 1]) hashes.dropPage(page)
    for (let p = 0; p < HASH_PARTITIONS; p++) hashes.shrink(p)
    assert.deepEqual([hashes.bytes, budget.usedBytes], [0, 0])
  })

  it('gives no more names than there is memory for, and keeps those it has', () => {
    const hashes = new SlotHashes(new MemoryBudget(HASH_PAGE_BYTES + 20_000))
    let named = 0
    for (let slot = 1; slot < 20_000; slot++) {
      if (hashes.enter(slot, Int32Array.of(slot, 7), 0, 1) === 0) named++
    }
    assert.ok(named > 500 && named < 10_000, `${named}`)
    for (let slot = 1, seen = 0; seen < named; slot++) {
      const found = hashes.find(slot, 7)
      assert.ok(found === 0 || found === slot)
      if (found === slot) seen++
      assert.ok(slot < 20_000)
    }
    assert.equal(hashes.makeRoom(1 << 16), false)
    assert.equal(hashes.enter(1 << 16, Int32Array.of(1, 1), 0, 1), 1)
  })

  it('gives memory back as hashes leave', () => {
    const budget = new MemoryBudget(1 << 30)
    const hashes = new SlotHashes(budget)
    const count = 50_000
    for (let i = 0; i < count; i++) hashes.enter(i, Int32Array.of(i, -i - 1), 0, 1)
    const before = budget.usedBytes
    hashes.leave(0, count - 100)
    for (let p = 0; p < HASH_PARTITIONS; p++) hashes.shrink(p)
    assert.ok(budget.usedBytes - HASH_PAGE_BYTES < (before - HASH_PAGE_BYTES) / 8)
    for (let i = count - 100; i < count; i++) assert.equal(hashes.find(i, -i - 1), i)
  })
})
