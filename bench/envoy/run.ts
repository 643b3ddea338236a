// What the product costs and delays behind a real Envoy at 20 requests a second, beside N, the load tool's picker in Go that
// does nothing, and beside Envoy without any picker; all of bench/epp, in turn.
//
//   npm run bench -- envoy [--seconds N] [--reps N] [--warm-up N] [--pickers REGEX]
//
// `epp-none-skip` looks at no response (`--responses none`) and its gateway is told to send none; others to choose are
// `epp-none`, where the gateway sends responses all the same, and `epp-none-override`, where the picker tells it not to.
// Medians of all runs, after `--warm-up` seconds of each of three cases in which code is compiled; a busy machine needs more of
// them, until some 10,000 requests are through. The rows go to bench/out/envoy.json.
import { parseArgs } from 'node:util'
import { plainTable } from '../../src/cli/plain-table.ts'
import {
  buildLoadTool,
  isEnvoyInstalled,
  type Measure,
  type Row,
  runLoadTool,
} from '../extproc/load-tool.ts'
import { RunningPickers } from '../extproc/pickers.ts'
import { errorsOf, medianOf, namesOf } from '../extproc/rows.ts'
import { type Figure, report } from '../figures.ts'

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '3' },
    reps: { type: 'string', default: '2' },
    'warm-up': { type: 'string', default: '3' },
    pickers: { type: 'string', default: '^(N|epp|epp-none-skip)$' },
  },
})

const SHORT = 'rate20/0.5k'
const LONG = 'rate20/24k'
const CHUNKS = 'rate20/0.5k/sse100gap2ms'
/** At 20 a second it takes an hour until code is compiled as it is in a picker that has served for long. */
const WARM_UP = { only: '^(direct/(0\\.5k|24k)|closed/0\\.5k/sse100)$', reps: '1' }
/** Envoy without a picker, as the load tool calls it. */
const PLAIN = '(none)'

const CHUNK_OF_N = 0.7
const ENVOY_OF_PLAIN = 1.1
const FIRST_P50_OF_N = 1.15
const FIRST_P99_OF_N = 1.5
/** Of a request of 0.5 KB: its headers, its body, and the end of that. */
const REQUEST_MESSAGES = 3

if (isEnvoyInstalled()) {
  buildLoadTool()
  const rows = await measure()
  print(rows)
  report('envoy', [...chunks(rows), ...responses(rows), ...firstBytes(rows)])
}

async function measure(): Promise<Row[]> {
  const pickers = await RunningPickers.start(new RegExp(options.pickers))
  try {
    const { seconds, reps } = options
    const onNode = pickers.targets.filter((target) => !target.startsWith('N:'))
    await runLoadTool('envoy', { ...WARM_UP, seconds: options['warm-up'], targets: onNode })
    const only = `^(${[SHORT, LONG, CHUNKS].join('|')})$`
    const load = { only, seconds, reps, settleSeconds: '1' }
    return await runLoadTool('envoy', { ...load, targets: pickers.targets })
  } finally {
    pickers.stop()
  }
}

function print(rows: readonly Row[]): void {
  const head = ['case', 'picker', 'first byte p50 ms', 'p99 ms', 'picker CPU ms/req', 'Envoy CPU']
  const lines = namesOf(rows, 'case').flatMap((name) =>
    namesOf(rows, 'epp').map((epp) => {
      const of = (measure: Measure, digits: number) =>
        medianOf(rows, name, epp, measure).toFixed(digits)
      return [
        ...[name, epp, of('firstP50ms', 2), of('firstP99ms', 2), of('eppCpuMsPerReq', 3)],
        ...[of('envoyCpuMsPerReq', 3), of('messagesPerReq', 2), of('scrapesPerSecond', 1)],
        errorsOf(rows.filter((row) => row.case === name && row.epp === epp)),
      ]
    }),
  )
  console.log(plainTable([...head, 'messages', 'scrapes/s', 'errors'], lines))
}

/** By the messages that they came in: Envoy merges chunks that wait for it. */
function chunks(rows: readonly Row[]): Figure[] {
  const us = (epp: string) =>
    (more(rows, epp, 'eppCpuMsPerReq') * 1000) / more(rows, epp, 'messagesPerReq')
  return [
    { name: 'a chunk alone, N', unit: 'us', value: us('N') },
    { name: 'a chunk alone, epp / N', unit: 'x', value: us('epp') / us('N'), limit: CHUNK_OF_N },
  ]
}

/** Of pickers that look at none. */
function responses(rows: readonly Row[]): Figure[] {
  const envoyMs = (epp: string) => more(rows, epp, 'envoyCpuMsPerReq')
  const unseen = namesOf(rows, 'epp').filter((epp) => epp.startsWith('epp-none'))
  return unseen.flatMap((epp) => [
    {
      name: `messages of a response to ${epp}`,
      unit: 'each',
      value: Math.max(0, medianOf(rows, CHUNKS, epp, 'messagesPerReq') - REQUEST_MESSAGES),
      limit: 0,
    },
    {
      name: `Envoy's CPU for a response, ${epp} / ${PLAIN}`,
      unit: 'x',
      value: envoyMs(epp) / envoyMs(PLAIN),
      limit: ENVOY_OF_PLAIN,
    },
  ])
}

/** What a response in chunks takes more than one in a piece. */
function more(rows: readonly Row[], epp: string, measure: Measure): number {
  return medianOf(rows, CHUNKS, epp, measure) - medianOf(rows, SHORT, epp, measure)
}

function firstBytes(rows: readonly Row[]): Figure[] {
  const ofN = (name: string, measure: Measure) =>
    medianOf(rows, name, 'epp', measure) / medianOf(rows, name, 'N', measure)
  return [SHORT, LONG].flatMap((name) => {
    const p50 = ofN(name, 'firstP50ms')
    const p99 = ofN(name, 'firstP99ms')
    return [
      { name: `${name} first byte p50 / N`, unit: 'x', value: p50, limit: FIRST_P50_OF_N },
      { name: `${name} first byte p99 / N`, unit: 'x', value: p99, limit: FIRST_P99_OF_N },
    ]
  })
}
