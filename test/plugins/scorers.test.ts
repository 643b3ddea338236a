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

  it('scores linearly between the shortest and the longest queue', () => {
    assert.deepEqual(scores(3, 0, 12), [0.75, 1, 0])
  })

  it('scores 1 for all when the queues are equal', () => {
    assert.deepEqual(scores(4, 4), [1, 1])
  })

  it('never prefers an endpoint without metrics', () => {
    assert.deepEqual(scores(5, undefined, 1), [0, 0, 1])
  })

  it('scores 1 for all when none has metrics', () => {
    assert.deepEqual(scores(undefined, undefined), [1, 1])
  })
})

describe('kv-cache-utilization-scorer', () => {
  const scorer = kvCacheUtilizationScorer.create({}, {})

  it('scores the free share, and 0 without metrics', () => {
    const endpoints = scraped([{ kvCacheUsage: 0.25 }, undefined, { kvCacheUsage: 1 }])
    assert.deepEqual([...Array.from(scorer.score(request(), endpoints))], [0.75, 0, 0])
  })

  it('scores 1 for all when none has metrics', () => {
    const endpoints = scraped([undefined, undefined])
    assert.deepEqual([...Array.from(scorer.score(request(), endpoints))], [1, 1])
  })
})

describe('active-request-scorer', () => {
  const counts = [0, 2, 3, 6]
  const endpoints = counts.map((_, slot) => endpoint({ slot }))
  const inFlight = withRequests(endpoints, counts)
  const scores = (params: Record<string, unknown>) =>
    Array.from(
      activeRequestScorer
        .create(paramsOf(activeRequestScorer, params), { inFlight })
        .score(request(), endpoints),
    )

  it('scores 0 for the busiest and 1 for the idle', () => {
    assert.deepEqual(scores({}), [1, 4 / 6, 0.5, 0])
  })

  it('scores 1 up to the threshold and at most maxBusyScore above it', () => {
    assert.deepEqual(scores({ idleThreshold: 2, maxBusyScore: 0.5 }), [1, 1, 0.25, 0])
  })
})
