import assert from 'node:assert/strict'
import { request } from '../../src/framework/testing.ts'
import {
  createKvEventPublisher,
  type ZmqEventPublisher,
} from '../../src/kvcache/events/event-publisher.ts'
import { createEngineBlockHasher } from '../../src/kvcache/hashing/engine-hash.ts'
import { openAiApi } from '../../src/openai/openai-api.ts'
import { simEngineOptions } from '../../src/sim/options.ts'
import { SimEngine } from '../../src/sim/sim-engine.ts'
import { PromptTokenizer } from '../../src/tokenize/prompt-tokenizer.ts'
import { PoolSetup, type PoolSetupOptions, specs } from '../app/pool-setup.ts'
import { eventually } from '../e2e/process.ts'
import { portOf, track } from '../kvcache/events/sockets.ts'
import { eventuallyBound } from '../kvcache/events/table-engine.ts'
import { TcpProxy } from '../kvcache/events/tcp-proxy.ts'
import { below, seeded } from '../kvcache/random.ts'
import { clock, memoryLogger, memoryMetrics, memoryNotices } from '../tokenize/services.ts'
import { StreamRelay } from './stream-relay.ts'

const MODEL = 'm'
const BLOCK_TOKENS = 16
const LIMIT_MS = 60_000
const PROFILE = `schedulingProfiles:
  - name: default
    plugins:
      - { type: precise-prefix-cache-scorer, weight: 1, parameters: { speculativeIndexing: false } }
      - { type: max-score-picker }
`

interface EngineOptions {
  readonly kvBlocks?: number
  readonly bufferSteps?: number
  readonly highWaterMark?: number
  readonly ports?: { readonly http: number; readonly events: number; readonly replay: number }
}

/** A simulated engine whose events go over real sockets, and who asks it. */
class Engine {
  readonly sim: SimEngine
  readonly publisher: ZmqEventPublisher
  readonly ports: { readonly http: number; readonly events: number; readonly replay: number }
  /** Every prompt that it was asked. */
  readonly prompts: number[][] = []
  readonly #below = below(seeded(7))

  private constructor(sim: SimEngine, publisher: ZmqEventPublisher, http: number) {
    this.sim = sim
    this.publisher = publisher
    this.ports = {
      http,
      events: portOf(publisher.address),
      replay: portOf(publisher.replayAddress!),
    }
  }

  static async start(options: EngineOptions = {}): Promise<Engine> {
    const { ports = { http: 0, events: 0, replay: 0 } } = options
    const simOptions = simEngineOptions({
      port: String(ports.http),
      servedModelName: MODEL,
      blockSize: String(BLOCK_TOKENS),
      numGpuBlocks: String(options.kvBlocks ?? 400),
      prefillTokensPerSecond: '10000000',
      decodeMs: '0.1',
      seed: '42',
    })
    const tokenizer = new PromptTokenizer({
      tokenizersDir: undefined,
      models: { baseOf: () => undefined },
      clock,
      logger: memoryLogger(),
      metrics: memoryMetrics(),
      notices: memoryNotices(),
    })
    track(tokenizer)
    const publisher = await createKvEventPublisher({
      endpoint: `tcp://*:${ports.events}`,
      wildcard: '127.0.0.1',
      replayEndpoint: `tcp://127.0.0.1:${ports.replay}`,
      topic: `kv@127.0.0.1@${MODEL}`,
      encoding: 'map',
      rank: 0,
      ...(options.bufferSteps !== undefined && { bufferSteps: options.bufferSteps }),
      ...(options.highWaterMark !== undefined && { highWaterMark: options.highWaterMark }),
    })
    const sim = new SimEngine({
      options: simOptions,
      tokenizer,
      hasher: createEngineBlockHasher(simOptions.hashAlgorithm, simOptions.hashSeed),
      publishers: [publisher],
      openAi: openAiApi,
      clock,
      logger: memoryLogger(),
    })
    const { port } = await sim.start()
    const engine = new Engine(sim, publisher, port)
    track(engine)
    return engine
  }

  #isClosed = false
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await this.sim.close()
    await this.publisher.close()
  }

  get last(): number {
    return this.publisher.nextSequence - 1
  }

  /** Serves new conversations and further turns of old ones, some at once. */
  async work(requests: number, tokens = 60): Promise<void> {
    for (let i = 0; i < requests; i += 4) {
      await Promise.all(
        Array.from({ length: Math.min(4, requests - i) }, () => this.ask(this.#prompt(tokens))),
      )
    }
  }

  async ask(prompt: number[]): Promise<void> {
    this.prompts.push(prompt)
    const response = await fetch(`http://127.0.0.1:${this.ports.http}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: MODEL, prompt, max_tokens: 2 }),
    })
    assert.equal(response.status, 200, await response.text())
  }

  #prompt(tokens: number): number[] {
    const old = this.prompts[this.prompts.length - 1 - this.#below(12)]
    const before = old !== undefined && old.length < 1500 && this.#below(2) === 0 ? old : []
    const count = tokens + this.#below(tokens)
    return [...before, ...Array.from({ length: count }, () => 5 + this.#below(1000))]
  }
}

type Kv = Awaited<ReturnType<typeof picker>>

/** A pool that follows an engine's events at that port. */
async function picker(
  engine: Engine,
  dialPort: number,
  { replays = false, ...options }: PoolSetupOptions & { readonly replays?: boolean } = {},
) {
  const replayPort = replays ? engine.ports.replay : undefined
  const setup = track(
    await PoolSetup.start(PROFILE, { ...options, flags: { dialPort, replayPort } }),
  )
  setup.pool.endpoints.replace('test', specs(engine.ports.http))
  const status = () => setup.pool.intake.status()[0]!
  const counted = async (name: string, label = '') =>
    (await setup.metrics.text())
      .split('\n')
      .filter((line) => line.startsWith(name) && line.includes(label))
      .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
  const notice = (key: string) =>
    setup.notices.list().find((each) => each.key.startsWith(key))?.text
  /** Blocks that the index finds of each prompt that the engine was asked. */
  const found = () =>
    engine.prompts.map((prompt) => {
      const tokens = { prompts: [Int32Array.from(prompt)], exact: true }
      const asked = request({ targetModel: MODEL })
      return setup.pool.prefixIndex.match(asked, tokens, setup.pool.endpoints.list()).blocks[0]!
    })
  const truth = (of = engine) =>
    engine.prompts.map((prompt) => of.sim.cache.findCached(Int32Array.from(prompt)))
  return { ...setup, pool: setup.pool, status, counted, notice, found, truth }
}

/** Waits until the picker hears the engine at all. */
async function heard(kv: Kv, engine: Engine): Promise<void> {
  await eventually('the engine is heard', async () => {
    await engine.work(1)
    return kv.status().publishers.some(({ lastSequence }) => lastSequence >= 0)
  })
}

/** Waits until all that the engine has said is applied; it says a little more where its last words were lost. */
async function settled(kv: Kv, engine: Engine): Promise<void> {
  const startedMs = performance.now()
  for (let turn = 1; ; turn++) {
    const [publisher] = kv.status().publishers
    if (publisher?.lastSequence === engine.last && publisher.coverage !== 'replaying') return
    assert.ok(
      performance.now() - startedMs < LIMIT_MS,
      `${publisher?.lastSequence} of ${engine.last}`,
    )
    if (turn % 20 === 0) await engine.work(1)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

function assertEqual(kv: Kv, engine: Engine): void {
  assert.deepEqual(kv.found(), kv.truth(engine))
  assert.equal(kv.status().blocks, engine.sim.cache.cachedBlocks)
  assert.ok(engine.sim.cache.cachedBlocks > 50, 'there is something to compare')
  assert.equal(kv.status().coverage, 'complete')
  assert.equal(kv.notice('kv-coverage'), undefined)
}

/** Nothing is said that the engine does not hold, and that something is missing is said. */
async function assertCleared(kv: Kv, engine: Engine, said: RegExp): Promise<void> {
  const truth = kv.truth(engine)
  for (const [i, blocks] of kv.found().entries()) assert.ok(blocks <= truth[i]!)
  assert.equal(kv.status().coverage, 'gap')
  assert.match(kv.notice('kv-coverage') ?? 'no notice', said)
  assert.ok((await kv.counted('epp_kv_endpoints', 'coverage="gap"')) === 1)
}

/** An engine that forgets all says so, and is known again from then on. */
async function assertHealsByClear(kv: Kv, engine: Engine): Promise<void> {
  await fetch(`http://127.0.0.1:${engine.ports.http}/reset_prefix_cache`, { method: 'POST' })
  await engine.work(12)
  await settled(kv, engine)
  assertEqual(kv, engine)
}

/** Keeps messages back until as many are there, then lets them go in another order. */
function reversed(count: number) {
  const kept: (readonly Buffer[])[] = []
  let isOver = false
  return (message: readonly Buffer[]) => {
    if (isOver) return [message]
    kept.unshift(message)
    isOver = kept.length === count
    return isOver ? kept : []
  }
}

describe('faults on the way of KV events, against the block table of the engine', function () {
  this.timeout(3 * LIMIT_MS)

  /** A picker that follows an engine through a relay, both warm. */
  async function relayed(options: EngineOptions & { readonly replays?: boolean } = {}) {
    const engine = await Engine.start(options)
    const relay = track(await StreamRelay.start(engine.publisher.address))
    const kv = await picker(engine, relay.port, { replays: options.replays ?? false })
    await heard(kv, engine)
    if (options.replays !== true) {
      // What it said before it was heard is not known.
      await assertHealsByClear(kv, engine)
    }
    await engine.work(30)
    await settled(kv, engine)
    assertEqual(kv, engine)
    return { engine, relay, kv }
  }

  for (const replays of [true, false]) {
    const how = replays ? 'which are asked for again' : 'which cannot be asked for again'

    it(`messages are lost, ${how}`, async () => {
      const { engine, relay, kv } = await relayed({ replays })
      let lost = 0
      const before = await kv.counted('epp_kv_blocks_stored_total')
      relay.alter = (message) => (lost++ < 5 ? [] : [message])
      await engine.work(14)
      await settled(kv, engine)
      assert.ok(lost > 5)
      if (replays) {
        assertEqual(kv, engine)
        assert.ok((await kv.counted('epp_kv_event_replays_total', 'result="ok"')) > 0)
      } else {
        await assertCleared(kv, engine, /5 KV events lost/)
        const since = (await kv.counted('epp_kv_blocks_stored_total')) - before
        const { blocks } = kv.status()
        assert.ok(blocks > 0 && blocks <= since, `${blocks} are held of ${since} stored since`)
        assert.equal(await kv.counted('epp_kv_event_messages_lost_total'), 5)
        await assertHealsByClear(kv, engine)
      }
    })

    it(`messages come twice, ${how}`, async () => {
      const { engine, relay, kv } = await relayed({ replays })
      relay.alter = (message) => [message, message]
      await engine.work(40)
      await settled(kv, engine)
      assertEqual(kv, engine)
      assert.ok((await kv.counted('epp_kv_event_messages_total', 'result="duplicate"')) > 10)
      assert.equal(await kv.counted('epp_kv_event_gaps_total'), 0)
    })

    it(`messages come in another order, ${how}`, async () => {
      const { engine, relay, kv } = await relayed({ replays })
      relay.alter = reversed(6)
      await engine.work(60)
      await settled(kv, engine)
      if (replays) assertEqual(kv, engine)
      else {
        const truth = kv.truth()
        for (const [i, blocks] of kv.found().entries()) assert.ok(blocks <= truth[i]!)
        assert.notEqual(kv.status().coverage, 'complete')
        assert.match(kv.notice('kv-coverage')!, /joined at sequence|KV events lost/)
        await assertHealsByClear(kv, engine)
      }
    })
  }

  it('a picker begins under load: what is sent again and what comes live overlap', async () => {
    const engine = await Engine.start()
    await engine.work(60)
    const relay = track(await StreamRelay.start(engine.publisher.address))
    const before = engine.last
    const working = engine.work(120)
    const kv = await picker(engine, relay.port, { replays: true })
    await working
    await settled(kv, engine)
    assertEqual(kv, engine)
    const replayed = await kv.counted('epp_kv_event_messages_replayed_total')
    assert.ok(replayed > before, `${replayed} of at least ${before + 1} sent again`)
  })

  it('more is lost than the engine remembers', async () => {
    const { engine, relay, kv } = await relayed({ replays: true, bufferSteps: 100 })
    relay.alter = () => []
    const before = engine.last
    while (engine.last < before + 150) await engine.work(8)
    relay.alter = undefined
    await engine.work(8)
    await settled(kv, engine)
    await assertCleared(kv, engine, /KV events lost|not known/)
    assert.ok((await kv.counted('epp_kv_event_gaps_total')) > 0)
    await assertHealsByClear(kv, engine)
  })

  for (const replays of [true, false]) {
    it(`the engine starts anew at its address${replays ? ', and answers for what it said since' : ''}`, async () => {
      const engine = await Engine.start()
      const kv = await picker(engine, engine.ports.events, { replays })
      await heard(kv, engine)
      await engine.work(40)
      await settled(kv, engine)
      const { ports } = engine
      await engine.close()
      const next = await eventuallyBound(() => Engine.start({ ports }))
      next.prompts.push(...engine.prompts)
      await eventually('the new engine is heard', async () => {
        await next.work(1)
        return kv.status().publishers[0]!.restarts > 0
      })
      await next.work(40)
      await settled(kv, next)
      engine.prompts.push(...next.prompts)
      assert.ok((await kv.counted('epp_kv_publisher_restarts_total')) > 0)
      if (replays || kv.status().coverage === 'complete') assertEqual(kv, next)
      else {
        const truth = kv.truth(next)
        for (const [i, blocks] of kv.found().entries()) assert.ok(blocks <= truth[i]!)
        assert.match(kv.notice('kv-coverage')!, /joined at sequence/)
      }
    })

    it(`the connection is cut and comes back${replays ? ', and what was missed is asked for' : ''}`, async () => {
      const engine = await Engine.start()
      const proxy = await TcpProxy.start(engine.ports.events)
      const kv = await picker(engine, proxy.port, { replays })
      await heard(kv, engine)
      if (!replays) await assertHealsByClear(kv, engine)
      proxy.cut()
      await engine.work(40)
      proxy.mend()
      await eventually('the connection is back', async () => {
        await engine.work(1)
        return proxy.open > 0
      })
      await settled(kv, engine)
      if (replays) assertEqual(kv, engine)
      else {
        await assertCleared(kv, engine, /KV events lost/)
        await assertHealsByClear(kv, engine)
      }
    })

    it(`the picker reads so slowly that the engine drops messages${replays ? ', which are asked for' : ''}`, async () => {
      const engine = await Engine.start({ highWaterMark: 20, kvBlocks: 3000 })
      const proxy = await TcpProxy.start(engine.ports.events)
      const kv = await picker(engine, proxy.port, { replays })
      await heard(kv, engine)
      if (!replays) await assertHealsByClear(kv, engine)
      proxy.stall()
      // More than the buffers of two sockets take.
      await engine.work(700, 1500)
      proxy.flow()
      await engine.work(8)
      await settled(kv, engine)
      if (replays) assertEqual(kv, engine)
      else {
        await assertCleared(kv, engine, /KV events lost/)
        await assertHealsByClear(kv, engine)
      }
    })
  }

  it('messages stop while the engine works', async () => {
    const speed = 5
    const engine = await Engine.start()
    const relay = track(await StreamRelay.start(engine.publisher.address))
    const kv = await picker(engine, relay.port, { secondsPerSecond: speed, scrapeMs: 50 })
    await heard(kv, engine)
    await assertHealsByClear(kv, engine)
    relay.alter = () => []
    const startedMs = performance.now()
    await eventually(
      'the silence is noticed',
      async () => {
        await engine.work(4)
        return kv.notice('kv-silent') !== undefined
      },
      LIMIT_MS,
    )
    const tookMs = Math.round((performance.now() - startedMs) * speed)
    console.log(`        noticed after ${tookMs} ms of the picker's clock (limit 30000 ms)`)
    assert.ok(tookMs < 300_000)
    assert.match(
      kv.notice('kv-silent')!,
      /prompt tokens computed anew; check its --kv-events-config/,
    )
    assert.ok((await kv.counted('epp_kv_publisher_silences_total')) >= 1)
    await assertCleared(kv, engine, /no KV events for \d+ s/)
    assert.ok(kv.found().every((blocks) => blocks === 0))
    relay.alter = undefined
    await assertHealsByClear(kv, engine)
    await eventually('the notice is gone', () => kv.notice('kv-silent') === undefined, LIMIT_MS)
  })
})
