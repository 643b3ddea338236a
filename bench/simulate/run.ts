// Policies under the simulator's workloads: the picker's own plugins against simulated engines, in simulated time.
//
//   npm run bench -- simulate [--part headline|published|policies|pickers] [--workloads b2b,cold]
//     [--policies random,cost] [--seeds 5] [--first-seed 1]
//
// headline: equal weights of tracked and estimated prefixes beside random and load-only, in b2b at three rates, and cold.
// published: the published ramp at the published weights. policies: every policy under every workload at three rates.
// pickers: two pickers side by side, and a picker restarted each 30 s. The table goes to stdout, the rows to
// bench/out/simulate-PART.json.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { SimulationJob } from '../../src/app/simulation.ts'
import { type FinishedJob, runJobs } from '../../src/app/simulation-pool.ts'
import { DEFAULT_ENGINE_MODEL } from '../../src/sim/simulation/engine-model.ts'
import {
  type Band,
  combinedRatio,
  type Summary,
  summarize,
} from '../../src/sim/simulation/summary.ts'
import { WORKLOADS } from '../../src/sim/simulation/workloads/index.ts'

const { values: flags } = parseArgs({
  options: {
    part: { type: 'string', default: 'headline' },
    workloads: { type: 'string' },
    policies: { type: 'string' },
    seeds: { type: 'string', default: '5' },
    'first-seed': { type: 'string', default: '1' },
  },
})

interface Policy {
  readonly name: string
  readonly file: string
  readonly events: boolean
}

/** One policy under one load. */
interface Cell {
  readonly policy: Policy
  readonly workload: string
  readonly rate: number
  readonly setting: string
  readonly options: Partial<SimulationJob>
}

interface Row {
  readonly policy: string
  readonly workload: string
  readonly rate: number
  readonly setting: string
  readonly ratio: number
  readonly summary: Summary
  readonly tookS: number
  readonly warnings: readonly string[]
}

const root = fileURLToPath(new URL('../../', import.meta.url))
const policy = (name: string, file: string, events = true): Policy => ({ name, file, events })
const fixture = (name: string) => policy(name, `test/fixtures/policies/${name}.yaml`)

/** The shipped default. */
const COST = policy('cost', 'config/profiles/cost.yaml')
const COST_ESTIMATED = policy('cost-estimated', 'config/profiles/cost.yaml', false)
const PRECISE = policy('322-precise', 'config/profiles/llm-d.yaml')
const ESTIMATED = fixture('322-estimated')
const WEIGHTS = policy('weights', 'config/profiles/weights.yaml')
const RANDOM = fixture('random')
const LOAD_ONLY = fixture('load-only')
const ALL: readonly Policy[] = [
  ...[RANDOM, LOAD_ONLY, fixture('least-in-flight'), PRECISE, ESTIMATED, fixture('322-in-flight')],
  ...[fixture('sticky-token-load'), WEIGHTS, COST, COST_ESTIMATED],
]
const EVERY_LOAD = [...WORKLOADS.keys()].filter((name) => name !== 'q1')
const RESTART_MS = 30_000

function cells(part: string): readonly Cell[] {
  const under = (names: readonly string[], policies: readonly Policy[], more = PLAIN) =>
    names.flatMap((workload) =>
      WORKLOADS.get(workload)!.rates.flatMap((rate) =>
        policies.map((each): Cell => ({ policy: each, workload, rate, ...more })),
      ),
    )
  const wanted = flags.workloads?.split(',')
  switch (part) {
    case 'headline':
      return under(wanted ?? ['b2b', 'cold'], [
        ...[PRECISE, ESTIMATED, fixture('111-precise'), fixture('111-estimated')],
        ...[RANDOM, LOAD_ONLY, WEIGHTS, COST],
      ])
    case 'published':
      return under(['q1'], [PRECISE, fixture('111-estimated'), ESTIMATED, RANDOM, LOAD_ONLY, COST])
    case 'policies':
      return under(wanted ?? EVERY_LOAD, ALL)
    case 'pickers':
      return [
        { setting: 'two pickers', options: { pickers: 2 } },
        { setting: 'restart each 30 s, replay', options: { pickerRestartMs: RESTART_MS } },
        { setting: 'restart each 30 s', options: { pickerRestartMs: RESTART_MS, replay: false } },
      ].flatMap((more) =>
        (wanted ?? ['b2b', 'b2b-short']).flatMap((workload) =>
          [PRECISE, ESTIMATED, WEIGHTS, COST, COST_ESTIMATED].map(
            (each): Cell => ({
              policy: each,
              workload,
              rate: WORKLOADS.get(workload)!.rates[1]!,
              ...more,
            }),
          ),
        ),
      )
    default:
      throw new Error(`--part ${part}: there are headline, published, policies and pickers`)
  }
}

const PLAIN: Pick<Cell, 'setting' | 'options'> = { setting: '', options: {} }
const FIRST_SEED = Number(flags['first-seed'])
const SEEDS = Array.from({ length: Number(flags.seeds) }, (_, i) => FIRST_SEED + i)

function jobOf(
  { policy: { file, events }, workload, rate, options }: Cell,
  seed: number,
): SimulationJob {
  return {
    config: { file: root + file, text: readFileSync(root + file, 'utf8'), events },
    workload: { name: workload },
    rate,
    seed,
    engines: undefined,
    models: [DEFAULT_ENGINE_MODEL],
    seconds: undefined,
    eventDelayMs: 20,
    scrapeIntervalMs: 200,
    scrapeDelayMs: 5,
    pickers: 1,
    pickerRestartMs: undefined,
    engineRestartMs: undefined,
    replay: true,
    ...options,
  }
}

const policies = flags.policies?.split(',')
const asked = cells(flags.part).filter((cell) => policies?.includes(cell.policy.name) ?? true)
// Seed by seed, and written as it goes: what has run when it is stopped is of use.
const jobs = SEEDS.flatMap((seed) => asked.map((cell) => ({ cell, job: jobOf(cell, seed) })))
const results = new Map<Cell, FinishedJob[]>()
const byJob = new Map(jobs.map(({ cell, job }) => [job, cell]))
let done = 0
const startMs = performance.now()
await runJobs(
  jobs.map(({ job }) => job),
  (job, result) => {
    const cell = byJob.get(job)!
    results.set(cell, [...(results.get(cell) ?? []), result])
    if (++done % 10 !== 0) return
    process.stderr.write(`${done} of ${jobs.length}\n`)
    write()
  },
)
write()
const all = [...results.values()].flat()
const sumOf = (value: (each: FinishedJob) => number) =>
  all.reduce((sum, each) => sum + value(each), 0)
const requests = sumOf(({ measures }) => measures.totals.sent)
const tookS = sumOf((each) => each.tookS)
const messages = sumOf(({ measures }) => measures.totals.eventMessages)
const events = sumOf(({ measures }) => measures.totals.events)
const wallS = (performance.now() - startMs) / 1000
console.log(table(rows()))
console.log(
  `${requests} requests in ${wallS.toFixed(0)} s, ${(requests / tookS).toFixed(0)} a second and thread; ${(events / messages).toFixed(2)} events in a step's message`,
)

function rows(): readonly Row[] {
  return asked
    .filter((cell) => results.has(cell))
    .map((cell) => {
      const runs = results.get(cell)!
      const rivals = asked
        .filter(
          (each) =>
            each.workload === cell.workload &&
            each.rate === cell.rate &&
            each.setting === cell.setting &&
            results.has(each),
        )
        .map((each) => summarize(results.get(each)!.map(({ measures }) => measures)))
      const summary = summarize(runs.map(({ measures }) => measures))
      return {
        policy: cell.policy.name,
        workload: cell.workload,
        rate: cell.rate,
        setting: cell.setting,
        ratio: combinedRatio(summary, rivals),
        summary,
        tookS: runs.reduce((sum, each) => sum + each.tookS, 0) / runs.length,
        warnings: [...new Set(runs.flatMap(({ measures }) => measures.warnings))],
      }
    })
}

function write(): void {
  mkdirSync(`${root}bench/out`, { recursive: true })
  writeFileSync(`${root}bench/out/simulate-${flags.part}.json`, JSON.stringify(rows(), null, 2))
}

function table(all: readonly Row[]): string {
  const head =
    '| workload | rate | policy | TTFT mean | p50 | p90 [min..max] | p99 s | ITL p90 ms | tok/s | hit/ceiling | waiting | skew | ratio |'
  const lines = all.map(({ workload, rate, setting, policy: name, summary: s, ratio }) =>
    [
      '',
      [workload, setting].filter((each) => each !== '').join(', '),
      rate,
      name,
      short(s.ttftMeanS.median),
      short(s.ttftP50S.median),
      spread(s.ttftP90S),
      short(s.ttftP99S.median),
      short(s.itlP90Ms.median),
      s.outputTokensPerSecond.median.toFixed(0),
      `${s.hitRate.median.toFixed(2)}/${s.hitCeiling.median.toFixed(2)}`,
      short(s.waiting.median),
      s.skew.median.toFixed(1),
      ratio.toFixed(2),
      '',
    ].join(' | '),
  )
  return [head, `|${'---|'.repeat(13)}`, ...lines.map((line) => line.trim())].join('\n')
}

function spread({ median, least, most }: Band): string {
  return least === most ? short(median) : `${short(median)} [${short(least)}..${short(most)}]`
}

function short(value: number): string {
  return Number(value.toPrecision(2)).toString()
}
