import type { CheckedConfig } from '../config/parse.ts'
import type { Path } from '../config/problem.ts'
import { EngineTables } from '../datalayer/engine-tables.ts'
import type { EngineTableOptions } from '../framework/metrics-scraping.ts'

/** What keeps a configuration from being put to work, and where it stands. */
export interface TableFault {
  readonly path: Path
  readonly message: string
}

/** What is wrong with the names of engines' metrics: only those who read them know which engines there are. */
export function engineTableFaults({ spec, origins }: CheckedConfig): readonly TableFault[] {
  return spec.plugins.flatMap(({ name, plugin, params }) => {
    if (plugin.type !== 'core-metrics-extractor') return []
    try {
      new EngineTables(params as EngineTableOptions)
      return []
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      return [{ path: origins.get(name)?.paramsPath ?? [], message: error.message }]
    }
  })
}
