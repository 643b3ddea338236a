// Runs the tests as `npm test` does: those that start processes, and beside them, with what they leave of the processor, the
// others. Their reports come one after the other, and a last line sums both up: `N passed, N failed`.
//
//   npm test                   # all
//   node test/run.mjs FILES    # only these, one after the other, of what has been built
import { spawn } from 'node:child_process'
import { constants, setPriority } from 'node:os'

const PROCESSES = ['e2e', 'deploy', 'discovery', 'gateway', 'app', 'replay'].map(
  (folder) => `test/${folder}/**/*.test.ts`,
)
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
  const held = []
  const first = run(PROCESSES, show)
  const second = run([ALL, ...PROCESSES.flatMap((each) => ['--ignore', each])], (chunk) =>
    held.push(chunk),
  )
  setPriority(second.child.pid, constants.priority.PRIORITY_BELOW_NORMAL)
  const results = [await first.ended, await second.ended]
  for (const chunk of held) show(chunk)
  const sum = (what) => results.reduce((total, each) => total + each[what], 0)
  console.log(`\n${sum('passed')} passed, ${sum('failed')} failed`)
  process.exitCode = results.every(({ ok }) => ok) ? 0 : 1
}
