// What the embedded proxy costs: `epp proxy` with an estimated profile, and its gateway alone with a router that only takes
// turns, beside a minimal proxy of node:http and undici, each in a process of its own, measured in turn by the load tools of
// this folder before eight fake engines.
//
//   npm run bench -- proxy [--seconds N] [--warm N] [--connections N] [--only REGEX] [--rounds N]
//
// The table goes to stdout, the rows to bench/out/proxy.json. Each figure is the best of the rounds.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { plainTable } from '../../src/cli/plain-table.ts'
import { type Figure, report } from '../figures.ts'

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '3' },
    // Of load before each measurement: the code of the whole picker takes some time to be compiled.
    warm: { type: 'string', default: '3' },
    connections: { type: 'string', default: '32' },
    only: { type: 'string', default: '' },
    rounds: { type: 'string', default: '2' },
  },
})

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const out = here('../out')
const BACKEND = `${out}/proxy-backend`
const LOAD = `${out}/proxy-load`
const ADMIN_PORT = 19_300
const ENGINE_PORT = 19_301
const ENGINES = 8
const FRONT_PORT = 19_320

const CASES = [
  { name: '0.5k', args: ['-size', '500'] },
  { name: '24k', args: ['-size', '24000'] },
  { name: '400k', args: ['-size', '400000'] },
  { name: '0.5k/sse100', args: ['-size', '500', '-stream'] },
].filter(({ name }) => new RegExp(options.only).test(name))

/** What the proxy may cost, in times of what a minimal one takes. */
const LIMITS: Readonly<Record<string, number>> = { '0.5k': 1.5, '24k': 1.5 }
const CHUNK_LIMIT = 1.3

const engines = Array.from({ length: ENGINES }, (_, i) => `127.0.0.1:${ENGINE_PORT + i}`)
const PROXIES: readonly { readonly name: string; args(port: number): readonly string[] }[] = [
  {
    name: 'undici.mjs',
    args: (port) => [here('./undici.mjs'), String(port), String(ENGINE_PORT), String(ENGINES)],
  },
  {
    name: 'gateway.mjs',
    args: (port) => [here('./gateway.mjs'), String(port), String(ENGINE_PORT), String(ENGINES)],
  },
  {
    name: 'epp proxy',
    args: (port) => [
      ...[here('../../dist/main.js'), 'proxy', '--listen', `127.0.0.1:${port}`],
      ...engines.flatMap((engine) => ['--endpoint', `http://${engine}`]),
      ...['--config-file', here('./profile.yaml'), '--request-log', 'off'],
      ...['--grpc-port', '0', '--grpc-health-port', '0', '--metrics-port', '0'],
      ...['--kv-events-bind', 'tcp://127.0.0.1:*'],
    ],
  },
]

/** What the load tool says of one case. */
interface Row {
  readonly name: string
  readonly case: string
  readonly rps: number
  readonly cpu_ms_per_req: number
  readonly cpu_us_per_chunk: number
  readonly p50: number
  readonly p99: number
  readonly errs: number
  readonly codes: string
  readonly rss_mb: number
}

mkdirSync(out, { recursive: true })
const build = (file: string, folder: string) =>
  execFileSync('nice', ['go', 'build', '-o', file, folder], { cwd: here('.'), stdio: 'inherit' })
build(BACKEND, './backend')
build(LOAD, './gen')

const children: ChildProcess[] = []
try {
  start(BACKEND, ['-base', String(ENGINE_PORT), '-admin', String(ADMIN_PORT)])
  await listening(ENGINE_PORT)
  const proxies = []
  for (const [i, { name, args }] of PROXIES.entries()) {
    const port = FRONT_PORT + i
    const child = start(process.execPath, args(port))
    await listening(port)
    proxies.push({ name, port, pid: child.pid! })
  }
  const rows: Row[] = []
  for (const each of CASES) {
    for (let round = 0; round < Number(options.rounds); round++) {
      for (const { name, port, pid } of proxies) {
        const row = measure(name, port, pid, each.args)
        rows.push({ ...row, case: each.name })
      }
    }
  }
  writeFileSync(`${out}/proxy.json`, `${JSON.stringify(rows, null, 2)}\n`)
  print(rows)
} finally {
  for (const child of children) child.kill()
}

function start(command: string, args: readonly string[]): ChildProcess {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  children.push(child)
  child.once('exit', (code) => {
    if (code) console.error(`${command} ${args[0]} ended with code ${code}`)
  })
  return child
}

async function listening(port: number): Promise<void> {
  const deadlineMs = performance.now() + 20_000
  while (performance.now() < deadlineMs) {
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => resolve(true))
      socket.once('connect', () => socket.destroy())
      socket.once('error', () => resolve(false))
    })
    if (isOpen) return
    await new Promise((done) => setTimeout(done, 50))
  }
  throw new Error(`nothing listens on port ${port}`)
}

function measure(name: string, port: number, pid: number, more: readonly string[]): Row {
  const args = ['-url', `127.0.0.1:${port}`, '-c', options.connections, '-name', name]
  args.push('-d', `${options.seconds}s`, '-warm', `${options.warm}s`, '-pids', String(pid), ...more)
  return JSON.parse(execFileSync(LOAD, args, { encoding: 'utf8' }))
}

/** The cheapest row of each proxy. */
function bestOf(rows: readonly Row[], wanted: string): Row[] {
  return PROXIES.map(({ name }) =>
    rows
      .filter((row) => row.case === wanted && row.name === name)
      .reduce((a, b) => (b.cpu_ms_per_req < a.cpu_ms_per_req ? b : a)),
  )
}

/** What the gateway alone and the whole cost, in times of the minimal proxy; limits are those of the whole. */
function figuresOf(wanted: string, [minimal, ...own]: readonly Row[]): Figure[] {
  return own.map((row) => {
    const isWhole = row.name === 'epp proxy'
    if (!wanted.includes('sse')) {
      const value = row.cpu_ms_per_req / minimal!.cpu_ms_per_req
      const limit = isWhole ? LIMITS[wanted] : undefined
      return {
        name: `${wanted}, ${row.name} / undici.mjs`,
        unit: 'x',
        value,
        ...(limit && { limit }),
      }
    }
    const value = row.cpu_us_per_chunk / minimal!.cpu_us_per_chunk
    const name = `a chunk, request included, ${row.name} / undici.mjs`
    return { name, unit: 'x', value, ...(isWhole && { limit: CHUNK_LIMIT }) }
  })
}

function print(rows: readonly Row[]): void {
  console.log(
    `${availableParallelism()} cores, Node ${process.version}; ${options.connections} connections back to back`,
  )
  const heads = ['case', 'proxy', 'req/s', 'p50 ms', 'p99 ms', 'CPU ms/req', 'µs/chunk', 'ratio']
  const figures: Figure[] = []
  const lines: string[][] = []
  for (const { name: wanted } of CASES) {
    const best = bestOf(rows, wanted)
    figures.push(...figuresOf(wanted, best))
    for (const row of best) {
      lines.push([
        wanted,
        row.name,
        row.rps.toFixed(0),
        row.p50.toFixed(2),
        row.p99.toFixed(2),
        row.cpu_ms_per_req.toFixed(3),
        wanted.includes('sse') ? row.cpu_us_per_chunk.toFixed(2) : '',
        (row.cpu_ms_per_req / best[0]!.cpu_ms_per_req).toFixed(2),
        row.rss_mb.toFixed(0),
        row.errs > 0 ? `${row.errs} ${row.codes}` : '0',
      ])
    }
  }
  console.log(plainTable([...heads, 'RSS MB', 'errors'], lines))
  report('proxy', figures)
}
