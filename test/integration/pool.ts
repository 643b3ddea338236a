import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Epp } from '../e2e/epp.ts'
import { eventually } from '../e2e/process.ts'
import { Gateway } from '../extproc/client.ts'
import { ModelServer, type ServerState } from './model-server.ts'

/** A scorer of somebody else's: 1 where the model is among those of the label `adapters`, 0.8 where it finds room. */
const LOADED_ADAPTER_SCORER = `import { definePlugin, Type } from 'endpoint-picker/plugin'

export default definePlugin({
  kind: 'scorer',
  type: 'loaded-adapter-scorer',
  description: 'Prefers endpoints that have the adapter loaded.',
  params: Type.Object({ room: Type.Integer({ default: 2, description: 'Adapters of one endpoint.' }) }),
  create: ({ room }) => ({
    score: (request, endpoints) =>
      endpoints.map((endpoint) => {
        const adapters = endpoint.labels.get('adapters')?.split(',') ?? []
        if (adapters.includes(request.targetModel)) return 1
        return adapters.length < room ? 0.8 : 0
      }),
  }),
})
`

/** The scorers of llm-d's tests, a filter that every endpoint of a pool passes, and the scorer above. */
const CONFIGURATION = `modules: ['./loaded-adapter-scorer.ts']
schedulingProfiles:
  - name: default
    plugins:
      - { type: label-selector-filter, parameters: { matchLabels: { pool: protocol } } }
      - { type: queue-scorer, weight: 1 }
      - { type: kv-cache-utilization-scorer, weight: 1 }
      - { type: prefix-cache-scorer, weight: 1 }
      - { type: loaded-adapter-scorer, weight: 1 }
`

export interface Pod extends ServerState {
  /** Adapters that it has loaded, as its label says. */
  readonly adapters?: readonly string[]
  readonly labels?: Readonly<Record<string, string>>
}

interface EndpointPage {
  readonly address: string
  readonly labels: Readonly<Record<string, string>>
  readonly waiting?: number
  readonly kvCacheUsage?: number
  readonly inFlight: number
}

/** A picker process, model servers on addresses of their own, and a gateway. */
export class Pool {
  readonly epp: Epp
  readonly gateway: Gateway
  readonly servers: readonly ModelServer[]
  readonly #folder: string

  private constructor(folder: string, servers: readonly ModelServer[], epp: Epp) {
    this.#folder = folder
    this.servers = servers
    this.epp = epp
    this.gateway = new Gateway(`127.0.0.1:${epp.ports.grpc}`)
  }

  /**
   * Starts the servers and a picker that knows none of them yet.
   *
   * @param addresses one server on each
   * @param models what every server lists
   */
  static async start(
    addresses: readonly string[],
    models: readonly string[],
    args: readonly string[],
  ): Promise<Pool> {
    const folder = mkdtempSync(join(tmpdir(), 'epp-pool-'))
    const servers = await Promise.all(addresses.map((each) => ModelServer.start(each, models)))
    try {
      writeFileSync(join(folder, 'loaded-adapter-scorer.ts'), LOADED_ADAPTER_SCORER)
      writeFileSync(join(folder, 'config.yaml'), CONFIGURATION)
      writeFileSync(join(folder, 'endpoints.json'), '{"endpoints":[]}')
      const epp = await Epp.start([
        ...['--config-file', join(folder, 'config.yaml'), '--secure-serving=false', '--seed', '1'],
        ...['--endpoints-file', join(folder, 'endpoints.json')],
        ...['--refresh-metrics-interval', '20ms', '--drain-timeout', '1s', ...args],
      ])
      return new Pool(folder, servers, epp)
    } catch (error) {
      for (const server of servers) await server.stop()
      rmSync(folder, { recursive: true })
      throw error
    }
  }

  async stop(): Promise<void> {
    this.gateway.close()
    await this.epp.stop()
    for (const server of this.servers) await server.stop()
    rmSync(this.#folder, { recursive: true })
  }

  /** Gives the first servers these states, makes them the pool, and waits until the picker has seen it. */
  async become(pods: readonly Pod[]): Promise<void> {
    const endpoints = pods.map(({ waiting, kvCacheUsage, adapters, labels }, i) => {
      const server = this.servers[i]!
      server.state = { waiting, kvCacheUsage }
      const { address, port } = server
      const adapterLabel = adapters && { adapters: adapters.join(',') }
      return {
        name: `pod-${i}`,
        address,
        port,
        labels: { pool: 'protocol', ...adapterLabel, ...labels },
      }
    })
    const file = join(this.#folder, 'endpoints.json')
    writeFileSync(`${file}.new`, JSON.stringify({ endpoints }))
    renameSync(`${file}.new`, file)
    const wanted = JSON.stringify(
      endpoints.map(({ labels }, i) => [this.servers[i]!.hostPort, labels, pods[i]!.waiting]),
    )
    await eventually(`the pool is ${wanted}`, async () => {
      const seen = await this.endpoints()
      const same =
        JSON.stringify(seen.map((each) => [each.address, each.labels, each.waiting])) === wanted
      return same && seen.every((each, i) => each.kvCacheUsage === pods[i]!.kvCacheUsage)
    })
  }

  endpoints(): Promise<readonly EndpointPage[]> {
    return this.epp.json('/endpoints')
  }

  /** What has been counted under a name with these labels among others, summed. */
  async counted(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    const wanted = Object.entries(labels).map(([key, value]) => `${key}="${value}"`)
    return (await this.epp.page('/metrics'))
      .split('\n')
      .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
      .filter((line) => wanted.every((label) => line.includes(label)))
      .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
  }
}
