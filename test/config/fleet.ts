import { EventSockets } from '../../src/app/event-sockets.ts'
import { Pool } from '../../src/app/pool.ts'
import type { CheckedConfig } from '../../src/config/parse.ts'
import { Cancellation } from '../../src/framework/cancellation.ts'
import type { EndpointMetrics } from '../../src/framework/endpoint.ts'
import { seededRandom } from '../../src/framework/random.ts'
import { DecisionLog } from '../../src/framework/routing/decision.ts'
import { RequestLog } from '../../src/framework/routing/request-log.ts'
import { createLogger } from '../../src/telemetry/logger.ts'
import { PrometheusMetrics } from '../../src/telemetry/metrics.ts'
import { createNotices } from '../../src/telemetry/notices.ts'
import { message, stored, tokensOf } from '../kvcache/events.ts'

/** What is known of one endpoint. */
export interface Given extends Partial<Omit<EndpointMetrics, 'custom'>> {
  readonly custom?: Readonly<Record<string, number>>
  readonly labels?: Readonly<Record<string, string>>
  /** A letter: its engine's events tell of blocks of that text. */
  readonly holds?: readonly [text: string, blocks: number, medium?: 'GPU' | 'CPU']
}

/** What is asked. */
export interface Asked {
  /** A letter that stands for a text, and how many blocks of it; a fourth of a block comes after them. */
  readonly prompt?: readonly [text: string, blocks: number]
  readonly model?: string
  readonly headers?: Readonly<Record<string, string>>
}

const NEVER = new Cancellation()
const PORT = 8000
const BLOCK_TOKENS = 64

/**
 * Endpoints with names of one letter under one configuration. The pool is whole; what it is told of endpoints comes from
 * the test, since nothing listens at their addresses and no socket is open.
 */
export class Fleet {
  readonly #pool: Pool
  readonly #sockets: EventSockets
  readonly #letters = new Map<string, string>()

  constructor(config: CheckedConfig, endpoints: Readonly<Record<string, Given>>) {
    const clock = { nowMs: () => performance.now(), epochMs: () => Date.now() }
    const logger = createLogger({
      format: 'json',
      level: 'error',
      write: (line) => process.stdout.write(line),
      epochMs: clock.epochMs,
    })
    const notices = createNotices(clock.epochMs)
    const metrics = new PrometheusMetrics().scope({})
    this.#sockets = new EventSockets({ logger, notices }, {})
    this.#pool = new Pool(
      {
        ...{ clock, logger, notices, metrics, sockets: this.#sockets, random: seededRandom(5) },
        decisions: new DecisionLog(10),
        requestLog: new RequestLog(logger, 'off'),
      },
      {
        name: undefined,
        tokenizersDir: undefined,
        scraper: { scheme: 'http', insecureSkipVerify: true, intervalMs: 60_000 },
        director: { requestTimeoutMs: 60_000, responses: 'full' },
      },
      config,
      { source: 'test', text: '' },
    )
    this.#pool.endpoints.replace(
      'test',
      Object.entries(endpoints).map(([name, { labels = {} }], i) => {
        const address = `127.0.1.${i + 1}`
        this.#letters.set(`${address}:${PORT}`, name)
        return { namespace: 'default', name, address, port: PORT, rank: 0, labels }
      }),
    )
    this.become(endpoints)
    for (const { name, address } of this.#pool.endpoints.list()) {
      const [text, blocks = 0, medium = 'GPU'] = endpoints[name]!.holds ?? []
      if (text === undefined) continue
      const event = stored({ chain: text, blocks, blockTokens: BLOCK_TOKENS, fields: { medium } })
      const frames = message(`kv@${address}@m`, 0, [event])
      this.#pool.intake.receive({ kind: 'bound' }, frames)
    }
  }

  /** States what endpoints' metrics say; one that says nothing was never scraped. */
  become(endpoints: Readonly<Record<string, Given>>): void {
    for (const { id, name } of this.#pool.endpoints.list()) {
      const { labels: _, holds: __, custom = {}, ...metrics } = endpoints[name] ?? {}
      const known = {
        ...{ waiting: 0, running: 0, kvCacheUsage: 0, blockTokens: BLOCK_TOKENS },
        ...{ kvBlocks: 10_000, hashAlgorithm: undefined, adapters: undefined },
        ...metrics,
        custom: new Map(Object.entries(custom)),
        scrapedAtMs: performance.now(),
      }
      this.#pool.endpoints.setMetrics(id, known)
    }
  }

  /**
   * Asks, and leaves the request in flight.
   *
   * @returns the letters of the endpoints named, the target first
   * @throws {SchedulerError} when there is none
   */
  async ask({ prompt: [text, blocks] = ['z', 1], model = 'm', headers = {} }: Asked = {}) {
    const prompt = tokensOf(text, 0, blocks, BLOCK_TOKENS)
    prompt.push(...tokensOf(text, blocks, 1, BLOCK_TOKENS / 4))
    const routed = await this.#pool.director.route(
      {
        headers: new Map(Object.entries({ ':path': '/v1/completions', ...headers })),
        body: [Buffer.from(JSON.stringify({ model, prompt }))],
        subset: undefined,
      },
      NEVER,
    )
    const letters = routed.destination.split(',').map((each) => this.#letters.get(each))
    return { to: letters.join(''), routed }
  }

  /** Asks, and ends the request with an answer at once. */
  async sendOff(asked: Asked = {}) {
    const { to, routed } = await this.ask(asked)
    const headers = routed.responseHeaders(200, new Map())
    routed.responseBody(Buffer.from('{}'))
    routed.end('completed')
    return { to, headers }
  }

  /** Where so many equal requests went, each ended at once: a count by letter. */
  async spread(count: number, asked: Asked = {}): Promise<Readonly<Record<string, number>>> {
    const counts: Record<string, number> = {}
    for (let i = 0; i < count; i++) {
      const { to } = await this.sendOff(asked)
      counts[to] = (counts[to] ?? 0) + 1
    }
    return counts
  }

  async close(): Promise<void> {
    await this.#pool.close()
    await this.#sockets.close()
  }
}
