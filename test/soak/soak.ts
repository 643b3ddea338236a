import { mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Envoy } from '../e2e/envoy.ts'
import { Epp, startEngine } from '../e2e/epp.ts'
import { eventually, type Process } from '../e2e/process.ts'
import { inMebibytes, MEBIBYTE, residentBytes } from '../integration/memory.ts'
import { SoakLoad } from './soak-load.ts'

const HELP = `Keeps the built picker busy behind a real Envoy, with engines that die, endpoints that come and go, and
configurations that change, and prints what it holds. Fails when that grows.

  npm run soak -- [--minutes 30] [--rate 200]
`

const MODEL = 'Qwen3-32B'
const ADDRESSES = Array.from({ length: 6 }, (_, i) => `127.0.90.${i + 1}`)
/** After this much of the time everything that is made once has been made. */
const WARM_SHARE = 0.2
const MAX_GROWTH_BYTES = 48 * MEBIBYTE
const MAX_LAG_MS = 200
/** Connections to engines and from Envoy come and go. */
const FILES_SLACK = 16
const TICK_MS = 1000

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '30' },
    rate: { type: 'string', default: '200' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  console.log(HELP)
  process.exit(0)
}
const minutes = positive('--minutes', values.minutes)
const rate = positive('--rate', values.rate)

function positive(flag: string, text: string): number {
  const value = Number(text)
  if (!(value > 0)) throw new Error(`${flag} must be a number above 0, got "${text}"`)
  return value
}

/** What the picker holds at one moment. */
interface Held {
  readonly residentBytes: number
  readonly heapBytes: number
  readonly lagP99Ms: number
  readonly files: number
  readonly handles: number
  readonly indexBytes: number
  readonly series: number
}

/** Six engines, the picker and Envoy. */
class Soak {
  readonly #folder = mkdtempSync(join(tmpdir(), 'epp-soak-'))
  readonly #engines = new Map<string, Process>()
  #listed = new Set(ADDRESSES)
  #generation = 0
  epp!: Epp
  envoy!: Envoy

  async start(): Promise<void> {
    this.#writeConfig()
    this.#writeEndpoints()
    for (const address of ADDRESSES) await this.#startEngine(address)
    this.epp = await Epp.start([
      ...['--config-file', join(this.#folder, 'profile.yaml'), '--request-log', 'off'],
      ...['--endpoints-file', join(this.#folder, 'endpoints.yaml')],
      ...['--kv-events-bind', 'tcp://127.0.0.1:5657'],
    ])
    this.envoy = await Envoy.start(this.epp.ports.grpc)
    await eventually('every engine is scraped', async () =>
      (await this.epp.json<{ state: string }[]>('/endpoints')).every(
        ({ state }) => state === 'scraped',
      ),
    )
  }

  async stop(): Promise<void> {
    await this.envoy?.stop()
    await this.epp?.stop()
    for (const engine of this.#engines.values()) await engine.stop()
    rmSync(this.#folder, { recursive: true })
  }

  /** What goes wrong or changes in second `second`. */
  async disturb(second: number): Promise<void> {
    if (second % 5 === 0) this.#churn(ADDRESSES[(second / 5) % ADDRESSES.length]!)
    if (second % 10 === 3) this.#writeConfig()
    if (second % 10 === 8) this.#write('profile.yaml', 'plugins: [{ type: no-such-plugin }]\n')
    if (second % 45 === 20) await this.#kill(ADDRESSES[((second - 20) / 45) % ADDRESSES.length]!)
  }

  async held(): Promise<Held> {
    const page = await this.epp.page('/metrics')
    const metric = (name: string) =>
      Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(page)?.[1] ?? Number.NaN)
    return {
      residentBytes: await residentBytes(this.epp),
      heapBytes: metric('nodejs_heap_size_used_bytes'),
      lagP99Ms: 1000 * metric('nodejs_eventloop_lag_p99_seconds'),
      files: readdirSync(`/proc/${this.epp.process.pid}/fd`).length,
      handles: metric('nodejs_active_handles_total'),
      indexBytes: metric('epp_kv_index_bytes'),
      series: page.split('\n').filter((line) => line.startsWith('epp_')).length,
    }
  }

  /** All endpoints back, all engines alive, nothing under way. */
  async calm(): Promise<void> {
    this.#listed = new Set(ADDRESSES)
    this.#writeEndpoints()
    this.#writeConfig()
    await eventually(
      'nothing is under way',
      async () => {
        const page = await this.epp.page('/metrics')
        const values = page.split('\n').filter((line) => {
          return /^epp_(extproc_(exchanges_active|buffered_bytes)|requests_in_flight)/.test(line)
        })
        return values.length > 0 && values.every((line) => line.endsWith(' 0'))
      },
      30_000,
    )
  }

  #churn(address: string): void {
    if (!this.#listed.delete(address)) this.#listed.add(address)
    if (this.#listed.size < 2) this.#listed = new Set(ADDRESSES)
    this.#writeEndpoints()
  }

  async #kill(address: string): Promise<void> {
    await this.#engines.get(address)?.stop('SIGKILL')
    await this.#startEngine(address)
  }

  async #startEngine(address: string): Promise<void> {
    const events = {
      enable_kv_cache_events: true,
      publisher: 'zmq',
      endpoint: 'tcp://127.0.0.1:5657',
      topic: `kv@${address}:8000@${MODEL}`,
    }
    const { process } = await startEngine([
      ...['--host', address, '--port', '8000', '--served-model-name', MODEL],
      ...['--decode-ms', '2', '--block-size', '16'],
      ...['--kv-events-config', JSON.stringify(events)],
    ])
    this.#engines.set(address, process)
  }

  #writeEndpoints(): void {
    const endpoints = [...this.#listed].map((address) => ({ name: address, address, port: 8000 }))
    this.#write('endpoints.yaml', JSON.stringify({ endpoints }))
  }

  #writeConfig(): void {
    const scorers = [
      '{ type: precise-prefix-cache-scorer, weight: 3 }, { type: queue-scorer, weight: 2 }, { type: kv-cache-utilization-scorer, weight: 2 }',
      '{ type: cost-scorer }',
      '{ type: prefix-cache-scorer, weight: 3 }, { type: active-request-scorer }',
    ][this.#generation++ % 3]
    this.#write(
      'profile.yaml',
      `schedulingProfiles: [{ name: default, plugins: [${scorers}, { type: max-score-picker }] }]\n`,
    )
  }

  #write(name: string, text: string): void {
    writeFileSync(join(this.#folder, `${name}.new`), text)
    renameSync(join(this.#folder, `${name}.new`), join(this.#folder, name))
  }
}

function row(label: string, held: Held, load: SoakLoad): void {
  const counts = [...load.outcomes].map(([outcome, count]) => `${outcome} ${count}`).join(', ')
  console.log(
    `${label.padEnd(9)} resident ${inMebibytes(held.residentBytes)}, heap ${inMebibytes(held.heapBytes)}, ` +
      `event loop p99 ${held.lagP99Ms.toFixed(1)} ms, ${held.files} files, ${held.handles} handles, ` +
      `index ${inMebibytes(held.indexBytes)}, ${held.series} series; ${counts}`,
  )
}

const soak = new Soak()
let load: SoakLoad | undefined
try {
  await soak.start()
  load = new SoakLoad(soak.envoy.url, MODEL, rate)
  const seconds = Math.round(minutes * 60)
  const every = Math.max(10, Math.round(seconds / 30))
  let start: Held | undefined
  let worstLagMs = 0
  for (let second = 1; second <= seconds; second++) {
    await new Promise((resolve) => setTimeout(resolve, TICK_MS))
    await soak.disturb(second)
    if (second % every !== 0) continue
    const held = await soak.held()
    row(`${second} s`, held, load)
    if (second < seconds * WARM_SHARE) continue
    start ??= held
    worstLagMs = Math.max(worstLagMs, held.lagP99Ms)
  }
  await load.stop()
  await soak.calm()
  const end = await soak.held()
  row('end', end, load)
  start ??= end
  const growth = end.residentBytes - start.residentBytes
  console.log(
    `resident ${growth >= 0 ? '+' : '-'}${inMebibytes(Math.abs(growth))} since ${Math.round(100 * WARM_SHARE)} % of the time (at most ${inMebibytes(MAX_GROWTH_BYTES)}), ` +
      `files ${start.files} then ${end.files}, worst event loop p99 ${worstLagMs.toFixed(1)} ms (at most ${MAX_LAG_MS})`,
  )
  const bad = [
    growth > MAX_GROWTH_BYTES && 'memory grows',
    end.files > start.files + FILES_SLACK && 'files stay open',
    worstLagMs > MAX_LAG_MS && 'the event loop is late',
    !load.outcomes.get('200') && 'nothing was served',
    load.strange.length > 0 && `strange answers: ${load.strange.slice(0, 5).join('; ')}`,
  ].filter((problem) => problem !== false)
  for (const problem of bad) console.log(`FAILED: ${problem}`)
  process.exitCode = bad.length === 0 ? 0 : 1
} finally {
  await load?.stop()
  await soak.stop()
}
