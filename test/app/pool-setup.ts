import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EventSockets } from '../../src/app/event-sockets.ts'
import { Pool } from '../../src/app/pool.ts'
import type { EventPorts } from '../../src/app/settings.ts'
import { loadConfig } from '../../src/config/load.ts'
import { ModuleLoader } from '../../src/config/module-loader.ts'
import type { CheckedConfig } from '../../src/config/parse.ts'
import { Cancellation } from '../../src/framework/cancellation.ts'
import type { EndpointSpec } from '../../src/framework/endpoint.ts'
import { seededRandom } from '../../src/framework/random.ts'
import { DecisionLog } from '../../src/framework/routing/decision.ts'
import { RequestLog } from '../../src/framework/routing/request-log.ts'
import { builtinPlugins } from '../../src/plugins/index.ts'
import type { Recording } from '../../src/replay/recorder.ts'
import { createLogger } from '../../src/telemetry/logger.ts'
import { PrometheusMetrics } from '../../src/telemetry/metrics.ts'
import { createNotices } from '../../src/telemetry/notices.ts'

/** Endpoints at 127.0.0.1 by name and port; nobody serves there. */
export function specs(...ports: readonly number[]): readonly EndpointSpec[] {
  return ports.map((port) => ({
    namespace: 'default',
    name: `e${port}`,
    address: '127.0.0.1',
    port,
    rank: 0,
    labels: {},
  }))
}

export interface PoolSetupOptions {
  readonly flags?: EventPorts
  /** Of its clock for each one of the wall's; 1 when absent. */
  readonly secondsPerSecond?: number
  /** How often metrics pages are read; once when absent. */
  readonly scrapeMs?: number
  readonly tokenizersDir?: string
  /** Where decisions are written; nowhere when absent. */
  readonly recording?: Recording
  /** Told of the folder before the configuration is loaded. */
  readonly prepare?: (folder: string) => void
}

/** A real pool with real sockets, in a folder of its own. */
export class PoolSetup {
  readonly folder: string
  readonly metrics = new PrometheusMetrics()
  readonly notices = createNotices(Date.now)
  readonly decisions = new DecisionLog(100)
  readonly lines: Record<string, unknown>[] = []
  readonly pool: Pool
  readonly sockets: EventSockets
  #asked = 0
  readonly load: (text: string) => Promise<CheckedConfig>

  private constructor(
    folder: string,
    load: PoolSetup['load'],
    config: CheckedConfig,
    text: string,
    options: PoolSetupOptions,
  ) {
    this.folder = folder
    this.load = load
    const logger = createLogger({
      format: 'json',
      level: 'info',
      write: (line) => this.lines.push(JSON.parse(line)),
      epochMs: Date.now,
    })
    const speed = options.secondsPerSecond ?? 1
    const clock = { nowMs: () => performance.now() * speed, epochMs: Date.now }
    const { metrics, notices, decisions } = this
    const services = { clock, logger, metrics, notices, decisions, random: seededRandom(3) }
    this.sockets = new EventSockets(services, options.flags ?? {})
    this.pool = new Pool(
      {
        ...services,
        requestLog: new RequestLog(logger, 'off'),
        sockets: this.sockets,
        ...(options.recording && { recording: options.recording }),
      },
      {
        name: undefined,
        tokenizersDir: options.tokenizersDir,
        scraper: {
          intervalMs: options.scrapeMs ?? 60_000,
          scheme: 'http',
          insecureSkipVerify: true,
        },
        director: { requestTimeoutMs: 60_000, responses: 'auto' },
      },
      config,
      { source: 'first', text },
    )
  }

  static async start(text: string, options: PoolSetupOptions = {}): Promise<PoolSetup> {
    const folder = mkdtempSync(join(tmpdir(), 'epp-pool-'))
    options.prepare?.(folder)
    const modules = new ModuleLoader(builtinPlugins)
    const load = (each: string) => loadConfig(each, join(folder, 'p.yaml'), builtinPlugins, modules)
    const setup = new PoolSetup(folder, load, await load(text), text, options)
    await setup.pool.prepare()
    return setup
  }

  /** Reloads as a changed file does. */
  async take(text: string): Promise<void> {
    this.pool.take(await this.load(text), { source: 'changed', text })
  }

  /** Fields of the last line about a configuration that was taken over. */
  get taken(): Readonly<Record<string, unknown>> | undefined {
    return this.lines.findLast(({ msg }) => msg === 'Configuration taken over')
  }

  /** Routes one request, and tells its decision. */
  async route(body: object, headers: Readonly<Record<string, string>> = {}) {
    const id = `r${this.#asked++}`
    const routed = await this.pool.director.route(
      {
        headers: new Map(
          Object.entries({ ':path': '/v1/completions', 'x-request-id': id, ...headers }),
        ),
        body: [Buffer.from(JSON.stringify(body))],
        subset: undefined,
      },
      new Cancellation(),
    )
    routed.end('completed')
    return this.decisions.find(id)!
  }

  async close(): Promise<void> {
    await this.pool.close()
    await this.sockets.close()
    rmSync(this.folder, { recursive: true })
  }
}
