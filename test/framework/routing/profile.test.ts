import assert from 'node:assert/strict'
import { PluginProbe } from '../../../src/framework/instrument.ts'
import type { Filter, Picker, Scorer } from '../../../src/framework/plugin.ts'
import { Profile } from '../../../src/framework/routing/profile.ts'
import { endpoint, request } from '../../../src/framework/testing.ts'
import { createLogger } from '../../../src/telemetry/logger.ts'
import { PrometheusMetrics } from '../../../src/telemetry/metrics.ts'

const metrics = new PrometheusMetrics()
const logger = createLogger({ format: 'json', level: 'error', write() {}, epochMs: () => 0 })
const probe = new PluginProbe('scorer', 'type', 'name', metrics, logger)
const scorer = (name: string, weight: number, scores: readonly number[]) => ({
  name,
  weight,
  probe,
  plugin: { score: () => scores } satisfies Scorer,
})
const best: Picker = {
  pick: (_request, scored) => [scored.reduce((a, b) => (b.score > a.score ? b : a)).endpoint],
}
const picker = { name: 'picker', probe, plugin: best }
const endpoints = [endpoint({ name: 'a' }), endpoint({ name: 'b' }), endpoint({ name: 'c' })]

describe('Profile', () => {
  it('adds weighted scores and hands the sums to the picker', () => {
    const profile = new Profile(
      'p',
      [],
      [scorer('x', 3, [0, 0.5, 1]), scorer('y', 2, [1, 1, 0])],
      picker,
    )
    const { picked, trace } = profile.run(request(), endpoints, 0)
    assert.deepEqual([...trace.totals], [2, 3.5, 3])
    assert.deepEqual(
      picked.map(({ name }) => name),
      ['b'],
    )
    assert.deepEqual(
      trace.scorers.map(({ name }) => name),
      ['x', 'y'],
    )
  })

  it('clamps what is out of range, and NaN to 0', () => {
    const profile = new Profile('p', [], [scorer('x', 1, [7, Number.NaN, -1])], picker)
    assert.deepEqual([...profile.run(request(), endpoints, 0).trace.totals], [1, 0, 0])
  })

  it('fails a scorer that returns another number of scores', () => {
    const profile = new Profile('p', [], [scorer('x', 1, [1])], picker)
    assert.throws(() => profile.run(request(), endpoints, 0), {
      code: 'PLUGIN_CONTRACT',
      message: 'scorer "name" returned 1 scores for 3 endpoints',
    })
  })

  it('names the filter that left none', () => {
    const none: Filter = { filter: () => [] }
    const profile = new Profile('p', [{ name: 'strict', probe, plugin: none }], [], picker)
    assert.throws(() => profile.run(request(), endpoints, 0), {
      code: 'NO_ENDPOINTS',
      message: 'filter "strict" of profile "p" left none of 3 endpoints for this request',
    })
  })

  it('traces whom each filter dropped, ties, and the age of metrics', () => {
    const keep = [
      endpoint({ metrics: { scrapedAtMs: 40 } }),
      endpoint(),
      endpoint({ metrics: { scrapedAtMs: 90 } }),
    ]
    const first: Filter = { filter: (_request, all) => all.slice(1) }
    const profile = new Profile(
      'p',
      [{ name: 'first', probe, plugin: first }],
      [scorer('x', 0.1, [1, 1]), scorer('y', 0.2, [1, 1])],
      picker,
    )
    const { trace } = profile.run(request(), keep, 100)
    assert.deepEqual(trace.filters, [{ name: 'first', dropped: [keep[0]!.hostPort] }])
    assert.equal(trace.ties, 2)
    assert.deepEqual([...trace.metricsAgeMs], [Number.NaN, 10])
  })

  it('names a plugin that throws and keeps the cause', () => {
    const cause = new Error('boom')
    const broken: Scorer = {
      score() {
        throw cause
      },
    }
    const profile = new Profile('p', [], [{ name: 'x', weight: 1, probe, plugin: broken }], picker)
    assert.throws(() => profile.run(request(), endpoints, 0), {
      code: 'PLUGIN_FAILED',
      message: 'scorer "name" failed: boom',
      cause,
    })
  })

  it('refuses a picker that picks an endpoint it was not given', () => {
    const stranger: Picker = { pick: () => [endpoint()] }
    const profile = new Profile('p', [], [], { name: 'odd', probe, plugin: stranger })
    assert.throws(() => profile.run(request(), endpoints, 0), { code: 'PLUGIN_CONTRACT' })
  })
})
