// Runs the tests as `npm test` does: those that start processes, and beside them, with what they leave of the processor, the
// others in two groups. Their reports come one after the other, and a last line sums them up: `N passed, N failed`.
//
//   npm test                   # all
//   node test/run.mjs FILES    # only these, one after the other, of what has been built
import { spawn } from 'node:child_process'
import { constants, setPriority } from 'node:os'

const filesOf = (folder) => `test/${folder}/**/*.test.ts`
const PROCESSES = ['e2e', 'deploy', 'discovery', 'gateway', 'app', 'replay'].map(filesOf)
const WHOLE = ['integration', 'cli', 'sim', 'config'].map(filesOf)
const ALL = 'test/**/*.test.ts'

/** Runs mocha to its end; what it says is written by `write`. */
function run(args, write) {
  const child = spawn(process.execPath, ['node_modules/mocha/bin/mocha.js', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { FORCE_COLOR: process.stdout.isTTY ? '1' : '0', ...process.env },
  })
  const counts = { passed: 0, failed: 0 }
  let tail = ''
  const hear = (chunk) => {
    write(chunk)
    tail = (tail + chunk).slice(-200)
    const [, passed, failed] = /^(\d+) passed, (\d+) failed/m.exec(tail) ?? []
    if (passed !== undefined) Object.assign(counts, { passed: +passed, failed: +failed })
  }
  child.stdout.on('data', hear)
  child.stderr.on('data', write)
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
  const ended = new Promise((resolve) => {
    child.once('close', (code) => resolve({ ...counts, ok: code === 0 }))
  })
  return { child, ended }
}

const files = process.argv.slice(2)
const show = (chunk) => process.stdout.write(chunk)
if (files.length > 0) {
  process.exitCode = (await run(files, show).ended).ok ? 0 : 1
} else {
  const rest = [ALL, ...[...PROCESSES, ...WHOLE].flatMap((each) => ['--ignore', each])]
  const first = run(PROCESSES, show)
  const others = [WHOLE, rest].map((args) => {
    const held = []
    const group = run(args, (chunk) => held.push(chunk))
    setPriority(group.child.pid, constants.priority.PRIORITY_BELOW_NORMAL)
    return { group, held }
  })
  const results = [await first.ended]
  for (const { group, held } of others) {
    results.push(await group.ended)
    for (const chunk of held) show(chunk)
  }
  const sum = (what) => results.reduce((total, each) => total + each[what], 0)
  console.log(`\n${sum('passed')} passed, ${sum('failed')} failed`)
  process.exitCode = results.every(({ ok }) => ok) ? 0 : 1
}
