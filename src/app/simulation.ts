import { readFileSync } from 'node:fs'
import { loadConfig } from '../config/load.ts'
import { ModuleLoader } from '../config/module-loader.ts'
import type { CheckedConfig } from '../config/parse.ts'
import { encodeEventBatch, eventAsMap } from '../kvcache/events/event-batch.ts'
import { builtinPlugins } from '../plugins/index.ts'
import type { EngineModel } from '../sim/simulation/engine-model.ts'
import type { Measures } from '../sim/simulation/measures.ts'
import { type SimulationOptions, simulate } from '../sim/simulation/simulation.ts'
import { parseTrace, type TraceEntry, traceWorkload } from '../sim/simulation/trace.ts'
import type { Workload } from '../sim/simulation/workload.ts'
import { WORKLOADS } from '../sim/simulation/workloads/index.ts'
import { PrometheusMetrics } from '../telemetry/metrics.ts'
import { ProductPicker } from './simulated-picker.ts'

/** The configuration that pickers run, and whether engines tell them of their blocks. */
export interface SimulatedConfig {
  /** A path: messages show it, and modules are found from its folder. */
  readonly file: string
  readonly text: string
  /** False for engines that send no events, whatever the configuration asks for. */
  readonly events: boolean
}

/** One run, as it is sent to a thread. */
export interface SimulationJob
  extends Omit<SimulationOptions, 'workload' | 'engines' | 'horizonMs'> {
  readonly config: SimulatedConfig
  /** A workload's name, or the path of a trace. */
  readonly workload: { readonly name: string } | { readonly trace: string }
  readonly rate: number
  /** The workload's own when undefined. */
  readonly engines: number | undefined
  /** Of the first engine, the second and so on; the last one's of all after them. */
  readonly models: readonly EngineModel[]
  /** Seconds that requests are sent for, the first third to warm up; as the workload has it when undefined. */
  readonly seconds: number | undefined
}

/** Runs simulations one after the other; what it has loaded it keeps. */
export class Simulator {
  readonly #modules = new ModuleLoader(builtinPlugins)
  readonly #metrics = new PrometheusMetrics()
  readonly #configs = new Map<string, Promise<CheckedConfig>>()
  readonly #traces = new Map<string, readonly TraceEntry[]>()

  /**
   * @throws {SchedulerError} CONFIG_INVALID
   * @throws {TraceError} for a bad trace
   * @throws {SimulationError} as `simulate`
   */
  async run(job: SimulationJob): Promise<Measures> {
    const config = await this.#load(job.config)
    const workload = cutTo(job.seconds, this.#workload(job))
    const engines = job.engines ?? workload.engines
    const options: SimulationOptions = {
      ...job,
      workload,
      engines: Array.from({ length: engines }, (_, i) => job.models[i] ?? job.models.at(-1)!),
    }
    return simulate(options, {
      createPicker: (setting) =>
        new ProductPicker({
          ...setting,
          config,
          metrics: this.#metrics,
          events: job.config.events,
        }),
      encodeEvents: (events, atS) => encodeEventBatch(atS, events.map(eventAsMap), 0),
    })
  }

  /** @throws {SchedulerError} CONFIG_INVALID */
  async check(config: SimulatedConfig): Promise<void> {
    await this.#load(config)
  }

  #load({ file, text }: SimulatedConfig): Promise<CheckedConfig> {
    const known = this.#configs.get(file)
    if (known !== undefined) return known
    const config = loadConfig(text, file, builtinPlugins, this.#modules)
    this.#configs.set(file, config)
    return config
  }

  #workload({ workload, rate }: SimulationJob): Workload {
    if ('name' in workload) return WORKLOADS.get(workload.name)!.at(rate)
    const { trace } = workload
    const entries = this.#traces.get(trace) ?? parseTrace(readFileSync(trace, 'utf8'), trace)
    this.#traces.set(trace, entries)
    return traceWorkload(entries, rate)
  }
}

const WARM_UP_SHARE = 1 / 3

function cutTo(seconds: number | undefined, workload: Workload): Workload {
  if (seconds === undefined) return workload
  const horizonMs = seconds * 1000
  return {
    ...workload,
    horizonMs,
    warmUpMs: Math.min(workload.warmUpMs, horizonMs * WARM_UP_SHARE),
  }
}
