import assert from 'node:assert/strict'
import { OwnedHashes } from '../../../src/kvcache/hashing/owned-hashes.ts'
import { MemoryBudget } from '../../../src/kvcache/segments/memory-budget.ts'
import { CPU, GPU, SegmentIndex } from '../../../src/kvcache/segments/segment-index.ts'
import { below, seeded } from '../random.ts'
import { chain, randomChains } from '../segments/naive-index.ts'

/** References of one cache by hash: the block's key, and how many there are on each medium. */
class NaiveHashes {
  readonly blocks = new Map<string, { key: string; refs: [number, number] }>()

  store(plane: number, hash: string, key: string): void {
    const known = this.blocks.get(hash) ?? { key, refs: [0, 0] }
    known.refs[plane === GPU ? 0 : 1]++
    this.blocks.set(hash, known)
  }
  remove(plane: number, hash: string): boolean {
    const known = this.blocks.get(hash)
    const place = plane === GPU ? 0 : 1
    if (known === undefined || known.refs[place] === 0) return false
    known.refs[place]--
    if (known.refs[0] + known.refs[1] === 0) this.blocks.delete(hash)
    return true
  }
}

/** An engine's hash of a block: the same for engines with the same seed. */
const hashed = (keys: Int32Array, block: number, seed: number) =>
  [~keys[2 * block + 1]! ^ seed, keys[2 * block]! + seed] as const

describe('OwnedHashes', () => {
  for (const [what, seeds] of [
    ['the same', [5, 5, 5, 5]],
    ['of each its own', [1, 2, 3, 4]],
    ['the same of some', [7, 7, 8, 8]],
  ] as const) {
    it(`agrees with maps where the hashes of engines are ${what}`, () => {
      const random = seeded(11)
      const pick = below(random)
      const budget = new MemoryBudget(1 << 30)
      const index = new SegmentIndex(budget)
      const chains = randomChains(random, 12, 70)
      const engines = seeds.map((seed) => {
        const number = index.addOwner()
        const hashes = new OwnedHashes(index, budget)
        hashes.begin(number)
        return { seed, number, hashes, naive: new NaiveHashes() }
      })
      for (let step = 0; step < 12_000; step++) {
        const engine = engines[pick(engines.length)]!
        const { seed, hashes } = engine
        const keys = chains[pick(chains.length)]!
        const length = keys.length / 2
        const from = pick(length)
        const count = 1 + pick(Math.min(length - from, 33))
        const plane = pick(4) === 0 ? CPU : GPU
        const action = pick(100)
        const at = (i: number) => hashed(keys, from + i, seed)
        if (action < 45) {
          const pairs = Int32Array.from(Array.from({ length: count }, (_, i) => at(i)).flat())
          const given = keys.slice(2 * from, 2 * (from + count))
          const lo = from === 0 ? 0 : keys[2 * from - 2]!
          const hi = from === 0 ? 0 : keys[2 * from - 1]!
          const expected = { entered: count, conflicts: 0, full: 0 }
          assert.deepEqual(hashes.store(plane, pairs, given, count, lo, hi), expected)
          for (let i = 0; i < count; i++) {
            engine.naive.store(
              plane,
              `${pairs[2 * i]} ${pairs[2 * i + 1]}`,
              `${given[2 * i]} ${given[2 * i + 1]}`,
            )
          }
        } else if (action < 98) {
          for (let i = count - 1; i >= 0; i--) {
            const [lo, hi] = at(i)
            const expected = engine.naive.remove(plane, `${lo} ${hi}`)
            assert.equal(hashes.remove(plane, lo, hi), expected, `step ${step}`)
          }
        } else if (action === 98) {
          index.retireOwner(engine.number)
          hashes.end()
          engine.number = index.addOwner()
          hashes.begin(engine.number)
          engine.naive.blocks.clear()
        } else index.sweep(pick(20))
        const [lo, hi] = at(0)
        const expected = engine.naive.blocks.get(`${lo} ${hi}`)
        assert.equal(hashes.get(lo, hi), expected !== undefined, `step ${step}`)
        if (expected) assert.equal(`${hashes.keyLo} ${hashes.keyHi}`, expected.key)
        assert.equal(hashes.size, engine.naive.blocks.size, `step ${step}`)
        assert.equal(hashes.forgotten, 0)
      }
    })
  }

  for (const [what, seeds] of [
    ['alike', [5, 5, 5]],
    ['each its own way', [1, 2, 3]],
  ] as const) {
    it(`removes many blocks at once as one by one where engines hash ${what}`, () => {
      const random = seeded(21)
      const pick = below(random)
      const chains = randomChains(random, 10, 80)
      // Two of everything: what one removes at once, the other removes one by one.
      const sides = [0, 1].map(() => {
        const budget = new MemoryBudget(1 << 30)
        const index = new SegmentIndex(budget)
        const joins = seeds.map(() => {
          const join = new OwnedHashes(index, budget)
          join.begin(index.addOwner())
          return join
        })
        return { index, joins }
      })
      const [atOnce, oneByOne] = sides as [(typeof sides)[0], (typeof sides)[0]]
      let most = 0
      for (let step = 0; step < 6000; step++) {
        const e = pick(seeds.length)
        const keys = chains[pick(chains.length)]!
        const length = keys.length / 2
        const from = pick(length)
        const count = 1 + pick(length - from)
        const plane = pick(4) === 0 ? CPU : GPU
        const hashes = Array.from({ length: count }, (_, i) => hashed(keys, from + i, seeds[e]!))
        const action = pick(100)
        if (action < 50) {
          const given = keys.slice(2 * from, 2 * (from + count))
          const lo = from === 0 ? 0 : keys[2 * from - 2]!
          const hi = from === 0 ? 0 : keys[2 * from - 1]!
          const pairs = Int32Array.from(hashes.flat())
          for (const { joins } of sides) joins[e]!.store(plane, pairs, given, count, lo, hi)
        } else if (action < 97) {
          // From the end mostly, else from the beginning, in disorder, or with some of them twice.
          const kind = pick(6)
          if (kind < 3) hashes.reverse()
          else if (kind === 3) hashes.sort(([a], [b]) => a - b)
          else if (kind === 4) hashes.splice(pick(count), 0, ...hashes.slice(0, 3))
          const pairs = Int32Array.from(hashes.flat())
          let removed = 0
          for (const [lo, hi] of hashes) if (oneByOne.joins[e]!.remove(plane, lo, hi)) removed++
          assert.equal(atOnce.joins[e]!.removeAll(plane, pairs, hashes.length), removed)
          most = Math.max(most, removed)
        } else if (action === 97) {
          for (const { index } of sides) index.evict({ share: 0.3, pages: 0 })
          for (const { index } of sides) while (index.eviction.isActive) index.eviction.step(100)
        }
        assert.equal(atOnce.index.blocks, oneByOne.index.blocks, `step ${step}`)
        for (const [i, join] of atOnce.joins.entries()) {
          const other = oneByOne.joins[i]!
          assert.deepEqual([join.size, join.forgotten], [other.size, other.forgotten])
        }
        const found = sides.map(({ index }) => {
          const owners = index.lookup(keys, 0, length)
          return Array.from({ length: owners }, (_, place) => index.found(place))
            .sort((a, b) => a - b)
            .map((owner) => [owner, index.matched(owner)])
        })
        assert.deepEqual(found[0], found[1], `step ${step}`)
      }
      assert.ok(most > 40, `${most} at once`)
    })
  }

  it('leaves a hash to the block that an engine gave it to first, and tells engines apart', () => {
    const budget = new MemoryBudget(1 << 30)
    const index = new SegmentIndex(budget)
    const engine = () => {
      const hashes = new OwnedHashes(index, budget)
      hashes.begin(index.addOwner())
      return hashes
    }
    const one = engine()
    const other = engine()
    const first = chain(1, 1)
    const second = chain(1, 2)
    const hash = Int32Array.of(7, 8)
    const store = (hashes: OwnedHashes, key: Int32Array) => hashes.store(GPU, hash, key, 1, 0, 0)
    assert.equal(store(one, first).entered, 1)
    assert.deepEqual(store(one, second), { entered: 0, conflicts: 1, full: 0 })
    assert.equal(index.contains(second[0]!, second[1]!), false)
    assert.equal(store(other, second).entered, 1)
    for (const [hashes, key] of [
      [one, first],
      [other, second],
    ] as const) {
      assert.equal(hashes.get(7, 8), true)
      assert.deepEqual([hashes.keyLo, hashes.keyHi, hashes.size], [...key, 1])
    }
    assert.deepEqual(store(other, first), { entered: 0, conflicts: 1, full: 0 })
    assert.equal(one.remove(GPU, 7, 8), true)
    assert.equal(one.remove(GPU, 7, 8), false)
    assert.deepEqual([one.get(7, 8), other.get(7, 8)], [false, true])
    assert.equal(other.remove(GPU, 7, 8), true)
    assert.equal(index.blocks, 0)
  })

  it('keeps a hash once for all engines that hash alike', () => {
    const bytesWith = (seedOf: (engine: number) => number) => {
      const budget = new MemoryBudget(1 << 30)
      const index = new SegmentIndex(budget)
      for (let engine = 0; engine < 32; engine++) {
        const hashes = new OwnedHashes(index, budget)
        hashes.begin(index.addOwner())
        for (let c = 0; c < 250; c++) {
          const keys = chain(32, c * 31)
          const named = Int32Array.from(
            Array.from({ length: 32 }, (_, i) => hashed(keys, i, seedOf(engine))).flat(),
          )
          assert.equal(hashes.store(GPU, named, keys, 32, 0, 0).entered, 32)
        }
        assert.equal(hashes.size, 8000)
      }
      return budget.usedBytes / (32 * 8000)
    }
    const alike = bytesWith(() => 3)
    const apart = bytesWith((engine) => engine)
    console.log(`        ${alike.toFixed(1)} bytes an entry, ${apart.toFixed(1)} where all differ`)
    assert.ok(alike < 12, `${alike}`)
    assert.ok(apart > 2 * alike)
  })

  it('counts what an eviction has taken, until the engine removes it', () => {
    const budget = new MemoryBudget(1 << 30)
    const index = new SegmentIndex(budget)
    const keys = chain(40)
    for (const seed of [1, 2]) {
      const hashes = new OwnedHashes(index, budget)
      hashes.begin(index.addOwner())
      const named = Int32Array.from(
        Array.from({ length: 40 }, (_, i) => hashed(keys, i, seed)).flat(),
      )
      hashes.store(GPU, named, keys, 40, 0, 0)
      hashes.store(CPU, named, keys, 10, 0, 0)
      assert.deepEqual([hashes.size, hashes.forgotten], [40, 0])
      for (let round = 0; round < 5 && index.blocks > 0; round++) {
        index.evict({ share: 1, pages: 0 })
        while (index.eviction.isActive) index.eviction.step(1000)
      }
      assert.deepEqual([hashes.size, hashes.forgotten], [0, 50])
      for (let i = 39; i >= 0; i--) {
        const [lo, hi] = hashed(keys, i, seed)
        assert.equal(hashes.get(lo, hi), false)
        assert.equal(hashes.remove(GPU, lo, hi), true)
        if (i < 10) assert.equal(hashes.remove(CPU, lo, hi), true)
      }
      assert.equal(hashes.forgotten, 0)
      const [lo, hi] = hashed(keys, 0, seed)
      assert.equal(hashes.remove(GPU, lo, hi), false)
      assert.equal(hashes.storeKnown(GPU, lo, hi), false)
      // Another engine holds the first blocks, under its own hashes.
      hashes.store(GPU, named, keys, 1, 0, 0)
    }
  })
})
