// What an ext_proc exchange costs: our server with a router that decides nothing, beside pickers that do nothing, each in a
// process of its own, measured in turn by the load tool of bench/epp. The yardstick is N, the load tool's own picker in Go.
//
//   npm run bench -- extproc [--epp NAME:PID:PORT]... [--seconds N] [--reps N] [--warm-up N] [--only REGEX]
//                           [--pickers REGEX] [--against PATH_OF_ANOTHER_TREE]
//   npm run bench -- extproc --profile DIR [...]
//
// `--epp` adds a picker that already listens (plaintext, model `bench-model`), `--against` those of another tree that is
// built. The table goes to stdout: medians, after `--warm-up` seconds of each case in which code is compiled; a busy machine
// needs more of them, until some 10,000 requests are through.
// `tokens ms` is what of the CPU the threads for token ids took: limits are for the rest (Linux only: they are counted in /proc).
// The rows go to bench/out/extproc.json. `--profile` measures nothing: it writes a CPU profile of the product under each case
// to DIR and prints the functions that take most.
import { mkdirSync, renameSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { plainTable } from '../../src/cli/plain-table.ts'
import { type Figure, report } from '../figures.ts'
import { buildLoadTool, type Load, type Row, runLoadTool } from './load-tool.ts'
import { measureMemory } from './memory.ts'
import { RunningPickers } from './pickers.ts'
import { topOfProfile } from './profiles.ts'
import { chunkUs, errorsOf, medianOf, namesOf } from './rows.ts'

const { values: options } = parseArgs({
  allowPositionals: true,
  options: {
    epp: { type: 'string', multiple: true, default: [] },
    seconds: { type: 'string', default: '1.5' },
    reps: { type: 'string', default: '3' },
    'warm-up': { type: 'string', default: '4' },
    pickers: { type: 'string' },
    against: { type: 'string' },
    only: { type: 'string', default: '^direct/(0\\.5k|24k|400k|0\\.5k/sse100|turn/.*)$' },
    profile: { type: 'string' },
  },
})

const SETTLE_SECONDS = '0.5'
const MEASURED = '^(N|null-http2|exchange|epp|epp-precise)$'
const PROFILED = '^epp$'
const PROFILED_FUNCTIONS = 25

/** What an exchange may cost, in times of what N takes, threads for token ids apart. */
const LIMITS: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  epp: { 'direct/0.5k': 0.6, 'direct/24k': 0.9, 'direct/400k': 1.4 },
  'epp-precise': { 'direct/0.5k': 1, 'direct/24k': 1.5, 'direct/400k': 2.2 },
}
const CHUNKS = { name: 'direct/0.5k/sse100', base: 'direct/0.5k', chunks: 100 }
const CHUNK_LIMIT = 0.2
/** A turn of 500 new tokens after 100,000, and the first turn of a conversation; CPU of all threads. */
const TURNS = { long: 'direct/turn/550k', first: 'direct/turn/0', picker: 'epp-precise', limit: 2 }

buildLoadTool()
if (options.profile === undefined) await measure()
else await profile(resolve(options.profile))

async function measure(): Promise<void> {
  const pickers = await RunningPickers.start(
    new RegExp(options.pickers ?? MEASURED),
    undefined,
    options.against,
  )
  let rows: Row[]
  try {
    const targets = [...pickers.targets, ...options.epp]
    await load({ targets, reps: '1', seconds: options['warm-up'] })
    rows = await load({ targets })
  } finally {
    pickers.stop()
  }
  print(rows)
  const memory =
    options.pickers || !new RegExp(options.only).test('direct/400k')
      ? []
      : await measureMemory(options.seconds, SETTLE_SECONDS)
  report('extproc', [...costs(rows), ...chunkCosts(rows), ...turnCosts(rows), ...memory])
}

function load(more: Partial<Load> & Pick<Load, 'targets'>): Promise<Row[]> {
  const { only, seconds, reps } = options
  return runLoadTool('extproc', { only, seconds, reps, settleSeconds: SETTLE_SECONDS, ...more })
}

/** The last of the profiles of a case is kept: the one with the most compiled code. */
async function profile(folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true })
  const watch = {
    module: new URL('./profile.mjs', import.meta.url).href,
    into: (name: string) => `${folder}/${name}`,
  }
  const pickers = await RunningPickers.start(new RegExp(options.pickers ?? PROFILED), watch)
  try {
    const rows = await load({ targets: pickers.targets, signal: '.' })
    for (const name of pickers.names) {
      const own = rows.filter((row) => row.epp === name)
      own.forEach((row, i) => {
        const file = `${folder}/${name}-${row.case.replaceAll('/', '-')}.cpuprofile`
        renameSync(`${folder}/${name}-${i}.cpuprofile`, file)
        if (own.slice(i + 1).some((later) => later.case === row.case)) return
        console.log(`\n${name}, ${row.case}: ${file}`)
        const top = topOfProfile(file, PROFILED_FUNCTIONS)
        const lines = top.map((each) => [
          `${(each.share * 100).toFixed(1)} %`,
          each.name,
          each.place,
        ])
        console.log(plainTable(['self', 'function', 'file'], lines))
      })
    }
  } finally {
    pickers.stop()
  }
}

function print(rows: readonly Row[]): void {
  const machine = `${availableParallelism()} cores, Node ${process.version}`
  console.log(`${machine}; 64 streams on 4 connections; ${rows.length} runs, medians`)
  const head = ['case', 'picker', 'streams/s', 'p50 ms', 'p99 ms', 'CPU ms/req', '/ N', 'tokens ms']
  const lines = namesOf(rows, 'case').flatMap((name) =>
    namesOf(rows, 'epp').map((epp) => {
      const own = rows.filter((row) => row.case === name && row.epp === epp)
      const of = (measure: Parameters<typeof medianOf>[3], by = epp) =>
        medianOf(rows, name, by, measure)
      return [
        ...[name, epp, of('perSecond').toFixed(0)],
        ...[of('p50ms').toFixed(2), of('p99ms').toFixed(2), of('eppCpuMsPerReq').toFixed(3)],
        (of('eppCpuMsPerReq') / of('eppCpuMsPerReq', 'N')).toFixed(2),
        of('tokenizingCpuMsPerReq').toFixed(3),
        ...[of('eppPeakRssMB').toFixed(0), errorsOf(own)],
      ]
    }),
  )
  console.log(plainTable([...head, 'peak MB', 'errors'], lines))
}

function costs(rows: readonly Row[]): Figure[] {
  const cpuMs = (name: string, epp: string) =>
    medianOf(rows, name, epp, 'eppCpuMsPerReq') - medianOf(rows, name, epp, 'tokenizingCpuMsPerReq')
  return namesOf(rows, 'case').flatMap((name) =>
    ['exchange', 'epp', 'epp-precise'].flatMap((epp) => {
      const value = cpuMs(name, epp) / cpuMs(name, 'N')
      const limit = LIMITS[epp]?.[name]
      if (Number.isNaN(value)) return []
      return [{ name: `${name} ${epp} / N`, unit: 'x', value, ...(limit && { limit }) }]
    }),
  )
}

function chunkCosts(rows: readonly Row[]): Figure[] {
  const { name, base, chunks } = CHUNKS
  if (![name, base].every((each) => namesOf(rows, 'case').includes(each))) return []
  console.log(`\nCPU microseconds per response chunk, and / N: (${name} - ${base}) / ${chunks}`)
  const ofN = chunkUs(rows, 'N', CHUNKS)
  return namesOf(rows, 'epp').flatMap((epp) => {
    const us = chunkUs(rows, epp, CHUNKS)
    const value = us / ofN
    console.log(`  ${epp.padEnd(15)} ${us.toFixed(1).padStart(6)} ${value.toFixed(2)}`)
    const figure = { name: `a chunk of ${name} / N`, unit: 'x', value, limit: CHUNK_LIMIT }
    return epp === 'epp' ? [figure] : []
  })
}

/** What a turn takes beside a first one, less what the body of its conversation costs N. */
function turnCosts(rows: readonly Row[]): Figure[] {
  const { long, first, picker, limit } = TURNS
  const cpuMs = (name: string, of: string) => medianOf(rows, name, of, 'eppCpuMsPerReq')
  const bodyMs = cpuMs(long, 'N') - cpuMs(first, 'N')
  const value = (cpuMs(long, picker) - bodyMs) / cpuMs(first, picker)
  if (Number.isNaN(value)) return []
  return [{ name: `(${long} - body) / ${first} ${picker}`, unit: 'x', value, limit }]
}
