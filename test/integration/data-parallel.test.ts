import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { App, type ServeOptions } from '../../src/app.ts'
import { simEngineOptions } from '../../src/sim/options.ts'
import { type RunningSimEngine, startSimEngine } from '../../src/sim-engine.ts'
import { eventually } from '../e2e/process.ts'
import {
  Gateway,
  requestBody,
  requestHeaders,
  responseHeaders,
  setHeaders,
  subsetHint,
} from '../extproc/client.ts'
import { tokenizersDir } from '../fixtures.ts'
import { freePorts } from '../free-ports.ts'
import { memoryLogger } from '../tokenize/services.ts'
import { defaultOptions } from './options.ts'

const MODEL = 'Qwen3-32B'
const RANK = 'x-data-parallel-rank'
/** Nothing but what engines have announced decides. */
const profile = (dataParallel: string) => `${dataParallel}
plugins:
  - { type: token-producer, parameters: { source: local } }
schedulingProfiles:
  - name: default
    plugins:
      - { type: precise-prefix-cache-scorer, weight: 1, parameters: { speculativeIndexing: false } }
      - { type: max-score-picker }
`
const ranks = (size: number) => profile(`dataParallel: header\ndataParallelSize: ${size}`)

interface EndpointPage {
  readonly name: string
  readonly address: string
  readonly rank: number
  readonly state: string
  readonly version?: string
  readonly coverage: string
  readonly blocks: number
  readonly ejected?: object
  readonly publishers: readonly { readonly rank: number; readonly socket: string }[]
}

interface DecisionPage {
  readonly endpoints: readonly string[]
  readonly candidates: number
  readonly predictedCachedTokens: number
  readonly profiles: readonly {
    readonly endpoints: readonly { readonly endpoint: string; readonly matchedBlocks: number }[]
  }[]
}

interface FleetOptions {
  readonly addresses: readonly string[]
  readonly size: number
  readonly events: 'dialled' | 'bound'
}

/** A picker with its proxy before simulated engines that have several ranks behind one port. */
class Fleet {
  readonly app: App
  readonly engines: readonly RunningSimEngine[]
  readonly addresses: readonly string[]
  readonly #folder: string
  readonly #gateway: Gateway
  #asked = 0

  private constructor(
    app: App,
    engines: readonly RunningSimEngine[],
    addresses: readonly string[],
    folder: string,
  ) {
    this.app = app
    this.engines = engines
    this.addresses = addresses
    this.#folder = folder
    this.#gateway = new Gateway(`127.0.0.1:${app.ports.grpc}`)
  }

  static async start({ addresses, size, events }: FleetOptions): Promise<Fleet> {
    const folder = mkdtempSync(join(tmpdir(), 'epp-ranks-'))
    writeFileSync(join(folder, 'config.yaml'), ranks(size))
    writeFileSync(join(folder, 'endpoints.json'), '{"endpoints":[]}')
    const isBound = events === 'bound'
    const port = await freePorts(isBound ? ['127.0.0.1'] : addresses, size)
    const { kvEventsBind: _, ...options } = defaultOptions()
    const sockets: Partial<ServeOptions> = isBound
      ? { kvEventsBind: `tcp://127.0.0.1:${port}` }
      : { kvEventsDial: port }
    const app = await App.start({
      ...options,
      ...sockets,
      configFile: join(folder, 'config.yaml'),
      endpointsFile: join(folder, 'endpoints.json'),
      tokenizersDir: tokenizersDir(),
      decisionHeader: true,
      seed: 7,
      proxy: { host: '127.0.0.1', port: 0, retries: 1, engineTimeoutMs: 10_000 },
    })
    const engines: RunningSimEngine[] = []
    for (const address of addresses) {
      const engine = simEngineOptions({
        ...{ host: address, port: '0', servedModelName: MODEL, decodeMs: '1', seed: '42' },
        ...{ tokenizersDir: tokenizersDir(), prefillTokensPerSecond: '1000000' },
        ...{ dataParallelSize: String(size), numGpuBlocks: '1000' },
        kvEventsConfig: JSON.stringify({
          enable_kv_cache_events: true,
          endpoint: isBound ? `tcp://127.0.0.1:${port}` : `tcp://*:${port}`,
          topic: `kv@${address}@${MODEL}`,
        }),
      })
      engines.push(await startSimEngine(engine, memoryLogger()))
    }
    const fleet = new Fleet(app, engines, addresses, folder)
    const endpoints = engines.map(({ port: http }, i) => ({
      ...{ name: `e${i}`, address: addresses[i], port: http },
    }))
    writeFileSync(join(folder, 'endpoints.json'), JSON.stringify({ endpoints }))
    await fleet.become((page) => page.length === addresses.length * size)
    for (const [i, engine] of engines.entries()) {
      for (let rank = 0; rank < size; rank++)
        await fleet.#hear(`${addresses[i]}:${engine.port}`, rank)
    }
    return fleet
  }

  async close(): Promise<void> {
    this.#gateway.close()
    await this.app.close()
    for (const engine of this.engines) await engine.close()
    rmSync(this.#folder, { recursive: true })
  }

  configure(text: string): void {
    writeFileSync(join(this.#folder, 'config.yaml'), text)
  }

  /** Has a rank announce blocks until they arrive: what is sent before a socket is connected is lost. */
  async #hear(server: string, rank: number): Promise<void> {
    await eventually(`rank ${rank} of ${server} is heard`, async () => {
      await fetch(`http://${server}/v1/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', [RANK]: String(rank) },
        body: bodyOf(`greeting${this.#asked++}`),
      })
      return (await this.endpoints()).some(
        ({ address, blocks }) => address === `${server}#${rank}` && blocks > 0,
      )
    })
  }

  /** Waits until the endpoints are scraped and such. */
  become(are: (page: readonly EndpointPage[]) => boolean): Promise<readonly EndpointPage[]> {
    return eventually('the pool is as it should be', async () => {
      const page = await this.endpoints()
      return page.every(({ state }) => state === 'scraped') && are(page) ? page : undefined
    })
  }

  async text(path: string): Promise<string> {
    return (await fetch(`http://127.0.0.1:${this.app.ports.metrics}${path}`)).text()
  }

  async endpoints(): Promise<readonly EndpointPage[]> {
    return JSON.parse(await this.text('/endpoints'))
  }

  /** Asks the picker as a gateway does. */
  async pick(topic: string, hint: Parameters<typeof subsetHint>[0] = []) {
    const id = `r${this.#asked++}`
    const exchange = this.#gateway.open()
    const headers = { ':path': '/v1/completions', 'x-request-id': id }
    exchange.send({ ...requestHeaders(headers), ...(hint.length > 0 && subsetHint(hint)) })
    exchange.send(requestBody(bodyOf(topic), true))
    const [answer] = await exchange.untilEnd('requestBody')
    exchange.send(responseHeaders({ ':status': '200' }, true))
    await exchange.rest()
    const decision = JSON.parse(await this.text(`/decisions/${id}`)) as DecisionPage
    return { set: setHeaders(answer), decision }
  }

  /** Has the engine answer where the picker sends it, and tells what the engine found cached. */
  async ask(topic: string) {
    const { set, decision } = await this.pick(topic)
    const destination = set['x-gateway-destination-endpoint']!
    const response = await fetch(`http://${destination}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', [RANK]: set[RANK]! },
      body: bodyOf(topic),
    })
    assert.equal(response.status, 200)
    return { destination, rank: set[RANK], decision, cached: await cachedOf(response) }
  }
}

function bodyOf(topic: string): string {
  const prompt = `The ${topic} document says a great deal about ${topic}. `.repeat(20)
  return JSON.stringify({ model: MODEL, prompt, max_tokens: 1 })
}

async function cachedOf(response: Response): Promise<number> {
  const { usage } = (await response.json()) as {
    readonly usage: { readonly prompt_tokens_details: { readonly cached_tokens: number } | null }
  }
  return usage.prompt_tokens_details?.cached_tokens ?? 0
}

describe('ranks behind one port', function () {
  this.timeout(60_000)

  describe('of two engines with three each, whose events are dialled', () => {
    let fleet: Fleet
    const addresses = ['127.0.62.1', '127.0.62.2']
    /** Topics by the name of the endpoint that holds them. */
    const held = new Map<string, string>()
    const serverOf = (i: number) => `${addresses[i]}:${fleet.engines[i]!.port}`

    before(async () => {
      fleet = await Fleet.start({ addresses, size: 3, events: 'dialled' })
    })
    after(() => fleet.close())

    it('are endpoints that share address and port, with metrics and release', async () => {
      const page = await fleet.become((all) => all.every(({ version }) => version === '0.32.0'))
      assert.deepEqual(
        page.map(({ name, address, rank }) => [name, address, rank]),
        [0, 1].flatMap((i) => [0, 1, 2].map((rank) => [`e${i}`, `${serverOf(i)}#${rank}`, rank])),
      )
    })

    it('are told by the header, and a conversation returns to the rank that holds its blocks', async () => {
      for (let i = 0; i < 12; i++) {
        const topic = `topic${i}`
        const first = await fleet.ask(topic)
        const name = first.decision.endpoints[0]!
        assert.equal(name, `${first.destination}#${first.rank}`)
        assert.equal(first.decision.predictedCachedTokens, 0)
        assert.equal(first.cached, 0)
        held.set(name, topic)
        const found = await eventually('its blocks are known', async () => {
          const { decision, set } = await fleet.pick(topic)
          return decision.predictedCachedTokens > 0 ? { decision, set } : undefined
        })
        assert.deepEqual(found.decision.endpoints, [name])
        const matched = found.decision.profiles[0]!.endpoints.filter((e) => e.matchedBlocks > 0)
        assert.deepEqual(
          matched.map(({ endpoint }) => endpoint),
          [name],
          'no other rank is believed to hold them',
        )
        const again = await fleet.ask(topic)
        assert.equal(`${again.destination}#${again.rank}`, name)
        assert.equal(again.cached, again.decision.predictedCachedTokens)
      }
      assert.ok(held.size >= 5, `12 conversations on ${held.size} of 6 ranks`)
    })

    it('have events of their own', async () => {
      for (const { address, rank, blocks, publishers } of await fleet.endpoints()) {
        assert.ok(blocks > 0, address)
        assert.deepEqual(
          publishers.map((each) => [each.rank, each.socket]),
          [[rank, 'dialled']],
        )
      }
    })

    it('are reached through the proxy too', async () => {
      for (const [name, topic] of held) {
        const response = await fetch(`http://127.0.0.1:${fleet.app.ports.proxy}/v1/completions`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', [RANK]: '7' },
          body: bodyOf(topic),
        })
        assert.equal(response.status, 200)
        const [, endpoint, matched] =
          /^endpoint=([^;]+); matched=(\d+);/.exec(response.headers.get('x-epp-decision')!) ?? []
        assert.equal(endpoint, name)
        assert.ok(Number(matched) > 0)
        assert.equal(await cachedOf(response), Number(matched), name)
      }
    })

    it('are all allowed by a hint with their address and port', async () => {
      const { decision, set } = await fleet.pick('hinted', [serverOf(1)])
      assert.equal(decision.candidates, 3)
      assert.equal(set['x-gateway-destination-endpoint'], serverOf(1))
    })

    it('are asked for models together', async () => {
      const list = await (await fetch(`http://127.0.0.1:${fleet.app.ports.proxy}/v1/models`)).json()
      assert.deepEqual(
        (list as { data: { id: string }[] }).data.map(({ id }) => id),
        [MODEL],
      )
      assert.match(await fleet.text('/metrics'), /^epp_endpoints 6$/m)
    })

    it('are as many as a changed configuration says, and one that is wrong is named', async () => {
      fleet.configure(ranks(2))
      const two = await fleet.become((page) => page.length === 4)
      assert.deepEqual(
        two.map(({ address }) => address),
        [0, 1].flatMap((i) => [0, 1].map((rank) => `${serverOf(i)}#${rank}`)),
      )
      for (const { address, blocks } of two)
        assert.ok(blocks > 0, `${address} is the one that it was`)
      await eventually('the wrong size is named', async () =>
        /dataParallelSize is not the engines' --data-parallel-size: 127\.0\.62\.1:\d+ has ranks 0, 1, 2 and not 2 ranks, 127\.0\.62\.2:\d+ has/.test(
          await fleet.text('/readyz?verbose'),
        ),
      )
      fleet.configure(profile(''))
      const one = await fleet.become((page) => page.length === 2)
      assert.deepEqual(
        one.map(({ address }) => address),
        [serverOf(0), serverOf(1)],
      )
      const { set } = await fleet.pick('unsplit')
      assert.equal(set[RANK], undefined)
      fleet.configure(ranks(3))
      await fleet.become((page) => page.length === 6)
      await eventually(
        'nothing is wrong',
        async () => !/dataParallelSize is not/.test(await fleet.text('/readyz?verbose')),
      )
    })

    it('are left out by the proxy together when their port breaks', async () => {
      await fleet.engines[1]!.close()
      const ask = (i: number) =>
        fetch(`http://127.0.0.1:${fleet.app.ports.proxy}/v1/completions`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: bodyOf(`after${i}`),
        })
      const isOut = async () => (await fleet.endpoints()).some(({ ejected }) => ejected)
      for (let i = 0; !(await isOut()); i++) {
        assert.ok(i < 100, 'no request was sent to the broken engine')
        assert.equal((await ask(i)).status, 200, 'the other engine answers')
      }
      assert.deepEqual(
        (await fleet.endpoints()).map(({ name, ejected }) => [name, ejected !== undefined]),
        [0, 1].flatMap((i) => [0, 1, 2].map(() => [`e${i}`, i === 1])),
      )
    })

    it('have names of their own in an explanation', async () => {
      const explained = JSON.parse(
        await (
          await fetch(`http://127.0.0.1:${fleet.app.ports.metrics}/explain`, {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: bodyOf('explained'),
          })
        ).text(),
      ) as { profiles: { endpoints: { name: string }[] }[] }
      const names = explained.profiles[0]!.endpoints.map(({ name }) => name)
      assert.deepEqual(names.sort(), ['e0#0', 'e0#1', 'e0#2', 'e1#0', 'e1#1', 'e1#2'])
    })
  })

  it('of an engine that connects to the picker send to a port each', async () => {
    const fleet = await Fleet.start({ addresses: ['127.0.62.3'], size: 2, events: 'bound' })
    try {
      const names = new Set<string>()
      for (let i = 0; names.size < 2; i++) {
        assert.ok(i < 40, `only ${[...names].join()} were picked`)
        const { decision } = await fleet.ask(`bound${i}`)
        names.add(decision.endpoints[0]!)
        const again = await eventually('its blocks are known', async () => {
          const picked = await fleet.pick(`bound${i}`)
          return picked.decision.predictedCachedTokens > 0 ? picked.decision : undefined
        })
        assert.deepEqual(again.endpoints, decision.endpoints)
      }
      for (const { rank, publishers } of await fleet.endpoints()) {
        assert.deepEqual(
          publishers.map((each) => [each.rank, each.socket]),
          [[rank, 'bound']],
        )
      }
    } finally {
      await fleet.close()
    }
  })
})
