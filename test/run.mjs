// Runs the tests as `npm test` does: those that start processes, and beside them, with what they leave of the processor, the
// others. Their reports come one after the other. A file in which something failed runs once more with the machine for
// itself, since what waits for real sockets and processes may wait too short on a busy one, and a last time if it fails then;
// what fails thrice has failed. The last line sums up: `N passed, N failed`.
//
//   npm test                   # all
//   node test/run.mjs FILES    # only these, one after the other, of what has been built
import { spawn } from 'node:child_process'
import { realpathSync } from 'node:fs'
import { constants, setPriority } from 'node:os'

const PROCESSES = ['e2e', 'deploy', 'discovery', 'gateway', 'app', 'replay', 'cli'].map(
  (folder) => `test/${folder}/**/*.test.ts`,
)
const ALL = 'test/**/*.test.ts'
/** Without the launcher, which starts a process of its own for the options of Node that .mocharc.json names; it runs nothing
 * where its path leads over a link. */
const MOCHA = ['--import', 'tsx', realpathSync('node_modules/mocha/lib/cli/cli.js')]
const SUMMARY = /^(\d+) passed, (\d+) failed/m
/** What mocha says of failures after its last test, up to the table of the files that took longest. */
const FAILURES = /^ {2}\d+ failing\n[^]*?(?=^slowest files:)/m
const TAIL_CHARS = 30_000
const TIMES_ALONE = 2
/** Within which a process ends after its last test; a test that failed may have left a server open. */
const END_MS = 60_000

/** Runs mocha to its end; what it says is written by `write`. */
function run(args, write) {
  const child = spawn(process.execPath, [...MOCHA, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { FORCE_COLOR: process.stdout.isTTY ? '1' : '0', ...process.env },
  })
  let tail = ''
  let last
  const hear = (chunk) => {
    write(chunk)
    tail = (tail + chunk).slice(-TAIL_CHARS)
    if (last === undefined && SUMMARY.test(tail)) last = setTimeout(cut, END_MS)
  }
  const cut = () => {
    write(`\nended ${END_MS / 1000} s after its last test by force: something was left open\n`)
    child.kill('SIGKILL')
  }
  child.stdout.on('data', hear)
  child.stderr.on('data', write)
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
  const ended = new Promise((resolve) => {
    child.once('close', (code) => {
      clearTimeout(last)
      const [, passed = 0, failed = 0] = SUMMARY.exec(tail) ?? []
      const again = Array.from(tail.matchAll(/^again (.+)$/gm), ([, file]) => file)
      const failures = FAILURES.exec(tail)?.[0] ?? ''
      // A run in which nothing passed has not run.
      const ok = code === 0 && +passed > 0
      resolve({ passed: +passed, failed: +failed, again, failures, ok })
    })
  })
  return { child, ended }
}

/** What both groups come to, files that failed beside the others having run again. */
async function settle(results) {
  const sum = (what) => results.reduce((total, each) => total + each[what], 0)
  const said = { passed: sum('passed'), failed: sum('failed'), ok: results.every(({ ok }) => ok) }
  let files = results.flatMap(({ again }) => again)
  // A process that failed without naming a file is no matter of time.
  if (results.some(({ ok, again }) => !ok && again.length === 0) || files.length === 0) return said
  // Once more where all that follows is short: the reports are thousands of lines.
  for (const { failures } of results) console.log(failures)
  let alone
  for (let times = 0; times < TIMES_ALONE && files.length > 0; times++) {
    console.log(`\nonce more, alone: ${files.join(' ')}\n`)
    alone = await run(files, show).ended
    if (!alone.ok && alone.again.length === 0) break
    files = alone.again
  }
  const mended = said.failed - alone.failed
  console.log(`\nfailed beside others, passed alone: ${mended}`)
  return { passed: said.passed + mended, failed: alone.failed, ok: alone.ok }
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
  const { passed, failed, ok } = await settle(results)
  console.log(`\n${passed} passed, ${failed} failed`)
  process.exitCode = ok ? 0 : 1
}
