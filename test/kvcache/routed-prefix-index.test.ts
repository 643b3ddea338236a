import assert from 'node:assert/strict'
import { request } from '../../src/framework/testing.ts'
import { BlockLru } from '../../src/kvcache/block-lru.ts'
import { KvRoutedPrefixIndex } from '../../src/kvcache/routed-prefix-index.ts'
import { tokensOf } from './events.ts'
import { ManualEndpoints } from './fakes.ts'
import { below, seeded } from './random.ts'

const asked = request({ targetModel: 'm' })
const prompt = (chain: string, tokens: number) => ({
  prompts: [Int32Array.from(tokensOf(chain, 0, tokens, 1))],
  exact: true,
})

function setup(blocksPerEndpoint = 1000, maxPrefixTokens = 10_000) {
  const endpoints = new ManualEndpoints()
  const index = new KvRoutedPrefixIndex({ endpoints, maxMemoryBytes: 64 << 20 })
  index.configure({ blockTokens: 16, maxPrefixTokens, blocksPerEndpoint })
  return { endpoints, index }
}

describe('KvRoutedPrefixIndex', () => {
  it('finds what was sent before, per endpoint, model and salt', () => {
    const { endpoints, index } = setup()
    const [a, b] = [endpoints.add({ address: '10.0.0.1' }), endpoints.add({ address: '10.0.0.2' })]
    index.record(asked, prompt('a', 81), a)
    const blocks = (input = {}) => [
      ...index.match({ ...asked, ...input }, prompt('a', 161), [a, b]).blocks,
    ]
    assert.deepEqual(blocks(), [5, 0])
    assert.deepEqual(blocks({ targetModel: 'other' }), [0, 0])
    assert.deepEqual(blocks({ cacheSalt: 's' }), [0, 0])
    index.record(asked, prompt('a', 161), b)
    assert.deepEqual(blocks(), [5, 10])
  })

  it('takes the block size from metrics, at least 64, when none is configured', () => {
    const { endpoints, index } = setup()
    const metrics = {
      waiting: 0,
      running: 0,
      kvCacheUsage: 0,
      kvBlocks: undefined,
      hashAlgorithm: undefined,
      adapters: undefined,
      custom: new Map(),
      scrapedAtMs: 0,
    }
    const given = [
      endpoints.add({ address: '10.0.0.1', metrics: { ...metrics, blockTokens: 16 } }),
      endpoints.add({ address: '10.0.0.2', metrics: { ...metrics, blockTokens: 128 } }),
      endpoints.add({ address: '10.0.0.3' }),
    ]
    index.configure({ blockTokens: undefined, maxPrefixTokens: 1e6, blocksPerEndpoint: 1000 })
    for (const endpoint of given) index.record(asked, prompt('a', 257), endpoint)
    const match = index.match(asked, prompt('a', 257), given)
    assert.deepEqual([...match.blockTokens], [64, 128, 64])
    assert.deepEqual([...match.blocks], [4, 2, 4])
  })

  it('matches no more than it is told to', () => {
    const { endpoints, index } = setup(1000, 100)
    const endpoint = endpoints.add()
    index.record(asked, prompt('a', 1000), endpoint)
    const { blocks, usableBlocks } = index.match(asked, prompt('a', 1000), [endpoint])
    assert.deepEqual([blocks[0], usableBlocks[0]], [6, 6])
  })

  it('forgets the longest unused prompts first, and of a prompt its end', () => {
    const { endpoints, index } = setup(10)
    const endpoint = endpoints.add()
    const blocks = (chain: string) => index.match(asked, prompt(chain, 81), [endpoint]).blocks[0]
    index.record(asked, prompt('a', 81), endpoint)
    index.record(asked, prompt('b', 81), endpoint)
    index.record(asked, prompt('a', 81), endpoint)
    index.record(asked, prompt('c', 33), endpoint)
    assert.deepEqual([blocks('a'), blocks('b'), blocks('c')], [5, 3, 2])
    index.record(asked, prompt('d', 161), endpoint)
    assert.deepEqual([blocks('a'), blocks('b'), blocks('c'), blocks('d')], [0, 0, 0, 5])
  })

  it('agrees with a plain LRU of blocks over many prompts', () => {
    const { endpoints, index } = setup(60)
    const endpoint = endpoints.add()
    const pick = below(seeded(3))
    const lru: string[] = []
    for (let i = 0; i < 3_000; i++) {
      const chain = String.fromCharCode(97 + pick(12))
      const count = 1 + pick(20)
      for (let block = count - 1; block >= 0; block--) {
        const name = `${chain}${block}`
        const at = lru.indexOf(name)
        if (at >= 0) lru.splice(at, 1)
        lru.push(name)
        if (lru.length > 60) lru.shift()
      }
      index.record(asked, prompt(chain, count * 16 + 1), endpoint)
      const other = String.fromCharCode(97 + pick(12))
      let expected = 0
      while (expected < 20 && lru.includes(`${other}${expected}`)) expected++
      assert.equal(
        index.match(asked, prompt(other, 321), [endpoint]).blocks[0],
        expected,
        `step ${i}`,
      )
    }
  })

  it('remembers as many times what an engine can hold as it is told, once the engine says', () => {
    const endpoints = new ManualEndpoints()
    const index = new KvRoutedPrefixIndex({
      endpoints,
      maxMemoryBytes: 64 << 20,
      capacities: 2,
      blocksPerEndpoint: 20,
    })
    const unknown = endpoints.add()
    const states = (kvBlocks: number) => ({
      ...unknown,
      metrics: {
        waiting: 0,
        running: 0,
        kvCacheUsage: 0,
        kvBlocks,
        blockTokens: 16,
        hashAlgorithm: undefined,
        adapters: undefined,
        custom: new Map(),
        scrapedAtMs: 0,
      },
    })
    const blocks = (chain: string, of = unknown) =>
      index.match(asked, prompt(chain, 30 * 64 + 1), [of]).blocks[0]
    index.record(asked, prompt('a', 30 * 64 + 1), unknown)
    assert.equal(blocks('a'), 20)
    // 16 blocks of 16 tokens, twice, in blocks of 64.
    index.record(asked, prompt('b', 30 * 64 + 1), states(16))
    assert.deepEqual([blocks('a'), blocks('b', states(16))], [0, 8])
    index.record(asked, prompt('c', 4 * 64 + 1), unknown)
    assert.deepEqual([blocks('b'), blocks('c')], [4, 4])
    index.record(asked, prompt('d', 30 * 64 + 1), states(1_000_000))
    assert.equal(blocks('d'), 20)
  })

  it('takes one prompt once per endpoint, however many tell of it', () => {
    const { endpoints, index } = setup(10)
    const endpoint = endpoints.add()
    const [first, second] = [prompt('a', 81), prompt('b', 81)]
    index.record(asked, first, endpoint)
    index.record(asked, second, endpoint)
    index.record(asked, first, endpoint)
    index.record(asked, prompt('c', 33), endpoint)
    assert.equal(index.match(asked, prompt('a', 81), [endpoint]).blocks[0], 3)
  })

  it('forgets an endpoint that goes', () => {
    const { endpoints, index } = setup()
    const first = endpoints.add()
    index.record(asked, prompt('a', 81), first)
    endpoints.remove(first)
    const second = endpoints.add()
    assert.deepEqual([...index.match(asked, prompt('a', 81), [first, second]).blocks], [0, 0])
    index.record(asked, prompt('a', 81), first)
    assert.deepEqual([...index.match(asked, prompt('a', 81), [first, second]).blocks], [0, 0])
  })
})

describe('BlockLru', () => {
  it('agrees with a map in order of use', () => {
    const pick = below(seeded(8))
    const lru = new BlockLru(500)
    const map = new Map<number, true>()
    for (let i = 0; i < 50_000; i++) {
      // Few low bits, so that the table has long runs.
      const key = (pick(900) << 8) | 1
      const known = map.delete(key)
      map.set(key, true)
      const oldest = map.size > 500 ? map.keys().next().value : undefined
      if (oldest !== undefined) map.delete(oldest)
      const expected = known ? 'known' : oldest === undefined ? 'added' : 'replaced'
      assert.equal(lru.touch(key, ~key), expected)
      if (oldest !== undefined) assert.deepEqual([lru.droppedLo, lru.droppedHi], [oldest, ~oldest])
    }
    assert.equal(lru.size, 500)
  })
})
