// What a request costs between the transport's bytes and its end: parsed, picked, recorded, its response told, without a
// gateway and without a socket; and what of that metrics and the request log are.
//
//   npm run bench -- request [--config config/scheduler-profiles.yaml] [--endpoints 8] [--rounds 7] [--profile DIR]
//
// Chats of 0.5, 24 and 400 KB, the first half of which all requests share; no tokenizer, no KV events. The figures are
// medians over rounds that alternate between the cases, of the CPU of all threads. `--profile` writes a CPU profile of all
// rounds into a folder.
import { readFileSync, writeFileSync } from 'node:fs'
import { Session } from 'node:inspector/promises'
import { parseArgs } from 'node:util'
import { EventSockets } from '../../src/app/event-sockets.ts'
import { Pool } from '../../src/app/pool.ts'
import { loadConfig } from '../../src/config/load.ts'
import { ModuleLoader } from '../../src/config/module-loader.ts'
import { Cancellation } from '../../src/framework/cancellation.ts'
import { seededRandom } from '../../src/framework/random.ts'
import { DecisionLog } from '../../src/framework/routing/decision.ts'
import { RequestLog } from '../../src/framework/routing/request-log.ts'
import type { Metrics } from '../../src/framework/services.ts'
import { builtinPlugins } from '../../src/plugins/index.ts'
import { createLogger } from '../../src/telemetry/logger.ts'
import { PrometheusMetrics } from '../../src/telemetry/metrics.ts'
import { createNotices } from '../../src/telemetry/notices.ts'
import { RoutingHistory } from '../../src/telemetry/routing-history.ts'
import { type Figure, report } from '../figures.ts'

const { values: options } = parseArgs({
  options: {
    config: { type: 'string', default: 'config/scheduler-profiles.yaml' },
    endpoints: { type: 'string', default: '8' },
    rounds: { type: 'string', default: '7' },
    only: { type: 'string', default: '' },
    profile: { type: 'string' },
  },
})

const clock = { nowMs: () => performance.now(), epochMs: () => Date.now() }
const METRICS = {
  ...{ waiting: 0, running: 4, kvCacheUsage: 0.3, blockTokens: 64, kvBlocks: 4802 },
  ...{ hashAlgorithm: undefined, adapters: undefined, custom: new Map<string, number>() },
}
const HOUR_MS = 3_600_000
const ANSWER = Buffer.from(
  '{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"Yes."}}],"usage":{"prompt_tokens":100,"completion_tokens":8,"total_tokens":108}}',
)
const nothing = () => {}
const noMetrics: Metrics = {
  counter: () => ({ inc: nothing }),
  gauge: () => ({ set: nothing, inc: nothing, dec: nothing }),
  histogram: () => ({ observe: nothing }),
  observed: nothing,
} as unknown as Metrics

/** A picker with endpoints that are not asked for anything. */
async function start(metrics: Metrics, requestLog: 'on' | 'off'): Promise<Pool> {
  const logger = createLogger({
    ...{ format: 'text', level: 'info', epochMs: clock.epochMs },
    write: (line) => void (written += line.length),
  } as Parameters<typeof createLogger>[0])
  const services = { clock, logger, notices: createNotices(clock.epochMs), random: seededRandom(1) }
  const source = options.config
  const text = { source, text: readFileSync(source, 'utf8') }
  const modules = new ModuleLoader(builtinPlugins)
  const config = await loadConfig(text.text, source, builtinPlugins, modules, { strict: false })
  const sockets = new EventSockets({ logger, notices: services.notices }, {
    bind: undefined,
    dialPort: undefined,
    replayPort: undefined,
  } as never)
  const pool = new Pool(
    {
      ...{ ...services, metrics, sockets },
      decisions: new DecisionLog(1000),
      requestLog: new RequestLog(logger, requestLog as never),
      observers: [{ name: 'routing-history', plugin: new RoutingHistory(clock) }],
    },
    {
      ...{ name: undefined, tokenizersDir: undefined },
      scraper: {
        ...{ intervalMs: HOUR_MS, stalenessMs: HOUR_MS },
        ...{ scheme: 'http', insecureSkipVerify: true },
      },
      director: { requestTimeoutMs: HOUR_MS },
    },
    config,
    text,
  )
  const specs = Array.from({ length: Number(options.endpoints) }, (_, i) => ({
    ...{ namespace: 'default', name: `e${i}`, address: `127.9.0.${i + 1}`, port: 9, rank: 0 },
    labels: {},
  }))
  pool.endpoints.replace('bench', specs)
  for (const { id } of pool.endpoints.list()) {
    pool.endpoints.setMetrics(id, { ...METRICS, scrapedAtMs: clock.nowMs() })
  }
  return pool
}

/** Lines that a log would have written, in characters: looked at, so that writing them is not left out. */
let written = 0
let made = 0

/** A chat whose second half no other request has, in the pieces in which a gateway sends it. */
function bodyOf(bytes: number): readonly Buffer[] {
  const text = (word: string, length: number) =>
    `${word} `.repeat(Math.ceil(length / (word.length + 1))).slice(0, length)
  const half = Math.max(20, Math.floor((bytes - 200) / 2))
  const messages = [
    { role: 'system', content: text('the same for all of them', half) },
    { role: 'user', content: text(`its own ${made++}`, half) },
  ]
  const body = Buffer.from(JSON.stringify({ model: 'bench-model', stream: true, messages }))
  const pieces: Buffer[] = []
  for (let at = 0; at < body.length; at += 32_768) pieces.push(body.subarray(at, at + 32_768))
  return pieces
}

const headersOf = (i: number) =>
  new Map([
    [':method', 'POST'],
    [':path', '/v1/chat/completions'],
    [':authority', 'bench'],
    ['content-type', 'application/json'],
    ['x-request-id', `bench-${i}`],
  ])
const responseHeaders = new Map([
  [':status', '200'],
  ['content-type', 'application/json'],
])

/** Microseconds of CPU per request, of all threads of this process. */
async function round(pool: Pool, bodies: readonly (readonly Buffer[])[]): Promise<number> {
  const cancellation = new Cancellation()
  const before = process.cpuUsage()
  for (let i = 0; i < bodies.length; i++) {
    const incoming = { headers: headersOf(i), body: bodies[i]!, subset: undefined }
    const routed = await pool.director.route(incoming, cancellation)
    routed.responseHeaders(200, responseHeaders)
    routed.responseBody(ANSWER)
    routed.end('completed')
  }
  const { user, system } = process.cpuUsage(before)
  return (user + system) / bodies.length
}

const median = (values: readonly number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!

const pools = {
  'all of it': await start(new PrometheusMetrics(1000), 'off'),
  'without metrics': await start(noMetrics, 'off'),
  'and with the request log': await start(new PrometheusMetrics(1000), 'on'),
}
const SIZES: readonly (readonly [string, number, number])[] = [
  ['0.5k', 500, 4000],
  ['24k', 24_000, 400],
  ['400k', 400_000, 30],
]
const figures = new Map<string, number[]>()
const session = new Session()
session.connect()
for (let i = -1; i < Number(options.rounds); i++) {
  for (const [size, bytes, count] of SIZES) {
    for (const [name, pool] of Object.entries(pools)) {
      const key = `${size.padEnd(5)} ${name}`
      if (!key.includes(options.only)) continue
      const bodies = Array.from({ length: count }, () => bodyOf(bytes))
      if (options.profile && i === 0) {
        await session.post('Profiler.enable')
        await session.post('Profiler.start')
      }
      const us = await round(pool, bodies)
      if (options.profile && i === Number(options.rounds) - 1) {
        const { profile } = await session.post('Profiler.stop')
        writeFileSync(
          `${options.profile}/${key.replaceAll(/\W+/g, '-')}.cpuprofile`,
          JSON.stringify(profile),
        )
      }
      if (i >= 0) figures.set(key, [...(figures.get(key) ?? []), us])
    }
  }
}
const said: Figure[] = Array.from(figures, ([name, values]) => ({
  ...{ name, unit: 'us', value: median(values) },
}))
const [logged, bare] = ['and with the request log', 'without metrics'].map((name) =>
  figures.get(`0.5k  ${name}`),
)
if (logged && bare) {
  const differences = logged.map((us, i) => us - bare[i]!)
  said.push({ name: 'metrics and log', unit: 'us', value: median(differences), limit: 8 })
}
report('request', said)
console.log(`${written} characters logged`)
process.exit()
