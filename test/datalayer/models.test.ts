import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { generate } from 'selfsigned'
import { EndpointStore } from '../../src/datalayer/endpoint-store.ts'
import { ModelDirectory, type ModelsOptions } from '../../src/datalayer/models.ts'
import { Engine, text } from './engine.ts'
import { telemetry, until } from './telemetry.ts'

const fixture = (name: string) => text(readFileSync(`test/fixtures/metrics/${name}-models.json`))
const listing = (...ids: string[]) => text(JSON.stringify({ data: ids.map((id) => ({ id })) }))
/** No look but the first and those that requests cause, each of its own. */
const ON_DEMAND: ModelsOptions = { intervalMs: 3_600_000, retryMs: 3_600_000, freshMs: 0 }

describe('ModelDirectory', () => {
  let engines: Engine[]
  let models: ModelDirectory
  let nowMs: number
  const start = async (
    answers: readonly Engine['answer'][],
    options: ModelsOptions = ON_DEMAND,
  ) => {
    const services = telemetry()
    const store = new EndpointStore(services)
    for (const [i, answer] of answers.entries()) {
      engines.push(await Engine.start(`127.0.0.${i + 2}`, answer))
    }
    const specs = engines.map(({ address, port }) => ({
      namespace: 'default',
      name: address,
      address,
      port,
      rank: 0,
      labels: {},
    }))
    store.replace('test', specs)
    const clock = { nowMs: () => nowMs, epochMs: () => 0 }
    models = new ModelDirectory({ ...services, endpoints: store, clock }, options)
    models.start()
    await until('one look each', () => engines.every(({ requests }) => requests > 0))
    return { store, specs, ...services }
  }
  beforeEach(() => {
    engines = []
    nowMs = 0
  })
  afterEach(async () => {
    await models.stop()
    await Promise.all(engines.map((engine) => engine.stop()))
  })

  it('knows the models, adapters and bases of real answers', async () => {
    await start([fixture('v0.10.0'), fixture('v0.32.0-lora')])
    await until('the adapter', () => models.baseOf('sql-lora') !== undefined)
    assert.equal(models.serves('Qwen3-32B'), true)
    assert.equal(models.serves('sql-lora'), true)
    assert.equal(models.baseOf('sql-lora'), 'Qwen3-32B')
    assert.equal(models.baseOf('Qwen3-32B'), undefined)
    assert.equal(models.isBase('Qwen3-32B'), true)
    assert.equal(models.isBase('sql-lora'), false)
    assert.equal(models.isBase('nothing'), false)
    assert.equal(await models.serves('nothing'), false)
  })

  it('asks over TLS when told so, at the port that serves', async () => {
    const made = await generate([{ name: 'commonName', value: 'engine' }], {
      keyType: 'ec',
      algorithm: 'sha256',
    })
    const tls = { cert: made.cert, key: made.private }
    engines.push(await Engine.start('127.0.0.2', listing('a'), 0, tls))
    await start([], { ...ON_DEMAND, scheme: 'https' })
    await until('the model', () => models.isBase('a'))
  })

  it('looks again before it denies a model, and finds one that has just come', async () => {
    await start([listing('a'), listing('b')])
    await until('both', () => models.isBase('a') && models.isBase('b'))
    assert.equal(await models.serves('c'), false)
    engines[1]!.answer = listing('b', 'c')
    assert.equal(await models.serves('c'), true)
    assert.equal(models.serves('c'), true, 'then at once')
  })

  it('denies nothing while an endpoint has not answered, or not lately', async () => {
    await start([listing('a'), text('starting', 503)])
    await until('the first', () => models.isBase('a'))
    assert.equal(await models.serves('b'), true)
    engines[1]!.answer = listing('a')
    assert.equal(await models.serves('b'), false)
    engines[1]!.answer = text('no', 500)
    nowMs = 29_000
    assert.equal(await models.serves('b'), false, 'its last answer is believed for 30 s')
    nowMs = 31_000
    assert.equal(await models.serves('b'), true)
  })

  it('has no opinion on an empty pool', async () => {
    const { store } = await start([listing('a')])
    await until('the model', () => models.isBase('a'))
    store.replace('test', [])
    assert.equal(await models.serves('a'), true)
    assert.equal(models.isBase('a'), false)
  })

  it('asks once for a crowd of unknown models', async () => {
    await start([listing('a')], { ...ON_DEMAND, freshMs: 1000 })
    await until('the model', () => models.isBase('a'))
    // A look that is under way is waited for.
    await models.serves('first')
    nowMs = 1000
    const before = engines[0]!.requests
    const names = Array.from({ length: 500 }, (_, i) => `model-${i}`)
    const answers = await Promise.all(names.map((name) => models.serves(name)))
    assert.ok(answers.every((answer) => answer === false))
    assert.equal(engines[0]!.requests, before + 1)
    nowMs = 1999
    await models.serves('x')
    assert.equal(engines[0]!.requests, before + 1, 'and not again within a second')
    nowMs = 2000
    await models.serves('x')
    assert.equal(engines[0]!.requests, before + 2)
  })

  describe('asks engines for their release', () => {
    /** vLLM's answers, and those of servers that have no such thing. */
    const saying =
      (version: string | undefined, length?: unknown): Engine['answer'] =>
      ({ url }, response) => {
        if (url !== '/version') {
          response.end(JSON.stringify({ data: [{ id: 'a', max_model_len: length }] }))
        } else if (version === undefined) response.writeHead(404).end('{"detail":"Not Found"}')
        else response.end(version)
      }

    it('and knows them all, each once', async () => {
      const { store, specs } = await start([
        saying('{"version":"0.32.0"}'),
        saying('{"version":"0.10.1.dev3+gabc"}'),
        saying('{"version":"0.32.0"}'),
        saying(undefined),
      ])
      await until('all', () => engines.every(({ requests }) => requests === 2))
      await until('the releases', () => models.versions().length === 3)
      assert.deepEqual([...models.versions()].sort(), ['0.10.1.dev3+gabc', '0.32.0', undefined])
      assert.equal(models.versions(), models.versions())
      const [first, , , last] = store.list()
      assert.deepEqual(
        [models.versionOf(first!.id), models.versionOf(last!.id)],
        ['0.32.0', undefined],
      )
      store.replace('test', specs.slice(0, 1))
      assert.deepEqual(models.versions(), ['0.32.0'])
    })

    it('again after a while, since a server may be replaced', async () => {
      await start([saying('{"version":"0.24.0"}')])
      await until('the release', () => models.versions()[0] === '0.24.0')
      engines[0]!.answer = saying('{"version":"0.32.0"}')
      nowMs = 30_000
      await models.serves('x')
      assert.deepEqual(models.versions(), ['0.32.0'])
    })

    for (const version of [
      '{"version":7}',
      '{"version":"<script>"}',
      '[]',
      'null',
      '0.32.0',
      JSON.stringify({ version: `0.32.0${'x'.repeat(100)}` }),
    ]) {
      it(`and takes ${version.slice(0, 30)} for none`, async () => {
        await start([saying(version)])
        await until('both answers', () => engines[0]!.requests === 2 && models.isBase('a'))
        assert.deepEqual(models.versions(), [undefined])
      })
    }

    it('and how many tokens a model takes, the least of all', async () => {
      await start([
        saying(undefined, 4096),
        saying(undefined, 2048),
        saying(undefined, 'many'),
        saying(undefined, -1),
      ])
      await until('the models', () => models.contextTokens('a') === 2048)
      assert.equal(models.contextTokens('b'), undefined)
    })
  })

  it('looks regularly, and sooner after a failure', async () => {
    await start([text('no', 500)], { intervalMs: 30, retryMs: 5 })
    engines[0]!.answer = listing('a')
    await until('the model', () => models.isBase('a'))
    engines[0]!.answer = listing('b')
    await until('the other', () => models.isBase('b') && !models.isBase('a'))
  })

  const odd: readonly (readonly [string, Engine['answer'], string])[] = [
    ['HTML', text('<html>'), 'not-a-list'],
    ['another shape', text('{"data":{"id":"a"}}'), 'not-a-list'],
    ['null', text('null'), 'not-a-list'],
    ['two megabytes', text(`{"data":[${' '.repeat(2 * 1024 * 1024)}]}`), 'too-large'],
    ['a status', text('{"data":[]}', 404), 'status'],
  ]
  for (const [what, answer, result] of odd) {
    it(`counts ${what} as no answer`, async () => {
      const { value } = await start([answer])
      await until('the count', async () => {
        return (await value(`epp_model_looks_total{result="${result}"}`)) === 1
      })
      assert.equal(await models.serves('a'), true)
    })
  }

  it('skips entries without an id, and keeps at most 10,000', async () => {
    const ids = Array.from({ length: 12_000 }, (_, i) => ({ id: `m${i}` }))
    await start([text(JSON.stringify({ data: [null, {}, { id: 7 }, { id: '' }, ...ids] }))])
    await until('the models', () => models.isBase('m0'))
    assert.equal(models.isBase('m9995'), true)
    assert.equal(models.isBase('m11999'), false)
  })

  it('asks a server once for all ranks behind its port, until the last has gone', async () => {
    const { store, specs } = await start([listing('a')])
    store.setRanksPerPort(4)
    await until('a look after the change', () => engines[0]!.requests >= 2)
    await until('the model', () => models.isBase('a'))
    // A look that is under way is waited for.
    await models.serves('first')
    const before = engines[0]!.requests
    assert.equal(await models.serves('unknown'), false)
    // `/v1/models` once; what it says of its release is new enough.
    assert.equal(engines[0]!.requests, before + 1)
    store.setRanksPerPort(2)
    assert.equal(models.isBase('a'), true, 'what the server said is still known')
    const ids = store.list().map(({ id }) => id)
    assert.deepEqual(
      ids.map((id) => models.versionOf(id)),
      [undefined, undefined],
    )
    store.replace('test', specs.slice(1))
    assert.deepEqual(models.versions(), [])
  })
})
