// One of the subjects of run.ts, in a process of its own: prints what its scrapes cost, as JSON.
//
//   fetch.ts SUBJECT FIRST_PORT ENDPOINTS INTERVAL_MS SECONDS
import { Agent, type Dispatcher, request } from 'undici'
import { EndpointStore } from '../../src/datalayer/endpoint-store.ts'
import { Scraper, type ScraperOptions } from '../../src/datalayer/scraper.ts'
import { seededRandom } from '../../src/framework/random.ts'
import { createLogger } from '../../src/telemetry/logger.ts'
import { PrometheusMetrics } from '../../src/telemetry/metrics.ts'
import { createNotices } from '../../src/telemetry/notices.ts'

/** What one subject did in the time. */
export interface Figures {
  readonly subject: string
  readonly cpuMs: number
  readonly seconds: number
  /** Pages that were read to their end. */
  readonly pages: number
}

const HOST = '127.0.0.1'
const WARM_UP_S = 2
const [subject = '', firstPort, count, interval, length] = process.argv.slice(2)
const endpoints = Number(count)
const intervalMs = Number(interval)
const ports = Array.from({ length: endpoints }, (_, i) => Number(firstPort) + i)

const pagesOf = {
  request: () => bareLoop(dropByRequest),
  dispatch: () => bareLoop(dropByDispatch),
  scraper: () => scrape({ intervalMs, idleIntervalMs: intervalMs }),
  adaptive: () => scrape({}),
}[subject]
if (pagesOf === undefined) throw new Error(`no subject "${subject}"`)
const pages = pagesOf()

await new Promise((resolve) => setTimeout(resolve, WARM_UP_S * 1000))
const pagesBefore = await pages()
const before = process.cpuUsage()
const startedMs = performance.now()
await new Promise((resolve) => setTimeout(resolve, Number(length) * 1000))
const { user, system } = process.cpuUsage(before)
const figures: Figures = {
  subject,
  cpuMs: (user + system) / 1000,
  seconds: (performance.now() - startedMs) / 1000,
  pages: (await pages()) - pagesBefore,
}
process.stdout.write(JSON.stringify(figures))
process.exit()

/** Fetches every page at its interval over a connection of its own, and does nothing with it. */
function bareLoop(drop: (agent: Agent, port: number) => Promise<void>): () => Promise<number> {
  let done = 0
  for (const [i, port] of ports.entries()) {
    const agent = new Agent({ connections: 1 })
    const once = async () => {
      const startMs = performance.now()
      await drop(agent, port)
      done++
      setTimeout(once, Math.max(0, intervalMs - (performance.now() - startMs)))
    }
    setTimeout(once, (intervalMs * i) / endpoints)
  }
  return async () => done
}

async function dropByRequest(agent: Agent, port: number): Promise<void> {
  const { body } = await request(`http://${HOST}:${port}/metrics`, { dispatcher: agent })
  await body.dump({ limit: 1 << 22 })
}

function dropByDispatch(agent: Agent, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const handler: Dispatcher.DispatchHandler = {
      onRequestStart: () => {},
      onResponseStart: () => {},
      onResponseData: () => {},
      onResponseEnd: () => resolve(),
      onResponseError: (_, error) => reject(error),
    }
    agent.dispatch({ origin: `http://${HOST}:${port}`, method: 'GET', path: '/metrics' }, handler)
  })
}

function scrape(options: ScraperOptions): () => Promise<number> {
  const metrics = new PrometheusMetrics()
  const logger = createLogger({
    format: 'json',
    level: 'error',
    write: (line) => process.stderr.write(`${line}\n`),
    epochMs: Date.now,
  })
  const services = { metrics, logger, notices: createNotices(Date.now) }
  const store = new EndpointStore(services)
  const clock = { nowMs: () => performance.now(), epochMs: Date.now }
  const scraper = new Scraper(
    { ...services, endpoints: store, sink: store, clock, random: seededRandom(7) },
    options,
  )
  store.replace(
    'bench',
    ports.map((port) => ({
      ...{ namespace: 'default', name: `e${port}`, address: HOST, port, rank: 0, labels: {} },
    })),
  )
  scraper.start()
  return async () => {
    const line = /^epp_scrapes_total\{result="ok"\} (\d+)$/m.exec(await metrics.text())
    return Number(line?.[1] ?? 0)
  }
}
