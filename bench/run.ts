/** Runs one benchmark: `npm run bench -- NAME [its flags]`. */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))
const names = readdirSync(here).filter((name) => existsSync(`${here}${name}/run.ts`))
const [name, ...flags] = process.argv.slice(2)
if (name === undefined || !names.includes(name)) {
  console.error(`usage: npm run bench -- NAME [flags]; there are: ${names.join(', ')}`)
  process.exit(1)
}
const { status } = spawnSync(
  process.execPath,
  ['--import', 'tsx', `${here}${name}/run.ts`, ...flags],
  { stdio: 'inherit' },
)
process.exitCode = status ?? 1
