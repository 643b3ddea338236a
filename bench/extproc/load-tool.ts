// The load tool of bench/epp: built, run against pickers that listen, and what it found.
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { TokenizingShare } from './threads.ts'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** Where benches leave what they find. */
export const OUT = here('../out')
export const LOAD_TOOL = `${OUT}/bench`
const ENVOY = here('../../.cache/envoy-1.40.0/envoy')
export const ENGINES = 8
/** For the pickers: the fake engines of the load tool. */
export const ENDPOINTS_FILE = `${OUT}/endpoints.yaml`

/** The first of some 1,200 ports; another one lets a second run go on beside the first. */
export const FIRST_PORT = Number(process.env.BENCH_PORT ?? 18_000)
export const ENGINE_PORT = FIRST_PORT + 1
const ENVOY_PORT = FIRST_PORT + 800

/** One picker in one case, once. */
export interface Row {
  readonly case: string
  readonly epp: string
  readonly requests: number
  readonly errors: number
  readonly firstError?: string
  readonly perSecond: number
  readonly p50ms: number
  readonly p99ms: number
  /** To the head of the response; without Envoy: to the pick. */
  readonly firstP50ms: number
  readonly firstP99ms: number
  readonly eppCpuMsPerReq: number
  /** What of it the threads for token ids took, settling included. */
  readonly tokenizingCpuMsPerReq: number
  readonly envoyCpuMsPerReq: number
  /** From Envoy to the picker. */
  readonly messagesPerReq: number
  /** Of metrics, all engines together. */
  readonly scrapesPerSecond: number
  readonly eppPeakRssMB: number
}

/** A key of a row that is a number. */
export type Measure = {
  [Key in keyof Row]-?: Row[Key] extends number ? Key : never
}[keyof Row]

export interface Load {
  /** Of names of cases. */
  readonly only: string
  /** Of a case at a fixed rate 10/6 of it. */
  readonly seconds: string
  readonly reps: string
  /** Seconds for fresh metrics before each case, and of load that is not measured. */
  readonly settleSeconds?: string
  /** NAME:PID:PORT[:MODE] of each picker. */
  readonly targets: readonly string[]
  /** Of names of pickers that get SIGUSR2 when the measured time begins and ends. */
  readonly signal?: string
}

/** Builds the load tool, and says what its engines are. */
export function buildLoadTool(): void {
  mkdirSync(OUT, { recursive: true })
  const args = ['go', 'build', '-o', LOAD_TOOL, '.']
  execFileSync('nice', args, { cwd: here('../epp'), stdio: 'inherit' })
  const engines = ['-base', String(ENGINE_PORT), '-n', String(ENGINES)]
  writeFileSync(ENDPOINTS_FILE, execFileSync(LOAD_TOOL, ['endpoints', ...engines]))
}

/** Whether Envoy is there; says so when it is not. */
export function isEnvoyInstalled(): boolean {
  if (existsSync(ENVOY)) return true
  console.log('SKIPPED: Envoy is not installed; run scripts/install-envoy.sh')
  return false
}

/** Rows in the order in which they were measured, also left as JSON in `bench/out/PART.json`. */
export async function runLoadTool(part: string, load: Load): Promise<Row[]> {
  const file = `${OUT}/${part}.json`
  const args = ['run', '-only', load.only, '-seconds', load.seconds, '-reps', load.reps]
  args.push('-base', String(ENGINE_PORT), '-n', String(ENGINES), '-out', file)
  args.push('-envoy', ENVOY, '-envoy-port', String(ENVOY_PORT))
  if (load.settleSeconds) args.push('-settle', load.settleSeconds)
  if (load.signal) args.push('-signal', load.signal)
  for (const target of load.targets) args.push('-epp', target)
  const shares = await tokenizingShares(args, load.targets)
  const rows: Omit<Row, 'tokenizingCpuMsPerReq'>[] = JSON.parse(readFileSync(file, 'utf8'))
  return rows.map((row, i) => ({
    ...row,
    tokenizingCpuMsPerReq: row.eppCpuMsPerReq * (shares[i] ?? 0),
  }))
}

/** Runs the load tool. Answers for each of its rows, as it tells of them, what part of the CPU tokenizing threads took. */
function tokenizingShares(
  args: readonly string[],
  targets: readonly string[],
): Promise<readonly number[]> {
  const byPicker = new Map(
    targets.map((target) => {
      const [name = '', pid] = target.split(':')
      return [name, new TokenizingShare(Number.parseInt(pid ?? '', 10))]
    }),
  )
  return new Promise((resolve, reject) => {
    const shares: number[] = []
    const child = spawn('nice', [LOAD_TOOL, ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
    createInterface(child.stderr).on('line', (line) => {
      console.error(line)
      const [, picker] = /^\S+ +(\S+) +[\d.]+\/s /.exec(line) ?? []
      if (picker !== undefined) shares.push(byPicker.get(picker)?.next() ?? 0)
    })
    child.once('error', reject)
    child.once('close', (code) =>
      code === 0 ? resolve(shares) : reject(new Error(`the load tool ended with code ${code}`)),
    )
  })
}
