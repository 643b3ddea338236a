import assert from 'node:assert/strict'
import { until } from '../fakes.ts'
import { assertEqual, assertWithin } from './block-table.ts'
import { setup } from './sockets.ts'
import { dial, Engine, eventuallyBound, LIMIT_MS, settled, sourceOf } from './table-engine.ts'
import { TcpProxy } from './tcp-proxy.ts'

/** Tokens of stores that fill the buffers of a connection. */
const WIDE = 300_000

describe('events over a connection that breaks', function () {
  this.timeout(10 * LIMIT_MS)

  async function connected(options: {
    readonly replays: boolean
    readonly highWaterMark?: number
  }) {
    const { replays, ...rest } = options
    const engine = await Engine.start(77, { clears: 0, ...rest })
    const proxy = await TcpProxy.start(engine.ports.events)
    const kv = await setup({})
    kv.endpoints.add({ address: '127.0.0.1' })
    if (replays) kv.cache.intake.recoverFrom(sourceOf(kv, engine.ports.replay))
    await dial(kv, engine, proxy.port)
    await settled(kv, engine)
    await engine.publish(50)
    await settled(kv, engine)
    assertEqual(engine.table, kv.cache, kv.endpoints)
    return { engine, proxy, kv, status: () => kv.cache.status()[0]! }
  }
  type Connected = Awaited<ReturnType<typeof connected>>

  /** What holds afterwards: all that the engine holds, or less, and then that is said. */
  async function judge({ engine, kv, status }: Connected, replays: boolean) {
    await settled(kv, engine)
    if (replays) {
      assertEqual(engine.table, kv.cache, kv.endpoints)
      assert.equal(status().coverage, 'complete')
      return
    }
    assertWithin(engine.table, kv.cache, kv.endpoints)
    assert.equal(status().coverage, 'gap')
    assert.ok(kv.notices.list().some(({ text }) => /KV events lost/.test(text)))
    await engine.publish(100)
    await settled(kv, engine)
    assertWithin(engine.table, kv.cache, kv.endpoints)
    engine.table.clear()
    engine.publisher.publish([{ type: 'AllBlocksCleared' }])
    await engine.publish(100)
    await settled(kv, engine)
    assertEqual(engine.table, kv.cache, kv.endpoints)
    assert.equal(status().coverage, 'complete')
  }

  for (const replays of [false, true]) {
    const how = replays ? 'and the engine answers' : 'and nobody is asked'

    it(`which is cut and comes back, ${how}`, async () => {
      const all = await connected({ replays })
      const { engine, proxy, kv } = all
      proxy.cut()
      await until(() => proxy.open === 0, 'the cut', LIMIT_MS)
      await engine.publish(80)
      proxy.mend()
      await until(() => proxy.open > 0, 'the new connection', LIMIT_MS)
      await judge(all, replays)
      assert.ok(replays || kv.metrics.sum('epp_kv_event_gaps_total') >= 1)
    })

    it(`whose reader is slow, until the engine drops messages, ${how}`, async () => {
      const all = await connected({ replays, highWaterMark: 1000 })
      const { engine, proxy, kv } = all
      proxy.stall()
      const before = engine.last
      // Large events fill the buffers of the connection, and small ones then the few places of the queue.
      const tokenIds = new Int32Array(WIDE).fill(70_000)
      for (let i = 0; i < 12; i++) {
        engine.publisher.publish([
          {
            ...{ type: 'BlockStored', blockHashes: [BigInt(i + 1)], parentBlockHash: null },
            ...{ tokenIds, blockTokens: WIDE, loraName: null, extraKeys: [null] },
          },
        ])
        await new Promise((resolve) => setImmediate(resolve))
      }
      await engine.publish(2500)
      const sent = engine.last - before
      proxy.flow()
      await judge(all, replays)
      const lost = kv.metrics.sum('epp_kv_event_messages_lost_total')
      const asked = kv.metrics.sum('epp_kv_event_messages_replayed_total')
      assert.ok(replays ? asked > 0 : lost > 0, `${sent} sent, ${lost} lost, ${asked} replayed`)
    })

    it(`because the engine starts anew at its address, ${how}`, async () => {
      const all = await connected({ replays })
      const { engine, kv, status } = all
      const { ports } = engine
      await engine.publisher.close()
      const next = await eventuallyBound(() => Engine.start(78, { clears: 0, ports }))
      await next.publish(20)
      // Its first messages come before anybody listens, and where nobody is asked they look like a gap or a restart.
      await until(
        () => {
          next.nudge()
          const { restarts, gaps } = status().publishers[0]!
          return restarts + gaps > 0
        },
        'the new engine is noticed',
        LIMIT_MS,
      )
      await settled(kv, next)
      if (replays) {
        assertEqual(next.table, kv.cache, kv.endpoints)
        assert.deepEqual([status().coverage, status().publishers[0]!.restarts], ['complete', 1])
      } else {
        assertWithin(next.table, kv.cache, kv.endpoints)
        assert.ok(['gap', 'late'].includes(status().coverage), status().coverage)
        assert.ok(kv.notices.list().some(({ key }) => key.startsWith('kv-coverage:')))
      }
    })
  }
})
