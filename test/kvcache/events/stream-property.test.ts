import assert from 'node:assert/strict'
import type { KvEvent } from '../../../src/framework/services.ts'
import type { ReplayedMessage } from '../../../src/kvcache/events/recovery.ts'
import { message } from '../events.ts'
import { createKvCache, models, until } from '../fakes.ts'
import { below, seeded } from '../random.ts'
import { assertEqual, assertWithin, BlockTable } from './block-table.ts'

const STEPS = 10_000
const LIMIT_MS = 20_000
const TOPIC = 'kv@10.0.0.1@m'
/** Messages that the engine remembers. */
const BUFFER = 40

type Frames = readonly [Buffer, Buffer, Buffer]

/** An engine whose block table is a plain map, without sockets: what it sends is handed over or not. */
class Engine {
  readonly table: BlockTable
  readonly #buffer: ReplayedMessage[] = []
  readonly #startedAt: number
  next = 0

  /** @param startedAt time of its first message, in seconds */
  constructor(seed: number, startedAt: number) {
    this.table = new BlockTable(seed, 0.004)
    this.#startedAt = startedAt
  }

  publish(): Frames {
    const sequence = this.next++
    const events = this.table.change().map(asMap)
    const frames = message(TOPIC, sequence, events, { timestamp: this.#startedAt + sequence + 0.5 })
    this.#buffer.push({ topic: TOPIC, sequence, payload: frames[2] })
    if (this.#buffer.length > BUFFER) this.#buffer.shift()
    return frames
  }

  since(sequence: number): readonly ReplayedMessage[] {
    return this.#buffer.filter((kept) => kept.sequence >= sequence)
  }
}

function asMap(event: KvEvent): unknown {
  if (event.type === 'AllBlocksCleared') return { type: event.type }
  if (event.type === 'BlockRemoved') {
    return { type: event.type, block_hashes: event.blockHashes, medium: 'GPU' }
  }
  return {
    type: event.type,
    block_hashes: event.blockHashes,
    parent_block_hash: event.parentBlockHash,
    token_ids: Array.from(event.tokenIds),
    block_size: event.blockTokens,
    medium: 'GPU',
    lora_name: null,
    extra_keys: event.extraKeys,
  }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

/** One run of random faults; answers how often the index was compared, and how often each thing happened. */
async function run(seed: number, steps: number, replays: boolean) {
  const kv = createKvCache(models(['m']))
  const endpoint = kv.endpoints.add()
  const random = seeded(seed)
  const pick = below(random)
  const counts = {
    equal: 0,
    within: 0,
    lost: 0,
    twice: 0,
    restarts: 0,
    cuts: 0,
    answers: 0,
    cut: 0,
  }
  let engine = new Engine(pick(1e9), 1)
  let starts = 1
  let cutFor = 0
  let wasLost = false
  let isOver = false
  if (replays) {
    kv.cache.intake.recoverFrom({
      port: 1,
      async *replay(_address, _port, from) {
        const asked = engine
        counts.answers++
        const breaksAt = pick(6) === 0 ? pick(BUFFER) : -1
        for (const [i, kept] of asked.since(from).entries()) {
          if (!isOver && pick(4) === 0) await turn()
          if (!isOver && (i === breaksAt || asked !== engine)) {
            counts.cut++
            throw new Error('the connection broke')
          }
          yield kept
        }
      },
    })
  }
  const deliver = (frames: Frames) =>
    kv.cache.intake.receive({ kind: 'dialled', endpoint }, [...frames])
  const status = () => kv.cache.status()[0]!
  const compare = () => {
    if (status().coverage === 'complete') {
      assertEqual(engine.table, kv.cache, kv.endpoints)
      counts.equal++
      return
    }
    assertWithin(engine.table, kv.cache, kv.endpoints)
    assert.ok(
      kv.notices.list().some(({ key }) => key.startsWith('kv-coverage:')),
      `${status().coverage} is not reported`,
    )
    counts.within++
  }
  for (let step = 0; step < steps; step++) {
    const what = random()
    if (what < 0.004) {
      engine = new Engine(pick(1e9), ++starts * 1e6)
      counts.restarts++
    } else if (what < 0.008) {
      // Some of these are longer than the engine remembers.
      cutFor = 1 + pick(BUFFER * 1.5)
      counts.cuts++
    }
    const frames = engine.publish()
    wasLost = cutFor > 0 || random() < 0.01
    if (cutFor > 0) cutFor--
    if (wasLost) counts.lost++
    else deliver(frames)
    if (!wasLost && random() < 0.02) {
      deliver(frames)
      counts.twice++
    }
    if (pick(3) === 0) await turn()
    // What was lost shows with the next message only, and what is asked for with the answer.
    if (!wasLost && status().coverage !== 'replaying' && pick(2) === 0) compare()
  }
  isOver = true
  await until(
    () => {
      if (status().coverage === 'replaying') return false
      if (wasLost) deliver(engine.publish())
      wasLost = false
      return status().coverage !== 'replaying'
    },
    'all is applied',
    10 * LIMIT_MS,
  )
  compare()
  kv.cache.close()
  return counts
}

describe('EventIntake on random streams', function () {
  this.timeout(20 * LIMIT_MS)

  for (const [what, replays] of [
    ['no answers', false],
    ['answers', true],
  ] as const) {
    it(`holds what the engine holds, or says that it does not know: ${STEPS} steps, ${what}`, async () => {
      const startedMs = performance.now()
      const counts = await run(replays ? 20261 : 20262, STEPS, replays)
      const tookMs = performance.now() - startedMs
      console.log(
        `        ${JSON.stringify(counts)} in ${tookMs.toFixed(0)} ms (limit ${LIMIT_MS})`,
      )
      assert.ok(counts.equal > (replays ? STEPS / 4 : 500), `compared ${counts.equal} times`)
      assert.ok(counts.within > 50 && counts.restarts > 10 && counts.cuts > 10 && counts.twice > 50)
      if (replays) assert.ok(counts.answers > 100 && counts.cut > 3)
      assert.ok(tookMs < 10 * LIMIT_MS)
    })
  }
})
