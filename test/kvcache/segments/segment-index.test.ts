import assert from 'node:assert/strict'
import { ChainHasher } from '../../../src/kvcache/hashing/chain-hash.ts'
import { MemoryBudget } from '../../../src/kvcache/segments/memory-budget.ts'
import {
  CPU,
  DISK,
  GPU,
  SegmentIndex,
  SPECULATIVE,
} from '../../../src/kvcache/segments/segment-index.ts'
import { below, seeded } from '../random.ts'
import { chain, NaiveIndex, randomChains, WEIGHTS } from './naive-index.ts'

describe('SegmentIndex', () => {
  const scenarios = [
    {
      name: 'few owners, long chains',
      owners: 5,
      chains: 30,
      maxBlocks: 150,
      planes: 1,
      seed: 1,
      steps: 12_000,
    },
    {
      name: 'short chains',
      owners: 12,
      chains: 300,
      maxBlocks: 5,
      planes: 1,
      seed: 2,
      steps: 12_000,
    },
    {
      name: 'all media and speculation',
      owners: 7,
      chains: 40,
      maxBlocks: 90,
      planes: 4,
      seed: 3,
      steps: 12_000,
    },
    {
      name: 'many owners',
      owners: 150,
      chains: 25,
      maxBlocks: 60,
      planes: 2,
      seed: 4,
      steps: 2_000,
    },
    {
      name: 'many owners with equal parts on the GPU',
      owners: 100,
      chains: 6,
      maxBlocks: 70,
      planes: 1,
      seed: 5,
      steps: 4_000,
    },
  ]
  for (const { name, owners: ownerCount, chains, maxBlocks, planes, seed, steps } of scenarios) {
    it(`answers as a naive index does: ${name}`, () => {
      const random = seeded(seed)
      const pick = below(random)
      const index = new SegmentIndex()
      index.setWeights(WEIGHTS[0]!, WEIGHTS[1]!, WEIGHTS[2]!, WEIGHTS[3]!)
      const naive = new NaiveIndex()
      const trees = randomChains(random, chains, maxBlocks)
      // The naive index knows owners by a name of their own, since the index uses numbers again.
      let names = 0
      const owners = Array.from({ length: ownerCount }, () => ({
        number: index.addOwner(),
        name: names++,
      }))
      let compared = 0
      for (let step = 0; step < steps; step++) {
        const owner = owners[pick(owners.length)]!
        const keys = trees[pick(trees.length)]!
        const length = keys.length / 2
        const plane = pick(planes)
        const action = pick(100)
        if (action < 45) {
          const from = pick(4) === 0 ? pick(length) : 0
          const count = 1 + pick(length - from)
          const lo = from === 0 ? 0 : keys[2 * from - 2]!
          const hi = from === 0 ? 0 : keys[2 * from - 1]!
          assert.equal(index.store(owner.number, plane, keys, from, count, lo, hi), count)
          for (let i = from; i < from + count; i++) naive.store(owner.name, plane, keys, i)
        } else if (action < 75) {
          // Leaf first as engines do, or a hole in the middle.
          const from = pick(length)
          for (let i = length - 1; i >= from; i--) {
            assert.equal(
              index.remove(owner.number, plane, keys[2 * i]!, keys[2 * i + 1]!),
              naive.remove(owner.name, plane, keys, i),
            )
            if (pick(3) === 0) i -= pick(5)
          }
        } else if (action < 82) {
          const from = pick(length)
          const count = pick(length - from + 1)
          index.removeAll(owner.number, plane, keys, from, count)
          for (let i = from; i < from + count; i++) naive.remove(owner.name, plane, keys, i)
        } else if (action === 82) {
          index.retireOwner(owner.number)
          naive.retire(owner.name)
          owner.number = index.addOwner()
          owner.name = names++
        } else {
          const from = pick(5) === 0 ? pick(length) : 0
          const count = 1 + pick(length - from)
          index.lookup(keys, from, count)
          for (const { number, name } of owners) {
            const expected = naive.match(name, keys, from, count)
            assert.equal(index.matched(number), expected.blocks, `step ${step}`)
            assert.ok(Math.abs(index.weighted(number) - expected.weighted) < 1e-9, `step ${step}`)
            compared++
          }
        }
        if (step % 20 === 0) assert.equal(index.heldBy(owner.number), naive.heldBy(owner.name))
        if (step % 7 === 0) index.sweep(3)
      }
      assert.ok(compared > 5_000)
      while (index.sweepPending) index.sweep(1000)
      assert.equal(index.blocks >= naive.blocks, true)
      for (const owner of owners) index.retireOwner(owner.number)
      while (index.sweepPending) index.sweep(1000)
      assert.equal(index.blocks, 0)
    })
  }

  it('uses the numbers and the memory of owners again that are gone', () => {
    const index = new SegmentIndex()
    const keys = chain(500)
    const seen = new Set<number>()
    let bytes = 0
    for (let i = 0; i < 2_000; i++) {
      const owner = index.addOwner()
      seen.add(owner)
      index.store(owner, GPU, keys, 0, 500, 0, 0)
      index.retireOwner(owner)
      index.sweep(64)
      if (i === 100) bytes = index.bytes
    }
    assert.equal(index.bytes, bytes)
    assert.ok(seen.size < 10, `${seen.size} numbers`)
  })

  it('does not show what a retired owner held, even before it is swept', () => {
    const index = new SegmentIndex()
    const keys = chain(40)
    const first = index.addOwner()
    index.store(first, GPU, keys, 0, 40, 0, 0)
    index.retireOwner(first)
    const second = index.addOwner()
    assert.notEqual(second, first)
    index.lookup(keys, 0, 40)
    assert.equal(index.matched(second), 0)
  })

  it('counts a block in several media by the best of them', () => {
    const index = new SegmentIndex()
    index.setWeights(1, 0.8, 0.5, 1)
    const keys = chain(6)
    const owner = index.addOwner()
    index.store(owner, GPU, keys, 0, 2, 0, 0)
    index.store(owner, CPU, keys, 0, 4, 0, 0)
    index.store(owner, DISK, keys, 4, 1, keys[6]!, keys[7]!)
    index.store(owner, SPECULATIVE, keys, 5, 1, keys[8]!, keys[9]!)
    index.lookup(keys, 0, 6)
    assert.equal(index.matched(owner), 6)
    assert.ok(Math.abs(index.weighted(owner) - (1 + 1 + 0.8 + 0.8 + 0.5 + 1)) < 1e-9)
  })

  it('takes no more than its budget, says so, and goes on when blocks leave', () => {
    const budget = new MemoryBudget(4 << 20)
    const index = new SegmentIndex(budget)
    const owner = index.addOwner()
    const stored: Int32Array[] = []
    for (let seed = 1; ; seed++) {
      const keys = chain(100, seed)
      if (index.store(owner, GPU, keys, 0, 100, 0, 0) < 100) break
      stored.push(keys)
      assert.ok(seed < 100_000)
    }
    assert.ok(budget.usedBytes <= 4 << 20)
    assert.ok(stored.length > 500, `${stored.length} chains fit`)
    for (const keys of stored.splice(0, 300)) index.removeAll(owner, GPU, keys, 0, 100)
    for (let seed = 200_000; seed < 200_090; seed++) {
      assert.equal(index.store(owner, GPU, chain(100, seed), 0, 100, 0, 0), 100)
    }
    index.lookup(stored[0]!, 0, 100)
    assert.equal(index.matched(owner), 100)
  })

  it('does not spend a whole segment on a chain of one block', () => {
    const index = new SegmentIndex()
    const owner = index.addOwner()
    const hasher = new ChainHasher(Buffer.from('chains!!'))
    const keys = new Int32Array(2)
    const before = index.bytes
    const count = 200_000
    for (let i = 0; i < count; i++) {
      hasher.root(1, undefined, undefined)
      hasher.extend(Int32Array.of(i), 0, 1, 1, keys, 0)
      index.store(owner, GPU, keys, 0, 1, 0, 0)
    }
    const bytes = (index.bytes - before) / count
    assert.ok(bytes < 200, `${bytes.toFixed(0)} bytes per chain`)
    assert.equal(index.blocks, count)
  })
})
