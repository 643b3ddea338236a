import assert from 'node:assert/strict'
import { mock } from 'node:test'
import { EndpointStore } from '../../src/datalayer/endpoint-store.ts'
import { Ejections } from '../../src/gateway/ejections.ts'
import { telemetry } from '../datalayer/telemetry.ts'

const AT = '10.0.0.1:8000'

describe('Ejections', () => {
  let now: number
  let problem: string | undefined
  let probes: number[]
  let ejections: Ejections
  let endpoints: EndpointStore
  /** Lets time pass, in steps of 10 ms, and what waits for it be done. */
  const pass = async (ms: number) => {
    for (const end = now + ms; now < end; ) {
      now += 10
      mock.timers.tick(10)
      for (let i = 0; i < 5; i++) await Promise.resolve()
    }
  }
  beforeEach(() => {
    mock.timers.enable({ apis: ['setTimeout'] })
    now = 0
    problem = 'the probe failed'
    probes = []
    const told = telemetry()
    endpoints = new EndpointStore(told)
    const spec = { namespace: 'n', name: 'e', address: '10.0.0.1', port: 8000, rank: 0, labels: {} }
    endpoints.replace('test', [spec])
    ejections = new Ejections(
      {
        ...told,
        endpoints,
        clock: { nowMs: () => now, epochMs: () => now },
        probe: async () => {
          probes.push(now)
          return problem
        },
      },
      1000,
      8000,
    )
  })
  afterEach(() => {
    ejections.stop()
    mock.timers.reset()
  })

  it('double with each probe that fails, up to a limit, and end with one that does not', async () => {
    ejections.eject(AT, 'refused', 'ECONNREFUSED')
    ejections.eject(AT, 'refused', 'ECONNREFUSED')
    assert.deepEqual([...ejections.avoid!], [AT])
    await pass(31_000)
    assert.deepEqual(probes, [1000, 3000, 7000, 15_000, 23_000, 31_000])
    problem = undefined
    await pass(8000)
    assert.equal(ejections.avoid, undefined)
    assert.deepEqual(ejections.list(), [])
  })

  it('go on growing until a request has been answered', async () => {
    problem = undefined
    ejections.eject(AT, 'reset', 'ECONNRESET')
    await pass(1000)
    assert.equal(ejections.avoid, undefined)
    ejections.eject(AT, 'reset', 'ECONNRESET')
    assert.equal(ejections.list()[0]!.untilEpochMs, now + 2000)
    await pass(2000)
    ejections.answered(AT)
    ejections.eject(AT, 'reset', 'ECONNRESET')
    assert.equal(ejections.list()[0]!.untilEpochMs, now + 1000)
  })

  it('are not ended by an answer to an earlier request', () => {
    ejections.eject(AT, 'reset', 'ECONNRESET')
    ejections.answered(AT)
    assert.deepEqual([...ejections.avoid!], [AT])
  })

  it('are probed at once when nobody else is left, at most once a second', async () => {
    ejections.eject(AT, 'refused', 'ECONNREFUSED')
    await pass(7000)
    const before = probes.length
    for (let i = 0; i < 100; i++) {
      await pass(20)
      ejections.hurry()
    }
    assert.ok(probes.length - before <= 2, `${probes.length - before} probes`)
    assert.ok(probes.length > before)
  })

  it('know no endpoint that is gone', async () => {
    ejections.eject(AT, 'refused', 'ECONNREFUSED')
    endpoints.replace('test', [])
    assert.equal(ejections.avoid, undefined)
    ejections.eject(AT, 'refused', 'ECONNREFUSED')
    assert.equal(ejections.avoid, undefined)
    await pass(2000)
    assert.deepEqual(probes, [])
  })

  it('are of all ranks behind a port, until the last of them has gone', async () => {
    endpoints.setRanksPerPort(3)
    ejections.eject(AT, 'refused', 'ECONNREFUSED')
    assert.deepEqual([...ejections.avoid!], [AT])
    endpoints.setRanksPerPort(2)
    assert.deepEqual([...ejections.avoid!], [AT], 'two ranks are left')
    await pass(1000)
    assert.deepEqual(probes, [1000], 'one probe for the port')
    endpoints.replace('test', [])
    assert.equal(ejections.avoid, undefined)
  })
})
