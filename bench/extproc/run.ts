// What an ext_proc exchange costs: our server with a router that decides nothing, beside pickers that do nothing, each in a
// process of its own, measured in turn by the load tool of bench/epp. The yardstick is N, the load tool's own picker in Go.
//
//   npm run bench -- extproc [--epp NAME:PID:PORT]... [--seconds N] [--reps N] [--only REGEX] [--envoy PATH] [--pickers REGEX]
//
// `--epp` adds a picker that already listens (plaintext, model `bench-model`). `--envoy` is for cases of `--only` that go
// through one, such as `closed/0.5k`; there the null pickers fail some requests, since they do not look after resets as
// src/extproc/grpc/connections.ts does. The table goes to stdout: medians of all runs but the first, in which code is still
// being compiled. `tokenizing` is what of the CPU the threads for token ids took: limits are for the rest. The rows go to
// bench/out/extproc.json. Linux only: threads are counted in /proc.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { tokenizersDir } from '../../test/fixtures.ts'
import { type Figure, report } from '../figures.ts'
import { TokenizingShare } from './threads.ts'

const { values: options } = parseArgs({
  allowPositionals: true,
  options: {
    epp: { type: 'string', multiple: true, default: [] },
    seconds: { type: 'string', default: '2' },
    reps: { type: 'string', default: '4' },
    pickers: { type: 'string', default: '.' },
    envoy: { type: 'string', default: 'envoy' },
    only: { type: 'string', default: '^direct/(0\\.5k|24k|400k|0\\.5k/sse100)$' },
  },
})

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const out = here('../out')
const tool = `${out}/bench`
const rowsFile = `${out}/extproc.json`
const BASE_PORT = 19_100
const ENGINES = 8
const DESTINATION = '127.0.0.1:18001'

/** What an exchange may cost, in times of what N takes, tokenizing threads apart. */
const LIMITS: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  epp: { 'direct/0.5k': 0.6, 'direct/24k': 0.9, 'direct/400k': 1.4 },
  'epp-precise': { 'direct/0.5k': 1, 'direct/24k': 1.5, 'direct/400k': 2.2 },
}

interface Row {
  readonly case: string
  readonly epp: string
  readonly requests: number
  readonly errors: number
  readonly firstError?: string
  readonly perSecond: number
  readonly p50ms: number
  readonly p99ms: number
  readonly eppCpuMsPerReq: number
  readonly eppPeakRssMB: number
  /** Share of the CPU that tokenizing threads took, warming up included. */
  readonly tokenizingShare: number
}

const endpointsFile = `${out}/endpoints.yaml`
const nothing = (script: string) => (port: string) => [here(script), port, DESTINATION]

interface Picker {
  readonly name: string
  /** Node when absent. */
  readonly command?: string
  args(port: string): readonly string[]
}

const pickers: readonly Picker[] = [
  { name: 'N', command: tool, args: (port) => ['null', '-port', port] },
  { name: 'null-http2', args: nothing('./null-http2.mjs') },
  { name: 'null-grpc-js', args: nothing('./null-grpc-js.mjs') },
  { name: 'exchange', args: nothing('./exchange.mjs') },
  {
    name: 'epp',
    args: (port) => [
      ...[here('../../dist/main.js'), 'serve', '--bind-address', '127.0.0.1'],
      ...['--grpc-port', port, '--grpc-health-port', '0', '--metrics-port', '0'],
      ...['--endpoints-file', endpointsFile, '--kv-events-bind', 'tcp://127.0.0.1:*'],
      ...['--secure-serving=false', '--request-log', 'off'],
    ],
  },
  {
    name: 'epp-precise',
    args: (port) => [
      ...[here('../../dist/main.js'), 'serve', '--bind-address', '127.0.0.1'],
      ...['--grpc-port', port, '--grpc-health-port', '0', '--metrics-port', '0'],
      ...['--endpoints-file', endpointsFile, '--kv-events-bind', EVENTS],
      ...['--config-file', here('./precise.yaml'), '--tokenizers-dir', tokenizersDir()],
      ...['--secure-serving=false', '--request-log', 'off'],
    ],
  },
]

/** Where the pickers that know the blocks of engines hear of them. */
const EVENTS = 'tcp://127.0.0.1:19099'

mkdirSync(out, { recursive: true })
execFileSync('nice', ['go', 'build', '-o', tool, '.'], { cwd: here('../epp'), stdio: 'inherit' })
writeFileSync(endpointsFile, execFileSync(tool, ['endpoints', '-n', String(ENGINES)]))

const chosen = pickers.filter(({ name }) => new RegExp(options.pickers).test(name))
const children: ChildProcess[] = []
try {
  const targets = await Promise.all(
    chosen.map(async ({ name, command = process.execPath, args }, i) => {
      const port = BASE_PORT + i
      const child = spawn('nice', [command, ...args(String(port))], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      children.push(child)
      // The load tool waits for the ports; the picker in Go says nothing.
      if (command === process.execPath) await listening(child, name)
      return `${name}:${child.pid}:${port}`
    }),
  )
  if (chosen.some(({ name }) => name === 'epp-precise')) {
    const engines = Array.from({ length: ENGINES }, (_, i) => `127.0.0.1:${18_001 + i}`)
    const args = ['--import', 'tsx', here('./announce.ts'), tool, tokenizersDir(), EVENTS]
    const announcer = spawn(process.execPath, [...args, ...engines], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    children.push(announcer)
    await listening(announcer, 'announce.ts')
  }
  const epps = [...targets, ...options.epp].flatMap((target) => ['-epp', target])
  const args = ['run', '-only', options.only, '-seconds', options.seconds, '-reps', options.reps]
  args.push('-envoy', options.envoy, '-out', rowsFile)
  const shares = await run('nice', [tool, ...args, ...epps], [...targets, ...options.epp])
  const rows: Omit<Row, 'tokenizingShare'>[] = JSON.parse(readFileSync(rowsFile, 'utf8'))
  const counted = rows.map((row, i) => ({ ...row, tokenizingShare: shares[i] ?? 0 }))
  writeFileSync(rowsFile, `${JSON.stringify(counted, undefined, 1)}\n`)
  print(warm(counted))
} finally {
  for (const child of children) child.kill()
}

/** `nice` becomes the picker, hence its pid is the picker's. */
function listening(child: ChildProcess, name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.stdout!.once('data', () => resolve())
    child.once('exit', (code) =>
      reject(new Error(`${name} ended with code ${code} before it listened`)),
    )
  })
}

/** Runs the load tool. Returns for each of its rows, which it tells of on its standard error, the share of tokenizing threads. */
function run(
  command: string,
  args: readonly string[],
  targets: readonly string[],
): Promise<readonly number[]> {
  const pickerShares = new Map(
    targets.map((target) => {
      const [name = '', pid] = target.split(':')
      return [name, new TokenizingShare(Number.parseInt(pid ?? '', 10))]
    }),
  )
  return new Promise((resolve, reject) => {
    const shares: number[] = []
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    children.push(child)
    createInterface(child.stderr!).on('line', (line) => {
      console.error(line)
      const [, picker] = /^\S+ +(\S+) +[\d.]+\/s /.exec(line) ?? []
      if (picker !== undefined) shares.push(pickerShares.get(picker)?.next() ?? 0)
    })
    child.once('error', reject)
    child.once('close', (code) =>
      code === 0 ? resolve(shares) : reject(new Error(`the load tool ended with code ${code}`)),
    )
  })
}

/** All but the first run of each picker in each case, where there are others. */
function warm(rows: readonly Row[]): Row[] {
  return rows.filter(
    (row, i) =>
      options.reps === '1' ||
      rows.slice(0, i).some((other) => other.case === row.case && other.epp === row.epp),
  )
}

function print(rows: readonly Row[]): void {
  const of = (name: string, epp: string) =>
    rows.filter((row) => row.case === name && row.epp === epp)
  const cpuMs = (name: string, epp: string) =>
    median(of(name, epp).map(({ eppCpuMsPerReq: ms }) => ms))
  const ownMs = (name: string, epp: string) =>
    median(
      of(name, epp).map(({ eppCpuMsPerReq: ms, tokenizingShare }) => ms * (1 - tokenizingShare)),
    )
  console.log(
    `${availableParallelism()} cores, Node ${process.version}; 64 streams on 4 connections; medians of ${Math.max(1, Number(options.reps) - 1)}`,
  )
  console.log(
    'case                      picker           streams/s   p50 ms   p99 ms  CPU ms/req    / N  tokenizing  peak MB  errors',
  )
  for (const name of new Set(rows.map((row) => row.case))) {
    const ofCase = rows.filter((row) => row.case === name)
    for (const epp of new Set(ofCase.map((row) => row.epp))) {
      const all = ofCase.filter((row) => row.epp === epp)
      const middle = (key: 'perSecond' | 'p50ms' | 'p99ms' | 'eppPeakRssMB') =>
        median(all.map((row) => row[key]))
      const failed = all.find((row) => row.firstError)
      const errors = all.reduce((sum, row) => sum + row.errors, 0)
      console.log(
        [
          name.padEnd(25),
          epp.padEnd(15),
          middle('perSecond').toFixed(0).padStart(10),
          middle('p50ms').toFixed(2).padStart(8),
          middle('p99ms').toFixed(2).padStart(8),
          cpuMs(name, epp).toFixed(3).padStart(11),
          (cpuMs(name, epp) / cpuMs(name, 'N')).toFixed(2).padStart(6),
          (cpuMs(name, epp) - ownMs(name, epp)).toFixed(3).padStart(11),
          middle('eppPeakRssMB').toFixed(0).padStart(8),
          failed ? `${errors} ${failed.firstError}` : String(errors).padStart(7),
        ].join(' '),
      )
    }
  }
  const figures: Figure[] = []
  for (const name of new Set(rows.map((row) => row.case))) {
    for (const epp of ['exchange', 'epp', 'epp-precise']) {
      const value = ownMs(name, epp) / cpuMs(name, 'N')
      const limit = LIMITS[epp]?.[name]
      if (Number.isNaN(value)) continue
      figures.push({ name: `${name} ${epp} / N`, unit: 'x', value, ...(limit && { limit }) })
      if (epp !== 'epp-precise') continue
      const all = cpuMs(name, epp) / cpuMs(name, 'N')
      figures.push({ name: `${name} ${epp} with tokenizing threads / N`, unit: 'x', value: all })
    }
  }
  for (const [name, base, chunks] of [
    ['direct/0.5k/sse100', 'direct/0.5k', 100],
    ['rate4/0.5k/sse500gap2ms', 'rate20/0.5k', 500],
  ] as const) {
    const epps = new Set(rows.filter((row) => row.case === name).map((row) => row.epp))
    if (epps.size === 0 || !rows.some((row) => row.case === base)) continue
    console.log(`\nCPU microseconds per response chunk, and / N: (${name} - ${base}) / ${chunks}`)
    const chunkUs = (epp: string) => ((cpuMs(name, epp) - cpuMs(base, epp)) * 1000) / chunks
    for (const epp of epps) {
      const ratio = chunkUs(epp) / chunkUs('N')
      if (epp === 'epp') {
        const limit = chunks === 100 ? 0.2 : 0.7
        figures.push({ name: `a chunk of ${name} / N`, unit: 'x', value: ratio, limit })
      }
      console.log(`  ${epp.padEnd(15)} ${chunkUs(epp).toFixed(1).padStart(6)} ${ratio.toFixed(2)}`)
    }
  }
  report('extproc', figures)
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN
}
