import assert from 'node:assert/strict'
import { MemoryBudget } from '../../../src/kvcache/segments/memory-budget.ts'
import { GPU, SegmentIndex } from '../../../src/kvcache/segments/segment-index.ts'
import { below, seeded } from '../random.ts'
import { chain, NaiveIndex, randomChains } from './naive-index.ts'

const CHAIN_BLOCKS = 100

/** Runs the round that was begun. */
function finish(index: SegmentIndex): void {
  while (index.eviction.isActive) index.eviction.step(100)
}

/** An index of chains of 100 blocks, held by two owners. */
function filled(chains: number, budget?: MemoryBudget) {
  const index = new SegmentIndex(budget)
  const owners = [index.addOwner(), index.addOwner()]
  const keys = Array.from({ length: chains }, (_, i) => chain(CHAIN_BLOCKS, i * 1_000_003))
  const store = (i: number, owner = owners[0]!) =>
    index.store(owner, GPU, keys[i]!, 0, CHAIN_BLOCKS, 0, 0)
  const matched = (i: number, owner = owners[0]!) => {
    index.lookup(keys[i]!, 0, CHAIN_BLOCKS)
    return index.matched(owner)
  }
  for (let i = 0; i < chains; i++) for (const owner of owners) store(i, owner)
  return { index, owners, keys, store, matched }
}

describe('SegmentEviction', () => {
  const scenarios = [
    { name: 'long chains', owners: 6, chains: 60, maxBlocks: 150, planes: 1, seed: 11 },
    { name: 'short chains', owners: 12, chains: 400, maxBlocks: 5, planes: 1, seed: 12 },
    { name: 'all media', owners: 7, chains: 40, maxBlocks: 90, planes: 4, seed: 13 },
    {
      name: 'many owners',
      owners: 90,
      chains: 25,
      maxBlocks: 60,
      planes: 2,
      seed: 14,
      steps: 2_000,
    },
  ]
  for (const scenario of scenarios) {
    const { name, owners: ownerCount, chains, maxBlocks, planes, seed, steps = 8_000 } = scenario
    it(`leaves beginnings of what a naive index finds, at any step of a round: ${name}`, () => {
      const random = seeded(seed)
      const pick = below(random)
      const index = new SegmentIndex()
      const naive = new NaiveIndex()
      const trees = randomChains(random, chains, maxBlocks)
      let names = 0
      const owners = Array.from({ length: ownerCount }, () => ({
        number: index.addOwner(),
        name: names++,
      }))
      let found = 0
      let whole = 0
      for (let step = 0; step < steps; step++) {
        const owner = owners[pick(owners.length)]!
        const keys = trees[pick(trees.length)]!
        const length = keys.length / 2
        const plane = pick(planes)
        const action = pick(100)
        if (action < 45) {
          const count = 1 + pick(length)
          assert.equal(index.store(owner.number, plane, keys, 0, count, 0, 0), count)
          for (let i = 0; i < count; i++) naive.store(owner.name, plane, keys, i)
        } else if (action < 60) {
          for (let i = length - 1; i >= pick(length); i--) {
            const isHeld = naive.remove(owner.name, plane, keys, i)
            const wasHeld = index.remove(owner.number, plane, keys[2 * i]!, keys[2 * i + 1]!)
            assert.ok(isHeld || !wasHeld, `step ${step}`)
          }
        } else if (action === 60) {
          index.retireOwner(owner.number)
          naive.retire(owner.name)
          owner.number = index.addOwner()
          owner.name = names++
        } else if (action < 70) index.touch(keys, 0, 1 + pick(length))
        else if (action < 74 && !index.eviction.isActive) {
          index.evict({ share: 0.05 + random() * 0.3, pages: pick(3) })
        } else {
          index.lookup(keys, 0, length)
          for (const { number, name: ownerName } of owners) {
            const expected = naive.match(ownerName, keys, 0, length)
            assert.ok(index.matched(number) <= expected.blocks, `step ${step}`)
            if (expected.blocks === 0) continue
            found++
            if (index.matched(number) === expected.blocks) whole++
          }
        }
        if (index.eviction.isActive) index.eviction.step(1 + pick(4))
        if (step % 7 === 0) index.sweep(3)
      }
      assert.ok(index.eviction.evicted > 200, `${index.eviction.evicted} forgotten`)
      assert.ok(whole > found / 10, `${whole} of ${found} whole`)
      finish(index)
      for (const owner of owners) index.retireOwner(owner.number)
      while (index.sweepPending) index.sweep(1000)
      assert.equal(index.blocks, 0)
      assert.equal(index.freeSlots, index.slots)
    })
  }

  it('forgets what was not matched for longest, and of a chain its end first', () => {
    const { index, keys, matched } = filled(1000)
    // Of the odd chains the first half is matched again, of the even ones nothing.
    for (let i = 1; i < 1000; i += 2) index.touch(keys[i]!, 0, CHAIN_BLOCKS / 2)
    index.evict({ share: 0.25, pages: 0 })
    finish(index)
    const evicted = index.eviction.evicted
    assert.ok(evicted >= 24_000 && evicted < 40_000, `${evicted} of 100,000`)
    for (let i = 1; i < 1000; i += 2) assert.ok(matched(i) >= CHAIN_BLOCKS / 2, `chain ${i}`)
    let gone = 0
    for (let i = 0; i < 1000; i += 2) if (matched(i) === 0) gone++
    assert.ok(gone > 150, `${gone} chains that were not matched are gone`)
    for (const pairs of keys) {
      let isGone = false
      for (let b = 0; b < CHAIN_BLOCKS; b++) {
        const isThere = index.contains(pairs[2 * b]!, pairs[2 * b + 1]!)
        assert.ok(!isThere || !isGone, 'a block stands without the one before it')
        isGone = !isThere
      }
    }
  })

  it('keeps a beginning for what is stored after it, however old it is', () => {
    const index = new SegmentIndex()
    const owner = index.addOwner()
    const long = chain(2000)
    for (let from = 0; from < 2000; from += 50) {
      const k = 2 * from - 2
      index.store(owner, GPU, long, from, 50, from && long[k]!, from && long[k + 1]!)
      for (let i = 0; i < 20; i++) {
        index.store(owner, GPU, chain(100, 1_000_003 * (from * 20 + i + 1)), 0, 100, 0, 0)
      }
    }
    for (let rounds = 0; rounds < 12; rounds++) {
      index.evict({ share: 0.125, pages: 0 })
      finish(index)
      index.lookup(long, 0, 2000)
      const reached = index.matched(owner)
      let there = 0
      for (let b = 0; b < 2000; b++) if (index.contains(long[2 * b]!, long[2 * b + 1]!)) there++
      assert.equal(there, reached, 'what is there can be found')
    }
  })

  it('forgets the end of a chain first that took several epochs to store', () => {
    const index = new SegmentIndex()
    const owner = index.addOwner()
    const long = chain(3000)
    index.store(owner, GPU, long, 0, 3000, 0, 0)
    for (let i = 0; i < 10; i++)
      index.store(owner, GPU, chain(100, 1_000_003 * (i + 1)), 0, 100, 0, 0)
    for (let rounds = 0; rounds < 4; rounds++) {
      index.evict({ share: 0.125, pages: 0 })
      finish(index)
      index.lookup(long, 0, 3000)
      let there = 0
      for (let b = 0; b < 3000; b++) if (index.contains(long[2 * b]!, long[2 * b + 1]!)) there++
      assert.equal(there, index.matched(owner), 'what is there can be found')
      assert.ok(there > 500, `${there} are left`)
    }
  })

  it('forgets no more than was asked for where everything was matched at once', () => {
    const { index, keys, matched } = filled(700)
    for (let i = 0; i < 40; i++) for (const pairs of keys) index.touch(pairs, 0, 1)
    // One root under which everything is.
    const root = index.addOwner()
    const head = chain(10, 77)
    index.store(root, GPU, head, 0, 10, 0, 0)
    for (let i = 0; i < 700; i++) {
      const under = chain(90, 5_000_011 * (i + 1))
      index.store(root, GPU, under, 0, 90, head[18]!, head[19]!)
    }
    const before = index.blocks
    for (let i = 0; i < 700; i++) index.touch(keys[i]!, 0, CHAIN_BLOCKS)
    index.evict({ share: 0.125, pages: 0 })
    finish(index)
    const evicted = before - index.blocks
    assert.ok(evicted < before * 0.14 && evicted > before * 0.12, `${evicted} of ${before}`)
    for (let i = 0; i < 700; i++) assert.equal(matched(i), CHAIN_BLOCKS)
  })

  it('gives pages back and loses nothing else', () => {
    const budget = new MemoryBudget(1 << 28)
    const { index, owners, keys, matched, store } = filled(6000, budget)
    const before = budget.usedBytes
    for (let i = 0; i < 6000; i += 3) index.touch(keys[i]!, 0, CHAIN_BLOCKS)
    for (let round = 0; round < 8 && budget.usedBytes > before / 2; round++) {
      index.evict({ share: 0.2, pages: 4 })
      finish(index)
    }
    assert.ok(budget.usedBytes <= before / 2, `${before} to ${budget.usedBytes} bytes`)
    assert.equal(index.bytes, budget.usedBytes)
    const left = [...keys.keys()].filter((i) => matched(i) === CHAIN_BLOCKS)
    assert.ok(left.length * CHAIN_BLOCKS > index.blocks * 0.9, 'what is left can be found')
    for (let i = 0; i < 6000; i++) for (const owner of owners) store(i, owner)
    for (let i = 0; i < 6000; i++) assert.equal(matched(i, owners[1]), CHAIN_BLOCKS)
    assert.equal(index.bytes, budget.usedBytes)
  })

  it('gives the memory of lists of holders back', () => {
    const budget = new MemoryBudget(1 << 28)
    const index = new SegmentIndex(budget)
    const owners = Array.from({ length: 40 }, () => index.addOwner())
    const keys = Array.from({ length: 3000 }, (_, i) => chain(32, i * 1_000_003))
    for (const pairs of keys) {
      // Each holds another part of it.
      for (const [o, owner] of owners.entries()) {
        if (o < 32) index.store(owner, GPU, pairs, 0, o + 1, 0, 0)
      }
    }
    const before = budget.usedBytes
    for (let round = 0; round < 12; round++) {
      index.evict({ share: 0.25, pages: 4 })
      finish(index)
    }
    assert.ok(budget.usedBytes < before / 4, `${before} to ${budget.usedBytes} bytes`)
    assert.equal(index.bytes, budget.usedBytes)
    let whole = 0
    for (const pairs of keys) {
      const found = index.lookup(pairs, 0, 32)
      if (found === 0) continue
      whole++
      for (let o = 0; o < 32; o++) assert.equal(index.matched(owners[o]!), o + 1)
    }
    assert.ok(whole > 20, `${whole} chains are left`)
  })

  it('makes no long step', () => {
    const { index } = filled(10_000)
    let longestMs = 0
    let steps = 0
    const timed = (work: () => void) => {
      const { user, system } = process.cpuUsage()
      work()
      const spent = process.cpuUsage({ user, system })
      longestMs = Math.max(longestMs, (spent.user + spent.system) / 1000)
      steps++
    }
    timed(() => index.evict({ share: 0.25, pages: 3 }))
    while (index.eviction.isActive) timed(() => index.eviction.step(512))
    console.log(`        longest of ${steps} steps ${longestMs.toFixed(1)} ms (limit 10 ms)`)
    assert.ok(longestMs < 100, `${longestMs} ms`)
  })
})
