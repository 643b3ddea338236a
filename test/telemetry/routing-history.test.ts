import assert from 'node:assert/strict'
import { PROMPT_TOKENS } from '../../src/framework/attributes.ts'
import type { Endpoint } from '../../src/framework/endpoint.ts'
import type { Outcome } from '../../src/framework/plugin.ts'
import type { InferenceRequest } from '../../src/framework/request.ts'
import { PREFIX_FINDING, type PrefixFinding } from '../../src/framework/services.ts'
import { endpoint, request } from '../../src/framework/testing.ts'
import { EndpointUsage } from '../../src/telemetry/endpoint-usage.ts'
import { RoutingHistory } from '../../src/telemetry/routing-history.ts'

const outcome = (promptTokens: number, cachedTokens: number | undefined): Outcome => ({
  ...{ reason: 'completed', status: 200, responseBytes: 10, firstByteMs: 5, durationMs: 9 },
  usage: { promptTokens, completionTokens: 3, cachedTokens },
})

/** A request whose prompt the endpoints hold so many blocks of 16 of. */
function known(endpoints: readonly Endpoint[], blocks: readonly number[]): InferenceRequest {
  const asked = request()
  const size = endpoints.length
  // What the observers read of it.
  const match = {
    blocks: Int32Array.from(blocks),
    weighted: Float64Array.from(blocks),
    blockTokens: new Int32Array(size).fill(16),
    usableBlocks: new Int32Array(size).fill(99),
  }
  asked.attributes.set(PREFIX_FINDING, {
    ...{ endpoints, match, source: 'tracked', tracked: size },
    told: Array<boolean>(size).fill(true),
  } satisfies PrefixFinding)
  return asked
}

describe('RoutingHistory', () => {
  const one = endpoint({ address: '10.0.0.1' })
  const two = endpoint({ address: '10.0.0.2' })
  let epochMs = 0
  let history: RoutingHistory
  beforeEach(() => {
    epochMs = 1_000_000_500
    history = new RoutingHistory({ nowMs: () => 0, epochMs: () => epochMs }, 10)
  })

  it('sums up each second: what was picked, predicted, cached and could have been', () => {
    const asked = known([one, two], [2, 5])
    history.picked(asked, one)
    history.picked(asked, two)
    history.ended(asked, one, outcome(100, 48))
    epochMs += 1000
    const [second] = history.since(0)
    assert.deepEqual(second, {
      ...{ second: 1_000_000, requests: 2, answers: 1, promptTokens: 100, cachedTokens: 48 },
      ...{ comparedPromptTokens: 100, predictedTokens: 32, comparedCachedTokens: 48 },
      offeredTokens: 80,
      byEndpoint: { [one.hostPort]: 1, [two.hostPort]: 1 },
    })
    assert.equal(history.total.requests, 2)
  })

  it('takes what was cached for possible, though nobody was known to hold it', () => {
    history.ended(known([one], [1]), one, outcome(100, 64))
    assert.equal(history.total.offeredTokens, 64)
  })

  it('counts as saved what nobody had predicted', () => {
    history.ended(request(), one, outcome(100, 64))
    assert.equal(history.total.cachedTokens, 64)
    assert.equal(history.total.comparedPromptTokens, 0)
  })

  it('leaves out answers that do not tell, and requests with several prompts', () => {
    history.ended(known([one], [1]), one, outcome(100, undefined))
    history.ended(known([one], [1]), one, { ...outcome(1, 1), usage: undefined })
    const several = known([one], [1])
    several.attributes.set(PROMPT_TOKENS, {
      prompts: [new Int32Array(1), new Int32Array(1)],
      exact: true,
    })
    history.ended(several, one, outcome(100, 64))
    assert.equal(history.total.answers, 0)
  })

  it('keeps so many seconds, tells of whole ones, and of none twice', () => {
    for (let i = 0; i < 25; i++) {
      history.picked(request(), one)
      epochMs += 1000
    }
    history.picked(request(), one)
    const seconds = history.since(0).map(({ second }) => second - 1_000_000)
    assert.deepEqual(seconds, [16, 17, 18, 19, 20, 21, 22, 23, 24])
    assert.deepEqual(
      history.since(1_000_022).map(({ second }) => second - 1_000_000),
      [23, 24],
    )
    assert.equal(history.total.requests, 26)
    epochMs += 100_000
    assert.deepEqual(history.since(0), [])
  })

  it('names sixteen endpoints of a second and counts the others together', () => {
    for (let i = 0; i < 40; i++) history.picked(request(), endpoint({ address: `10.0.1.${i}` }))
    epochMs += 1000
    const { byEndpoint } = history.since(0)[0]!
    assert.equal(Object.keys(byEndpoint).length, 17)
    assert.equal(byEndpoint.other, 24)
  })
})

describe('EndpointUsage', () => {
  it('sums up the answers of the last 15 minutes, and forgets with the endpoint', () => {
    let nowMs = 0
    const one = endpoint()
    const listeners: { removed?(gone: Endpoint): void }[] = []
    const usage = new EndpointUsage({
      clock: { nowMs: () => nowMs, epochMs: () => 0 },
      endpoints: {
        list: () => [one],
        listen(listener) {
          listeners.push(listener)
          listener.added?.(one, {} as never)
          return () => {}
        },
      },
    })
    assert.equal(usage.hasLearned(one), false)
    usage.picked(request(), one)
    assert.equal(usage.hasLearned(one), false)
    usage.picked(known([one], [0]), one)
    assert.equal(usage.hasLearned(one), true)
    usage.ended(request(), one, outcome(100, 40))
    nowMs = 10 * 60_000
    usage.ended(request(), one, outcome(100, 60))
    assert.deepEqual(usage.of(one), { answers: 2, promptTokens: 200, cachedTokens: 100 })
    nowMs = 15 * 60_000
    assert.deepEqual(usage.of(one), { answers: 1, promptTokens: 100, cachedTokens: 60 })
    nowMs = 1000 * 60_000
    assert.deepEqual(usage.of(one), { answers: 0, promptTokens: 0, cachedTokens: 0 })
    usage.ended(request(), one, outcome(100, 60))
    for (const listener of listeners) listener.removed?.(one)
    assert.deepEqual(usage.of(one), { answers: 0, promptTokens: 0, cachedTokens: 0 })
    usage.ended(request(), one, outcome(100, 60))
    assert.equal(usage.of(one).answers, 0)
  })
})
