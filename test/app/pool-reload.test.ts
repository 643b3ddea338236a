import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  createKvEventPublisher,
  type ZmqEventPublisher,
} from '../../src/kvcache/events/event-publisher.ts'
import { eventually } from '../e2e/process.ts'
import { block, portOf } from '../kvcache/events/sockets.ts'
import { byteTokenizersDir } from '../tokenize/fixtures.ts'
import { PoolSetup, type PoolSetupOptions, specs } from './pool-setup.ts'

const MODEL = 'm'
const profile = (...plugins: readonly string[]) =>
  `schedulingProfiles:
  - name: default
    plugins:
${plugins.map((each) => `      - ${each}\n`).join('')}`
const precise = (parameters: string) =>
  profile(`{ type: precise-prefix-cache-scorer, parameters: { ${parameters} } }`)
const QUEUE = profile('{ type: queue-scorer }')

describe('Pool, given another configuration while it runs', () => {
  let setup: PoolSetup | undefined
  const publishers: ZmqEventPublisher[] = []
  const folders: string[] = []
  const temporary = (folder: string) => {
    folders.push(folder)
    return folder
  }
  const start = async (text: string, options?: PoolSetupOptions) => {
    setup = await PoolSetup.start(text, options)
    return setup
  }
  afterEach(async () => {
    for (const publisher of publishers.splice(0)) await publisher.close()
    await setup?.close()
    setup = undefined
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
  })

  /** An engine's publisher: on an address of its own, or connected to one. */
  const publisher = async (endpoint: string, replay = false) => {
    const made = await createKvEventPublisher({
      endpoint,
      topic: `kv@127.0.0.1:8000@${MODEL}`,
      encoding: 'map',
      rank: 0,
      wildcard: '127.0.0.1',
      ...(replay && { replayEndpoint: 'tcp://127.0.0.1:0' }),
    })
    publishers.push(made)
    return made
  }
  /** Publishes a block until the pool has heard of it: what is sent before the sockets have met is lost. */
  const heard = (pool: PoolSetup['pool'], engine: ZmqEventPublisher, what: string) =>
    eventually(what, () => {
      engine.publish([block('a', 0, 1)])
      return status(pool).blocks === 1
    })
  const status = (pool: PoolSetup['pool']) => pool.endpointPage()[0]!

  it("runs a module's changed params and code", async () => {
    const module = (score: string) => `import { definePlugin, Type } from 'endpoint-picker/plugin'
export default definePlugin({
  kind: 'scorer', type: 'port-scorer', description: 'Prefers a port.',
  params: Type.Object({ port: Type.Integer({ description: 'Which.' }) }),
  create: ({ port }) => ({ score: (_request, endpoints) => endpoints.map((e) => ${score}) }),
})
`
    const text = (port: number) =>
      `modules: ['./port-scorer.ts']\n${profile(`{ type: port-scorer, parameters: { port: ${port} } }`)}`
    const write = (folder: string, score: string) =>
      writeFileSync(join(folder, 'port-scorer.ts'), module(score))
    const { pool, folder, take, route } = bound(
      await start(text(8000), { prepare: (each) => write(each, 'Number(e.port === port)') }),
    )
    pool.endpoints.replace('test', specs(8000, 8001))
    const target = async () => (await route({ model: MODEL, prompt: 'a' })).endpoints[0]
    assert.equal(await target(), '127.0.0.1:8000')
    await take(text(8001))
    assert.equal(await target(), '127.0.0.1:8001')
    write(folder, 'Number(e.port !== port)')
    await take(text(8001))
    assert.equal(await target(), '127.0.0.1:8000')
    assert.equal(pool.configPage().warnings.length, 0)
  })

  it('takes the tokenizers map over, and reads a new tokenizer before a request needs it', async () => {
    const tokenizersDir = temporary(byteTokenizersDir('one', 'two'))
    const text = (folder: string) =>
      `tokenizers: { ${MODEL}: ${folder} }\n${precise('speculativeIndexing: false')}`
    const { pool, lines, take, route } = bound(
      await start(text('missing'), { tokenizersDir, flags: { bind: 'tcp://127.0.0.1:0' } }),
    )
    pool.endpoints.replace('test', specs(8000))
    const tokens = async () => {
      const { count, exact } = (await route({ model: MODEL, prompt: 'abcdefgh' })).promptTokens!
      return { count, exact }
    }
    assert.deepEqual(await tokens(), { count: 2, exact: false })
    await take(text('one'))
    assert.deepEqual(await tokens(), { count: 8, exact: true })
    const own = temporary(byteTokenizersDir('three'))
    await take(text(join(own, 'three')))
    await eventually('the new one is loaded', () =>
      lines.some(({ msg, folder }) => msg === 'tokenizer loaded' && folder === join(own, 'three')),
    )
    assert.deepEqual(await tokens(), { count: 8, exact: true })
  })

  it('changes how much memory the index may take: with less it forgets what was not matched for longest', async function () {
    this.timeout(60_000)
    const text = (mebibytes: number) =>
      precise(`indexerConfig: { kvBlockIndexConfig: { maxMemoryMiB: ${mebibytes} } }`)
    const { pool, sockets, notices, take, taken } = bound(
      await start(text(16), { flags: { bind: 'tcp://127.0.0.1:0' } }),
    )
    pool.endpoints.replace('test', specs(8000))
    const engine = await publisher(sockets.boundAddress!)
    await heard(pool, engine, 'events')
    let chains = 1
    /** Publishes chains of 5,000 blocks, each of one token, until the condition holds. */
    const fill = (what: string, until: () => boolean) =>
      eventually(
        what,
        () => {
          const first = BigInt(++chains) * 1_000_000n
          engine.publish([
            {
              type: 'BlockStored',
              blockHashes: Array.from({ length: 5000 }, (_, i) => first + BigInt(i)),
              parentBlockHash: null,
              tokenIds: Array.from({ length: 5000 }, (_, i) => chains * 10_000 + i),
              blockTokens: 1,
              loraName: null,
              extraKeys: Array.from({ length: 5000 }, () => null),
            },
          ])
          return until()
        },
        50_000,
      )
    const isFull = () => notices.list().some(({ key }) => key === 'kv-index-full')
    await fill('the index is full', isFull)
    const full = status(pool).blocks!
    await take(text(64))
    assert.equal(isFull(), false)
    assert.equal(taken()?.needsRestart, undefined)
    assert.deepEqual(pool.configPage().needsRestart, [])
    await fill('there is more in it', () => status(pool).blocks! > full * 1.5)
    await take(text(16))
    assert.deepEqual(pool.configPage().needsRestart, [])
    await eventually('it has come down', () => status(pool).blocks! < full * 1.1, 30_000)
    assert.equal(isFull(), true)
    assert.ok(status(pool).blocks! > full / 4)
  })

  it('binds another address for events', async () => {
    const text = (address: string) => precise(`kvEventsConfig: { zmqEndpoint: '${address}' }`)
    const { pool, sockets, take } = bound(await start(text('tcp://127.0.0.1:0')))
    pool.endpoints.replace('test', specs(8000))
    const before = sockets.boundAddress!
    const engine = await publisher(before)
    await heard(pool, engine, 'events on the first address')
    await take(text('tcp://127.0.0.2:0'))
    await eventually('another address is bound', () => sockets.boundAddress !== before)
    assert.match(sockets.boundAddress!, /^tcp:\/\/127\.0\.0\.2:/)
    assert.deepEqual(
      [status(pool).blocks, status(pool).coverage],
      [0, 'none'],
      'what came on the old one is forgotten',
    )
    const other = await publisher(sockets.boundAddress!)
    await heard(pool, other, 'events on the second address')
    // The old one can be bound by somebody else.
    await publisher(before.replace('127.0.0.1', '*'))
  })

  it('keeps the address where the new one cannot be bound, and says so', async () => {
    const text = (address: string) => precise(`kvEventsConfig: { zmqEndpoint: '${address}' }`)
    const { pool, sockets, notices, take } = bound(await start(text('tcp://127.0.0.1:0')))
    pool.endpoints.replace('test', specs(8000))
    const before = sockets.boundAddress!
    const taken = await publisher('tcp://*:0')
    await take(text(`tcp://127.0.0.1:${portOf(taken.address)}`))
    const socket = () => notices.list().find(({ key }) => key === 'kv-events-socket')?.text
    await eventually('it is said', () => socket() !== undefined)
    assert.match(socket()!, /in use/)
    assert.equal(sockets.boundAddress, before)
    const engine = await publisher(before)
    await heard(pool, engine, 'events on the first address')
    await take(text('tcp://127.0.0.1:0'))
    await eventually('it is mended', () => socket() === undefined)
  })

  it('dials at another port, and asks for missed events at another', async () => {
    const [first, second] = [await publisher('tcp://*:0'), await publisher('tcp://*:0', true)]
    const text = (engine: ZmqEventPublisher, replayPort?: number) =>
      precise(
        `kvEventsConfig: { discoverPods: true, podDiscoveryConfig: { socketPort: ${portOf(engine.address)}${replayPort === undefined ? '' : `, replaySocketPort: ${replayPort}`} } }`,
      )
    const { pool, take } = bound(await start(text(first)))
    pool.endpoints.replace('test', specs(8000))
    await heard(pool, first, 'events of the first')
    second.publish([block('b', 0, 3)])
    await take(text(second, portOf(second.replayAddress!)))
    await eventually(
      'what the second sent before is known',
      () => status(pool).blocks === 3 && status(pool).coverage === 'complete',
    )
    second.publish([block('b', 3, 2)])
    await eventually('and what it sends then', () => status(pool).blocks === 5)
    first.publish([block('c', 0, 9)])
    second.publish([block('b', 5, 1)])
    await eventually('the first is not heard any more', () => status(pool).blocks === 6)
    // No replay port, and the same port: what is known stays.
    await take(text(second))
    second.publish([block('b', 6, 1)])
    await eventually('events go on', () => status(pool).blocks === 7)
  })

  it('keeps sockets and index through a configuration that uses no events', async () => {
    const text = precise("kvEventsConfig: { zmqEndpoint: 'tcp://127.0.0.1:0' }")
    const { pool, sockets, take } = bound(await start(text))
    pool.endpoints.replace('test', specs(8000))
    const engine = await publisher(sockets.boundAddress!)
    await heard(pool, engine, 'events')
    const { blocks } = status(pool)
    await take(QUEUE)
    await take(text)
    assert.equal(status(pool).blocks, blocks)
    engine.publish([block('a', 1, 1)])
    await eventually('events go on', () => status(pool).blocks === 2)
  })

  it("begins and ends llm-d's metric names", async () => {
    const compat = `metrics: { compat: true }\n${QUEUE}`
    const { pool, metrics, take, route, taken } = bound(await start(QUEUE))
    pool.endpoints.replace('test', specs(8000))
    const line = async (name: string) =>
      (await metrics.text()).split('\n').find((each) => each.startsWith(`${name}{`))
    const requests = 'llm_d_epp_request_total'
    const ready = 'llm_d_epp_ready_endpoints'
    const ask = () => route({ model: MODEL, prompt: 'a' })
    await ask()
    assert.equal(await line(requests), undefined)
    await take(compat)
    await ask()
    assert.match((await line(requests))!, / 1$/)
    assert.match((await line(ready))!, / 1$/)
    await take(QUEUE)
    await ask()
    assert.match((await line(requests))!, / 1$/)
    assert.equal(await line(ready), undefined)
    assert.deepEqual(taken()?.needsRestart, [
      "metrics.compat: llm-d's counters stay on the page as they were",
    ])
    await take(compat)
    await ask()
    assert.match((await line(requests))!, / 2$/)
    assert.deepEqual(pool.configPage().needsRestart, [])
  })

  it('says that endpoints of another file need a restart, where the configuration names the file', async () => {
    const text = (path: string) =>
      `plugins:\n  - { type: file-discovery, parameters: { path: ${path} } }\n${profile('{ type: queue-scorer }')}`
    const { pool, take } = bound(await start(text('a.yaml')))
    await take(text('b.yaml'))
    assert.deepEqual(pool.configPage().needsRestart, [], 'flags say where endpoints come from')
    pool.configuredEndpoints = { file: 'a.yaml' }
    assert.deepEqual(pool.configPage().needsRestart, [
      'file-discovery: endpoints come from a.yaml as at the start, not from b.yaml',
    ])
    await take(text('a.yaml'))
    assert.deepEqual(pool.configPage().needsRestart, [])
  })

  it('forgets the notices of the plugins that it replaces', async () => {
    const text = profile('{ type: queue-scorer }', '{ type: max-score-picker }')
    const { pool, notices, take, route } = bound(await start(text))
    pool.endpoints.replace('test', specs(8000, 8001))
    for (let i = 0; i < 1000; i++) await route({ model: MODEL, prompt: 'a' })
    const equal = () => notices.list().filter(({ key }) => key.startsWith('scorer-equal:'))
    assert.match(equal()[0]!.text, /its scores differ when the metrics of engines/)
    await take(text)
    assert.deepEqual(equal(), [])
  })
})

/** The parts of a set-up that tests take apart. */
function bound(setup: PoolSetup) {
  return {
    ...setup,
    pool: setup.pool,
    take: setup.take.bind(setup),
    route: setup.route.bind(setup),
    taken: () => setup.taken,
  }
}
