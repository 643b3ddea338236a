import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  bodyOf,
  Gateway,
  requestBody,
  requestHeaders,
  responseBody,
  responseHeaders,
  servedBy,
  setHeaders,
} from '../extproc/client.ts'
import { Epp, startEngine } from './epp.ts'
import { eventually, type Process } from './process.ts'

export const MODEL = 'Qwen3-32B'
const BLOCK_TOKENS = 16
const HOSTS = ['127.0.77.1', '127.0.77.2', '127.0.77.3']
const CONFIG = `schedulingProfiles:
  - name: default
    plugins:
      - { type: precise-prefix-cache-scorer, weight: 3 }
      - { type: queue-scorer, weight: 2 }
      - { type: kv-cache-utilization-scorer, weight: 2 }
      - { type: active-request-scorer, weight: 4, parameters: { idleThreshold: 40 } }
      - { type: max-score-picker }
`

/** The built picker with three built engines that tell it of their caches. */
export class DashboardFleet {
  readonly epp: Epp
  readonly configFile: string
  readonly #engines: Process[]
  readonly #gateway: Gateway
  readonly #folder: string

  private constructor(parts: {
    readonly epp: Epp
    readonly engines: Process[]
    readonly folder: string
    readonly configFile: string
  }) {
    this.epp = parts.epp
    this.configFile = parts.configFile
    this.#engines = parts.engines
    this.#folder = parts.folder
    this.#gateway = new Gateway(`127.0.0.1:${parts.epp.ports.grpc}`)
  }

  /** @param port of the pages; 0 for any */
  static async start(port = 0): Promise<DashboardFleet> {
    const folder = mkdtempSync(join(tmpdir(), 'epp-dashboard-'))
    const configFile = join(folder, 'profile.yaml')
    writeFileSync(configFile, CONFIG)
    const epp = await Epp.start([
      ...['--config-file', configFile, '--secure-serving=false', '--metrics-port', String(port)],
      ...['--kv-events-bind', 'tcp://127.0.0.1:*', '--refresh-metrics-interval', '50ms'],
      ...HOSTS.flatMap((host, i) => ['--endpoint', `qwen-${i}=${host}:8000`]),
    ])
    const { kvEvents } = epp.process.logged('Serving')[0] as unknown as { kvEvents: string }
    const engines: Process[] = []
    const fleet = new DashboardFleet({ epp, engines, folder, configFile })
    try {
      for (const host of HOSTS) {
        const publish = {
          ...{ enable_kv_cache_events: true, publisher: 'zmq', endpoint: kvEvents },
          topic: `kv@${host}:8000@${MODEL}`,
        }
        const { process } = await startEngine([
          ...['--host', host, '--port', '8000', '--served-model-name', MODEL],
          ...['--block-size', `${BLOCK_TOKENS}`, '--num-gpu-blocks', '2000', '--decode-ms', '2'],
          ...['--kv-events-config', JSON.stringify(publish)],
        ])
        engines.push(process)
      }
      await eventually('all engines are scraped', async () =>
        (await epp.json<{ state: string }[]>('/endpoints')).every(
          ({ state }) => state === 'scraped',
        ),
      )
    } catch (error) {
      await fleet.stop()
      throw error
    }
    return fleet
  }

  get url(): string {
    return `http://127.0.0.1:${this.epp.ports.metrics}`
  }

  /** Changes the configuration's file. */
  configure(edit: (text: string) => string): void {
    writeFileSync(this.configFile, edit(CONFIG))
  }

  /** Sends one request where the picker says, and shows it the answer. */
  async ask(id: string, prompt: readonly number[], maxTokens = 2): Promise<void> {
    const exchange = this.#gateway.open()
    const body = JSON.stringify({ model: MODEL, prompt, max_tokens: maxTokens })
    exchange.send(requestHeaders({ 'x-request-id': id }), requestBody(body, true))
    const answers = await exchange.untilEnd('requestBody')
    const [destination = ''] =
      setHeaders(answers[0])['x-gateway-destination-endpoint']?.split(',') ?? []
    const response = await fetch(`http://${destination}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: bodyOf(answers, 'requestBody'),
    })
    const text = await response.text()
    exchange.send({
      ...responseHeaders({ ':status': `${response.status}`, 'content-type': 'application/json' }),
      ...servedBy(destination),
    })
    exchange.send(responseBody(text, true))
    await exchange.rest()
  }

  /** Some conversations of some turns each, one request after the other. */
  async converse(name: string, conversations: number, turns: number): Promise<void> {
    for (let turn = 1; turn <= turns; turn++) {
      for (let c = 0; c < conversations; c++) {
        const length = 64 + turn * 96 + c * 16
        const prompt = Array.from({ length }, (_, i) => (c + 1) * 1000 + (i % 900))
        await this.ask(`${name}-${c}-turn-${turn}`, prompt)
      }
    }
  }

  async stop(): Promise<void> {
    this.#gateway.close()
    await this.epp.stop()
    await Promise.all(this.#engines.map((engine) => engine.stop()))
    rmSync(this.#folder, { recursive: true, force: true })
  }
}
