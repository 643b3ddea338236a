import assert from 'node:assert/strict'
import { commentedText } from '../../../src/config/commented-yaml.ts'
import { effectiveConfig } from '../../../src/config/effective.ts'
import { builtinPlugins } from '../../../src/plugins/index.ts'
import { PoolSetup, specs } from '../../app/pool-setup.ts'

const prompt = (text: string) => ({ model: 'm', prompt: text.repeat(400) })

/** A pool of two endpoints; the first has the longer queue. */
async function start(text: string): Promise<PoolSetup> {
  const setup = await PoolSetup.start(text, { flags: { bind: 'tcp://127.0.0.1:*' } })
  setup.pool.endpoints.replace('test', specs(1, 2))
  return setup
}

/** Routes one request with metrics as they are said here: nobody serves there to be asked. */
function route(setup: PoolSetup, body: object) {
  const { endpoints } = setup.pool
  for (const { id, port } of endpoints.list()) {
    endpoints.setMetrics(id, {
      ...{ waiting: port === 1 ? 9 : 0, running: 0, kvCacheUsage: port === 1 ? 0 : 0.9 },
      ...{ blockTokens: 16, kvBlocks: 1000, hashAlgorithm: undefined, adapters: undefined },
      ...{ custom: new Map(), scrapedAtMs: performance.now() },
    })
  }
  return setup.route(body)
}

/** Samples of a family by the part of their labels after the profile's. */
async function counted(setup: PoolSetup, name: string): Promise<Readonly<Record<string, number>>> {
  const lines = (await setup.metrics.text()).split('\n')
  return Object.fromEntries(
    lines
      .filter((line) => line.startsWith(`${name}{`))
      .map((line) => [/,\w+="(\w+)"\}/.exec(line)?.[1] ?? '', Number(line.split(' ').at(-1))]),
  )
}

const acting = '  - name: default\n    plugins: [{ type: queue-scorer }]\n'
const shadow = (plugins: string, more = 'timeBudgetMs: 1000') =>
  `schedulingProfiles:\n  - name: tried\n    shadow: true\n    ${more}\n    plugins: ${plugins}\n${acting}`

describe('a shadow profile', () => {
  let setup: PoolSetup
  afterEach(() => setup.close())

  it('is run beside the one that acts, and its pick is counted and kept, not followed', async () => {
    setup = await start(shadow('[{ type: kv-cache-utilization-scorer }]'))
    const decision = await route(setup, prompt('a '))
    assert.deepEqual(decision.endpoints, ['127.0.0.1:2'])
    assert.equal(decision.profiles.length, 1)
    const [said] = decision.shadows!
    assert.equal(said!.profile, 'tried')
    assert.equal(said!.result, 'different')
    assert.deepEqual(said!.trace!.picked, ['127.0.0.1:1'])
    assert.deepEqual(await counted(setup, 'epp_shadow_decisions_total'), {
      ...{ same: 0, different: 1, failed: 0, skipped: 0 },
    })
  })

  it('with the same plugins draws the same lots', async () => {
    const plugins =
      '[{ type: queue-scorer, name: q }, { type: kv-cache-utilization-scorer, name: k }, { type: weighted-random-picker, name: w }]'
    setup = await start(
      `schedulingProfiles:\n  - { name: default, plugins: ${plugins} }\n  - { name: twin, shadow: true, timeBudgetMs: 1000, plugins: [{ pluginRef: q }, { pluginRef: k }, { pluginRef: w }] }\n`,
    )
    const picked = new Set<string>()
    for (let i = 0; i < 200; i++) picked.add((await route(setup, prompt(`${i} `))).endpoints[0]!)
    assert.equal(picked.size, 2, 'both are drawn')
    const { same, different } = await counted(setup, 'epp_shadow_decisions_total')
    assert.deepEqual({ same, different }, { same: 200, different: 0 })
  })

  it('that fails touches no request', async () => {
    setup = await start(
      shadow(
        "[{ type: label-selector-filter, parameters: { matchLabels: { no: 'where' } } }, { type: queue-scorer }]",
      ),
    )
    const decision = await route(setup, prompt('a '))
    assert.deepEqual(decision.endpoints, ['127.0.0.1:2'])
    assert.equal(decision.shadows![0]!.result, 'failed')
    assert.match(decision.shadows![0]!.error!, /left none of 2 endpoints/)
    assert.equal((await counted(setup, 'epp_shadow_decisions_total')).failed, 1)
    assert.ok(setup.lines.some(({ msg }) => String(msg).startsWith('A shadow profile failed')))
  })

  it('is skipped when it takes more than its time, and says so', async () => {
    setup = await start(shadow('[{ type: prefix-cache-scorer }]', 'timeBudgetMs: 0.000001'))
    for (let i = 0; i < 20; i++) await route(setup, prompt(`${i} `))
    const { same, different, skipped } = await counted(setup, 'epp_shadow_decisions_total')
    assert.deepEqual({ ran: same! + different!, skipped }, { ran: 1, skipped: 19 })
    assert.match(
      setup.notices.list().find(({ key }) => key === 'shadow-slow:tried')!.text,
      /takes more than its 0.000001 ms for each request/,
    )
  })

  it('learns from the real picks, and finds prompts for itself alone', async () => {
    setup = await start(shadow('[{ type: cost-scorer }]'))
    await route(setup, prompt('a '))
    const decision = await route(setup, prompt('a '))
    assert.equal(decision.predictedCachedTokens, undefined, 'nobody who acts asked')
    const [said] = decision.shadows!
    assert.equal(said!.result, 'same', 'it goes where the prompt was sent')
    assert.ok(said!.predictedCachedTokens! > 100, `${said!.predictedCachedTokens} tokens`)
    const text = await setup.metrics.text()
    assert.ok(!/^epp_cost_seconds_count\S* [1-9]/m.test(text), 'no costs of what does not act')
  })

  it('leaves what acts as it is: scores, reports, findings', async () => {
    const own = '  - name: default\n    plugins: [{ type: cost-scorer, name: cost }]\n'
    const beside = `${own}  - name: tried\n    shadow: true\n    timeBudgetMs: 1000\n    plugins: [{ pluginRef: cost }, { type: random-picker }]\n`
    const said: unknown[] = []
    for (const profiles of [own, beside]) {
      if (said.length > 0) await setup.close()
      setup = await start(`schedulingProfiles:\n${profiles}`)
      const decisions = []
      for (let i = 0; i < 30; i++) decisions.push(await route(setup, prompt(`${i % 3} `)))
      const text = await setup.metrics.text()
      said.push({
        decisions: decisions.map(({ endpoints, match, predictedCachedTokens, promptTokens }) => ({
          ...{ endpoints, match, predictedCachedTokens, promptTokens },
        })),
        costs: /^epp_cost_seconds_count\S* (\d+)/m.exec(text)?.[1],
      })
    }
    assert.deepEqual(said[1], said[0])
  })

  it('speaks for services that nobody else configures, and for no others', async () => {
    const lacks = (acting: string) =>
      `schedulingProfiles:\n  - name: tried\n    shadow: true\n    plugins: [{ type: prefix-cache-scorer, parameters: { blockSizeTokens: 8 } }]\n  - name: default\n    plugins: [${acting}]\n`
    setup = await start(lacks('{ type: queue-scorer }'))
    await route(setup, prompt('ab '))
    const blockTokens = async () => {
      const decision = await route(setup, prompt('ab '))
      return decision.shadows![0]!.predictedCachedTokens! % 64 === 0 ? 64 : 8
    }
    assert.equal(await blockTokens(), 8)
    await setup.take(lacks('{ type: prefix-cache-scorer, parameters: { blockSizeTokens: 64 } }'))
    await route(setup, prompt('ab '))
    assert.equal(await blockTokens(), 64)
    const warnings = setup.pool.configPage().warnings.map(({ message }) => message)
    assert.match(warnings.join('\n'), /both configure the index of routed prompts, each otherwise/)
  })
})

describe('a configuration with shadow profiles', () => {
  let setup: PoolSetup
  before(async () => {
    setup = await PoolSetup.start(`schedulingProfiles:\n${acting}`, {
      flags: { bind: 'tcp://127.0.0.1:*' },
    })
  })
  after(() => setup.close())

  const problem = async (text: string) => {
    try {
      await setup.load(text)
      return 'valid'
    } catch (error) {
      return (error as Error).message
    }
  }

  it('needs one that acts', async () => {
    assert.match(
      await problem(
        'schedulingProfiles:\n  - { name: a, shadow: true, plugins: [{ type: queue-scorer }] }\n',
      ),
      /schedulingProfiles: every profile is a shadow, so that none picks; take shadow off one of them/,
    )
  })

  it('is printed as it is in force', async () => {
    const text = shadow('[{ type: queue-scorer, name: q }]', 'timeBudgetMs: 3')
    const place = ([first]: readonly (string | number)[]) => String(first)
    const shown = commentedText(effectiveConfig(await setup.load(text), place, builtinPlugins))
    assert.match(
      shown,
      /name: tried .*\n +shadow: true .*\n +timeBudgetMs: 3 +# schedulingProfiles\n/,
    )
    const again = await setup.load(shown)
    assert.deepEqual(again.spec.profiles, (await setup.load(text)).spec.profiles)
    const byDefault = await setup.load(shadow('[{ type: queue-scorer, name: q }]', ''))
    assert.match(
      commentedText(effectiveConfig(byDefault, place, builtinPlugins)),
      /timeBudgetMs: 1 +# default\n/,
    )
  })

  it('needs no handler for one that acts, and a budget only where there is a shadow', async () => {
    assert.equal(await problem(shadow('[{ type: queue-scorer }]')), 'valid')
    assert.match(
      await problem(
        'schedulingProfiles:\n  - { name: a, timeBudgetMs: 2, plugins: [{ type: queue-scorer }] }\n',
      ),
      /"timeBudgetMs" of a profile has an effect beside shadow: true only/,
    )
  })
})
