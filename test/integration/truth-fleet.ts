import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { App } from '../../src/app.ts'
import { simEngineOptions } from '../../src/sim/options.ts'
import { type RunningSimEngine, startSimEngine } from '../../src/sim-engine.ts'
import { eventually } from '../e2e/process.ts'
import {
  Gateway,
  requestBody,
  requestHeaders,
  responseBody,
  responseHeaders,
  setHeaders,
} from '../extproc/client.ts'
import { tokenizersDir } from '../fixtures.ts'
import { memoryLogger } from '../tokenize/services.ts'
import { EventRelay } from './event-relay.ts'
import { defaultOptions } from './options.ts'

const MODEL = 'Qwen3-32B'
const BLOCK_TOKENS = 16
const ADDRESSES = ['127.0.61.1', '127.0.61.2']
/** Nothing but matched blocks decides. */
export const profile = (source: 'local' | 'engine', isSpeculative = false) => `plugins:
  - { type: token-producer, parameters: { source: ${source} } }
schedulingProfiles:
  - name: default
    plugins:
      - { type: precise-prefix-cache-scorer, weight: 1, parameters: { speculativeIndexing: ${isSpeculative} } }
      - { type: max-score-picker }
`

interface EndpointPage {
  readonly address: string
  readonly trust: {
    readonly state: string
    readonly reason?: string
    readonly since?: string
    readonly text?: string
  }
}

interface Decision {
  readonly endpoints: readonly string[]
  readonly predictedCachedTokens: number
  readonly indexCoverage: { readonly source: string; readonly distrusted?: number }
  readonly remark?: string
  readonly usage: { readonly cachedTokens: number }
}

interface FleetOptions {
  /** Of the engines; the picker's are the fixture's. */
  readonly engineTokenizers?: string
  readonly engineFlags?: Readonly<Record<string, string>>
  /** Whether prompts are expected where they were sent, ahead of events. */
  readonly isSpeculative?: boolean
}

/** A picker in front of two simulated engines, whose events pass a relay. */
export class Fleet {
  readonly app: App
  readonly relays: readonly EventRelay[]
  readonly lines: Record<string, unknown>[]
  /** What every client sends. */
  salt: string | undefined
  /** Stands for it in every body on its way from the picker to the engine; undefined leaves it. */
  otherSalt: { readonly salt: string | undefined } | undefined
  readonly #engines: readonly RunningSimEngine[]
  readonly #gateway: Gateway
  readonly #folder: string
  #asked = 0

  private constructor(
    app: App,
    parts: {
      readonly engines: readonly RunningSimEngine[]
      readonly relays: readonly EventRelay[]
      readonly lines: Record<string, unknown>[]
      readonly folder: string
    },
  ) {
    this.app = app
    this.relays = parts.relays
    this.lines = parts.lines
    this.#engines = parts.engines
    this.#folder = parts.folder
    this.#gateway = new Gateway(`127.0.0.1:${app.ports.grpc}`)
  }

  static async start({
    engineTokenizers = tokenizersDir(),
    engineFlags = {},
    isSpeculative = false,
  }: FleetOptions = {}): Promise<Fleet> {
    const folder = mkdtempSync(join(tmpdir(), 'epp-truth-'))
    writeFileSync(join(folder, 'config.yaml'), profile('local', isSpeculative))
    writeFileSync(join(folder, 'endpoints.json'), '{"endpoints":[]}')
    const lines: Record<string, unknown>[] = []
    const app = await App.start({
      ...defaultOptions(),
      configFile: join(folder, 'config.yaml'),
      endpointsFile: join(folder, 'endpoints.json'),
      tokenizersDir: tokenizersDir(),
      responses: 'full',
      seed: 7,
      logLevel: 'info',
      write: (line) => lines.push(JSON.parse(line)),
    })
    const picker = lines.find(({ msg }) => msg === 'Serving')!.kvEvents as string
    const relays: EventRelay[] = []
    const engines: RunningSimEngine[] = []
    for (const address of ADDRESSES) {
      const relay = await EventRelay.start(picker)
      relays.push(relay)
      const options = simEngineOptions({
        ...{ host: address, port: '0', servedModelName: MODEL, decodeMs: '1', seed: '42' },
        ...{ blockSize: String(BLOCK_TOKENS), tokenizersDir: engineTokenizers },
        ...{ prefillTokensPerSecond: '1000000', ...engineFlags },
        kvEventsConfig: JSON.stringify({
          enable_kv_cache_events: true,
          publisher: 'zmq',
          endpoint: relay.address,
          topic: `kv@${address}@${MODEL}`,
        }),
      })
      engines.push(await startSimEngine(options, memoryLogger()))
    }
    const endpoints = engines.map(({ port }, i) => ({ name: `e${i}`, address: ADDRESSES[i], port }))
    writeFileSync(join(folder, 'endpoints.json'), JSON.stringify({ endpoints }))
    const fleet = new Fleet(app, { engines, relays, lines, folder })
    await eventually(
      'the engines are scraped',
      async () => (await fleet.endpoints()).filter(({ state }) => state === 'scraped').length === 2,
    )
    return fleet
  }

  async close(): Promise<void> {
    this.#gateway.close()
    await this.app.close()
    for (const engine of this.#engines) await engine.close()
    for (const relay of this.relays) await relay.close()
    rmSync(this.#folder, { recursive: true })
  }

  configure(text: string): void {
    writeFileSync(join(this.#folder, 'config.yaml'), text)
  }

  async text(path: string): Promise<string> {
    return (await fetch(`http://127.0.0.1:${this.app.ports.metrics}${path}`)).text()
  }

  async endpoints(): Promise<readonly (EndpointPage & { readonly state: string })[]> {
    return JSON.parse(await this.text('/endpoints'))
  }

  async distrusted(): Promise<readonly EndpointPage[]> {
    return (await this.endpoints()).filter(({ trust }) => trust.state === 'distrusted')
  }

  /** Sends a chat through picker and engine as a gateway does. */
  async ask(group: string): Promise<Decision> {
    const id = `r${this.#asked++}`
    // A group that is asked the same question again needs no new blocks.
    const question = group.startsWith('same') ? 'The' : `${this.#asked}. `
    const content = `${`The ${group} document says a great deal about ${group}. `.repeat(20)} ${question} question?`
    const bodyWith = (salt: string | undefined) =>
      JSON.stringify({
        ...{ model: MODEL, messages: [{ role: 'user', content }], max_tokens: 1 },
        ...(salt !== undefined && { cache_salt: salt }),
      })
    const exchange = this.#gateway.open()
    exchange.send(requestHeaders({ ':path': '/v1/chat/completions', 'x-request-id': id }))
    exchange.send(requestBody(bodyWith(this.salt), true))
    const given = await exchange.untilEnd('requestBody')
    const destination = setHeaders(given[0])['x-gateway-destination-endpoint']
    assert.ok(destination, JSON.stringify(given))
    const answer = await fetch(`http://${destination}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: bodyWith(this.otherSalt === undefined ? this.salt : this.otherSalt.salt),
    })
    const answered = await answer.text()
    assert.equal(answer.status, 200, answered)
    exchange.send(responseHeaders({ ':status': '200', 'content-type': 'application/json' }))
    exchange.send(responseBody(answered, true))
    await exchange.rest()
    return eventually('the answer is counted', async () => {
      const decision = JSON.parse(await this.text(`/decisions/${id}`))
      return decision.usage && decision
    })
  }

  /** Asks about these groups in turn until `done`; how many requests that took. */
  async askUntil(done: () => Promise<boolean>, most: number, ...groups: readonly string[]) {
    for (let asked = 1; asked <= most; asked++) {
      await this.ask(groups[(asked - 1) % groups.length]!)
      if (await done()) return asked
    }
    throw new Error(
      `not within ${most} requests: ${await this.text('/endpoints')} ${await this.text('/readyz?verbose')}`,
    )
  }
}
