import assert from 'node:assert/strict'
import fc from 'fast-check'
import { ChainHasher } from '../../../src/kvcache/hashing/chain-hash.ts'
import { RequestKeys, usableBlocks } from '../../../src/kvcache/hashing/request-keys.ts'
import { below, seeded } from '../random.ts'

const SEED = Buffer.from('requests')

/** Counts the blocks that are hashed. */
class CountingHasher extends ChainHasher {
  blocks = 0

  override extend(...args: Parameters<ChainHasher['extend']>): void {
    this.blocks += args[2]
    super.extend(...args)
  }
}

/** Keys of a prompt as one chain. */
function chainOf(prompt: Int32Array, blockTokens: number, adapter?: string, salt?: string) {
  const hasher = new ChainHasher(SEED)
  const blocks = usableBlocks(prompt.length, blockTokens)
  const keys = new Int32Array(blocks * 2)
  hasher.root(blockTokens, adapter, salt)
  hasher.extend(prompt, 0, blocks, blockTokens, keys, 0)
  return keys
}

function setUp() {
  const hasher = new CountingHasher(SEED)
  const keys = new RequestKeys(hasher)
  const draw = below(seeded(11))
  return {
    hasher,
    keys,
    randomTokens: (count: number) => Int32Array.from({ length: count }, () => draw(150_000)),
    /** The keys, and how many blocks were hashed for them. */
    ask(prompt: Int32Array, blockTokens = 64, adapter?: string, salt?: string) {
      const before = hasher.blocks
      const { pairs } = keys.of({ prompts: [prompt], exact: true }, blockTokens, adapter, salt)
      return { pairs, hashed: hasher.blocks - before }
    },
  }
}

describe('RequestKeys', () => {
  it('hashes a conversation that goes on from where it differs, once it has come twice', () => {
    const { ask, keys, randomTokens } = setUp()
    const conversation = randomTokens(40_000)
    const hashed: number[] = []
    for (let turn = 0; turn < 8; turn++) {
      const prompt = conversation.subarray(0, 30_000 + 500 * turn)
      const asked = ask(prompt.slice())
      assert.deepEqual(asked.pairs, chainOf(prompt, 64))
      hashed.push(asked.hashed)
    }
    assert.deepEqual(hashed.slice(0, 2), [468, 476])
    // Past 32,768 tokens it is told apart by others.
    assert.ok(
      hashed.slice(2).every((blocks) => blocks <= 8),
      String(hashed),
    )
    assert.ok(keys.bytes > 30_000 * 4)
  })

  it('keeps nothing of prompts that come once', () => {
    const { ask, keys, randomTokens } = setUp()
    for (let i = 0; i < 100; i++) assert.equal(ask(randomTokens(10_000)).hashed, 156)
    assert.ok(keys.bytes < 100 * 400, String(keys.bytes))
  })

  it('never takes more memory than it may', () => {
    const { ask, keys, randomTokens } = setUp()
    for (let i = 0; i < 60; i++) {
      const prompt = randomTokens(200_000)
      for (let times = 0; times < 2; times++) ask(prompt.slice())
      assert.ok(keys.bytes <= 32 * 1024 * 1024)
    }
    assert.ok(keys.bytes > 30 * 1024 * 1024)
  })

  it('gives the keys of the whole chain, wherever a prompt differs from those before', () => {
    const { ask, randomTokens } = setUp()
    const base = randomTokens(20_000)
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20_000 }),
        fc.array(fc.integer({ min: 0, max: 19_999 }), { maxLength: 2 }),
        fc.constantFrom(16, 64, 100),
        fc.constantFrom(undefined, 'lora'),
        fc.constantFrom(undefined, 'salt'),
        (length, changed, blockTokens, adapter, salt) => {
          const prompt = base.slice(0, length)
          for (const at of changed) if (at < length) prompt[at]! ^= 1
          assert.deepEqual(
            ask(prompt, blockTokens, adapter, salt).pairs,
            chainOf(prompt, blockTokens, adapter, salt),
          )
        },
      ),
      { numRuns: 300, seed: 3 },
    )
  })

  it('hashes a prompt once for all models, whose keys differ', () => {
    const { hasher, keys, randomTokens } = setUp()
    const tokens = { prompts: [randomTokens(1000), randomTokens(300)], exact: true }
    const shared = keys.of(tokens, 16, undefined, undefined)
    const [a, b] = ['a', 'b'].map((model) => keys.ofModel(tokens, 16, model, undefined))
    const all = [shared, a!, b!].map(({ pairs }) => pairs)
    assert.equal(hasher.blocks, 62 + 18)
    assert.equal(keys.ofModel(tokens, 16, 'a', undefined), a)
    assert.notEqual(keys.ofModel(tokens, 16, 'a', 'salt'), a)
    const names = new Set<string>()
    for (const pairs of all) {
      assert.equal(pairs.length, 2 * (62 + 18))
      for (let i = 0; i < pairs.length; i += 2) names.add(`${pairs[i]} ${pairs[i + 1]}`)
    }
    assert.equal(names.size, 3 * (62 + 18))
  })
})
