import assert from 'node:assert/strict'
import { until } from '../fakes.ts'
import { TurnWatch } from '../turns.ts'
import { assertEqual, assertWithin } from './block-table.ts'
import { setup } from './sockets.ts'
import {
  dial,
  Engine,
  eventuallyBound,
  LIMIT_MS,
  type Setup,
  settled,
  sourceOf,
} from './table-engine.ts'

/** The aim for the longest turn of the event loop; the engine, in the same process, has its share of it. */
const TURN_MS = 20

describe('replay, against the block table of the engine', function () {
  this.timeout(10 * LIMIT_MS)

  for (const load of [false, true]) {
    const when = load ? 'while more come' : 'at rest'
    for (const missing of [1, 10, 10_000]) {
      it(`fills a gap of ${missing} messages ${when}`, async () => {
        const engine = await Engine.start(missing + Number(load), { bufferSteps: 30_000 })
        const kv = await setup({})
        kv.endpoints.add({ address: '127.0.0.1' })
        kv.cache.intake.recoverFrom(sourceOf(kv, engine.ports.replay))
        const hangUp = await dial(kv, engine)
        await engine.publish(500)
        await settled(kv, engine)
        assertEqual(engine.table, kv.cache, kv.endpoints)
        hangUp()
        await engine.publish(missing)
        const stop = load ? engine.load() : undefined
        const watch = new TurnWatch()
        const startedMs = performance.now()
        await dial(kv, engine)
        await until(() => kv.cache.status()[0]!.coverage !== 'replaying', 'the replay', LIMIT_MS)
        const tookMs = performance.now() - startedMs
        const { worstMs } = watch.stop()
        await stop?.()
        await settled(kv, engine)
        assertEqual(engine.table, kv.cache, kv.endpoints)
        assert.equal(kv.cache.status()[0]!.coverage, 'complete')
        assert.equal(kv.metrics.sum('epp_kv_event_gaps_total'), 0)
        assert.equal(kv.metrics.sum('epp_kv_publisher_restarts_total'), 0)
        assert.ok(kv.metrics.sum('epp_kv_event_messages_replayed_total') >= missing)
        assert.deepEqual(kv.notices.list(), [])
        console.log(
          `      replayed in ${Math.round(tookMs)} ms, longest turn ${worstMs.toFixed(1)} ms of CPU`,
        )
        assert.ok(worstMs < 10 * TURN_MS)
      })

      it(`learns ${missing} messages from before its start ${when}`, async () => {
        const engine = await Engine.start(50 + missing + Number(load), { bufferSteps: 30_000 })
        const kv = await setup({})
        await engine.publish(missing)
        const stop = load ? engine.load() : undefined
        kv.endpoints.add({ address: '127.0.0.1' })
        const watch = new TurnWatch()
        kv.cache.intake.recoverFrom(sourceOf(kv, engine.ports.replay))
        if (load) await dial(kv, engine)
        await until(() => kv.cache.status()[0]!.coverage !== 'replaying', 'the replay', LIMIT_MS)
        const { worstMs } = watch.stop()
        await stop?.()
        if (load) await settled(kv, engine)
        assertEqual(engine.table, kv.cache, kv.endpoints)
        assert.equal(kv.cache.status()[0]!.coverage, 'complete')
        assert.equal(kv.metrics.sum('epp_kv_event_gaps_total'), 0)
        console.log(`      longest turn ${worstMs.toFixed(1)} ms of CPU`)
        assert.ok(worstMs < 10 * TURN_MS)
      })

      it(`says that a gap of ${missing} messages stays where the engine remembers less, ${when}`, async () => {
        const bufferSteps = Math.ceil(missing / 2)
        const engine = await Engine.start(100 + missing + Number(load), { bufferSteps })
        const kv = await setup({})
        kv.endpoints.add({ address: '127.0.0.1' })
        kv.cache.intake.recoverFrom(sourceOf(kv, engine.ports.replay))
        const hangUp = await dial(kv, engine)
        await engine.publish(50)
        await settled(kv, engine)
        hangUp()
        await engine.publish(missing + bufferSteps)
        const stop = load ? engine.load() : undefined
        await dial(kv, engine)
        await stop?.()
        await settled(kv, engine)
        assertWithin(engine.table, kv.cache, kv.endpoints)
        const cleared = kv.metrics.sum('epp_kv_caches_cleared_total') > 0
        if (!cleared) assert.equal(kv.cache.status()[0]!.coverage, 'gap')
        assert.ok(kv.metrics.sum('epp_kv_event_gaps_total') >= 1)
        assert.ok(kv.metrics.sum('epp_kv_event_messages_lost_total') >= missing)
        if (!cleared) {
          const notice = kv.notices.list().find(({ key }) => key.startsWith('kv-coverage:'))
          assert.match(notice!.text, /KV events lost .* forgotten/)
        }
      })
    }
  }

  it('learns from an engine of two ranks, each by its own socket', async () => {
    const [first, second] = await twoRanks()
    const kv = await setup({})
    await first.publish(300)
    await second.publish(200)
    kv.endpoints.add({ address: '127.0.0.1' })
    kv.endpoints.add({ address: '127.0.0.1', port: 8001, rank: 1 })
    kv.cache.intake.recoverFrom(sourceOf(kv, first.ports.replay))
    const coverage = (rank: number) => kv.cache.status()[rank]!.coverage
    await until(
      () => coverage(0) === 'complete' && coverage(1) === 'complete',
      'both replays',
      LIMIT_MS,
    )
    const hangUp = kv.zmq.dial(first.ports.events, kv.endpoints, kv.cache.intake)
    for (const [rank, engine] of [first, second].entries()) {
      await settled(kv, engine, rank)
      assertEqual(engine.table, kv.cache, kv.endpoints, rank)
    }
    // A gap of one rank is no gap of the other.
    hangUp()
    await second.publish(100)
    kv.zmq.dial(first.ports.events, kv.endpoints, kv.cache.intake)
    for (const [rank, engine] of [first, second].entries()) {
      await settled(kv, engine, rank)
      assertEqual(engine.table, kv.cache, kv.endpoints, rank)
    }
    assert.deepEqual([coverage(0), coverage(1)], ['complete', 'complete'])
    assert.equal(kv.metrics.sum('epp_kv_event_gaps_total'), 0)
  })

  describe('of an engine that restarts', () => {
    const restart = async (kv: Setup, before: Engine, messages: number): Promise<Engine> => {
      const { ports } = before
      await before.publisher.close()
      const after = await eventuallyBound(() => Engine.start(900 + messages, { ports }))
      await after.publish(messages)
      await dial(kv, after)
      return after
    }

    for (const [messages, what] of [
      [0, 'and has said nothing since'],
      [5, 'and has said less than before'],
      [400, 'and has said more than before, so that only the times tell'],
    ] as const) {
      it(`forgets the old one, ${what}, and learns the new one`, async () => {
        const engine = await Engine.start(7)
        const kv = await setup({})
        kv.endpoints.add({ address: '127.0.0.1' })
        kv.cache.intake.recoverFrom(sourceOf(kv, engine.ports.replay))
        const hangUp = await dial(kv, engine)
        await engine.publish(200)
        await settled(kv, engine)
        hangUp()
        // Some of the old one's messages are missing too.
        await engine.publish(30)
        const after = await restart(kv, engine, messages)
        await after.publish(20)
        await settled(kv, after)
        assertEqual(after.table, kv.cache, kv.endpoints)
        assert.equal(kv.cache.status()[0]!.coverage, 'complete')
        assert.ok(kv.metrics.sum('epp_kv_publisher_restarts_total') >= 1)
      })
    }
  })
})

/** Two engines whose ports follow each other, as those of data-parallel ranks do. */
async function twoRanks(): Promise<[Engine, Engine]> {
  return eventuallyBound(async () => {
    const first = await Engine.start(21)
    const { events, replay } = first.ports
    try {
      const ports = { events: events + 1, replay: replay + 1 }
      return [first, await Engine.start(22, { rank: 1, ports })]
    } catch (error) {
      await first.publisher.close()
      throw error
    }
  })
}
