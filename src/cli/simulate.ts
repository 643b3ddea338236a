import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { suggestion } from '../config/near.ts'
import { SchedulerError } from '../framework/errors.ts'
import { WORKLOADS } from '../sim/simulation/workloads/index.ts'
import { duration, positive } from './flag-values.ts'
import type { SimulatedRow } from './simulate-table.ts'

/** What the flags say. */
export interface SimulateFlags {
  readonly workload?: string
  readonly trace?: string
  readonly config?: readonly string[]
  readonly rate?: readonly number[]
  readonly seeds: number
  readonly firstSeed: number
  readonly engines?: number
  readonly seconds?: number
  readonly pickers: number
  readonly restartPicker?: number
  readonly restartEngine?: number
  readonly replay: boolean
  readonly events: boolean
  readonly eventDelay: number
  readonly scrapeInterval: number
  readonly scrapeDelay: number
  readonly costModel?: string
  readonly json?: boolean
  readonly html?: string
}

const MOST_PICKERS = 64

export function addSimulateCommand(program: Command): void {
  const option = (flags: string, text: string) => new Option(flags, text)
  program
    .command('simulate')
    .description('what a configuration makes of a load, in simulated time')
    .option('--workload <name>', [...WORKLOADS.keys()].join(', '))
    .option('--trace <file>', "requests in Mooncake's JSONL form instead")
    .option('--config <file>', 'to try; may be repeated (default: the shipped one)', append)
    .addOption(
      option(
        '--rate <list>',
        "such as 8,13 (default: the workload's); a trace's is its speed",
      ).argParser(rates),
    )
    .addOption(option('--seeds <count>', 'runs of each').default(5).argParser(positive))
    .addOption(option('--first-seed <number>', 'the others follow').default(1).argParser(positive))
    .addOption(option('--engines <count>', "(default: the workload's)").argParser(positive))
    .addOption(option('--seconds <count>', 'to send requests for').argParser(positive))
    .addOption(option('--cost-model <file>', "tables of the engines' speed and memory"))
    .addOption(option('--pickers <count>', 'that share the load').default(1).argParser(pickers))
    .addOption(option('--restart-picker <every>', 'such as 30s').argParser(pause))
    .addOption(option('--restart-engine <every>', 'one after the other').argParser(pause))
    .option('--no-replay', 'a restarted picker cannot ask for missed events')
    .option('--no-events', 'the engines send none')
    .addOption(
      option('--event-delay <time>', 'from a step to the picker')
        .default(20, '20ms')
        .argParser(duration),
    )
    .addOption(
      option('--scrape-interval <time>', 'of metrics pages').default(200, '200ms').argParser(pause),
    )
    .addOption(
      option('--scrape-delay <time>', 'age of a page').default(5, '5ms').argParser(duration),
    )
    .option('--json', 'everything, as JSON')
    .option('--html <file>', 'write a report with plots')
    .addHelpText(
      'after',
      '\nExample:\n  epp simulate --workload b2b --rate 8,13 --config a.yaml --config b.yaml --html report.html',
    )
    .action(run)
}

async function run(flags: SimulateFlags): Promise<void> {
  const { simulationJobs } = await import('./simulate-jobs.ts')
  const { runJobs } = await import('../app/simulation-pool.ts')
  const { showProgress } = await import('./simulate-progress.ts')
  checkLoad(flags)
  if (flags.html !== undefined) checkWritable(flags.html)
  const cells = await simulationJobs(flags)
  const jobs = cells.flatMap((cell) => cell.jobs)
  const progress = showProgress(jobs.length)
  let results: Awaited<ReturnType<typeof runJobs>>
  try {
    results = await runJobs(jobs, () => progress.step())
  } finally {
    progress.stop()
  }
  const { summarize } = await import('../sim/simulation/summary.ts')
  let from = 0
  const rows = cells.map(({ config, workload, rate, jobs: own }): SimulatedRow => {
    const runs = results.slice(from, (from += own.length)).map(({ measures }) => measures)
    return { config, workload, rate, summary: summarize(runs), runs }
  })
  if (flags.json) process.stdout.write(`${JSON.stringify({ rows }, null, 2)}\n`)
  else process.stdout.write((await import('./simulate-table.ts')).simulatedTable(rows))
  if (flags.html === undefined) return
  const { simulationReport } = await import('./simulate-report.ts')
  writeFileSync(flags.html, simulationReport(rows))
  process.stderr.write(`${flags.html} written\n`)
}

/** @throws {SchedulerError} CONFIG_INVALID */
function checkLoad({ workload, trace }: SimulateFlags): void {
  const known = [...WORKLOADS.keys()]
  if ((workload === undefined) === (trace === undefined)) {
    throw new SchedulerError(
      'CONFIG_INVALID',
      `say what load to simulate: --workload with one of ${known.join(', ')}, or --trace with a file`,
    )
  }
  if (workload !== undefined && !WORKLOADS.has(workload)) {
    throw new SchedulerError(
      'CONFIG_INVALID',
      `no workload "${workload}"${suggestion(workload, known)}`,
    )
  }
  if (trace !== undefined && !existsSync(trace)) {
    throw new SchedulerError('CONFIG_INVALID', `${trace} is not there; --trace names a file`)
  }
}

/** Better now than after the runs. @throws {SchedulerError} START_FAILED */
function checkWritable(file: string): void {
  try {
    writeFileSync(file, existsSync(file) ? readFileSync(file) : '')
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new SchedulerError('START_FAILED', `${file} cannot be written: ${code}`, { cause })
  }
}

function append(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text]
}

function rates(text: string): readonly number[] {
  const list = text.split(',').map(Number)
  if (list.every((each) => Number.isFinite(each) && each > 0)) return list
  throw new InvalidArgumentError(`"${text}" is not a list of numbers above 0, such as 8,13,17.`)
}

function pickers(text: string): number {
  const count = positive(text)
  if (count <= MOST_PICKERS) return count
  throw new InvalidArgumentError(`${count} pickers are too many; give at most ${MOST_PICKERS}.`)
}

/** A duration that is not nothing. */
function pause(text: string): number {
  const ms = duration(text)
  if (ms > 0) return ms
  throw new InvalidArgumentError(`"${text}" must be longer than nothing.`)
}
