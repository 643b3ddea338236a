import assert from 'node:assert/strict'
import { seededRandom } from '../../src/framework/random.ts'
import { endpoint, paramsOf, request } from '../../src/framework/testing.ts'
import { prefixCacheAffinityFilter } from '../../src/plugins/filters/prefix-cache-affinity-filter.ts'
import { withBlocks, withTokens } from './known-load.ts'

describe('prefix-cache-affinity-filter', () => {
  /** Of 10 blocks each endpoint holds some; throughput 1000 tokens/s makes a token in flight a millisecond. */
  const make = (
    blocks: readonly number[] | undefined,
    tokens: readonly number[],
    params: object = {},
    usable = 10,
  ) => {
    const endpoints = tokens.map((_, i) => endpoint({ name: `${i}` }))
    const filter = prefixCacheAffinityFilter.create(
      paramsOf(prefixCacheAffinityFilter, { peakPrefillThroughput: 1000, ...params }),
      {
        inFlight: withTokens(endpoints, tokens),
        prefixes: withBlocks(blocks, usable),
        random: seededRandom(5),
      },
    )
    return () =>
      filter
        .filter(request(), endpoints)
        .map(({ name }) => name)
        .join(' ')
  }
  const kept = (...args: Parameters<typeof make>) => make(...args)()

  for (const [what, actual, expected] of [
    ['those from the threshold on', kept([8, 7, 10], [0, 0, 0]), '0 2'],
    [
      'those from another threshold on',
      kept([8, 7, 2], [0, 0, 0], { affinityThreshold: 0.7 }),
      '0 1',
    ],
    ['all when none holds that much', kept([7, 7, 0], [0, 0, 0]), '0 1 2'],
    ['all when all hold that much', kept([9, 9], [50_000, 0]), '0 1'],
    ['all with a threshold of 0', kept([9, 0], [0, 0], { affinityThreshold: 0 }), '0 1'],
    ['one endpoint', kept([0], [0]), '0'],
    ['all when nothing is known of caches', kept(undefined, [0, 0]), '0 1'],
    ['all when no block could match', kept([0, 0], [0, 0], {}, 0), '0 1'],
    ['a loaded one up to the penalty', kept([9, 0], [18_000, 0]), '0'],
    ['all beyond the penalty', kept([9, 0], [18_001, 0]), '0 1'],
    [
      'a loaded one while the others are loaded too',
      kept([9, 0, 0], [30_000, 12_000, 90_000]),
      '0',
    ],
    ['all of those by the least loaded of them', kept([9, 9, 0], [99_000, 400, 0]), '0 1'],
    ['by another penalty', kept([9, 0], [501, 0], { maxTTFTPenaltyMs: 500 }), '0 1'],
    [
      'whatever the load without a penalty',
      kept([9, 0], [9_000_000, 0], { maxTTFTPenaltyMs: 0 }),
      '0',
    ],
    // 36 tokens at 2000 tokens/s are 18 ms.
    [
      'by another throughput',
      kept([9, 0], [36, 0], { peakPrefillThroughput: 2000, maxTTFTPenaltyMs: 18 }),
      '0',
    ],
  ] as const) {
    it(`keeps ${what}`, () => assert.equal(actual, expected))
  }

  it('keeps all for a share of requests', () => {
    const run = make([9, 0], [0, 0], { explorationProbability: 0.25 })
    const explored = Array.from({ length: 2000 }, run).filter((names) => names === '0 1').length
    assert.ok(explored > 400 && explored < 600, `${explored} of 2000`)
  })
})
