import assert from 'node:assert/strict'
import type { EndpointMetrics } from '../../src/framework/endpoint.ts'
import { request } from '../../src/framework/testing.ts'
import { SilenceCheck } from '../../src/kvcache/silence-check.ts'
import { TrackedOwners } from '../../src/kvcache/tracked-owners.ts'
import { message, stored, tokensOf } from './events.ts'
import { createKvCache, ManualClock, ManualEndpoints, models, until } from './fakes.ts'

/** The cache looks each second of real time. */
const LOOKS_MS = 2_500
const NOTICE = 'kv-silent:10.0.0.1:8000'

type Counters = readonly [queriedTokens: number, hitTokens: number, finishedRequests: number]

function pageOf(counters: Counters, scrapedAtMs: number, running = 0): EndpointMetrics {
  const [queriedTokens, hitTokens, finishedRequests] = counters
  return {
    ...{ waiting: 0, running, kvCacheUsage: 0, blockTokens: 16, kvBlocks: undefined },
    ...{ hashAlgorithm: undefined, adapters: undefined, custom: new Map() },
    prefixCache: { queriedTokens, hitTokens, finishedRequests },
    scrapedAtMs,
  }
}

describe('SilenceCheck', function () {
  this.timeout(60_000)

  function setup() {
    const kv = createKvCache(models(['m']))
    const added = kv.endpoints.add()
    let sequence = 0
    const send = () => {
      const frames = message('kv@10.0.0.1@m', sequence++, [stored()])
      kv.cache.intake.receive({ kind: 'bound' }, frames)
    }
    const scrape = (counters: Counters) =>
      kv.endpoints.scraped(added, pageOf(counters, kv.clock.nowMs()))
    const held = () => {
      const tokens = { prompts: [Int32Array.from([...tokensOf('a', 0, 4, 16), 1])], exact: true }
      return kv.cache.index.match(request({ targetModel: 'm' }), tokens, [added]).blocks[0]
    }
    /** Lets the cache look at least twice. */
    const looked = async () => {
      const untilMs = performance.now() + LOOKS_MS
      await until(() => performance.now() > untilMs, 'two looks', 10 * LOOKS_MS)
    }
    return { ...kv, send, scrape, held, looked }
  }

  it('clears and says so when blocks are filled and no events come, and takes it back when they do', async () => {
    const { cache, clock, send, scrape, held, looked, notices, metrics } = setup()
    send()
    assert.equal(held(), 4)
    clock.ms += 3_000
    scrape([1000, 500, 10])
    await looked()
    const silentFromMs = clock.ms
    clock.ms += 12_000
    // Two requests, of which one at least has filled a block.
    scrape([1100, 567, 12])
    await until(() => notices.get(NOTICE) !== undefined, 'the notice', 10 * LOOKS_MS)
    const noticedMs = clock.ms - silentFromMs
    console.log(`        noticed after ${noticedMs} ms (limit 30000)`)
    assert.ok(noticedMs < 30_000)
    assert.match(notices.get(NOTICE)!, /no KV events for 12 s .* 33 prompt tokens computed anew/)
    assert.equal(held(), 0)
    assert.equal(cache.status()[0]!.coverage, 'gap')
    assert.equal(metrics.sum('epp_kv_publisher_silences_total'), 1)
    send()
    await until(() => notices.get(NOTICE) === undefined, 'the end of the notice', 10 * LOOKS_MS)
    assert.equal(cache.status()[0]!.coverage, 'late')
    cache.close()
  })

  describe('by its counters', () => {
    /** A check whose looks are made by hand, at an endpoint whose last event came at 1000 ms. */
    function byHand() {
      const endpoints = new ManualEndpoints()
      const clock = new ManualClock()
      const added = endpoints.add()
      const silences: number[] = []
      const intake = {
        lastEventMs: () => 1_000,
        fellSilent: (_: unknown, { computedTokens }: { computedTokens: number }) =>
          void silences.push(computedTokens),
        heard: () => {},
      }
      const owners = new TrackedOwners(endpoints, 1 << 20)
      const check = new SilenceCheck({ owners, intake, endpoints, clock })
      const look = (atMs: number, counters: Counters, running = 0) => {
        clock.ms = atMs
        endpoints.scraped(added, pageOf(counters, atMs, running))
        check.run()
      }
      return { look, silences }
    }

    for (const [what, counters, running, silent] of [
      ['is idle', [1000, 500, 10], 0, 0],
      ['serves requests shorter than a block', [1160, 500, 20], 0, 0],
      ['serves prompts that are cached but for their ends', [9000, 8340, 20], 0, 0],
      ['has not done its requests yet', [1032, 500, 10], 2, 0],
      ['began anew', [300, 0, 1], 0, 0],
      ['has filled a block at least', [1033, 500, 11], 1, 33],
    ] as const) {
      it(`${silent === 0 ? 'does not suspect' : 'finds'} an engine that ${what}`, () => {
        const { look, silences } = byHand()
        look(1_000, [900, 500, 9])
        look(3_000, [1000, 500, 10])
        look(63_000, counters, running)
        assert.deepEqual(silences, silent === 0 ? [] : [silent])
      })
    }

    it('waits some seconds before it says so', () => {
      const { look, silences } = byHand()
      look(3_000, [0, 0, 0])
      look(3_000, [0, 0, 0])
      look(12_900, [500, 0, 1])
      assert.deepEqual(silences, [])
      look(13_000, [500, 0, 1])
      assert.deepEqual(silences, [500])
    })
  })
})
