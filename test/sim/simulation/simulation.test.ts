import assert from 'node:assert/strict'
import { resolve } from 'node:path'
import { Simulator } from '../../../src/app/simulation.ts'
import { DEFAULT_ENGINE_MODEL } from '../../../src/sim/simulation/engine-model.ts'
import type { RoutedRequest, SimulatedPicker } from '../../../src/sim/simulation/picker.ts'
import { type SimulationOptions, simulate } from '../../../src/sim/simulation/simulation.ts'
import { VirtualTime } from '../../../src/sim/simulation/virtual-time.ts'
import { WORKLOADS } from '../../../src/sim/simulation/workloads/index.ts'
import { jobOf } from './jobs.ts'

const simulator = new Simulator()
const realTurn = setImmediate
/** Answers of 30,000 tokens end before the simulation does. */
const QUICK = {
  ...DEFAULT_ENGINE_MODEL,
  cost: { ...DEFAULT_ENGINE_MODEL.cost, stepMs: 4 },
}

describe('simulate', function () {
  this.timeout(120_000)

  it('gives the same for the same seed, something else for another', async () => {
    const job = jobOf('cost', 'agentic', 1)
    const [a, b] = [await simulator.run(job), await simulator.run(job)]
    assert.deepEqual(a, b)
    const other = await simulator.run({ ...job, seed: 2 })
    assert.notDeepEqual(other.ttftS, a.ttftS)
  })

  for (const { name, rates } of WORKLOADS.values()) {
    it(`loses no request of ${name}, and generates what was asked`, async () => {
      const { totals, requests, hitRate, hitCeiling, warnings } = await simulator.run(
        jobOf('llm-d', name, rates[0]!, { seconds: 20, models: [QUICK] }),
      )
      assert.ok(requests > 0)
      assert.deepEqual(totals, {
        ...totals,
        answered: totals.sent,
        refused: 0,
        unanswered: 0,
        resent: 0,
        generatedTokens: totals.answerTokens,
      })
      assert.ok(hitRate <= hitCeiling + 1e-9, `${hitRate} of at most ${hitCeiling}`)
      // In so short a time some engines serve nothing, as the picker rightly says.
      const faults = warnings.filter((each) => !each.includes('that has served nothing is silent'))
      assert.deepEqual(faults, [])
    })
  }

  it('sends the same requests whatever picks', async () => {
    const [a, b] = [
      await simulator.run(jobOf('cost', 'b2b-short', 20, { seconds: 8 })),
      await simulator.run(jobOf('load-only', 'b2b-short', 20, { seconds: 8 })),
    ]
    assert.equal(b.totals.sent, a.totals.sent)
    assert.equal(b.totals.promptTokens, a.totals.promptTokens)
    assert.equal(b.totals.answerTokens, a.totals.answerTokens)
    assert.equal(b.hitCeiling, a.hitCeiling)
  })

  it('sends what engines could not serve again, and counts it once', async () => {
    const { totals } = await simulator.run(
      jobOf('llm-d', 'b2b-short', 20, { seconds: 20, engineRestartMs: 2000 }),
    )
    assert.ok(totals.resent > 0)
    assert.equal(totals.answered, totals.sent)
    assert.equal(totals.unanswered, 0)
    assert.ok(totals.generatedTokens > totals.answerTokens, 'what was lost had been generated too')
  })

  it('refuses what no engine can hold', async () => {
    const models = [{ ...DEFAULT_ENGINE_MODEL, kvTokens: 4096 }]
    const { totals, refused } = await simulator.run(jobOf('llm-d', 'cold', 10, { models }))
    assert.ok(refused > 0 && totals.answered > 0)
    assert.equal(totals.answered + totals.refused, totals.sent)
  })

  it("runs others' plugins", async () => {
    const text = `
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
modules: ['./src/same-zone-scorer.ts']
schedulingProfiles:
  - name: default
    plugins: [{ type: same-zone-scorer, weight: 1 }, { type: max-score-picker }]`
    const file = resolve('examples/third-party-plugin/profile.yaml')
    const job = jobOf('random', 'cold', 10, { seconds: 3 })
    const { totals } = await simulator.run({ ...job, config: { file, text, events: true } })
    assert.ok(totals.sent > 0)
    assert.equal(totals.answered, totals.sent)
  })

  it('runs a trace', async () => {
    const trace = 'test/fixtures/traces/mooncake-form.jsonl'
    const { totals, hitRate } = await simulator.run(
      jobOf('llm-d', '', 1, { workload: { trace }, seconds: undefined }),
    )
    assert.equal(totals.sent, 40)
    assert.equal(totals.answered, 40)
    assert.ok(hitRate > 0.1)
  })
})

/** Notes what reaches a picker, and when; every request goes to the first engine. */
class NotingPicker implements SimulatedPicker {
  readonly followsEvents = true
  /** Of each message, when it was sent and when it arrived, in milliseconds. */
  readonly events: [sent: number, arrived: number][] = []
  readonly scrapes: number[] = []
  readonly firstTokens: number[] = []
  routed = 0
  #nowMs: () => number

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs
  }

  async route(): Promise<RoutedRequest> {
    this.routed++
    return {
      engine: 0,
      firstToken: () => this.firstTokens.push(this.#nowMs()),
      ended: () => {},
      broken: () => {},
    }
  }

  receive(_engine: number, { payload }: { readonly payload: Uint8Array }): void {
    this.events.push([Number(Buffer.from(payload).toString()), this.#nowMs()])
  }

  scraped(engine: number): void {
    if (engine === 0) this.scrapes.push(this.#nowMs())
  }

  replaced(): void {}

  warnings(): readonly string[] {
    return []
  }

  async close(): Promise<void> {}
}

describe('simulate, seen from a picker', () => {
  const options: SimulationOptions = {
    workload: { ...WORKLOADS.get('b2b-short')!.at(4), horizonMs: 5000, warmUpMs: 0 },
    seed: 3,
    engines: [DEFAULT_ENGINE_MODEL, DEFAULT_ENGINE_MODEL],
    eventDelayMs: 35,
    scrapeIntervalMs: 500,
    scrapeDelayMs: 40,
    pickers: 1,
    pickerRestartMs: undefined,
    engineRestartMs: undefined,
    replay: true,
  }
  const run = async (more: Partial<SimulationOptions>) => {
    const pickers: NotingPicker[] = []
    const measures = await simulate(
      { ...options, ...more },
      {
        createPicker: ({ clock }) => {
          const picker = new NotingPicker(clock.nowMs)
          pickers.push(picker)
          return picker
        },
        encodeEvents: (_events, atS) => Buffer.from(String(atS * 1000)),
      },
    )
    return { pickers, measures }
  }
  const epochMs = new VirtualTime().epochMs()

  it('hears of blocks after the delay, and reads pages at their interval', async () => {
    const { pickers } = await run({})
    const [{ events, scrapes }] = pickers as [NotingPicker]
    assert.ok(events.length > 10)
    for (const [sent, arrived] of events) {
      assert.ok(Math.abs(arrived - (sent - epochMs) - 35) < 0.01, `${sent} ${arrived}`)
    }
    assert.ok(scrapes[0]! >= 40 && scrapes[0]! <= 540, `${scrapes[0]}`)
    for (const [i, atMs] of scrapes.slice(1).entries()) {
      assert.ok(Math.abs(atMs - scrapes[i]! - 500) < 1e-6)
    }
  })

  it('shares the requests among pickers, who all hear of all blocks', async () => {
    const { pickers, measures } = await run({ pickers: 2 })
    const [a, b] = pickers as [NotingPicker, NotingPicker]
    assert.equal(a.routed + b.routed, measures.totals.sent)
    assert.ok(Math.min(a.routed, b.routed) > measures.totals.sent / 4)
    assert.deepEqual(a.events, b.events)
    // Each is told of its own requests alone.
    assert.deepEqual([a.firstTokens.length, b.firstTokens.length], [a.routed, b.routed])
  })

  it('replaces pickers, and the old ones hear no more', async () => {
    const { pickers, measures } = await run({ pickerRestartMs: 1000 })
    assert.ok(pickers.length > 4)
    assert.equal(
      pickers.reduce((sum, { routed }) => sum + routed, 0),
      measures.totals.answered,
    )
    assert.ok(pickers[0]!.events.every(([, arrived]) => arrived <= 1000))
    assert.ok(pickers[1]!.events.every(([, arrived]) => arrived >= 1000 && arrived <= 2000))
  })

  it('fails where a plugin waits for something real', async () => {
    const failed = simulate(options, {
      createPicker: ({ clock }) => {
        const picker = new NotingPicker(clock.nowMs)
        const { route } = picker
        picker.route = async () => {
          for (let i = 0; i < 5; i++) await new Promise<void>((resolve) => realTurn(resolve))
          return route.call(picker)
        }
        return picker
      },
      encodeEvents: () => new Uint8Array(),
    })
    await assert.rejects(failed, /was not routed in its own moment: some plugin waits/)
  })
})
