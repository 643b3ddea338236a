// What scraping costs, beside bare loops of undici that fetch the same pages and drop them: all in processes of their own,
// in turns, at the fake model servers of bench/epp (46 KB pages).
//
//   npm run bench -- scrape [--endpoints N] [--interval MS] [--seconds N] [--rounds N]
//
// `request` is undici's method with the body dumped: the yardstick. `dispatch` is its bare handler. `scraper` reads at the
// fixed interval, `adaptive` as it does by default, with all endpoints idle. The rows go to bench/out/scrape.json.
import { execFile, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { report } from '../figures.ts'
import type { Figures } from './fetch.ts'

const { values: options } = parseArgs({
  options: {
    endpoints: { type: 'string', default: '100' },
    interval: { type: 'string', default: '50' },
    seconds: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '3' },
    metrics: { type: 'string', default: 'full' },
  },
})

const SUBJECTS = ['request', 'dispatch', 'scraper', 'adaptive']
const FIRST_PORT = 19_300
const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const out = here('../out')
const tool = `${out}/bench`

mkdirSync(out, { recursive: true })
execFileSync('nice', ['go', 'build', '-o', tool, '.'], { cwd: here('../epp'), stdio: 'inherit' })
const { endpoints, interval, seconds, metrics } = options
const backendFlags = ['-n', endpoints, '-base', String(FIRST_PORT), '-metrics', metrics]
const backend = spawn(tool, ['backend', ...backendFlags], { stdio: ['ignore', 'pipe', 'inherit'] })
try {
  await new Promise((resolve) => backend.stdout.once('data', resolve))
  const all: Figures[] = []
  for (let round = 0; round < Number(options.rounds); round++) {
    for (const subject of SUBJECTS) all.push(await measure(subject))
  }
  print(all)
  writeFileSync(`${out}/scrape.json`, `${JSON.stringify(all, undefined, 2)}\n`)
} finally {
  backend.kill()
}

async function measure(subject: string): Promise<Figures> {
  const args = ['--import', 'tsx', here('./fetch.ts'), subject]
  args.push(String(FIRST_PORT), endpoints, interval, seconds)
  const { stdout } = await promisify(execFile)(process.execPath, args)
  return JSON.parse(stdout) as Figures
}

function print(all: readonly Figures[]): void {
  const per = (pick: (f: Figures) => number) =>
    new Map(SUBJECTS.map((s) => [s, median(all.filter((f) => f.subject === s).map(pick))]))
  const cores = per((f) => f.cpuMs / 1000 / f.seconds)
  const pages = per((f) => f.pages / f.seconds)
  const perPage = per((f) => (f.cpuMs * 1000) / f.pages)
  const load = loadavg()[0]!.toFixed(1)
  // What falls behind its interval must not look cheap: the yardstick is taken at the full rate.
  const fullRate = (Number(endpoints) * 1000) / Number(interval)
  const rateOf = (subject: string) => (subject === 'adaptive' ? pages.get(subject)! : fullRate)
  const yardstick = perPage.get('request')! * fullRate
  console.log(
    `${endpoints} endpoints, ${interval} ms, medians of ${options.rounds} rounds; load of the machine ${load}`,
  )
  const row = (cells: readonly string[]) =>
    console.log(cells.map((cell, i) => (i === 0 ? cell.padEnd(10) : cell.padStart(12))).join(''))
  row(['subject', 'pages/s', 'CPU us/page', 'cores', 'x request'])
  const times = (subject: string) => (perPage.get(subject)! * rateOf(subject)) / yardstick
  report(
    'scrape',
    SUBJECTS.filter((subject) => subject !== 'request').map((subject) => ({
      ...{ name: `${subject} / request`, unit: 'x', value: times(subject) },
      limit: subject === 'adaptive' ? 0.3 : 2,
    })),
  )
  for (const subject of SUBJECTS) {
    row([
      subject,
      pages.get(subject)!.toFixed(0),
      perPage.get(subject)!.toFixed(1),
      cores.get(subject)!.toFixed(3),
      times(subject).toFixed(2),
    ])
  }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[sorted.length >> 1]!
}
