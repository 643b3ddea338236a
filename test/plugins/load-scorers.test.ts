import assert from 'node:assert/strict'
import type { EndpointMetrics } from '../../src/framework/endpoint.ts'
import { endpoint, paramsOf, request } from '../../src/framework/testing.ts'
import { loadAwareScorer } from '../../src/plugins/scorers/load-aware-scorer.ts'
import { runningRequestsSizeScorer } from '../../src/plugins/scorers/running-requests-size-scorer.ts'
import { tokenLoadScorer } from '../../src/plugins/scorers/token-load-scorer.ts'
import { withBlocks, withTokens } from './known-load.ts'

const scraped = (each: readonly (Partial<EndpointMetrics> | undefined)[]) =>
  each.map((metrics) => endpoint(metrics ? { metrics } : {}))

describe('running-requests-size-scorer', () => {
  const scorer = runningRequestsSizeScorer.create({}, {})
  const scores = (...running: readonly (number | undefined)[]) =>
    Array.from(
      scorer.score(
        request(),
        scraped(running.map((count) => (count === undefined ? undefined : { running: count }))),
      ),
    )

  for (const [what, running, expected] of [
    ['linear between the fewest and the most', [3, 0, 12], [0.75, 1, 0]],
    ['on a scale that begins at the fewest', [20, 10, 14], [0, 1, 0.6]],
    ['1 for all when they are equal', [7, 7, 7], [1, 1, 1]],
    ['1 for one endpoint', [9], [1]],
    ['0 without metrics, even beside the busiest', [5, undefined, 1], [0, 0, 1]],
    ['1 for the one with metrics', [undefined, 50], [0, 1]],
    ['1 for all when none has metrics', [undefined, undefined], [1, 1]],
  ] as const) {
    it(`scores ${what}`, () => assert.deepEqual(scores(...running), expected))
  }

  it('does not look at the queue', () => {
    const endpoints = scraped([
      { running: 2, waiting: 90 },
      { running: 4, waiting: 0 },
    ])
    assert.deepEqual([...Array.from(scorer.score(request(), endpoints))], [1, 0])
  })
})

describe('load-aware-scorer', () => {
  const scores = (params: object, ...waiting: readonly (number | undefined)[]) =>
    Array.from(
      loadAwareScorer
        .create(paramsOf(loadAwareScorer, { ...params }), {})
        .score(
          request(),
          scraped(waiting.map((count) => (count === undefined ? undefined : { waiting: count }))),
        ),
    )

  for (const [what, params, waiting, expected] of [
    ['0.5 for an empty queue', {}, [0], [0.5]],
    ['half the free share of 128', {}, [32, 64, 127], [0.375, 0.25, 0.00390625]],
    ['0 from the threshold on', {}, [128, 129, 4000], [0, 0, 0]],
    ['half the free share of a threshold', { threshold: 10 }, [1, 4, 10], [0.45, 0.3, 0]],
    ['the same for equal queues', { threshold: 8 }, [2, 2], [0.375, 0.375]],
    ['0 without metrics', {}, [128, undefined, 0], [0, 0, 0.5]],
    ['0.5 for all when none has metrics', {}, [undefined, undefined], [0.5, 0.5]],
  ] as const) {
    it(`scores ${what}`, () => assert.deepEqual(scores(params, ...waiting), expected))
  }
})

describe('token-load-scorer', () => {
  /** Prompt of 100 tokens; `cached` blocks of 16 tokens. */
  const scores = (
    inFlight: readonly number[],
    cached: readonly number[] | undefined,
    params: object = { queueThresholdTokens: 1000 },
    tokens: readonly number[] | undefined = Array.from({ length: 100 }, (_, i) => i),
  ) => {
    const endpoints = scraped(inFlight.map(() => ({})))
    const services = { inFlight: withTokens(endpoints, inFlight), prefixes: withBlocks(cached, 6) }
    return Array.from(
      tokenLoadScorer
        .create(paramsOf(tokenLoadScorer, { ...params }), services)
        .score(request(tokens && { tokens }), endpoints),
    )
  }

  for (const [what, actual, expected] of [
    ['the prompt on an idle endpoint', scores([0], [0]), [0.9]],
    ['what is in flight besides', scores([300, 650], [0, 0]), [0.6, 0.25]],
    // 100 - 6 x 16 = 4, 100 - 5 x 16 = 20.
    ['the prompt less what is cached', scores([0, 0], [6, 5]), [0.996, 0.98]],
    ['a cached prefix against load', scores([96, 0], [6, 0]), [0.9, 0.9]],
    ['0 from the threshold on', scores([900, 5000], [0, 0]), [0, 0]],
    ['equal endpoints the same', scores([150, 150], [0, 0]), [0.75, 0.75]],
    ['the whole prompt when nothing is known of caches', scores([0, 400], undefined), [0.9, 0.5]],
    ['against 4 Mi tokens by default', scores([1_048_476], [0], {}), [0.75]],
  ] as const) {
    it(`counts ${what}`, () => assert.deepEqual(actual, expected))
  }

  it('scores 1 on an idle endpoint when the prompt is not known', () => {
    const endpoints = scraped([{}, {}])
    const services = { inFlight: withTokens(endpoints, [0, 500]), prefixes: withBlocks([0, 0], 1) }
    const scorer = tokenLoadScorer.create({ queueThresholdTokens: 1000 }, services)
    assert.deepEqual(Array.from(scorer.score(request(), endpoints)), [1, 0.5])
  })

  it('sees a pick of the same instant', () => {
    const endpoints = scraped([{}, {}])
    const inFlight = withTokens(endpoints, [0, 0])
    const services = { inFlight, prefixes: withBlocks([0, 0], 1) }
    const scorer = tokenLoadScorer.create({ queueThresholdTokens: 1000 }, services)
    inFlight.reserve(endpoints[0]!, { promptTokens: 200, cachedTokens: 50, answerTokens: 80 })
    assert.deepEqual(Array.from(scorer.score(request(), endpoints)), [0.85, 1])
  })
})
