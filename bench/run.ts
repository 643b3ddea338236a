/** Runs benchmarks: `npm run bench` those that take a minute or so each, `npm run bench -- NAME [its flags]` one. */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))
const names = readdirSync(here).filter((name) => existsSync(`${here}${name}/run.ts`))
/** These take from ten minutes to hours. */
const LONG = ['routing', 'simulate']

function run(name: string, flags: readonly string[]): number {
  const loaders = ['--import', 'tsx', '--import', `${here}built.mjs`]
  const args = [...loaders, `${here}${name}/run.ts`, ...flags]
  return spawnSync(process.execPath, args, { stdio: 'inherit' }).status ?? 1
}

if (!existsSync(`${here}../dist/main.js`)) throw new Error('nothing is built: npm run build')
const [name, ...flags] = process.argv.slice(2)
if (name === undefined) {
  const failed = names.filter((each) => !LONG.includes(each) && run(each, []) !== 0)
  console.log(failed.length === 0 ? '\nall parts ran' : `\nfailed: ${failed.join(', ')}`)
  console.log(`not run, since they take long: ${LONG.join(', ')} (npm run bench -- NAME)`)
  if (failed.length > 0) process.exitCode = 1
} else if (names.includes(name)) process.exitCode = run(name, flags)
else {
  console.error(`usage: npm run bench [-- NAME [flags]]; there are: ${names.join(', ')}`)
  process.exitCode = 1
}
