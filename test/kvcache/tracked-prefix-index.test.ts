import assert from 'node:assert/strict'
import type { EndpointMetrics } from '../../src/framework/endpoint.ts'
import { request } from '../../src/framework/testing.ts'
import { message, stored, tokensOf } from './events.ts'
import { createKvCache, models, until } from './fakes.ts'

const BOUND = { kind: 'bound' } as const
const asked = request({ targetModel: 'm' })

function prompt(chain: string, tokens: number) {
  return { prompts: [Int32Array.from(tokensOf(chain, 0, tokens, 1))], exact: true }
}

function metricsOf(blockTokens: number): EndpointMetrics {
  return {
    waiting: 0,
    running: 0,
    kvCacheUsage: 0,
    blockTokens,
    kvBlocks: undefined,
    hashAlgorithm: undefined,
    adapters: undefined,
    custom: new Map(),
    scrapedAtMs: 0,
  }
}

describe('KvTrackedPrefixIndex', () => {
  it('counts no more blocks than the engine can use: its last token is always computed', () => {
    const { cache, endpoints } = createKvCache()
    const endpoint = endpoints.add()
    cache.intake.receive(BOUND, message('kv@10.0.0.1@m', 0, [stored({ blocks: 4 })]))
    for (const [tokens, blocks] of [
      [64, 3],
      [65, 4],
      [16, 0],
      [17, 1],
      [1, 0],
      [0, 0],
      [200, 4],
    ] as const) {
      const match = cache.index.match(asked, prompt('a', tokens), [endpoint])
      assert.equal(match.blocks[0], blocks, `${tokens} tokens`)
      assert.equal(match.usableBlocks[0], Math.max(0, Math.floor((tokens - 1) / 16)))
    }
  })

  it('sums over prompts', () => {
    const { cache, endpoints } = createKvCache()
    const endpoint = endpoints.add()
    cache.intake.receive(
      BOUND,
      message('kv@10.0.0.1@m', 0, [stored({ blocks: 4 }), stored({ chain: 'b', blocks: 2 })]),
    )
    const prompts = [
      ...prompt('a', 65).prompts,
      ...prompt('b', 65).prompts,
      ...prompt('c', 65).prompts,
    ]
    const match = cache.index.match(asked, { prompts, exact: true }, [endpoint])
    assert.deepEqual([match.blocks[0], match.usableBlocks[0]], [6, 12])
  })

  it('takes each endpoint’s block size from events, else metrics, else configuration, else 16', () => {
    const { cache, endpoints } = createKvCache()
    const given = [
      endpoints.add({ address: '10.0.0.1', metrics: metricsOf(32) }),
      endpoints.add({ address: '10.0.0.2', metrics: metricsOf(32) }),
      endpoints.add({ address: '10.0.0.3' }),
    ]
    const event = stored({ blocks: 2, blockTokens: 64 })
    cache.intake.receive(BOUND, message('kv@10.0.0.1@m', 0, [event]))
    let match = cache.index.match(asked, prompt('a', 257), given)
    assert.deepEqual([...match.blockTokens], [64, 32, 16])
    assert.deepEqual([...match.blocks], [2, 0, 0])
    assert.deepEqual([...match.usableBlocks], [4, 8, 16])
    cache.index.configure({ expected: { blockTokens: 128 }, mediumWeights: {} })
    match = cache.index.match(asked, prompt('a', 257), given)
    assert.deepEqual([...match.blockTokens], [64, 32, 128])
  })

  it('answers 0 for an endpoint that it does not know', () => {
    const { cache, endpoints } = createKvCache()
    const gone = endpoints.add()
    endpoints.remove(gone)
    const { blocks } = cache.index.match(asked, prompt('a', 65), [gone])
    assert.deepEqual([...blocks], [0])
    const speculation = cache.index.speculate(asked, prompt('a', 65), gone, 100)
    speculation.expireIn(1)
  })

  describe('adapters', () => {
    const event = (chain: string, adapter: string | null) =>
      stored({
        chain,
        blocks: 2,
        fields: { lora_name: adapter, extra_keys: [adapter && [adapter], adapter && [adapter]] },
      })
    const cases = [
      ['a base by its topic', models(), 'kv@10.0.0.1@m', 'm', 'a'],
      ['a base by /v1/models', models(['alias']), 'kv@10.0.0.1@m', 'alias', 'a'],
      ['an adapter by events', models(), 'kv@10.0.0.1@m', 'sql', 'b'],
      ['an adapter by /v1/models', models([], { other: 'm' }), 'kv@10.0.0.1@m', 'other', undefined],
      ['nothing where a base is known', models(), 'kv@10.0.0.1@m', 'who', undefined],
      ['a base where no base is known', models(), 'kv@10.0.0.1@', 'who', 'a'],
    ] as const
    for (const [name, known, topic, model, chain] of cases) {
      it(`takes "${model}" for ${name}`, () => {
        const { cache, endpoints } = createKvCache(known)
        const endpoint = endpoints.add()
        cache.intake.receive(BOUND, message(topic, 0, [event('a', null), event('b', 'sql')]))
        const of = (letter: string) =>
          cache.index.match(request({ targetModel: model }), prompt(letter, 33), [endpoint])
            .blocks[0]
        assert.deepEqual([of('a'), of('b')], [chain === 'a' ? 2 : 0, chain === 'b' ? 2 : 0])
      })
    }
  })

  describe('speculation', () => {
    it('counts the prompt as present at once, until its time is up', () => {
      const { cache, clock, endpoints } = createKvCache()
      const [first, second] = [
        endpoints.add({ address: '10.0.0.1' }),
        endpoints.add({ address: '10.0.0.2' }),
      ]
      const held = () => [...cache.index.match(asked, prompt('a', 65), [first, second]).blocks]
      cache.index.speculate(asked, prompt('a', 65), first, 2_000)
      assert.deepEqual(held(), [4, 0])
      clock.ms += 1_999
      assert.deepEqual(held(), [4, 0])
      clock.ms += 1
      assert.deepEqual(held(), [0, 0])
      assert.equal(cache.index.tracks(first), false)
    })

    it('lives as long as it was last told', () => {
      const { cache, clock, endpoints } = createKvCache()
      const endpoint = endpoints.add()
      const held = () => cache.index.match(asked, prompt('a', 65), [endpoint]).blocks[0]
      const speculation = cache.index.speculate(asked, prompt('a', 65), endpoint, 2_000)
      clock.ms += 1_900
      speculation.expireIn(500)
      clock.ms += 499
      assert.equal(held(), 4)
      clock.ms += 1
      assert.equal(held(), 0)
      speculation.expireIn(10_000)
      assert.equal(held(), 0)
    })

    it('ends one by one, and leaves what events told', () => {
      const { cache, clock, endpoints } = createKvCache(models(['m']))
      const endpoint = endpoints.add()
      const held = () => cache.index.match(asked, prompt('a', 129), [endpoint]).blocks[0]
      cache.index.speculate(asked, prompt('a', 129), endpoint, 1_000)
      cache.index.speculate(asked, prompt('a', 129), endpoint, 2_000)
      cache.intake.receive(BOUND, message('kv@10.0.0.1@m', 0, [stored({ blocks: 3 })]))
      clock.ms += 1_000
      assert.equal(held(), 8)
      clock.ms += 1_000
      assert.equal(held(), 3)
    })

    it('joins what events told before it: the match goes on through both', () => {
      const { cache, endpoints } = createKvCache()
      const endpoint = endpoints.add()
      cache.intake.receive(BOUND, message('kv@10.0.0.1@m', 0, [stored({ blocks: 3 })]))
      cache.index.speculate(asked, prompt('a', 129), endpoint, 1_000)
      const match = cache.index.match(asked, prompt('a', 129), [endpoint])
      assert.deepEqual([match.blocks[0], match.weighted[0]], [8, 8])
    })

    it('keeps tenants apart', () => {
      const { cache, endpoints } = createKvCache()
      const endpoint = endpoints.add()
      const salted = request({ targetModel: 'm', cacheSalt: 's' })
      cache.index.speculate(salted, prompt('a', 65), endpoint, 1_000)
      assert.equal(cache.index.match(asked, prompt('a', 65), [endpoint]).blocks[0], 0)
      assert.equal(cache.index.match(salted, prompt('a', 65), [endpoint]).blocks[0], 4)
    })

    it('leaves nothing behind', () => {
      const { cache, clock, endpoints, metrics } = createKvCache()
      const endpoint = endpoints.add()
      for (let i = 0; i < 500; i++) {
        cache.index.speculate(asked, prompt('abc'[i % 3]!, 17 + (i % 300)), endpoint, 1_000 + i)
      }
      clock.ms += 10_000
      assert.equal(cache.index.match(asked, prompt('a', 400), [endpoint]).blocks[0], 0)
      const value = (name: string) => [...metrics.samples.get(name)!()][0]!.value
      assert.equal(value('epp_kv_index_blocks'), 0)
      assert.equal(value('epp_kv_speculations'), 0)
    })
  })

  it('hashes a prompt once for match and speculate', () => {
    const { cache, endpoints } = createKvCache()
    const endpoint = endpoints.add()
    const tokens = prompt('a', 65)
    let reads = 0
    const counted = {
      exact: true,
      get prompts() {
        reads++
        return tokens.prompts
      },
    }
    cache.index.match(asked, counted, [endpoint])
    const once = reads
    cache.index.match(asked, counted, [endpoint])
    assert.equal(reads, once)
  })

  it('says which endpoints are silent', async () => {
    const { cache, endpoints, notices } = createKvCache()
    endpoints.add()
    // The timer runs every 100 ms and says it every 50 times.
    await until(() => notices.get('kv-events-none') !== undefined, 'notice', 15_000)
    assert.match(
      notices.get('kv-events-none')!,
      /^no KV events yet from 1 of 1 endpoints \(10\.0\.0\.1:8000\)/,
    )
    cache.expectEvents(false)
    assert.equal(notices.get('kv-events-none'), undefined)
    await cache.close()
    assert.deepEqual(notices.list(), [])
  })
})
