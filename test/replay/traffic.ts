import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { replay } from '../../src/app/replay.ts'
import { loadConfig } from '../../src/config/load.ts'
import { ModuleLoader } from '../../src/config/module-loader.ts'
import { Cancellation } from '../../src/framework/cancellation.ts'
import type { EndpointSpec } from '../../src/framework/endpoint.ts'
import { SchedulerError } from '../../src/framework/errors.ts'
import { seededRandom } from '../../src/framework/random.ts'
import type { Random, Routed } from '../../src/framework/services.ts'
import { builtinPlugins } from '../../src/plugins/index.ts'
import { RecordFile } from '../../src/replay/record-file.ts'
import { Recording } from '../../src/replay/recorder.ts'
import { PoolSetup } from '../app/pool-setup.ts'
import { telemetry } from '../datalayer/telemetry.ts'
import { CANARY } from '../integration/canary.ts'

const clock = { nowMs: () => performance.now(), epochMs: () => Date.now() }

/** Requests under way at once at most. */
const MAX_OPEN = 60
/** Requests between two scrapes of all endpoints. */
const SCRAPE_EVERY = 25

/** A pool whose decisions are recorded, and a load of requests on it that is the same for a seed. */
export class RecordedTraffic {
  readonly setup: PoolSetup
  readonly recording: Recording
  readonly recorder: ReturnType<typeof telemetry>
  readonly file: string
  readonly folder: string
  readonly #random: Random
  readonly #open: Routed[] = []
  readonly #labels: Readonly<Record<string, string>>
  #sent = 0
  /** Requests that found no endpoint. */
  refused = 0

  private constructor(
    parts: Pick<RecordedTraffic, 'setup' | 'recording' | 'recorder' | 'file' | 'folder'>,
    seed: number,
  ) {
    this.setup = parts.setup
    this.recording = parts.recording
    this.recorder = parts.recorder
    this.file = parts.file
    this.folder = parts.folder
    this.#random = seededRandom(seed)
    this.#labels = { zone: 'a', 'llm-d.ai/context-length-range': '0-900' }
    this.#become(8)
  }

  static async start(
    text: string,
    { seed = 1, name = 'decisions.jsonl', maxBytes = 256 * 1024 * 1024 } = {},
  ): Promise<RecordedTraffic> {
    const folder = mkdtempSync(join(tmpdir(), 'epp-replay-'))
    const file = join(folder, name)
    const recorder = telemetry()
    const options = { file, maxBytes, version: '1.2.3' }
    const recording = new Recording(await RecordFile.open(options, { ...recorder, clock }))
    const setup = await PoolSetup.start(text, { recording, flags: { bind: 'tcp://127.0.0.1:*' } })
    return new RecordedTraffic({ setup, recording, recorder, file, folder }, seed)
  }

  /** Sends requests one after the other; answers come when it pleases the seed. */
  async send(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      if (this.#sent % SCRAPE_EVERY === 0) {
        this.#scrape()
        // The file is written in the event loop's turns, which sockets would make.
        await setImmediate()
      }
      if (this.#sent % 1500 === 1499) this.#become(5 + this.#below(5))
      this.#sent++
      await this.#route()
      while (this.#open.length > 0 && this.#random.next() < this.#open.length / MAX_OPEN) {
        this.#answer(this.#open.splice(this.#below(this.#open.length), 1)[0]!)
      }
    }
  }

  /** Ends what is under way; the file is whole then. */
  async finish(): Promise<void> {
    for (const routed of this.#open.splice(0)) routed.end('completed')
    await this.recording.file.close()
  }

  async close(): Promise<void> {
    await this.finish()
    await this.setup.close()
    rmSync(this.folder, { recursive: true })
  }

  async #route(): Promise<void> {
    const tenant = this.#below(30)
    const words = (count: number, seed: number) =>
      Array.from({ length: count }, (_, i) => `w${(seed * 31 + i * 7) % 9973}`).join(' ')
    const body = {
      model: tenant % 5 === 0 ? 'other' : 'm',
      prompt: `${CANARY.text} ${words(60 + tenant * 12, tenant)} ${words(20 + this.#below(200), this.#sent)}`,
      ...(tenant % 7 === 0 && { cache_salt: CANARY.salt }),
      max_tokens: 50 + this.#below(400),
    }
    const headers = {
      'x-session-id': `s${this.#below(200)}`,
      'x-session-token': this.#sessionToken(),
      'x-zone': this.#random.next() < 0.5 ? 'a' : 'b',
      'epp-profile': this.#random.next() < 0.5 ? 'decode' : 'other',
      'x-secret-note': CANARY.text,
      authorization: CANARY.authorization,
      cookie: `session=${CANARY.salt}`,
    }
    try {
      this.#open.push(
        await this.setup.pool.director.route(
          {
            headers: new Map(
              Object.entries({
                ...{
                  ':path': '/v1/completions',
                  'x-request-id': `user-${CANARY.text}-${this.#sent}`,
                },
                ...headers,
              }),
            ),
            body: [Buffer.from(JSON.stringify(body))],
            subset: this.#subset(),
          },
          new Cancellation(),
        ),
      )
    } catch (error) {
      if (!(error instanceof SchedulerError) || error.code !== 'NO_ENDPOINTS') throw error
      this.refused++
    }
  }

  #answer(routed: Routed): void {
    routed.responseHeaders(200, new Map([['content-type', 'application/json']]))
    const usage = { prompt_tokens: 300, completion_tokens: 1 + this.#below(300) }
    const cached = { prompt_tokens_details: { cached_tokens: this.#below(300) } }
    routed.responseBody(Buffer.from(JSON.stringify({ usage: { ...usage, ...cached } })))
    routed.end('completed')
  }

  /** Now and then the gateway allows some endpoints only. */
  #subset(): readonly string[] | undefined {
    if (this.#random.next() > 0.1) return undefined
    const all = this.setup.pool.endpoints.list().map(({ hostPort }) => hostPort)
    return all.filter((_, i) => i % 2 === 0)
  }

  #sessionToken(): string {
    return Buffer.from(`default/e${this.#below(12)}-rank-0`).toString('base64')
  }

  #become(count: number): void {
    const specs = Array.from(
      { length: count },
      (_, i): EndpointSpec => ({
        ...{ namespace: 'default', name: `e${i}`, address: `127.0.0.${i + 1}`, port: 1, rank: 0 },
        labels: i % 3 === 0 ? this.#labels : { zone: 'b' },
      }),
    )
    this.setup.pool.endpoints.replace('test', specs)
  }

  #scrape(): void {
    const { endpoints } = this.setup.pool
    for (const { id, slot } of endpoints.list()) {
      if (slot === 4 && this.#random.next() < 0.3) {
        endpoints.setMetrics(id, undefined)
        continue
      }
      endpoints.setMetrics(id, {
        ...{ waiting: this.#below(6), running: this.#below(20), kvCacheUsage: this.#random.next() },
        ...{ blockTokens: 16, kvBlocks: 2000 + slot, hashAlgorithm: undefined },
        adapters: { running: slot % 2 === 0 ? ['other'] : [], waiting: [], max: 2 },
        prefixCache: { queriedTokens: this.#sent * 10, hitTokens: this.#sent, finishedRequests: 1 },
        custom: new Map([['power', 100 + this.#below(5)]]),
        scrapedAtMs: performance.now(),
      })
    }
  }

  #below(limit: number): number {
    return Math.floor(this.#random.next() * limit)
  }
}

/** Replays files under the text of a configuration. */
export async function replayed(
  files: readonly string[],
  next: string,
  against?: string,
): ReturnType<typeof replay> {
  const modules = new ModuleLoader(builtinPlugins)
  const load = (text: string, source: string) => loadConfig(text, source, builtinPlugins, modules)
  return replay({
    ...{ files, load, progress() {} },
    next: { name: 'new', config: await load(next, 'new.yaml') },
    ...(against !== undefined && {
      against: { name: 'old', config: await load(against, 'old.yaml') },
    }),
  })
}
