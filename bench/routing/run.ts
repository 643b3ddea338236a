// What a profile makes of a burst: 200 requests in one moment, half of them with a common beginning of 8,000 tokens, on top
// of 4 others a second, through Envoy and 8 simulated engines (Qwen3-32B on two H100, one process), the built picker as a
// user would start it.
//
//   npm run bench -- routing [--profiles cost,llm-d,default] [--bursts 2] [--others 4] [--main dist/main.js]
//
// Prompts and their lengths are the same for all profiles; engines, picker and Envoy are new for each burst. The table goes
// to stdout, the rows to bench/out/routing.json. The exit code is 1 when cost.yaml takes more than 0.7 times as long as
// llm-d.yaml to the first token, on average.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { seededRandom } from '../../src/framework/random.ts'
import type { Random } from '../../src/framework/services.ts'
import { simEngineOptions } from '../../src/sim/options.ts'
import { type RunningSimEngine, startSimEngine } from '../../src/sim-engine.ts'
import { createLogger } from '../../src/telemetry/logger.ts'
import { Envoy } from '../../test/e2e/envoy.ts'
import { eventually, Process } from '../../test/e2e/process.ts'

const { values: options } = parseArgs({
  options: {
    profiles: { type: 'string', default: 'cost,llm-d,default' },
    bursts: { type: 'string', default: '2' },
    others: { type: 'string', default: '4' },
    main: { type: 'string', default: 'dist/main.js' },
  },
})

const MODEL = 'Qwen3-32B'
const ENGINES = 8
const REQUESTS = 200
const SHARED_TOKENS = 8000
const VOCABULARY = 150_000
const WARM_MS = 8000
const MOST_OF_LLM_D = 0.7

interface Asked {
  readonly prompt: readonly number[]
  readonly answerTokens: number
}

interface Answer {
  readonly firstByteMs: number
  readonly wholeMs: number
  readonly cachedTokens: number
  readonly promptTokens: number
}

interface Row {
  readonly profile: string
  readonly requests: number
  readonly ttftMeanS: number
  readonly ttftP50S: number
  readonly ttftP90S: number
  readonly wholeMeanS: number
  readonly cachedShare: number
  /** Requests of the busiest engine over the mean. */
  readonly imbalance: number
  readonly pickerCpuMsPerRequest: number
  readonly envoyCpuMsPerRequest: number
}

/** Prompts and answers of log-normal lengths. */
class Workload {
  readonly #random: Random

  constructor(seed: number) {
    this.#random = seededRandom(seed)
  }

  /** Half with the common beginning and about 400 tokens more, half with about 2,500 tokens of their own. */
  burst(): readonly Asked[] {
    const shared = this.#ids(SHARED_TOKENS)
    return Array.from({ length: REQUESTS }, (_, i) => ({
      prompt:
        i % 2 === 0
          ? [...shared, ...this.#ids(this.#length(400, 0.5, 50, 2000))]
          : this.#ids(this.#length(2500, 0.8, 100, 20_000)),
      answerTokens: this.#length(100, 0.6, 10, 400),
    }))
  }

  one(): Asked {
    return {
      prompt: this.#ids(this.#length(2000, 0.8, 100, 20_000)),
      answerTokens: this.#length(250, 0.6, 10, 1500),
    }
  }

  /** Milliseconds to the next request of a Poisson process. */
  pauseMs(perSecond: number): number {
    return (-Math.log(1 - this.#random.next()) / perSecond) * 1000
  }

  #length(median: number, sigma: number, least: number, most: number): number {
    const angle = 2 * Math.PI * this.#random.next()
    const normal = Math.sqrt(-2 * Math.log(1 - this.#random.next())) * Math.cos(angle)
    return Math.round(Math.min(most, Math.max(least, median * Math.exp(sigma * normal))))
  }

  #ids(count: number): readonly number[] {
    return Array.from({ length: count }, () => Math.floor(this.#random.next() * VOCABULARY))
  }
}

/** Sends `perSecond` requests of others, 0 or more, at random moments, until stopped. */
function background(url: URL, workload: Workload, perSecond: number) {
  const answers: Promise<unknown>[] = []
  let timer: NodeJS.Timeout | undefined
  const next = () => {
    timer = setTimeout(() => {
      answers.push(ask(url, workload.one()))
      next()
    }, workload.pauseMs(perSecond))
  }
  if (perSecond > 0) next()
  return {
    async stop() {
      clearTimeout(timer)
      await Promise.all(answers)
    },
  }
}

const quiet = createLogger({
  format: 'text',
  level: 'error',
  write: (line) => process.stderr.write(line),
  epochMs: Date.now,
})

function startEngines(eventsPort: number): Promise<RunningSimEngine[]> {
  return Promise.all(
    Array.from({ length: ENGINES }, (_, i) => {
      const host = `127.0.41.${i + 1}`
      const events = {
        enable_kv_cache_events: true,
        publisher: 'zmq',
        endpoint: `tcp://127.0.0.1:${eventsPort}`,
        topic: `kv@${host}@${MODEL}`,
      }
      const flags = { host, port: '8000', servedModelName: MODEL, blockSize: '64' }
      return startSimEngine(
        simEngineOptions({ ...flags, kvEventsConfig: JSON.stringify(events) }),
        quiet,
      )
    }),
  )
}

/** Asks for one streamed answer and measures it. */
function ask(url: URL, { prompt, answerTokens }: Asked, id?: string): Promise<Answer> {
  const body = JSON.stringify({
    model: MODEL,
    prompt,
    max_tokens: answerTokens,
    ignore_eos: true,
    stream: true,
    stream_options: { include_usage: true },
  })
  return new Promise((resolve, reject) => {
    const startMs = performance.now()
    const sent = request(
      new URL('/v1/completions', url),
      {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...(id && { 'x-request-id': id }) },
      },
      (response) => {
        let firstByteMs = 0
        let tail = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => {
          firstByteMs ||= performance.now() - startMs
          tail = (tail + chunk).slice(-4000)
        })
        response.on('error', reject)
        response.on('end', () => {
          const usage = /"usage": ?(\{"prompt_tokens.*\})/.exec(tail)?.[1]
          if (response.statusCode !== 200 || usage === undefined) {
            return reject(new Error(`status ${response.statusCode}: ${tail.slice(-300)}`))
          }
          const cached = /"cached_tokens": ?(\d+)/.exec(usage)?.[1]
          resolve({
            firstByteMs,
            wholeMs: performance.now() - startMs,
            cachedTokens: Number(cached ?? 0),
            promptTokens: prompt.length,
          })
        })
      },
    )
    sent.on('error', reject)
    sent.end(body)
  })
}

/** CPU time of a process so far, in milliseconds (proc(5), 100 ticks a second). */
function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
}

async function run(profile: string, seed: number): Promise<Row> {
  const closing: (() => Promise<unknown>)[] = []
  try {
    const picker = new Process('epp', process.execPath, [
      ...[options.main, 'serve', '--config-file', `config/profiles/${profile}.yaml`],
      ...['--bind-address', '127.0.0.1', '--log-format', 'json', '--seed', '1'],
      ...['--grpc-port', '0', '--grpc-health-port', '0', '--metrics-port', '0'],
      ...['--kv-events-bind', 'tcp://127.0.0.1:15557'],
      ...Array.from({ length: ENGINES }, (_, i) => ['--endpoint', `127.0.41.${i + 1}:8000`]).flat(),
    ])
    closing.push(() => picker.stop())
    const serving = await picker.line(({ msg }) => msg === 'Serving', 'line "Serving"')
    const { grpc, metrics } = serving as unknown as { grpc: number; metrics: number }
    const engines = await startEngines(15557)
    closing.push(() => Promise.all(engines.map((engine) => engine.close())))
    const envoy = await Envoy.start(grpc)
    closing.push(() => envoy.stop())
    const url = new URL(envoy.url)

    const endpoints = async () =>
      (await (await fetch(`http://127.0.0.1:${metrics}/endpoints`)).json()) as {
        readonly state: string
        readonly coverage?: string
        readonly waiting?: number
        readonly running?: number
      }[]
    const isWarm = async () => {
      const page = await endpoints()
      if (page.some(({ state }) => state !== 'scraped')) return false
      if (page.every(({ coverage, running }) => coverage === 'complete' && running === 0))
        return true
      const prompt = Array.from({ length: 200 }, () => Math.floor(Math.random() * VOCABULARY))
      await Promise.all(
        Array.from({ length: ENGINES }, () => ask(url, { prompt, answerTokens: 1 })),
      )
      return false
    }
    await eventually('every engine has told what it holds', isWarm, 30_000)

    const asked = new Workload(seed).burst()
    const others = background(url, new Workload(seed + 1000), Number(options.others))
    await delay(WARM_MS)
    const pids = [picker.pid, envoy.process.pid]
    const before = pids.map(cpuMs)
    const answers = await Promise.all(asked.map((each, i) => ask(url, each, `burst-${i}`)))
    const cpu = pids.map((pid, i) => (cpuMs(pid) - before[i]!) / asked.length)
    await others.stop()
    const counts = new Map<string, number>()
    for (const line of picker.logged('Request handled')) {
      if (!String(line['x-request-id']).startsWith('burst-')) continue
      const { Address } = line.endpoint as { Address: string }
      counts.set(Address, (counts.get(Address) ?? 0) + 1)
    }
    const first = answers.map(({ firstByteMs }) => firstByteMs / 1000).sort((a, b) => a - b)
    const sum = (read: (answer: Answer) => number) =>
      answers.reduce((total, answer) => total + read(answer), 0)
    return {
      profile,
      requests: answers.length,
      ttftMeanS: sum(({ firstByteMs }) => firstByteMs) / 1000 / answers.length,
      ttftP50S: first[Math.floor(first.length * 0.5)]!,
      ttftP90S: first[Math.floor(first.length * 0.9)]!,
      wholeMeanS: sum(({ wholeMs }) => wholeMs) / 1000 / answers.length,
      cachedShare:
        sum(({ cachedTokens }) => cachedTokens) / sum(({ promptTokens }) => promptTokens),
      imbalance: (Math.max(...counts.values()) * ENGINES) / answers.length,
      pickerCpuMsPerRequest: cpu[0]!,
      envoyCpuMsPerRequest: cpu[1]!,
    }
  } finally {
    for (const close of closing.reverse()) await close()
  }
}

const rows: Row[] = []
console.log(
  '| profile | TTFT mean s | p50 | p90 | whole mean s | cached | busiest / mean | picker CPU ms/request | Envoy |',
)
console.log('|---|---|---|---|---|---|---|---|---|')
for (let i = 0; i < Number(options.bursts); i++) {
  for (const profile of options.profiles.split(',')) {
    const row = await run(profile, 20261121 + i)
    rows.push(row)
    const { ttftMeanS, ttftP50S, ttftP90S, wholeMeanS, cachedShare, imbalance } = row
    const seconds = [ttftMeanS, ttftP50S, ttftP90S, wholeMeanS].map((each) => each.toFixed(2))
    const rest = [cachedShare, imbalance, row.pickerCpuMsPerRequest, row.envoyCpuMsPerRequest]
    console.log(`| ${[profile, ...seconds, ...rest.map((each) => each.toFixed(2))].join(' | ')} |`)
  }
}
const out = fileURLToPath(new URL('../out', import.meta.url))
mkdirSync(out, { recursive: true })
writeFileSync(`${out}/routing.json`, `${JSON.stringify(rows, null, 2)}\n`)

const meanOf = (profile: string) => {
  const of = rows.filter((row) => row.profile === profile)
  return of.reduce((sum, { ttftMeanS }) => sum + ttftMeanS, 0) / of.length
}
const ratio = meanOf('cost') / meanOf('llm-d')
if (!Number.isNaN(ratio)) {
  console.log(`\nTTFT mean, cost / llm-d: ${ratio.toFixed(2)} (at most ${MOST_OF_LLM_D})`)
  if (ratio > MOST_OF_LLM_D) process.exitCode = 1
}
