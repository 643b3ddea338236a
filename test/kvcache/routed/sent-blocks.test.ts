import assert from 'node:assert/strict'
import { ChainHasher } from '../../../src/kvcache/hashing/chain-hash.ts'
import { Epochs } from '../../../src/kvcache/routed/epochs.ts'
import { SentBlocks } from '../../../src/kvcache/routed/sent-blocks.ts'
import { MemoryBudget } from '../../../src/kvcache/segments/memory-budget.ts'
import { below, seeded } from '../random.ts'

const hasher = new ChainHasher(Buffer.from('12345678'))

/** Keys of a prompt whose blocks are these tokens, one each. */
function keysOf(tokens: readonly number[]): Int32Array {
  const keys = new Int32Array(tokens.length * 2)
  hasher.root(1, undefined, undefined)
  hasher.extend(Int32Array.from(tokens), 0, tokens.length, 1, keys, 0)
  return keys
}

/** A prompt that shares nothing with those of other names. */
function prompt(name: number, blocks: number): Int32Array {
  return keysOf(Array.from({ length: blocks }, (_, i) => (i === 0 ? -1 - name : i)))
}

function sentBlocks(recent: number, ghost = recent * 4, limitBytes = 64 << 20) {
  const budget = new MemoryBudget(limitBytes)
  const sent = SentBlocks.within(budget, new Epochs(recent, ghost))!
  const record = (keys: Int32Array) => sent.record(keys, 0, keys.length / 2)
  const depths = (keys: Int32Array) => {
    sent.search(keys, 0, keys.length / 2)
    return [sent.recent, sent.ghost] as const
  }
  return { sent, budget, record, depths }
}

/** Blocks in the order of their use, without limits and one by one. */
class PlainLru {
  readonly #order = new Map<string, true>()

  record(keys: Int32Array, most: number): void {
    for (let i = Math.min(keys.length / 2, most) - 1; i >= 0; i--) {
      const name = nameOf(keys, i)
      this.#order.delete(name)
      this.#order.set(name, true)
    }
  }

  /** How many were used after each block that was used at all. */
  ranks(): ReadonlyMap<string, number> {
    return new Map([...this.#order.keys()].reverse().map((name, rank) => [name, rank]))
  }
}

const nameOf = (keys: Int32Array, i: number) => `${keys[2 * i]},${keys[2 * i + 1]}`

function depthWithin(ranks: ReadonlyMap<string, number>, keys: Int32Array, capacity: number) {
  let depth = 0
  while (
    depth < keys.length / 2 &&
    (ranks.get(nameOf(keys, depth)) ?? Number.POSITIVE_INFINITY) < capacity
  ) {
    depth++
  }
  return depth
}

describe('SentBlocks', () => {
  it('agrees with two plain LRUs within one epoch, over prompts that share beginnings and fork', () => {
    const recent = 640
    const ghost = 2560
    const epoch = recent / 64
    const { record, depths } = sentBlocks(recent, ghost)
    const plain = new PlainLru()
    const pick = below(seeded(7))
    /** A walk down a tree: each node has three children, of which one is the usual. */
    const walk = () => {
      const tokens = [pick(4)]
      const length = 20 + pick(130)
      while (tokens.length < length) tokens.push(pick(8) === 0 ? pick(3) : 0)
      return keysOf(tokens)
    }
    const said: Int32Array[] = []
    let asked = 0
    let short = 0
    for (let step = 0; step < 800; step++) {
      const keys = step > 40 && pick(3) > 0 ? said[said.length - 1 - pick(40)]! : walk()
      said.push(keys)
      record(keys)
      plain.record(keys, ghost)
      if (step % 5 > 0) continue
      const ranks = plain.ranks()
      const other = said[said.length - 1 - pick(Math.min(said.length, 60))]!
      const [recentDepth, ghostDepth] = depths(other)
      assert.ok(recentDepth <= depthWithin(ranks, other, recent), `recent, step ${step}`)
      assert.ok(recentDepth >= depthWithin(ranks, other, recent - 2 * epoch), `step ${step}`)
      assert.ok(ghostDepth <= depthWithin(ranks, other, ghost), `ghost, step ${step}`)
      asked++
      if (ghostDepth < depthWithin(ranks, other, ghost - 2 * epoch)) short++
    }
    // Full buckets lose some of the oldest.
    assert.ok(short / asked < 0.01, `${short} of ${asked} ghosts are short`)
  })

  it('keeps less than a capacity whatever is sent in turn', () => {
    const recent = 640
    const { record, depths } = sentBlocks(recent)
    const conversations = 60
    let most = 0
    for (let turn = 1; turn <= 40; turn++) {
      for (let name = 0; name < conversations; name++) record(prompt(name, turn * 2))
      let held = 0
      for (let name = 0; name < conversations; name++) held += depths(prompt(name, turn * 2))[0]
      most = Math.max(most, held)
      assert.ok(held <= recent, `${held} blocks in turn ${turn}`)
    }
    assert.ok(most > recent - 20, `${most} blocks at most`)
  })

  it('does not let a beginning that all share age the others', () => {
    const { record, depths } = sentBlocks(640)
    const others = Array.from({ length: 5 }, (_, name) => prompt(name, 100))
    for (const keys of others) record(keys)
    for (let i = 0; i < 5000; i++) record(prompt(99, 120))
    for (const keys of others) assert.equal(depths(keys)[0], 100)
  })

  it('remembers what is not used while the rest is, through any number of epochs', () => {
    const { sent, record, depths } = sentBlocks(640)
    const [idle, ...busy] = Array.from({ length: 6 }, (_, name) => prompt(name, 100))
    record(idle!)
    let renumbered = 0
    for (let i = 0; i < 20_000; i++) {
      const before = sent.epochs.now
      record(busy[i % busy.length]!)
      if (sent.epochs.now < before) renumbered++
    }
    assert.ok(renumbered > 10, `numbered anew ${renumbered} times`)
    for (const keys of [idle!, ...busy]) assert.deepEqual(depths(keys), [100, 100])
    record(prompt(9, 141))
    assert.ok(depths(idle!)[0] < 100)
    assert.equal(depths(idle!)[1], 100)
  })

  it('remembers the beginning of a prompt that is longer than all of its memory', () => {
    const { record, depths } = sentBlocks(64)
    record(prompt(1, 1000))
    assert.deepEqual(depths(prompt(1, 1000)), [64, 256])
  })

  it('finds prompts at any position of the keys', () => {
    const { sent, depths } = sentBlocks(640)
    const both = Int32Array.from([...prompt(1, 10), ...prompt(2, 20)])
    sent.record(both, 10, 20)
    assert.deepEqual(depths(prompt(1, 10)), [0, 0])
    assert.deepEqual(depths(prompt(2, 20)), [20, 20])
    sent.search(both, 10, 15)
    assert.deepEqual([sent.recent, sent.ghost], [15, 15])
  })

  it('grows as it is used and forgets nothing by it', () => {
    const { sent, budget, record, depths } = sentBlocks(20_000)
    const least = budget.usedBytes
    assert.ok(least < 16_384, `${least} bytes at first`)
    const sizes = new Set([least])
    let short = 0
    for (let name = 0; name < 600; name++) {
      record(prompt(name, 100))
      sizes.add(budget.usedBytes)
      const first = Math.max(0, name - 190)
      for (const each of [first, (first + name) >> 1]) {
        if (depths(prompt(each, 100))[0] < 100) short++
      }
    }
    assert.ok(sizes.size > 7, `${sizes.size} sizes`)
    assert.ok(short < 12, `${short} of 1200 are short`)
    // 80,000 blocks at a load of 0.6, in a power of two.
    assert.ok(budget.usedBytes - least <= 2 ** 18 * 8, `${budget.usedBytes} bytes`)
    sent.release()
    assert.equal(budget.usedBytes, 0)
  })

  it('does not grow beyond its memory, and then keeps the latest', () => {
    const { budget, record, depths } = sentBlocks(20_000, 80_000, 100_000)
    for (let name = 0; name < 300; name++) {
      record(prompt(name, 100))
      assert.ok(budget.usedBytes <= 100_000)
      assert.ok(depths(prompt(name, 100))[0] > 90)
    }
    let held = 0
    for (let name = 270; name < 300; name++) held += depths(prompt(name, 100))[0]
    assert.ok(held > 2500, `${held} of the latest 3000`)
    assert.equal(depths(prompt(0, 100))[1], 0)
  })

  it('keeps no more of a prompt than has room, and is not begun where there is none', () => {
    const { budget, record, depths } = sentBlocks(20_000, 80_000, 14_000)
    for (let name = 0; name < 50; name++) record(prompt(name, 6000))
    const [recent] = depths(prompt(49, 6000))
    assert.ok(recent > 0 && recent <= 512, `${recent} blocks`)
    assert.equal(SentBlocks.within(budget, new Epochs(640, 2560)), undefined)
  })
})
