import assert from 'node:assert/strict'
import { HashJoin, PARTITIONS } from '../../../src/kvcache/hashing/hash-join.ts'
import { MemoryBudget } from '../../../src/kvcache/segments/memory-budget.ts'
import { below, seeded } from '../random.ts'

describe('HashJoin', () => {
  it('agrees with a map through adds, drops and clears', () => {
    const pick = below(seeded(21))
    const budget = new MemoryBudget(1 << 30)
    const join = new HashJoin(budget)
    const map = new Map<string, { key: number; count: number }>()
    for (let step = 0; step < 200_000; step++) {
      // Half of the hashes differ in high bits only, as small integers of either sign do.
      const n = pick(4_000)
      const [lo, hi] = pick(2) === 0 ? [n, 0] : [7, n - 2000]
      const name = `${lo} ${hi}`
      const known = map.get(name)
      const action = pick(1000)
      if (action < 500) {
        const key = 1 + pick(1 << 30)
        assert.equal(join.add(lo, hi, key, -key), true)
        if (known === undefined) map.set(name, { key, count: 1 })
        else known.count++
      } else if (action < 998) {
        join.drop(lo, hi)
        if (known !== undefined && --known.count === 0) map.delete(name)
      } else if (action === 999 && step % 7 === 0) {
        join.clear()
        map.clear()
        assert.equal(budget.usedBytes, 0)
      }
      assert.equal(join.size, map.size)
      const m = pick(4_000)
      const expected = map.get(`${m} 0`)
      assert.equal(join.get(m, 0), expected !== undefined)
      if (expected !== undefined)
        assert.deepEqual([join.keyLo, join.keyHi], [expected.key, -expected.key])
    }
  })

  it('refuses what its budget does not allow, and keeps what it has', () => {
    const join = new HashJoin(new MemoryBudget(4_000))
    let added = 0
    for (let i = 0; i < 1_000; i++) if (join.add(i * 7919, i, i + 1, 0)) added++
    assert.ok(added > 20 && added < 1_000, `${added}`)
    assert.equal(join.size, added)
    assert.equal(join.get(0, 0), true)
  })

  it('loses the hashes whose keys are gone, and gives memory back', () => {
    const budget = new MemoryBudget(1 << 26)
    const join = new HashJoin(budget)
    for (let i = 0; i < 40_000; i++) {
      for (let times = 0; times <= i % 3; times++) join.add(i, -i, i + 1, 7)
    }
    const before = budget.usedBytes
    let looked = 0
    const sweep = (isGone: (keyLo: number) => boolean) => {
      for (let p = 0; p < PARTITIONS; p++) looked += join.sweep(p, isGone)
    }
    sweep(() => false)
    assert.deepEqual([join.size, budget.usedBytes], [40_000, before])
    assert.ok(looked >= 40_000)
    sweep((keyLo) => keyLo > 4000)
    assert.equal(join.size, 4000)
    assert.ok(budget.usedBytes < before / 4, `${before} to ${budget.usedBytes} bytes`)
    for (let i = 0; i < 40_000; i++) {
      assert.equal(join.get(i, -i), i < 4000)
      if (i < 4000) assert.deepEqual([join.keyLo, join.keyHi], [i + 1, 7])
    }
    sweep(() => true)
    assert.deepEqual([join.size, budget.usedBytes], [0, 0])
    assert.equal(join.add(1, 2, 3, 4), true)
    assert.equal(join.get(1, 2), true)
    join.clear()
    assert.equal(budget.usedBytes, 0)
  })
})
