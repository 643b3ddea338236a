import assert from 'node:assert/strict'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { seededRandom } from '../../src/framework/random.ts'
import { Envoy, envoyAvailable } from './envoy.ts'
import { Epp, startEngine } from './epp.ts'
import { cachedTokens, post } from './openai-client.ts'
import { eventually, type Process } from './process.ts'

const MODEL = 'Qwen3-32B'
const BLOCK_TOKENS = 16
const SIDES = { left: '127.0.0.71', right: '127.0.0.72' } as const
type Side = keyof typeof SIDES
/** Requests that the load has under way at once. */
const WORKERS = 6

/** A scorer beside the YAML: the endpoint whose side the request's header names scores 1. */
const MODULE = `import { definePlugin, Type } from 'endpoint-picker/plugin'

export default definePlugin({
  kind: 'scorer',
  type: 'side-scorer',
  description: 'Prefers the side that a header names.',
  params: Type.Object({ header: Type.String({ description: 'Header naming the side.' }) }),
  create: ({ header }) => ({
    score: (request, endpoints) =>
      endpoints.map(({ labels }) => Number(labels.get('side') === request.headers.get(header))),
  }),
})
`

/** What decides between the sides by header; the rest of the profile is worth less than 0.1 together. */
interface Weights {
  readonly first: number
  readonly second: number
}

const first = ({ first }: Weights) => `{ pluginRef: first, weight: ${first} }`
const second = ({ second }: Weights) => `{ pluginRef: second, weight: ${second} }`
const precise = () => '{ pluginRef: precise-prefix-cache-scorer, weight: 0.03 }'
const active = () => '{ pluginRef: active-request-scorer, weight: 0.03 }'

/** The configuration with these scorers, in this order. */
function profile(weights: Weights, entries: readonly ((weights: Weights) => string)[]): string {
  return `apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
modules: ['./side-scorer.ts']
plugins:
  - { name: first, type: side-scorer, parameters: { header: x-first } }
  - { name: second, type: side-scorer, parameters: { header: x-second } }
  - { type: precise-prefix-cache-scorer, parameters: { speculativeIndexing: false } }
  - { type: active-request-scorer }
  - { type: max-score-picker }
schedulingProfiles:
  - name: default
    plugins:
${[...entries.map((entry) => entry(weights)), '{ pluginRef: max-score-picker }'].map((line) => `      - ${line}\n`).join('')}`
}

interface Wish {
  readonly first: Side
  readonly second: Side
}

interface DecisionPage {
  readonly requestId: string
  readonly generation: number
  readonly endpoints: readonly string[]
  readonly ended?: string
  readonly profiles: readonly {
    readonly scorers: readonly { readonly name: string; readonly weight: number }[]
    readonly endpoints: readonly {
      readonly endpoint: string
      readonly scores: Readonly<Record<string, { readonly score: number }>>
    }[]
  }[]
}
interface EndpointPage {
  readonly address: string
  readonly state: string
  readonly inFlight: number
  readonly blocks: number
}

describe('a configuration edited behind a real Envoy', function () {
  this.timeout(60_000)
  const random = seededRandom(7)
  const folder = mkdtempSync(join(tmpdir(), 'epp-reload-'))
  const file = join(folder, 'profile.yaml')
  const engines: Process[] = []
  let epp: Epp
  let envoy: Envoy
  let requests = 0
  let running: { stop(): Promise<unknown> } | undefined

  /** Replaces a file as editors do: at once. */
  const write = (path: string, text: string) => {
    writeFileSync(`${path}.new`, text)
    renameSync(`${path}.new`, path)
  }
  const prompt = (blocks: number) =>
    Array.from({ length: blocks * BLOCK_TOKENS + 1 }, () => Math.floor(random.next() * 100_000))
  const send = (id: string, wish: Wish, tokens: readonly number[] = prompt(2)) =>
    post(
      `${envoy.url}/v1/completions`,
      JSON.stringify({ model: MODEL, prompt: tokens, max_tokens: 3 }),
      { 'x-request-id': id, 'x-first': wish.first, 'x-second': wish.second },
    )
  const decision = (id: string) => epp.json<DecisionPage>(`/decisions/${id}`)
  const sideOf = ({ endpoints }: DecisionPage) =>
    (Object.keys(SIDES) as Side[]).find((side) => endpoints[0] === `${SIDES[side]}:8000`)
  const scoreOf = (page: DecisionPage, side: Side, scorer: string) =>
    page.profiles[0]!.endpoints.find(({ endpoint }) => endpoint === `${SIDES[side]}:8000`)!.scores[
      scorer
    ]!.score
  const endpoint = async (side: Side) =>
    (await epp.json<EndpointPage[]>('/endpoints')).find(
      ({ address }) => address === `${SIDES[side]}:8000`,
    )!
  const generation = async () => (await epp.json<{ generation: number }>('/config')).generation
  const reached = (id: number) =>
    eventually(`generation ${id}`, async () => (await generation()) === id)
  const reloads = async () => ({
    ok: await epp.metric('epp_config_reloads_total{result="ok"}'),
    failed: await epp.metric('epp_config_reloads_total{result="failed"}'),
  })

  /** Sends requests without a pause, with every mixture of wishes, until it is stopped. */
  function startLoad() {
    const sent: { readonly id: string; readonly wish: Wish; readonly status: number }[] = []
    const sides = Object.keys(SIDES) as Side[]
    let stopped = false
    const work = async () => {
      while (!stopped) {
        const id = `load-${requests++}`
        const wish = { first: sides[requests % 2]!, second: sides[(requests >> 1) % 2]! }
        const { status } = await send(id, wish)
        sent.push({ id, wish, status })
      }
    }
    const workers = Array.from({ length: WORKERS }, work)
    const load = {
      count: () => sent.length,
      async stop() {
        stopped = true
        await Promise.all(workers)
        return sent
      },
    }
    running = load
    return load
  }
  type Load = ReturnType<typeof startLoad>

  /** Waits until the load has got so many further answers. */
  const answered = (load: Load, more: number) => {
    const goal = load.count() + more
    return eventually(`${goal} answers under load`, () => load.count() >= goal, 20_000)
  }

  /** Every request of a load was answered 200, and went where its generation's weights say. */
  async function hold(load: Load, weights: Readonly<Record<number, Weights>>) {
    const sent = await load.stop()
    assert.deepEqual(
      sent.filter(({ status }) => status !== 200),
      [],
      'requests that were lost',
    )
    const pages = await eventually('the end of every request is seen', async () => {
      const list = await epp.json<DecisionPage[]>('/decisions?limit=1000')
      return list.every(({ ended }) => ended !== undefined) ? list : undefined
    })
    const byId = new Map(pages.map((page) => [page.requestId, page]))
    const perGeneration: Record<number, number> = {}
    for (const { id, wish } of sent) {
      const page = byId.get(id)
      assert.ok(page, `no decision of ${id} among the ${pages.length} kept`)
      assert.equal(page.ended, 'completed')
      const used = weights[page.generation]
      assert.ok(used, `${id} was picked by generation ${page.generation}`)
      const wanted = used.first > used.second ? wish.first : wish.second
      assert.equal(sideOf(page), wanted, `${id}, generation ${page.generation}`)
      perGeneration[page.generation] = (perGeneration[page.generation] ?? 0) + 1
    }
    const shown = Object.entries(perGeneration).map(([id, count]) => `${count} by generation ${id}`)
    console.log(`      ${sent.length} requests, all answered 200: ${shown.join(', ')}`)
    assert.deepEqual(Object.keys(perGeneration), Object.keys(weights), 'generations that picked')
  }

  const BEGIN = { first: 2, second: 1 }
  const SWAPPED = { first: 1, second: 2 }
  const APART = { first: 'left', second: 'right' } as const
  const ORDER = [first, second, precise, active]

  before(async function () {
    if (!envoyAvailable()) return this.skip()
    const endpoints = join(folder, 'endpoints.json')
    writeFileSync(join(folder, 'side-scorer.ts'), MODULE)
    write(file, profile(BEGIN, ORDER))
    write(
      endpoints,
      JSON.stringify({
        endpoints: Object.entries(SIDES).map(([side, address]) => {
          return { name: side, address, port: 8000, labels: { side } }
        }),
      }),
    )
    epp = await Epp.start([
      ...['--config-file', file, '--endpoints-file', endpoints],
      ...['--kv-events-bind', 'tcp://127.0.0.1:*'],
    ])
    const [serving] = epp.process.logged('Serving')
    for (const address of Object.values(SIDES)) {
      const events = {
        enable_kv_cache_events: true,
        publisher: 'zmq',
        endpoint: String(serving!.kvEvents),
        topic: `kv@${address}@${MODEL}`,
      }
      const engine = await startEngine([
        ...['--host', address, '--port', '8000', '--served-model-name', MODEL],
        ...['--block-size', String(BLOCK_TOKENS), '--decode-ms', '2'],
        ...['--kv-events-config', JSON.stringify(events)],
      ])
      engines.push(engine.process)
    }
    envoy = await Envoy.start(epp.ports.grpc)
    await eventually('every endpoint is scraped', async () =>
      (await epp.json<EndpointPage[]>('/endpoints')).every(({ state }) => state === 'scraped'),
    )
  })

  after(async () => {
    await envoy?.stop()
    await epp?.stop()
    for (const engine of engines) await engine.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  // A test that failed has not stopped its load.
  afterEach(() => running?.stop())

  it('swaps two weights under load: the next winner changes and no request is lost', async () => {
    const load = startLoad()
    await answered(load, 40)
    await send('before-swap', APART)
    write(file, profile(SWAPPED, ORDER))
    await reached(2)
    await send('after-swap', APART)
    await answered(load, 40)
    await hold(load, { 1: BEGIN, 2: SWAPPED })

    const [before, after] = [await decision('before-swap'), await decision('after-swap')]
    assert.deepEqual([before.generation, sideOf(before)], [1, 'left'])
    assert.deepEqual([after.generation, sideOf(after)], [2, 'right'])
    assert.deepEqual(
      after.profiles[0]!.scorers.slice(0, 2).map(({ name, weight }) => [name, weight]),
      [
        ['first', 1],
        ['second', 2],
      ],
    )
    assert.deepEqual(await reloads(), { ok: 1, failed: 0 })
    assert.equal(await epp.metric('epp_config_generation'), 2)
    assert.equal(epp.process.logged('Configuration taken over')[0]?.generation, 2)
  })

  it('keeps the last good configuration when the file is broken, says so, and forgets it when mended', async () => {
    const load = startLoad()
    write(file, profile(BEGIN, ORDER).replace('weight: 2', 'wieght: 2'))
    const refused = await epp.process.line(
      ({ msg }) => msg === 'Configuration refused; the running one goes on',
      'line about the refused configuration',
    )
    assert.equal(refused.generation, 2)
    const problems = refused.problems as string[]
    assert.equal(problems.length, 1)
    assert.ok(problems[0]!.startsWith(`${file}:13:`), problems[0])
    assert.match(problems[0]!, /wieght.*did you mean "weight"/)
    assert.deepEqual(await reloads(), { ok: 1, failed: 1 })
    assert.equal(await generation(), 2)
    assert.equal((await fetch(`http://127.0.0.1:${epp.ports.metrics}/readyz`)).status, 200)
    assert.match(await epp.page('/readyz?verbose'), /^\[!\] configuration: .*generation 2 goes on/m)
    await send('while-broken', APART)
    await answered(load, 40)
    const whileBroken = await decision('while-broken')
    assert.deepEqual([whileBroken.generation, sideOf(whileBroken)], [2, 'right'])

    write(file, profile(BEGIN, ORDER))
    await reached(3)
    await answered(load, 40)
    assert.deepEqual(await reloads(), { ok: 2, failed: 1 })
    assert.doesNotMatch(await epp.page('/readyz?verbose'), /\[!\] configuration/)
    await hold(load, { 2: SWAPPED, 3: BEGIN })
  })

  it('picks the same when scorers are reordered, and lists them in the order of the file', async () => {
    const wishes: Wish[] = (['left', 'right'] as const).flatMap((first) =>
      (['left', 'right'] as const).map((second) => ({ first, second })),
    )
    const round = async (name: string) => {
      const picks: (string | undefined)[] = []
      let scorers: readonly string[] = []
      for (const [i, wish] of wishes.entries()) {
        await send(`${name}-${i}`, wish)
        const page = await decision(`${name}-${i}`)
        picks.push(sideOf(page))
        scorers = page.profiles[0]!.scorers.map(({ name }) => name)
      }
      return { picks, scorers }
    }
    const before = await round('in-order')
    const load = startLoad()
    await answered(load, 20)
    write(file, profile(BEGIN, [active, second, precise, first]))
    await reached(4)
    await answered(load, 20)
    await hold(load, { 3: BEGIN, 4: BEGIN })
    const after = await round('reordered')
    assert.deepEqual(before.picks, ['left', 'left', 'right', 'right'])
    assert.deepEqual(after.picks, before.picks)
    const [precise_, active_] = ['precise-prefix-cache-scorer', 'active-request-scorer']
    assert.deepEqual(before.scorers, ['first', 'second', precise_, active_])
    assert.deepEqual(after.scorers, [active_, 'second', precise_, 'first'])
  })

  it('carries the index and the load of running requests over', async () => {
    const left = { first: 'left', second: 'left' } as const
    const blocks = (await endpoint('left')).blocks
    const tokens = prompt(8)
    await send('remembered', left, tokens)
    await eventually('its events are applied', async () => {
      return (await endpoint('left')).blocks >= blocks + 8
    })
    const kept = await Promise.all([endpoint('left'), endpoint('right')])

    const client = new AbortController()
    const stream = await fetch(`${envoy.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-first': 'left', 'x-second': 'left' },
      body: JSON.stringify({ model: MODEL, prompt: prompt(1), max_tokens: 20_000, stream: true }),
      signal: client.signal,
    })
    const reader = stream.body!.getReader()
    await reader.read()
    await eventually('only the stream is under way', async () => {
      return (await endpoint('left')).inFlight === 1
    })

    write(file, profile(SWAPPED, ORDER))
    await reached(5)
    const now = await Promise.all([endpoint('left'), endpoint('right')])
    assert.deepEqual(
      now.map(({ inFlight }) => inFlight),
      [1, 0],
    )
    assert.ok(now[0]!.blocks >= kept[0]!.blocks && now[1]!.blocks >= kept[1]!.blocks)
    const answer = await send('again', left, tokens)
    const again = await decision('again')
    assert.equal(again.generation, 5)
    assert.equal(scoreOf(again, 'left', 'precise-prefix-cache-scorer'), 1)
    assert.equal(scoreOf(again, 'right', 'precise-prefix-cache-scorer'), 0)
    assert.equal(cachedTokens(answer), 8 * BLOCK_TOKENS)
    assert.equal(scoreOf(again, 'left', 'active-request-scorer'), 0)
    assert.equal(scoreOf(again, 'right', 'active-request-scorer'), 1)

    assert.equal((await reader.read()).done, false, 'the running stream goes on')
    client.abort()
    await eventually('its load is released', async () => (await endpoint('left')).inFlight === 0)
  })
})
