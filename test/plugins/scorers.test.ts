import assert from 'node:assert/strict'
import type { EndpointMetrics } from '../../src/framework/endpoint.ts'
import { endpoint, paramsOf, request } from '../../src/framework/testing.ts'
import { activeRequestScorer } from '../../src/plugins/scorers/active-request-scorer.ts'
import { kvCacheUtilizationScorer } from '../../src/plugins/scorers/kv-cache-utilization-scorer.ts'
import { queueScorer } from '../../src/plugins/scorers/queue-scorer.ts'
import { withRequests } from './known-load.ts'

const scraped = (each: readonly (Partial<EndpointMetrics> | undefined)[]) =>
  each.map((metrics) => endpoint(metrics ? { metrics } : {}))

describe('queue-scorer', () => {
  const scorer = queueScorer.create({}, {})
  const scores = (...waiting: readonly (number | undefined)[]) => [
    ...Array.from(
      scorer.score(
        request(),
        scraped(waiting.map((count) => (count === undefined ? undefined : { waiting: count }))),
      ),
    ),
  ]

  for (const [what, waiting, expected] of [
    ['linear between the shortest and the longest', [3, 0, 12], [0.75, 1, 0]],
    ['on a scale that begins at the shortest', [110, 100, 108], [0, 1, 0.2]],
    ['all or nothing between two', [1, 0], [0, 1]],
    ['1 for all when they are equal', [4, 4], [1, 1]],
    ['1 for all when they are empty', [0, 0, 0], [1, 1, 1]],
    ['1 for one endpoint', [900], [1]],
    ['0 without metrics, even beside the longest', [5, undefined, 1], [0, 0, 1]],
    ['1 for the one with metrics', [undefined, 70], [0, 1]],
    ['1 for all when none has metrics', [undefined, undefined], [1, 1]],
  ] as const) {
    it(`scores ${what}`, () => assert.deepEqual(scores(...waiting), expected))
  }

  it('does not look at what runs', () => {
    const endpoints = scraped([
      { waiting: 2, running: 90 },
      { waiting: 4, running: 0 },
    ])
    assert.deepEqual(Array.from(scorer.score(request(), endpoints)), [1, 0])
  })
})

describe('kv-cache-utilization-scorer', () => {
  const scorer = kvCacheUtilizationScorer.create({}, {})

  const scores = (...usage: readonly (number | undefined)[]) =>
    Array.from(
      scorer.score(
        request(),
        scraped(usage.map((share) => (share === undefined ? undefined : { kvCacheUsage: share }))),
      ),
    )

  for (const [what, usage, expected] of [
    ['the free share', [0.25, 0.75, 0.5], [0.75, 0.25, 0.5]],
    ['1 for an empty cache and 0 for a full one', [0, 1], [1, 0]],
    ['equal endpoints the same', [0.375, 0.375], [0.625, 0.625]],
    ['one endpoint by what is free there', [0.875], [0.125]],
    ['0 without metrics, even beside a full one', [1, undefined, 0.5], [0, 0, 0.5]],
    ['1 for all when none has metrics', [undefined, undefined], [1, 1]],
    ['1 for one endpoint without metrics', [undefined], [1]],
  ] as const) {
    it(`scores ${what}`, () => assert.deepEqual(scores(...usage), expected))
  }
})

describe('active-request-scorer', () => {
  const scores = (
    counts: readonly number[],
    params: Readonly<Record<string, unknown>> = {},
    among = counts.length,
  ) => {
    const endpoints = counts.map((_, slot) => endpoint({ slot }))
    const inFlight = withRequests(endpoints, counts)
    return Array.from(
      activeRequestScorer
        .create(paramsOf(activeRequestScorer, params), { inFlight })
        .score(request(), endpoints.slice(0, among)),
    )
  }

  for (const [what, actual, expected] of [
    ['0 for the busiest and 1 for the idle', scores([0, 2, 3, 6]), [1, 4 / 6, 0.5, 0]],
    [
      '1 up to the threshold and at most maxBusyScore above it',
      scores([0, 2, 3, 6], { idleThreshold: 2, maxBusyScore: 0.5 }),
      [1, 1, 0.25, 0],
    ],
    // (8 - 6) / 8 of 0.4.
    [
      'by the most, not by what is above the threshold',
      scores([6, 8], { idleThreshold: 5, maxBusyScore: 0.4 }),
      [0.1, 0],
    ],
    ['1 for all that are idle', scores([0, 0, 0]), [1, 1, 1]],
    ['1 for all within the threshold', scores([3, 1], { idleThreshold: 3 }), [1, 1]],
    ['0 for all that are equally busy', scores([4, 4]), [0, 0]],
    ['one endpoint that is busy 0', scores([1]), [0]],
    ['one endpoint that is idle 1', scores([0]), [1]],
    ['by the candidates alone', scores([1, 2, 40], {}, 2), [0.5, 0]],
    [
      'nothing above the threshold with a maxBusyScore of 0',
      scores([0, 1, 2], { maxBusyScore: 0 }),
      [1, 0, 0],
    ],
  ] as const) {
    it(`scores ${what}`, () => {
      assert.equal(actual.length, expected.length)
      for (const [i, score] of actual.entries()) {
        assert.ok(Math.abs(score - expected[i]!) < 1e-12, `${actual}, not ${expected}`)
      }
    })
  }

  it('sees a pick of the same instant, and its end', () => {
    const endpoints = [endpoint({ slot: 0 }), endpoint({ slot: 1 })]
    const inFlight = withRequests(endpoints, [1, 1])
    const scorer = activeRequestScorer.create(paramsOf(activeRequestScorer), { inFlight })
    const reservation = inFlight.reserve(endpoints[0]!)
    assert.deepEqual(Array.from(scorer.score(request(), endpoints)), [0, 0.5])
    reservation.release()
    assert.deepEqual(Array.from(scorer.score(request(), endpoints)), [0, 0])
  })
})
