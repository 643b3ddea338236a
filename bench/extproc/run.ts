// What an ext_proc exchange costs: our server with a router that decides nothing, beside two pickers that do nothing, each
// in a process of its own, measured in turn by the load tool of bench/epp.
//
//   npm run bench -- extproc [--epp NAME:PID:PORT]... [--seconds N] [--only REGEX] [--envoy PATH]
//
// `--epp` adds a picker that already listens (plaintext, model `bench-model`). `--envoy` is for cases of `--only` that go
// through one, such as `closed/0.5k`; there the null pickers fail some requests, since they do not look after resets as
// src/extproc/connections.ts does. The table goes to stdout, the rows to bench/out/extproc.json.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values: options } = parseArgs({
  allowPositionals: true,
  options: {
    epp: { type: 'string', multiple: true, default: [] },
    seconds: { type: 'string', default: '2' },
    envoy: { type: 'string', default: 'envoy' },
    only: { type: 'string', default: '^direct/(0\\.5k|24k|400k|0\\.5k/sse100)$' },
  },
})

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const out = here('../out')
const tool = `${out}/bench`
const rowsFile = `${out}/extproc.json`
const BASE_PORT = 19_100
const DESTINATION = '127.0.0.1:18001'

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
}

const endpointsFile = `${out}/endpoints.yaml`
const nothing = (script: string) => (port: string) => [here(script), port, DESTINATION]

const pickers: readonly { readonly name: string; args(port: string): readonly string[] }[] = [
  { name: 'null-http2', args: nothing('./null-http2.mjs') },
  { name: 'null-grpc-js', args: nothing('./null-grpc-js.mjs') },
  {
    name: 'exchange',
    args: (port) => ['--import', 'tsx', here('./exchange.ts'), port, DESTINATION],
  },
  {
    name: 'epp',
    args: (port) => [
      ...[here('../../dist/main.js'), 'serve', '--bind-address', '127.0.0.1'],
      ...['--grpc-port', port, '--grpc-health-port', '0', '--metrics-port', '0'],
      ...['--endpoints-file', endpointsFile, '--kv-events-bind', 'tcp://127.0.0.1:*'],
      ...['--secure-serving=false', '--request-log', 'off'],
    ],
  },
]

mkdirSync(out, { recursive: true })
execFileSync('nice', ['go', 'build', '-o', tool, '.'], { cwd: here('../epp'), stdio: 'inherit' })
writeFileSync(endpointsFile, execFileSync(tool, ['endpoints', '-n', '8']))

const children: ChildProcess[] = []
try {
  const targets = await Promise.all(
    pickers.map(async ({ name, args }, i) => {
      const port = BASE_PORT + i
      const child = spawn('nice', [process.execPath, ...args(String(port))], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      children.push(child)
      await listening(child, name)
      return `${name}:${child.pid}:${port}`
    }),
  )
  const epps = [...targets, ...options.epp].flatMap((target) => ['-epp', target])
  const args = ['run', '-only', options.only, '-seconds', options.seconds]
  args.push('-envoy', options.envoy, '-out', rowsFile)
  await run('nice', [tool, ...args, ...epps])
  print(JSON.parse(readFileSync(rowsFile, 'utf8')))
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

function run(command: string, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] })
    children.push(child)
    child.once('error', reject)
    child.once('exit', (code) =>
      code === 0 ? resolve() : reject(new Error(`the load tool ended with code ${code}`)),
    )
  })
}

function print(rows: readonly Row[]): void {
  console.log(
    `${availableParallelism()} cores, Node ${process.version}; 64 streams on 4 connections`,
  )
  console.log(
    'case                  picker           streams/s   p50 ms   p99 ms  CPU ms/req  peak MB  errors',
  )
  for (const row of rows) {
    console.log(
      [
        row.case.padEnd(21),
        row.epp.padEnd(15),
        row.perSecond.toFixed(0).padStart(10),
        row.p50ms.toFixed(2).padStart(8),
        row.p99ms.toFixed(2).padStart(8),
        row.eppCpuMsPerReq.toFixed(3).padStart(11),
        row.eppPeakRssMB.toFixed(0).padStart(8),
        row.firstError ? `${row.errors} ${row.firstError}` : String(row.errors).padStart(7),
      ].join(' '),
    )
  }
  console.log('\nCPU microseconds per response chunk: (0.5k/sse100 - 0.5k) / 100')
  for (const { epp } of rows.filter((row) => row.case === 'direct/0.5k')) {
    const cost = (name: string) =>
      rows.find((row) => row.epp === epp && row.case === name)?.eppCpuMsPerReq
    const whole = cost('direct/0.5k/sse100')
    if (whole !== undefined)
      console.log(`  ${epp.padEnd(15)} ${((whole - cost('direct/0.5k')!) * 10).toFixed(1)}`)
  }
}
