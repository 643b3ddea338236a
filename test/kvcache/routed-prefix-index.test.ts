import assert from 'node:assert/strict'
import type { RoutedPrefixIndex } from '../../src/framework/services.ts'
import { request } from '../../src/framework/testing.ts'
import { ChainHasher } from '../../src/kvcache/hashing/chain-hash.ts'
import { RequestKeys } from '../../src/kvcache/hashing/request-keys.ts'
import { KvRoutedPrefixIndex } from '../../src/kvcache/routed-prefix-index.ts'
import { tokensOf } from './events.ts'
import { ManualEndpoints } from './fakes.ts'
import { below, seeded } from './random.ts'

const METRICS = {
  ...{ waiting: 0, running: 0, kvCacheUsage: 0, kvBlocks: undefined, scrapedAtMs: 0 },
  ...{ hashAlgorithm: undefined, adapters: undefined, custom: new Map<string, number>() },
}
const asked = request({ targetModel: 'm' })
const prompt = (chain: string, tokens: number) => ({
  prompts: [Int32Array.from(tokensOf(chain, 0, tokens, 1))],
  exact: true,
})

function setup(blocksPerEndpoint = 1000, maxPrefixTokens = 10_000) {
  const endpoints = new ManualEndpoints()
  const keys = new RequestKeys(new ChainHasher(Buffer.from('12345678')))
  const index = new KvRoutedPrefixIndex({ endpoints, maxMemoryBytes: 64 << 20, keys })
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

  it('finds the same of an endpoint whatever others it is asked for, though blocks have lost their places', () => {
    const { endpoints, index } = setup(150)
    const draw = below(seeded(7))
    const some = ['10.0.0.1', '10.0.0.2'].map((address) => endpoints.add({ address }))
    const prompts = Array.from({ length: 60 }, (_, i) =>
      prompt(String.fromCharCode(65 + i), 1 + 16 * 5),
    )
    let cut = 0
    for (let i = 0; i < 20_000; i++) {
      const asks = prompts[draw(prompts.length)]!
      const { blocks } = index.match(asked, asks, some)
      for (const [e, endpoint] of some.entries()) {
        assert.equal(index.match(asked, asks, [endpoint]).blocks[0], blocks[e])
        if (blocks[e]! % 5 > 0) cut++
      }
      index.record(asked, prompts[draw(prompts.length)]!, some[draw(2)]!)
    }
    assert.ok(cut > 0, 'some have lost their places')
  })

  it('takes the block size from metrics, at least 64, when none is configured', () => {
    const { endpoints, index } = setup()
    const given = [
      endpoints.add({ address: '10.0.0.1', metrics: { ...METRICS, blockTokens: 16 } }),
      endpoints.add({ address: '10.0.0.2', metrics: { ...METRICS, blockTokens: 128 } }),
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

  it('remembers what an engine can hold once it says, and four times that for the ghost', () => {
    const { endpoints, index } = setup(20)
    index.configure({ blockTokens: undefined, maxPrefixTokens: 1e6, blocksPerEndpoint: 20 })
    const unknown = endpoints.add()
    const states = (kvBlocks: number) => ({
      ...unknown,
      metrics: { ...METRICS, kvBlocks, blockTokens: 16 },
    })
    const blocks = (chain: string, of = unknown) => [
      index.match(asked, prompt(chain, 50 * 64 + 1), [of]).blocks[0],
      index.ghost.match(asked, prompt(chain, 50 * 64 + 1), [of]).blocks[0],
    ]
    index.record(asked, prompt('a', 50 * 64 + 1), unknown)
    assert.deepEqual(blocks('a'), [20, 40])
    // 32 blocks of 16 tokens, in blocks of 64.
    index.record(asked, prompt('b', 50 * 64 + 1), states(32))
    assert.deepEqual(blocks('a'), [0, 0])
    assert.deepEqual(blocks('b', states(32)), [8, 32])
    index.record(asked, prompt('c', 4 * 64 + 1), unknown)
    assert.deepEqual(
      [blocks('b'), blocks('c')],
      [
        [4, 28],
        [4, 4],
      ],
    )
    index.record(asked, prompt('d', 50 * 64 + 1), states(1_000_000))
    assert.deepEqual(blocks('d'), [20, 40])
  })

  it('takes a prompt once, whichever of the two memories is told of the pick', () => {
    const { endpoints, index } = setup(10)
    const [a, b] = [endpoints.add({ address: '10.0.0.1' }), endpoints.add({ address: '10.0.0.2' })]
    const both = prompt('a', 81)
    index.ghost.record(asked, both, a)
    index.record(asked, both, a)
    index.record(asked, both, b)
    const blocks = (memory: RoutedPrefixIndex) => [
      ...memory.match(asked, prompt('a', 81), [a, b]).blocks,
    ]
    assert.deepEqual(
      [blocks(index), blocks(index.ghost)],
      [
        [5, 5],
        [5, 5],
      ],
    )
    for (const chain of ['b', 'c']) index.ghost.record(asked, prompt(chain, 81), a)
    assert.deepEqual(
      [blocks(index), blocks(index.ghost)],
      [
        [0, 5],
        [5, 5],
      ],
    )
  })

  it('answers anew once something was recorded or an endpoint has gone', () => {
    const { endpoints, index } = setup()
    const given = [endpoints.add({ address: '10.0.0.1' }), endpoints.add({ address: '10.0.0.2' })]
    const tokens = prompt('a', 81)
    const blocks = () => [...index.match(asked, tokens, given).blocks]
    assert.deepEqual(blocks(), [0, 0])
    index.record(asked, tokens, given[0]!)
    assert.deepEqual(blocks(), [5, 0])
    index.record(asked, tokens, given[1]!)
    const answer = index.match(asked, tokens, given)
    answer.blocks.fill(7)
    answer.usableBlocks.fill(7)
    assert.deepEqual(blocks(), [5, 5])
    assert.deepEqual([...index.match(asked, tokens, given).usableBlocks], [5, 5])
    endpoints.remove(given[0]!)
    assert.deepEqual(blocks(), [0, 5])
    index.configure({ blockTokens: 16, maxPrefixTokens: 32, blocksPerEndpoint: 1000 })
    assert.deepEqual(blocks(), [0, 2])
    index.ghost.configure({ blockTokens: 16, maxPrefixTokens: 32, blocksPerEndpoint: 999 })
    assert.deepEqual(blocks(), [0, 0])
  })

  it('counts all prompts of a request', () => {
    const { endpoints, index } = setup()
    const endpoint = endpoints.add()
    const of = (...chains: readonly string[]) => ({
      prompts: chains.flatMap((chain) => prompt(chain, 81).prompts),
      exact: true,
    })
    index.record(asked, of('a', 'b'), endpoint)
    const match = index.match(asked, of('b', 'c', 'a'), [endpoint])
    assert.deepEqual([match.blocks[0], match.usableBlocks[0]], [10, 15])
  })

  it('uses the memory of endpoints that went', () => {
    const endpoints = new ManualEndpoints()
    const index = new KvRoutedPrefixIndex({ endpoints, maxMemoryBytes: 16_384 })
    const [a, b] = [endpoints.add({ address: '10.0.0.1' }), endpoints.add({ address: '10.0.0.2' })]
    const blocks = () => [...index.match(asked, prompt('a', 257), [a, b]).blocks]
    index.record(asked, prompt('a', 257), a)
    index.record(asked, prompt('a', 257), b)
    assert.deepEqual(blocks(), [4, 0])
    endpoints.remove(a)
    index.record(asked, prompt('a', 257), b)
    assert.deepEqual(blocks(), [0, 4])
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
