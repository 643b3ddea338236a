import assert from 'node:assert/strict'
import { Ajv } from 'ajv'
import { EngineTables } from '../../src/datalayer/engine-tables.ts'
import type {
  EngineTableOptions,
  MetricsScraping,
  MetricsSourceOptions,
} from '../../src/framework/metrics-scraping.ts'
import { checkPlugin, paramsOf } from '../../src/framework/testing.ts'
import { coreMetricsExtractor } from '../../src/plugins/data/core-metrics-extractor.ts'
import { metricsDataSource } from '../../src/plugins/data/metrics-data-source.ts'

/** Keeps what plugins ask for; specs are checked as the scraper checks them. */
class KeptScraping implements MetricsScraping {
  tables: EngineTableOptions | undefined
  where: MetricsSourceOptions | undefined

  engines(options: EngineTableOptions): () => void {
    new EngineTables(options)
    return () => {
      this.tables = options
    }
  }
  source(options: MetricsSourceOptions): void {
    this.where = options
  }
  reset(): void {}
}

const accepts = (plugin: typeof coreMetricsExtractor | typeof metricsDataSource, params: object) =>
  new Ajv({ strict: false, useDefaults: true }).compile(plugin.params)(structuredClone(params))

describe('core-metrics-extractor', () => {
  it('keeps the contract', () =>
    checkPlugin(coreMetricsExtractor, { services: { scraping: new KeptScraping() } }))

  it('puts its tables to work when its configuration comes into force, not before', () => {
    const scraping = new KeptScraping()
    const engineConfigs = [
      {
        name: 'sglang',
        queuedRequestsSpec: 'sglang:num_queue_reqs{a=b}',
        kvUsageSpec: '',
        customMetrics: [{ attributeKey: 'hits', metricSpec: 'sglang:cache_hit_rate' }],
      },
    ]
    const params = paramsOf(coreMetricsExtractor, { defaultEngine: 'sglang', engineConfigs })
    const plugin = coreMetricsExtractor.create(params, { scraping })
    assert.equal(scraping.tables, undefined)
    plugin.activated?.()
    assert.deepEqual(scraping.tables, {
      defaultEngine: 'sglang',
      engineLabelKey: 'llm-d.ai/engine-type',
      engineConfigs,
    })
  })

  it('cannot be built for an engine without metrics', () => {
    const params = paramsOf(coreMetricsExtractor, { engineConfigs: [{ name: 'own' }] })
    const scraping = new KeptScraping()
    assert.throws(() => coreMetricsExtractor.create(params, { scraping }), /engine "own" has none/)
  })

  const specs: readonly (readonly [string, boolean])[] = [
    ['vllm:num_requests_waiting', true],
    ['a{b=c}', true],
    ['a{b="c d", e = f}', true],
    ['a{}', true],
    ['', true],
    ['a b', false],
    ['1a', false],
    ['a{b}', false],
    ['a{b=c', false],
    ['a{b=c,}', false],
  ]
  for (const [spec, right] of specs) {
    it(`${right ? 'accepts' : 'refuses'} the spec "${spec}"`, () => {
      const engineConfigs = [{ name: 'vllm', loraSpec: spec }]
      assert.equal(accepts(coreMetricsExtractor, { engineConfigs }), right)
      // What the schema accepts the scraper understands.
      const options = { defaultEngine: 'vllm', engineLabelKey: 'a', engineConfigs }
      if (right) new EngineTables(options)
      else assert.throws(() => new EngineTables(options), RangeError)
    })
  }
})

describe('metrics-data-source', () => {
  it('keeps the contract', () =>
    checkPlugin(metricsDataSource, { services: { scraping: new KeptScraping() } }))

  const made = (params: Readonly<Record<string, unknown>>) => {
    const scraping = new KeptScraping()
    metricsDataSource.create(paramsOf(metricsDataSource, params), { scraping }).activated?.()
    return scraping.where
  }

  it('says what the defaults are', () => {
    assert.deepEqual(made({}), {
      scheme: 'http',
      path: '/metrics',
      port: undefined,
      intervalMs: undefined,
      insecureSkipVerify: true,
    })
  })

  it('hands on what is set', () => {
    assert.deepEqual(
      made({
        scheme: 'https',
        path: '/m',
        port: 9400,
        interval: '1m30s',
        insecureSkipVerify: false,
      }),
      {
        scheme: 'https',
        path: '/m',
        port: 9400,
        intervalMs: 90_000,
        insecureSkipVerify: false,
      },
    )
    assert.equal(made({ interval: 250_000_000 })?.intervalMs, 250)
  })

  for (const params of [
    { scheme: 'ftp' },
    { path: 'metrics' },
    { port: 0 },
    { port: 70_000 },
    { interval: 'soon' },
    { interval: -1 },
  ]) {
    it(`refuses ${JSON.stringify(params)}`, () => {
      assert.equal(accepts(metricsDataSource, params), false)
    })
  }
})
