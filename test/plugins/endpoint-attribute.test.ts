import assert from 'node:assert/strict'
import type { EndpointMetrics } from '../../src/framework/endpoint.ts'
import { endpoint, paramsOf, request } from '../../src/framework/testing.ts'
import { endpointAttributeFilter } from '../../src/plugins/endpoint-attribute/endpoint-attribute-filter.ts'
import { endpointAttributeScorer } from '../../src/plugins/endpoint-attribute/endpoint-attribute-scorer.ts'

/** One endpoint per value of the custom metric `heat`: undefined has metrics without it, null no metrics. */
const heated = (values: readonly (number | undefined | null)[]) =>
  values.map((value) =>
    value === null
      ? endpoint()
      : endpoint({ metrics: { custom: new Map(value === undefined ? [] : [['heat', value]]) } }),
  )
const scraped = (metrics: Partial<EndpointMetrics>) => endpoint({ metrics })

describe('endpoint-attribute-scorer', () => {
  const make = (type: string, normalization?: object, attributeKey = 'heat') =>
    endpointAttributeScorer.create(
      paramsOf(endpointAttributeScorer, {
        attributeKey,
        algorithm: { type, ...(normalization && { normalization }) },
      }),
      {},
    )
  const lower = (values: readonly (number | undefined | null)[], normalization?: object) =>
    Array.from(make('linear_lower_is_better', normalization).score(request(), heated(values)))
  const higher = (values: readonly (number | undefined | null)[], normalization?: object) =>
    Array.from(make('linear_higher_is_better', normalization).score(request(), heated(values)))
  const fixed = { fixedRange: { min: 40, max: 90 } }

  for (const [what, actual, expected] of [
    ['the highest best', higher([10, 30, 20]), [0, 1, 0.5]],
    ['the lowest best', lower([10, 30, 20]), [1, 0, 0.5]],
    ['on the candidates’ own scale when it says so', lower([-4, 4], { adaptiveRange: {} }), [1, 0]],
    ['equal candidates 1', lower([7, 7]), [1, 1]],
    ['one candidate 1', higher([7]), [1]],
    ['0 without the attribute', lower([10, undefined, null, 20]), [1, 0, 0, 0]],
    ['0 for all when none has it', lower([undefined, null]), [0, 0]],
    ['on a fixed scale', higher([40, 65, 90], fixed), [0, 0.5, 1]],
    ['values outside of a fixed scale as its ends', lower([1, 80, 400], fixed), [1, 0.2, 0]],
    ['equal candidates by a fixed scale', higher([50, 50], fixed), [0.2, 0.2]],
  ] as const) {
    it(`scores ${what}`, () => {
      for (const [i, score] of actual.entries()) {
        assert.ok(Math.abs(score - expected[i]!) < 1e-12, `${actual} for ${expected}`)
      }
      assert.equal(actual.length, expected.length)
    })
  }

  it("knows what is scraped from every engine by llm-d's names", () => {
    const low = scraped({
      waiting: 1,
      running: 2,
      kvCacheUsage: 0.3,
      blockTokens: 16,
      kvBlocks: 500,
      adapters: { running: [], waiting: [], max: 1 },
    })
    const high = scraped({
      waiting: 4,
      running: 3,
      kvCacheUsage: 0.4,
      blockTokens: 64,
      kvBlocks: 600,
      adapters: { running: [], waiting: [], max: 2 },
    })
    for (const key of [
      'WaitingQueueSize',
      'RunningRequestsSize',
      'KVCacheUsagePercent',
      'CacheBlockSize',
      'CacheNumBlocks',
      'MaxActiveModels',
    ]) {
      const scorer = make('linear_lower_is_better', undefined, key)
      assert.deepEqual(Array.from(scorer.score(request(), [low, high, endpoint()])), [1, 0, 0], key)
    }
  })
})

describe('endpoint-attribute-filter', () => {
  const kept = (
    operator: string,
    values: readonly (number | undefined | null)[],
    params: object = {},
  ) => {
    const among = heated(values)
    const filter = endpointAttributeFilter.create(
      paramsOf(endpointAttributeFilter, {
        attribute: 'heat',
        algorithm: { type: 'threshold', threshold: { operator, value: 5 } },
        ...params,
      }),
      {},
    )
    return filter.filter(request(), among).map((each) => values[among.indexOf(each)])
  }

  for (const [operator, expected] of [
    ['LessThan', [4]],
    ['LessThanOrEqual', [4, 5]],
    ['GreaterThan', [6]],
    ['GreaterThanOrEqual', [5, 6]],
    ['Equal', [5]],
    ['NotEqual', [4, 6]],
  ] as const) {
    it(`${operator} 5 keeps ${expected.join(' and ')}`, () => {
      assert.deepEqual(kept(operator, [4, 5, 6]), expected)
    })
  }

  for (const [what, actual, expected] of [
    ['those without the attribute', kept('LessThan', [9, undefined, null]), [undefined, null]],
    [
      'none without the attribute when that fails',
      kept('LessThan', [1, undefined, null], { onMissing: 'Fail' }),
      [1],
    ],
    ['none when none passes', kept('LessThan', [9, 8]), []],
    [
      'all when none passes and it falls back',
      kept('LessThan', [9], { fallbackOnEmpty: true }),
      [9],
    ],
    [
      'those that pass though it could fall back',
      kept('LessThan', [9, 2], { fallbackOnEmpty: true }),
      [2],
    ],
    ['all of equal ones', kept('Equal', [5, 5]), [5, 5]],
  ] as const) {
    it(`keeps ${what}`, () => assert.deepEqual(actual, expected))
  }
})
