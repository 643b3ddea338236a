import assert from 'node:assert/strict'
import type { Endpoint } from '../../src/framework/endpoint.ts'
import type { EndReason } from '../../src/framework/plugin.ts'
import { COST_FINDING, type CostFinding } from '../../src/framework/services.ts'
import { request } from '../../src/framework/testing.ts'
import { CostMetrics } from '../../src/telemetry/cost-metrics.ts'
import { FirstTokenPrediction } from '../../src/telemetry/first-token-prediction.ts'
import { PrometheusMetrics } from '../../src/telemetry/metrics.ts'
import { ManualClock, ManualEndpoints, MemoryLogger, MemoryNotices } from '../kvcache/fakes.ts'

const METRICS = {
  waiting: 0,
  running: 0,
  kvCacheUsage: 0,
  blockTokens: 64,
  kvBlocks: 1000,
  hashAlgorithm: undefined,
  adapters: undefined,
  custom: new Map<string, number>(),
  scrapedAtMs: 0,
}

function setUp() {
  const services = {
    clock: new ManualClock(),
    metrics: new PrometheusMetrics(),
    logger: new MemoryLogger(),
    notices: new MemoryNotices(),
    endpoints: new ManualEndpoints(),
  }
  const lines = async (name: string) =>
    (await services.metrics.text()).split('\n').filter((line) => line.startsWith(name))
  return { ...services, services, lines }
}

const finding = (endpoint: Endpoint, changes: Partial<CostFinding> = {}): CostFinding => ({
  endpoint,
  terms: { queue: 0.5, prefill: 0.02 },
  total: 0.52,
  runnerUp: undefined,
  promptTokens: 2000,
  matchedTokens: 500,
  knownTokens: 1500,
  tokensBeforeFirst: 10_000,
  firstTokenSeconds: 1,
  prefillTokensPerSecond: 10_000,
  ...changes,
})
const asked = (found: CostFinding, stream = true) =>
  request({ stream, attributes: [[COST_FINDING, found]] })

describe('CostMetrics', () => {
  it('observes the terms of the picked endpoint, and the share that is computed again', async () => {
    const { services, endpoints, lines } = setUp()
    const metrics = new CostMetrics(services)
    const endpoint = endpoints.add({ metrics: METRICS })
    metrics.picked(asked(finding(endpoint)))
    metrics.picked(asked(finding(endpoint, { knownTokens: 500 })))
    metrics.picked(request())
    const seconds = await lines('epp_cost_seconds')
    assert.ok(seconds.includes('epp_cost_seconds_sum{term="queue"} 1'))
    assert.ok(seconds.includes('epp_cost_seconds_count{term="prefill"} 2'))
    assert.ok(seconds.includes('epp_cost_seconds_bucket{term="prefill",le="0.03"} 2'))
    const lost = await lines('epp_reuse_lost_ratio')
    assert.ok(lost.includes('epp_reuse_lost_ratio_sum 0.5'))
    assert.ok(lost.includes('epp_reuse_lost_ratio_count 2'))
  })

  it('says once whose KV capacity is unknown, and takes it back', () => {
    const { services, endpoints, logger, notices } = setUp()
    const metrics = new CostMetrics(services)
    const known = endpoints.add({ address: '10.0.0.1', metrics: METRICS })
    endpoints.add({ address: '10.0.0.3' })
    metrics.picked(asked(finding(known)))
    assert.deepEqual(notices.list(), [])
    const blind = endpoints.add({
      address: '10.0.0.2',
      metrics: { ...METRICS, kvBlocks: undefined },
    })
    for (let i = 0; i < 3; i++) metrics.picked(asked(finding(known)))
    assert.match(notices.get('cost-capacity')!, /^1 endpoints .* \(10\.0\.0\.2:8000\)/)
    endpoints.remove(blind)
    metrics.picked(asked(finding(known)))
    assert.deepEqual(notices.list(), [])
    endpoints.add({ address: '10.0.0.4', metrics: { ...METRICS, blockTokens: undefined } })
    metrics.picked(asked(finding(known)))
    assert.match(notices.get('cost-capacity')!, /10\.0\.0\.4:8000/)
    assert.deepEqual(
      logger.lines.map(({ message }) => message),
      ['KV capacity unknown'],
    )
  })
})

describe('FirstTokenPrediction', () => {
  const start = () => {
    const made = setUp()
    const prediction = new FirstTokenPrediction(made.services)
    const end = (
      endpoint: Endpoint,
      firstByteMs: number | undefined,
      changes: Partial<CostFinding> = {},
      { reason = 'completed' as EndReason, status = 200, stream = true } = {},
    ) =>
      prediction.ended(asked(finding(endpoint, changes), stream), endpoint, {
        reason,
        status,
        usage: undefined,
        responseBytes: 1,
        firstByteMs,
        durationMs: 1,
      })
    const many = (endpoint: Endpoint, firstByteMs: number, count: number) => {
      for (let i = 0; i < count; i++) end(endpoint, firstByteMs)
    }
    return { ...made, end, many }
  }

  it('shows the median and the 90th percentile of observed over expected, per endpoint', async () => {
    const { endpoints, end, lines } = start()
    const endpoint = endpoints.add()
    for (let i = 1; i <= 10; i++) end(endpoint, i * 100)
    const labels = `endpoint="${endpoint.hostPort}"`
    assert.deepEqual(await lines('epp_prediction_error_ratio'), [
      `epp_prediction_error_ratio{${labels},quantile="0.5"} 0.6`,
      `epp_prediction_error_ratio{${labels},quantile="0.9"} 1`,
    ])
    endpoints.remove(endpoint)
    assert.deepEqual(await lines('epp_prediction_error_ratio'), [])
  })

  it('leaves out what says nothing of the engine', async () => {
    const { endpoints, end, lines } = start()
    const endpoint = endpoints.add()
    end(endpoint, undefined)
    end(endpoint, 500, { tokensBeforeFirst: 999 })
    end(endpoint, 500, {}, { stream: false })
    end(endpoint, 500, {}, { status: 503 })
    end(endpoint, 500, {}, { reason: 'endpoint-gone' })
    end(endpoint, 500, { endpoint: endpoints.add({ address: '10.0.0.2' }) })
    assert.deepEqual(await lines('epp_prediction_error_ratio'), [])
  })

  it('says once, after five minutes out of range, the rate that fits', () => {
    const { endpoints, clock, logger, notices, many } = start()
    const slow = endpoints.add()
    many(slow, 4000, 60)
    assert.deepEqual(logger.lines, [])
    clock.ms += 5 * 60_000 - 1
    many(slow, 4000, 10)
    assert.deepEqual(logger.lines, [])
    clock.ms += 1
    many(slow, 4000, 50)
    assert.deepEqual(
      logger.lines.map(({ message, fields }) => [message, fields]),
      [
        [
          'Time to the first token is not as expected',
          {
            endpoint: slow.hostPort,
            observedOverExpected: 4,
            prefillTokensPerSecond: 10_000,
            fitted: 'parameters: { prefillTokensPerSecond: 2500 }',
          },
        ],
      ],
    )
    assert.match(notices.get('cost-prediction')!, /takes 4\.0 times as long, .* 2500/)
    many(slow, 1000, 200)
    assert.deepEqual(notices.list(), [])
  })

  it('says nothing of few requests, of a short time, or of what stays within a factor of two', () => {
    const { endpoints, clock, logger, many } = start()
    const [few, short, fine] = ['10.0.0.1', '10.0.0.2', '10.0.0.3'].map((address) =>
      endpoints.add({ address }),
    )
    many(few!, 9000, 40)
    many(fine!, 1900, 100)
    many(short!, 9000, 60)
    clock.ms += 4 * 60_000
    many(short!, 1000, 200)
    clock.ms += 60_000
    many(short!, 9000, 200)
    many(fine!, 600, 200)
    many(few!, 9000, 9)
    clock.ms += 4 * 60_000
    many(short!, 9000, 10)
    assert.deepEqual(logger.lines, [])
  })

  it('forgets an endpoint that goes, and says no more of it', () => {
    const { endpoints, clock, notices, many } = start()
    const slow = endpoints.add()
    many(slow, 4000, 60)
    clock.ms += 5 * 60_000
    many(slow, 4000, 20)
    assert.ok(notices.get('cost-prediction'))
    endpoints.remove(slow)
    assert.equal(notices.get('cost-prediction'), undefined)
  })
})
