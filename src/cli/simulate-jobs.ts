import { readFileSync } from 'node:fs'
import { type SimulationJob, Simulator } from '../app/simulation.ts'
import { DEFAULT_CONFIG_FILE } from '../app.ts'
import { readDocument } from '../config/document.ts'
import { SchedulerError } from '../framework/errors.ts'
import { DEFAULT_ENGINE_MODEL, type EngineModel } from '../sim/simulation/engine-model.ts'
import { EngineTableError, readEngineTable } from '../sim/simulation/engine-table.ts'
import { parseTrace, TraceError } from '../sim/simulation/trace.ts'
import { WORKLOADS } from '../sim/simulation/workloads/index.ts'
import type { SimulateFlags } from './simulate.ts'

/** One configuration under one load, once per seed. */
export interface SimulationCell {
  readonly config: string
  readonly workload: string
  readonly rate: number
  readonly jobs: readonly SimulationJob[]
}

/**
 * The runs that flags ask for, rate by rate and configuration by configuration. Everything that they name is read and
 * checked.
 *
 * @throws {SchedulerError} CONFIG_INVALID with every problem of the first file that has any
 */
export async function simulationJobs(flags: SimulateFlags): Promise<readonly SimulationCell[]> {
  const configs = flags.config ?? [DEFAULT_CONFIG_FILE]
  const texts = configs.map((file) => ({ file, text: read(file), events: flags.events }))
  const simulator = new Simulator()
  for (const config of texts) await simulator.check(config)
  const kind = flags.workload === undefined ? undefined : WORKLOADS.get(flags.workload)!
  if (flags.trace !== undefined) {
    const { trace } = flags
    checked(() => parseTrace(read(trace), trace))
  }
  const models = flags.costModel === undefined ? [DEFAULT_ENGINE_MODEL] : tables(flags.costModel)
  return (flags.rate ?? kind?.rates ?? [1]).flatMap((rate) =>
    texts.map(
      (config): SimulationCell => ({
        config: config.file,
        workload: kind?.name ?? flags.trace!,
        rate,
        jobs: Array.from({ length: flags.seeds }, (_, i) => ({
          config,
          workload: kind === undefined ? { trace: flags.trace! } : { name: kind.name },
          rate,
          seed: flags.firstSeed + i,
          engines: flags.engines,
          models,
          seconds: flags.seconds,
          eventDelayMs: flags.eventDelay,
          scrapeIntervalMs: flags.scrapeInterval,
          scrapeDelayMs: flags.scrapeDelay,
          pickers: flags.pickers,
          pickerRestartMs: flags.restartPicker,
          engineRestartMs: flags.restartEngine,
          replay: flags.replay,
        })),
      }),
    ),
  )
}

function tables(file: string): readonly EngineModel[] {
  const { value, faults } = readDocument(read(file))
  if (faults.length > 0) {
    const lines = faults.map(({ line, column, message }) => `${file}:${line}:${column}: ${message}`)
    throw new SchedulerError('CONFIG_INVALID', lines.join('\n'))
  }
  return checked(() => readEngineTable(value, file))
}

function checked<T>(read: () => T): T {
  try {
    return read()
  } catch (cause) {
    if (!(cause instanceof TraceError || cause instanceof EngineTableError)) throw cause
    throw new SchedulerError('CONFIG_INVALID', cause.message, { cause })
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new SchedulerError('CONFIG_INVALID', `${file} cannot be read: ${code}`, { cause })
  }
}
