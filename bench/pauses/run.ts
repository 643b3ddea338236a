// For how long the picker's event loop is held up under the most requests of 24 KB that it takes, beside a picker on node:http2
// that does nothing, under the same load: 64 streams back to back on 4 connections, by the load tool of bench/epp.
//
//   npm run bench -- pauses [--seconds N] [--reps N] [--case NAME] [--pickers REGEX]
//
// bench/extproc/pauses.mjs measures in the processes themselves: all runs but the first together.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { plainTable } from '../../src/cli/plain-table.ts'
import { buildLoadTool, type Row, runLoadTool } from '../extproc/load-tool.ts'
import { RunningPickers } from '../extproc/pickers.ts'
import { medianOf, warm } from '../extproc/rows.ts'
import { report } from '../figures.ts'

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '15' },
    reps: { type: 'string', default: '4' },
    case: { type: 'string', default: 'direct/24k' },
    pickers: { type: 'string', default: '^(null-http2|epp)$' },
  },
})

const NULL = 'null-http2'
const EPP = 'epp'
const MOST_OF_NULL = 3
const KINDS = ['delay', 'own'] as const

/** What bench/extproc/pauses.mjs writes: `own` without the time in which the system ran others instead. */
type Pauses = Readonly<Record<(typeof KINDS)[number], Histogram>>

interface Histogram {
  readonly looks: number
  readonly p50ms: number
  readonly p99ms: number
  readonly p999ms: number
  readonly maxMs: number
}

buildLoadTool()
const folder = mkdtempSync(join(tmpdir(), 'bench-pauses-'))
try {
  await measure()
} finally {
  rmSync(folder, { recursive: true })
}

async function measure(): Promise<void> {
  const module = new URL('../extproc/pauses.mjs', import.meta.url).href
  const into = (name: string) => join(folder, name)
  const pickers = await RunningPickers.start(new RegExp(options.pickers), { module, into })
  let rows: Row[]
  try {
    const { seconds, reps } = options
    const load = { seconds, reps, only: `^${options.case}$`, signal: '.', settleSeconds: '1' }
    rows = await runLoadTool('pauses', { ...load, targets: pickers.targets })
  } finally {
    pickers.stop()
  }
  const found = new Map<string, Pauses>(
    pickers.names.map((name) => [name, JSON.parse(readFileSync(into(name), 'utf8'))]),
  )
  print(warm(rows), found)
  const ratio = (kind: (typeof KINDS)[number]) =>
    (found.get(EPP)?.[kind].p999ms ?? Number.NaN) / (found.get(NULL)?.[kind].p999ms ?? Number.NaN)
  report('pauses', [
    { name: `p99.9 ${EPP} / ${NULL}`, unit: 'x', value: ratio('delay'), limit: MOST_OF_NULL },
    { name: `p99.9 ${EPP} / ${NULL}, own`, unit: 'x', value: ratio('own'), limit: MOST_OF_NULL },
  ])
}

function print(rows: readonly Row[], found: ReadonlyMap<string, Pauses>): void {
  console.log('ms between two looks at a clock, 1 ms apart; own: without those in which others ran')
  const lines = [...found].flatMap(([name, pauses]) =>
    KINDS.map((kind) => {
      const { looks, p50ms, p99ms, p999ms, maxMs } = pauses[kind]
      return [
        ...[name, medianOf(rows, options.case, name, 'perSecond').toFixed(0), kind, String(looks)],
        ...[p50ms, p99ms, p999ms, maxMs].map((ms) => ms.toFixed(1)),
      ]
    }),
  )
  const head = ['picker', 'streams/s', '', 'looks', 'p50', 'p99', 'p99.9', 'longest']
  console.log(plainTable(head, lines))
}
