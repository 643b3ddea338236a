import assert from 'node:assert/strict'
import { request } from '../../src/framework/testing.ts'
import { message } from './events.ts'
import { createKvCache, models, until } from './fakes.ts'
import { below, seeded } from './random.ts'

const BOUND = { kind: 'bound' } as const
const MEBIBYTE = 1 << 20
const BLOCK_TOKENS = 4
const MODEL = 'm'

const promptOf = (conversation: number, blocks: number) =>
  Int32Array.from({ length: blocks * BLOCK_TOKENS + 1 }, (_, t) => conversation * 10_000 + t)
const hashOf = (conversation: number, block: number) =>
  BigInt(conversation) * 1000n + BigInt(block) + 1n

/** An engine that keeps what it was asked for last, as a plain map of conversation to blocks. */
class LruEngine {
  readonly blocks = new Map<number, number>()
  readonly #topic: string
  readonly #capacity: number
  readonly #send: (frames: readonly Uint8Array[]) => void
  #held = 0
  #sequence = 0

  constructor(address: string, capacity: number, send: (frames: readonly Uint8Array[]) => void) {
    this.#topic = `kv@${address}@${MODEL}`
    this.#capacity = capacity
    this.#send = send
  }

  /** Holds so many blocks of a conversation then, and tells what that changed. */
  serve(conversation: number, blocks: number): void {
    const events: unknown[] = []
    const before = this.blocks.get(conversation) ?? 0
    this.blocks.delete(conversation)
    this.blocks.set(conversation, Math.max(before, blocks))
    if (blocks > before) {
      events.push({
        type: 'BlockStored',
        block_hashes: Array.from({ length: blocks - before }, (_, i) =>
          hashOf(conversation, before + i),
        ),
        parent_block_hash: before === 0 ? null : hashOf(conversation, before - 1),
        token_ids: [
          ...promptOf(conversation, blocks).subarray(before * BLOCK_TOKENS, blocks * BLOCK_TOKENS),
        ],
        block_size: BLOCK_TOKENS,
        lora_id: null,
        medium: 'GPU',
        lora_name: null,
      })
      this.#held += blocks - before
    }
    for (const [oldest, held] of this.blocks) {
      if (this.#held <= this.#capacity) break
      // Its last blocks first.
      const gone = Math.min(held, this.#held - this.#capacity)
      events.push({
        type: 'BlockRemoved',
        block_hashes: Array.from({ length: gone }, (_, i) => hashOf(oldest, held - 1 - i)),
        medium: 'GPU',
      })
      this.#held -= gone
      if (gone === held) this.blocks.delete(oldest)
      else this.blocks.set(oldest, held - gone)
    }
    this.#send(message(this.#topic, this.#sequence++, events))
  }
}

/** Engines that hold more than the index may. */
function fleet(mebibytes: number, engines: number, capacity: number) {
  const kv = createKvCache(models([MODEL]), mebibytes * MEBIBYTE)
  const endpoints = Array.from({ length: engines }, (_, i) =>
    kv.endpoints.add({ address: `10.0.0.${i + 1}` }),
  )
  const fleetEngines = endpoints.map(
    ({ address }) =>
      new LruEngine(address, capacity, (frames) => kv.cache.intake.receive(BOUND, frames)),
  )
  const match = (conversation: number, blocks: number) =>
    kv.cache.index.match(
      request({ targetModel: MODEL }),
      { prompts: [promptOf(conversation, blocks)], exact: true },
      endpoints,
    ).blocks
  /** As a request does that is sent to the engine. */
  const ask = (engine: number, conversation: number, blocks: number) => {
    const asked = request({ targetModel: MODEL })
    const tokens = { prompts: [promptOf(conversation, blocks)], exact: true }
    kv.cache.index.touch(asked, tokens, endpoints[engine]!)
    fleetEngines[engine]!.serve(conversation, blocks)
  }
  return { ...kv, endpoints, engines: fleetEngines, match, ask }
}

describe('IndexEviction', () => {
  for (const seed of [1, 2, 3]) {
    it(`stays within its memory and says nothing that engines do not hold: seed ${seed}`, async () => {
      const pick = below(seeded(seed))
      const kv = fleet(4, 3, 60_000)
      const lengths = new Map<number, number>()
      let newest = 0
      let matched = 0
      let held = 0
      for (let step = 0; step < 6_000; step++) {
        const isNew = newest < 10 || pick(3) > 0
        const conversation = isNew ? newest++ : newest - 1 - pick(Math.min(newest, 400))
        const blocks = Math.min((lengths.get(conversation) ?? 0) + 1 + pick(60), 300)
        lengths.set(conversation, blocks)
        kv.ask(pick(3), conversation, blocks)
        assert.ok(kv.cache.memoryBytes <= 4 * MEBIBYTE)
        if (step % 20 !== 0) continue
        const asked = pick(newest)
        for (const [e, found] of kv.match(asked, 300).entries()) {
          const truth = kv.engines[e]!.blocks.get(asked) ?? 0
          assert.ok(found <= truth, `step ${step}: ${found} found of ${truth}`)
          held += truth
          matched += found
        }
      }
      const evicted = kv.metrics.sum('epp_kv_blocks_evicted_total')
      const dropped = kv.metrics.sum('epp_kv_events_skipped_total{index_full}')
      const stored = kv.metrics.sum('epp_kv_blocks_stored_total')
      assert.ok(evicted > 20_000, `${evicted} forgotten`)
      assert.ok(dropped < stored / 200, `${dropped} of ${stored} found no room`)
      assert.equal(kv.metrics.sum('epp_kv_events_skipped_total{unknown_block}'), 0)
      assert.equal(kv.metrics.sum('epp_kv_events_skipped_total{unknown_parent}'), 0)
      assert.ok(matched > 0 && matched < held, `${matched} of ${held}`)
      // Engines that remove all they hold leave nothing behind, and what they store then is followed as ever.
      for (const engine of kv.engines) for (let i = 0; i < 300; i++) engine.serve(1e5 + i, 200)
      assert.equal(kv.metrics.sum('epp_kv_events_skipped_total{unknown_block}'), 0)
      kv.ask(0, 2e5, 200)
      kv.ask(0, 2e5, 250)
      assert.equal(kv.match(2e5, 250)[0], 250)
      await kv.cache.close()
    })
  }

  it('keeps what is matched again and again', async () => {
    const kv = fleet(4, 2, 100_000)
    for (let i = 0; i < 100; i++) kv.ask(i % 2, i, 50)
    for (let round = 0; round < 150; round++) {
      for (let i = 0; i < 20; i++) kv.ask(i % 2, 1000 + round * 20 + i, 100)
      for (let i = 0; i < 100; i++) kv.ask(i % 2, i, 50)
    }
    assert.ok(kv.metrics.sum('epp_kv_blocks_evicted_total') > 100_000)
    for (let i = 0; i < 100; i++) assert.equal(kv.match(i, 50)[i % 2], 50, `conversation ${i}`)
    await kv.cache.close()
  })

  it('comes down to a lower limit by itself, the newest last, and says so until it is over', async () => {
    const kv = fleet(64, 4, 1_000_000)
    for (let i = 0; i < 4000; i++) kv.ask(i % 4, i, 100)
    const before = kv.cache.memoryBytes
    assert.ok(before > 16 * MEBIBYTE, `${before} bytes`)
    assert.equal(kv.notices.get('kv-index-full'), undefined)
    kv.cache.limitMemory(8 * MEBIBYTE)
    const startedMs = performance.now()
    while (kv.cache.memoryBytes > 8 * MEBIBYTE) {
      assert.ok(performance.now() - startedMs < 60_000, `${kv.cache.memoryBytes} bytes are left`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    const tookMs = Math.round(performance.now() - startedMs)
    console.log(`        ${before >> 20} MiB to 8 MiB within ${tookMs} ms (limit 6000 ms)`)
    assert.match(kv.notices.get('kv-index-full')!, /reached its 8 MiB.*raise maxMemoryMiB/)
    const whole = Array.from({ length: 100 }, (_, i) => 3999 - i).filter(
      (i) => kv.match(i, 100)[i % 4] === 100,
    )
    assert.equal(whole.length, 100, 'the newest are left')
    kv.cache.limitMemory(64 * MEBIBYTE)
    assert.equal(kv.notices.get('kv-index-full'), undefined)
    await kv.cache.close()
  })

  it('takes its notice away a minute after the last round', async () => {
    const kv = fleet(4, 1, 1_000_000)
    for (let i = 0; i < 1500; i++) kv.ask(0, i, 100)
    assert.match(kv.notices.get('kv-index-full')!, /reached its 4 MiB/)
    kv.clock.ms += 61_000
    await until(() => kv.notices.get('kv-index-full') === undefined, 'the notice is gone')
    for (let i = 1500; i < 3000; i++) kv.ask(0, i, 100)
    assert.match(kv.notices.get('kv-index-full')!, /reached its 4 MiB/, 'and comes back')
    await kv.cache.close()
  })
})
