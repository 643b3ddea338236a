import assert from 'node:assert/strict'
import { runJobs } from '../../../src/app/simulation-pool.ts'
import type { Measures } from '../../../src/sim/simulation/measures.ts'
import { bandOf } from '../../../src/sim/simulation/summary.ts'
import { jobOf } from './jobs.ts'

const SEEDS = [1, 2]
const POLICIES = ['llm-d', '322-estimated', 'random', 'load-only']

/** What policies come to, by name: one run per seed, in threads. */
async function runAll(
  policies: readonly string[],
  workload: string,
  rate: number,
  seconds: number,
): Promise<ReadonlyMap<string, readonly Measures[]>> {
  const jobs = policies.flatMap((policy) =>
    SEEDS.map((seed) => jobOf(policy, workload, rate, { seconds, seed })),
  )
  const results = await runJobs(jobs)
  return new Map(
    policies.map((policy, i) => [
      policy,
      SEEDS.map((_, k) => results[i * SEEDS.length + k]!.measures),
    ]),
  )
}

const p90 = (runs: readonly Measures[]) => bandOf(runs.map(({ ttftS }) => ttftS.p90))

describe('the policies, simulated', function () {
  this.timeout(200_000)

  it('put precise and estimated prefixes far ahead of random and load alone in b2b', async () => {
    const runs = await runAll(POLICIES, 'b2b', 13, 45)
    const [precise, estimated, random, load] = POLICIES.map((name) => p90(runs.get(name)!))
    for (const ours of [precise!, estimated!]) {
      assert.ok(ours.median < random!.median / 5, `${ours.median} against ${random!.median}`)
      assert.ok(ours.median < load!.median / 5, `${ours.median} against ${load!.median}`)
    }
    const spread = Math.max(estimated!.most - estimated!.least, precise!.most - precise!.least)
    assert.ok(precise!.median <= estimated!.median + spread, `${precise!.median}`)
  })

  it('make precise prefixes no worse than load alone where there is nothing to reuse', async () => {
    const runs = await runAll(['llm-d', 'load-only'], 'cold', 10, 40)
    const [precise, load] = [p90(runs.get('llm-d')!), p90(runs.get('load-only')!)]
    assert.ok(precise.median <= load.median + (load.most - load.least))
  })

  it('need events where two pickers share the load', async () => {
    const two = { pickers: 2, seconds: 40 }
    const [precise, estimated] = await runJobs([
      jobOf('cost', 'b2b-short', 40, two),
      jobOf('cost', 'b2b-short', 40, {
        ...two,
        config: { ...jobOf('cost', 'b2b', 1).config, events: false },
      }),
    ])
    assert.ok(
      precise!.measures.hitRate > estimated!.measures.hitRate,
      `${precise!.measures.hitRate} against ${estimated!.measures.hitRate}`,
    )
  })

  it('let a picker that is replaced learn what it missed from the engines, if they say it again', async () => {
    const restarts = { pickerRestartMs: 10_000, seconds: 40 }
    const [replayed, forgotten] = await runJobs([
      jobOf('llm-d', 'b2b-short', 20, restarts),
      jobOf('llm-d', 'b2b-short', 20, { ...restarts, replay: false }),
    ])
    assert.ok(
      replayed!.measures.hitRate > forgotten!.measures.hitRate + 0.02,
      `${replayed!.measures.hitRate} against ${forgotten!.measures.hitRate}`,
    )
  })
})
