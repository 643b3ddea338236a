import assert from 'node:assert/strict'
import type { KvEvent } from '../../../src/framework/services.ts'
import { DEFAULT_ENGINE_MODEL } from '../../../src/sim/simulation/engine-model.ts'
import type { EngineMessage } from '../../../src/sim/simulation/picker.ts'
import { SimulatedEngine } from '../../../src/sim/simulation/simulated-engine.ts'
import { VirtualTime } from '../../../src/sim/simulation/virtual-time.ts'

const { cost } = DEFAULT_ENGINE_MODEL
const ids = (count: number, first = 1) => Int32Array.from({ length: count }, (_, i) => first + i)

/** Runs requests against an engine; tells when each had its first token and its end, and what was cached. */
async function run(
  requests: readonly { atMs: number; prompt: Int32Array; answer: number }[],
  model = DEFAULT_ENGINE_MODEL,
) {
  const time = new VirtualTime()
  const messages: { atMs: number; events: readonly KvEvent[]; sequence: number }[] = []
  let written: readonly KvEvent[] = []
  const engine = new SimulatedEngine(model, time, {
    isHeard: () => true,
    encode: (events) => {
      written = events
      return new Uint8Array()
    },
    sent: ({ sequence }: EngineMessage) =>
      messages.push({ atMs: time.nowMs(), events: written, sequence }),
  })
  const seen = requests.map(() => ({ firstMs: 0, endMs: 0, cached: -1 }))
  await time.run(
    () => {
      for (const [i, { atMs, prompt, answer }] of requests.entries()) {
        time.after(atMs, () =>
          engine.submit(prompt, ids(answer, 100_000), {
            firstToken: () => (seen[i]!.firstMs = time.nowMs()),
            ended: (cached) => Object.assign(seen[i]!, { endMs: time.nowMs(), cached }),
          }),
        )
      }
    },
    () => false,
  )
  return { seen, messages, engine }
}

/** The time of one step as the documents state it. */
function stepMs(prefill: number, before: number, sequences: number, context: number): number {
  return (
    cost.stepMs +
    prefill * cost.prefillTokenMs +
    sequences * cost.sequenceMs +
    context * cost.contextTokenMs +
    prefill * (before + prefill / 2) * cost.prefillContextMs
  )
}

describe('SimulatedEngine', () => {
  const near = (a: number, b: number) => assert.ok(Math.abs(a - b) < 1e-6, `${a} is not ${b}`)

  it('takes the time of its steps: prefill, then one step per token', async () => {
    const { seen } = await run([{ atMs: 100, prompt: ids(6400), answer: 3 }])
    const first = 100 + stepMs(6400, 0, 1, 0)
    near(seen[0]!.firstMs, first)
    near(seen[0]!.endMs, first + stepMs(0, 0, 1, 6400) + stepMs(0, 0, 1, 6401))
  })

  it('computes a long prompt in pieces of its step', async () => {
    const { seen } = await run([{ atMs: 0, prompt: ids(10_000), answer: 1 }])
    near(seen[0]!.firstMs, stepMs(8192, 0, 1, 0) + stepMs(1808, 8192, 1, 8192))
  })

  it('takes from its cache what an earlier prompt left, the last token never', async () => {
    const prompt = ids(6400)
    const { seen } = await run([
      { atMs: 0, prompt, answer: 1 },
      { atMs: 5000, prompt, answer: 1 },
    ])
    assert.equal(seen[0]!.cached, 0)
    assert.equal(seen[1]!.cached, 99 * 64)
    near(seen[1]!.firstMs, 5000 + stepMs(64, 99 * 64, 1, 99 * 64))
  })

  it('tells of blocks when the step begins that fills them, and of those that it drops', async () => {
    const model = { ...DEFAULT_ENGINE_MODEL, kvTokens: 10 * 64 }
    const { messages } = await run(
      [
        { atMs: 0, prompt: ids(6 * 64), answer: 1 },
        { atMs: 1000, prompt: ids(6 * 64, 50_000), answer: 1 },
      ],
      model,
    )
    assert.deepEqual(
      messages.map(({ atMs, sequence, events }) => [
        Math.round(atMs),
        sequence,
        events.map((event) => [
          event.type,
          'blockHashes' in event ? event.blockHashes.length : undefined,
        ]),
      ]),
      [
        [0, 0, [['BlockStored', 6]]],
        [1000, 1, [...Array(2).fill(['BlockRemoved', 1]), ['BlockStored', 6]]],
      ],
    )
  })

  it('runs no more at once than it may; the next waits', async () => {
    const model = { ...DEFAULT_ENGINE_MODEL, maxRunning: 1 }
    const { seen } = await run(
      [
        { atMs: 0, prompt: ids(64), answer: 10 },
        { atMs: 0, prompt: ids(64, 900), answer: 1 },
      ],
      model,
    )
    assert.ok(seen[1]!.firstMs > seen[0]!.endMs)
  })

  it('is as new after a restart', async () => {
    const time = new VirtualTime()
    const sequences: number[] = []
    const engine = new SimulatedEngine(DEFAULT_ENGINE_MODEL, time, {
      isHeard: () => true,
      encode: () => new Uint8Array(),
      sent: ({ sequence }) => sequences.push(sequence),
    })
    const cached: number[] = []
    let isLostTold = false
    const ask = (atMs: number) =>
      time.after(atMs, () =>
        engine.submit(ids(640), ids(2), {
          firstToken: () => {},
          ended: (each) => cached.push(each),
        }),
      )
    await time.run(
      () => {
        ask(0)
        ask(1000)
        time.after(2000, () => {
          const told = () => (isLostTold = true)
          engine.submit(ids(640), ids(1000), { firstToken: () => {}, ended: told })
        })
        time.after(2100, () => engine.restart())
        ask(3000)
      },
      () => false,
    )
    assert.deepEqual(cached, [0, 9 * 64, 0])
    assert.equal(isLostTold, false)
    assert.equal(sequences.at(-1), 0)
    assert.equal(engine.kept().length, 1)
    assert.ok(engine.generatedTokens >= 6)
  })
})
