import assert from 'node:assert/strict'
import { SharedIntake } from '../../../src/kvcache/events/shared-intake.ts'
import { KvCache } from '../../../src/kvcache/kv-cache.ts'
import { message, stored } from '../events.ts'
import {
  ManualClock,
  ManualEndpoints,
  MemoryLogger,
  MemoryMetrics,
  MemoryNotices,
  models,
} from '../fakes.ts'

const BOUND = { kind: 'bound' } as const

/** The caches of two pools behind one socket. */
function setUp() {
  const shared = new SharedIntake()
  const pools = [0, 1].map(() => {
    const endpoints = new ManualEndpoints()
    const metrics = new MemoryMetrics()
    const cache = new KvCache({
      clock: new ManualClock(),
      logger: new MemoryLogger(),
      notices: new MemoryNotices(),
      models: models(['m']),
      maxMemoryBytes: 16 << 20,
      metrics,
      endpoints,
    })
    opened.push(cache)
    const leave = shared.add(cache.intake)
    const results = () =>
      Object.fromEntries(
        [...metrics.sums].flatMap(([key, sum]) => {
          const result = /^epp_kv_event_messages_total\{(.*)\}$/.exec(key)?.[1]
          return result && sum > 0 ? [[result, sum]] : []
        }),
      )
    return { endpoints, cache, leave, results }
  })
  return { shared, first: pools[0]!, second: pools[1]! }
}

const opened: KvCache[] = []

describe('SharedIntake', () => {
  afterEach(() => {
    for (const cache of opened.splice(0)) cache.close()
  })

  it('gives a message to the pool whose endpoint its topic names', () => {
    const { shared, first, second } = setUp()
    first.endpoints.add({ address: '10.0.0.1' })
    second.endpoints.add({ address: '10.0.0.2' })
    shared.receive(BOUND, message('kv@10.0.0.2@m', 0, [stored()]))
    assert.deepEqual(first.results(), {})
    assert.deepEqual(second.results(), { applied: 1 })
  })

  it('gives it to each pool that has the endpoint', () => {
    const { shared, first, second } = setUp()
    for (const { endpoints } of [first, second]) endpoints.add({ address: '10.0.0.1' })
    shared.receive(BOUND, message('kv@10.0.0.1@m', 0, [stored()]))
    assert.deepEqual([first.results(), second.results()], [{ applied: 1 }, { applied: 1 }])
  })

  it('counts what no pool knows once', () => {
    const { shared, first, second } = setUp()
    first.endpoints.add({ address: '10.0.0.1' })
    shared.receive(BOUND, message('kv@10.0.0.9@m', 0, [stored()]))
    shared.receive(BOUND, [])
    assert.deepEqual(first.results(), { unknown_endpoint: 1, bad_frames: 1 })
    assert.deepEqual(second.results(), {})
  })

  it('forgets a pool that leaves', () => {
    const { shared, first, second } = setUp()
    for (const { endpoints } of [first, second]) endpoints.add({ address: '10.0.0.1' })
    first.leave()
    shared.receive(BOUND, message('kv@10.0.0.1@m', 0, [stored()]))
    assert.deepEqual([first.results(), second.results()], [{}, { applied: 1 }])
  })
})
