/** Loads modules as a program does, again after each change of their files, and prints what came of it. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ModuleLoader } from '../../src/config/module-loader.ts'
import { builtinPlugins } from '../../src/plugins/index.ts'

/** What to write, by path below the folder, and which modules to load then. */
export interface Step {
  readonly write: Readonly<Record<string, string>>
  readonly load: readonly string[]
}
/** Descriptions of the plugins, names of the data that they need or make if equal ones are the same key, problems. */
export interface StepResult {
  readonly descriptions: readonly string[]
  readonly sharesKey: boolean
  readonly problems: readonly string[]
}

const [folder = '', steps = '[]'] = process.argv.slice(2)
const modules = new ModuleLoader(builtinPlugins)
const results: StepResult[] = []
for (const { write, load } of JSON.parse(steps) as Step[]) {
  for (const [name, text] of Object.entries(write)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), text)
  }
  const { plugins, problems } = await modules.load(load, join(folder, 'config.yaml'))
  const keys = plugins.flatMap(({ needs, produces }) => [...needs, ...(produces ? [produces] : [])])
  results.push({
    descriptions: plugins.map(({ description }) => description),
    sharesKey: keys.length > 1 && new Set(keys).size === 1,
    problems: problems.map(({ severity, message }) => `${severity}: ${message}`),
  })
}
process.stdout.write(JSON.stringify(results))
