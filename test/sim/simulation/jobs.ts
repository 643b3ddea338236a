import { readFileSync } from 'node:fs'
import type { SimulationJob } from '../../../src/app/simulation.ts'
import { DEFAULT_ENGINE_MODEL } from '../../../src/sim/simulation/engine-model.ts'

/** A policy's path by its name. */
export function policyFile(name: string): string {
  const isShipped = ['cost', 'default', 'llm-d'].includes(name)
  return isShipped ? `config/profiles/${name}.yaml` : `test/fixtures/policies/${name}.yaml`
}

/** A run of a policy under a workload, as the command's flags have it by default. */
export function jobOf(
  policy: string,
  workload: string,
  rate: number,
  more: Partial<SimulationJob> = {},
): SimulationJob {
  const file = policyFile(policy)
  return {
    config: { file, text: readFileSync(file, 'utf8'), events: true },
    workload: { name: workload },
    rate,
    seed: 1,
    engines: undefined,
    models: [DEFAULT_ENGINE_MODEL],
    seconds: 30,
    eventDelayMs: 20,
    scrapeIntervalMs: 200,
    scrapeDelayMs: 5,
    pickers: 1,
    pickerRestartMs: undefined,
    engineRestartMs: undefined,
    replay: true,
    ...more,
  }
}
