import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { EngineTables } from '../../src/datalayer/engine-tables.ts'
import { parseMetricSelector } from '../../src/datalayer/metric-selector.ts'
import type { EndpointMetrics } from '../../src/framework/endpoint.ts'
import type { EngineTableOptions } from '../../src/framework/metrics-scraping.ts'
import { seededRandom } from '../../src/framework/random.ts'
import { PAGES } from './engine-pages.ts'

const LABEL = 'llm-d.ai/engine-type'
const LEGACY = 'inference.networking.k8s.io/engine-type'
const options = (given: Partial<EngineTableOptions>): EngineTableOptions => ({
  defaultEngine: 'vllm',
  engineLabelKey: LABEL,
  engineConfigs: [],
  ...given,
})
const page = (text: string) => Buffer.from(text)

function load(
  tables: EngineTables,
  labels: Readonly<Record<string, string>>,
  text: string,
): Partial<EndpointMetrics> | string {
  const reading = tables.of(new Map(Object.entries(labels))).reader.read(page(text), undefined)
  return 'load' in reading ? reading.load : reading.detail
}

describe('EngineTables', () => {
  const engines: readonly (readonly [keyof typeof PAGES, Partial<EndpointMetrics>])[] = [
    ['vllm', { waiting: 1, running: 2, kvCacheUsage: 0.25, blockTokens: 16, kvBlocks: 573 }],
    ['sglang', { waiting: 2, running: 5, kvCacheUsage: 0.75, blockTokens: 64, kvBlocks: 120 }],
    ['trtllm-serve', { waiting: 3, running: 7, kvCacheUsage: 0.5, blockTokens: 32, kvBlocks: 900 }],
    [
      'triton-tensorrt-llm',
      { waiting: 4, running: 9, kvCacheUsage: 0.125, blockTokens: 128, kvBlocks: 800 },
    ],
    [
      'triton',
      { waiting: 11, running: 0, kvCacheUsage: 0, blockTokens: undefined, kvBlocks: undefined },
    ],
  ]
  for (const [engine, expected] of engines) {
    for (const label of [LABEL, LEGACY]) {
      it(`reads a page of ${engine} where ${label} says so`, () => {
        const { adapters, custom, hashAlgorithm, ...said } = load(
          new EngineTables(),
          { [label]: engine },
          PAGES[engine],
        ) as EndpointMetrics
        assert.deepEqual(said, expected)
        assert.equal(custom.size, 0)
        assert.equal(adapters, undefined)
        assert.equal(hashAlgorithm, engine === 'vllm' ? 'sha256' : undefined)
      })
    }
  }

  it('says what an engine does not tell', () => {
    const triton = new EngineTables().of(new Map([[LABEL, 'triton']])).reader
    const reading = triton.read(page(PAGES.triton), undefined)
    assert.deepEqual('load' in reading && reading.untold, [
      'running requests (counted as 0)',
      'KV-cache use (counted as 0)',
    ])
    assert.equal(triton.tellsRunning, false)
  })

  it("takes the newer label before the older one, and the configuration's before both", () => {
    const labels = { [LABEL]: 'sglang', [LEGACY]: 'triton' }
    const engine = (tables: EngineTables, extra: Record<string, string> = {}) =>
      tables.of(new Map(Object.entries({ ...labels, ...extra }))).reader.engine
    assert.equal(engine(new EngineTables()), 'sglang')
    const own = new EngineTables(options({ engineLabelKey: 'engine' }))
    assert.equal(engine(own, { engine: 'trtllm-serve' }), 'trtllm-serve')
    assert.equal(engine(own), 'triton')
  })

  it('takes the default engine without a label, and for an engine that no table has', () => {
    const tables = new EngineTables(options({ defaultEngine: 'sglang' }))
    assert.equal(tables.of(new Map()).reader.engine, 'sglang')
    const unknown = tables.of(new Map([[LABEL, 'constructor']]))
    assert.equal(unknown.reader.engine, 'sglang')
    assert.equal(unknown.unknownEngine, 'constructor')
  })

  it('changes the specs that are given of a known engine, and takes away the empty ones', () => {
    const tables = new EngineTables(
      options({
        engineConfigs: [
          { name: 'sglang', queuedRequestsSpec: 'sglang:waiting{queue=main}', kvUsageSpec: '' },
        ],
      }),
    )
    const text = `${PAGES.sglang}sglang:waiting{queue="other"} 50\nsglang:waiting{queue="main"} 40\n`
    const said = load(tables, { [LABEL]: 'sglang' }, text) as EndpointMetrics
    assert.deepEqual(
      [said.waiting, said.running, said.kvCacheUsage, said.blockTokens],
      [40, 5, 0, 64],
    )
  })

  it('knows an engine that the configuration adds', () => {
    const tables = new EngineTables(
      options({
        defaultEngine: 'own',
        engineConfigs: [
          {
            name: 'own',
            runningRequestsSpec: 'own_running',
            cacheInfoSpec: 'own_cache',
            cacheBlockSizeLabelName: 'tokens',
            cacheNumBlocksLabelName: 'blocks',
          },
        ],
      }),
    )
    const said = load(tables, {}, 'own_running 3\nown_cache{tokens="8",blocks="90"} 1\n')
    const { running, waiting, blockTokens, kvBlocks } = said as EndpointMetrics
    assert.deepEqual([running, waiting, blockTokens, kvBlocks], [3, 0, 8, 90])
  })

  it("has flags' names count for the default engine alone", () => {
    const names = { waiting: parseMetricSelector('vllm:num_requests_waiting_by_reason{reason=a}') }
    const tables = new EngineTables(undefined, names)
    const text = `${PAGES.vllm}vllm:num_requests_waiting_by_reason{reason="a"} 30\n`
    const said = load(tables, {}, text) as EndpointMetrics
    assert.deepEqual([said.waiting, said.running], [30, 2])
    const other = load(tables, { [LABEL]: 'sglang' }, PAGES.sglang) as EndpointMetrics
    assert.deepEqual([other.waiting, other.running], [2, 5])
  })

  describe('custom metrics', () => {
    const customs = (...lines: string[]) => {
      const tables = new EngineTables(
        options({
          engineConfigs: [
            {
              name: 'vllm',
              customMetrics: [
                { attributeKey: 'preemptions', metricSpec: 'vllm:num_preemptions_total' },
                { attributeKey: 'heat', metricSpec: 'gpu_temp{gpu=1}' },
              ],
            },
          ],
        }),
      )
      const text = `${PAGES.vllm}${lines.join('\n')}\n`
      const reading = tables.of(new Map()).reader.read(page(text), undefined)
      assert.ok('load' in reading)
      return { ...Object.fromEntries(reading.load.custom), untold: reading.untold }
    }

    it('are read by their names and labels', () => {
      assert.deepEqual(
        customs(
          'vllm:num_preemptions_total{engine="0"} 17',
          'gpu_temp{gpu="0"} 40',
          'gpu_temp{gpu="1"} -71.5',
        ),
        { preemptions: 17, heat: -71.5, untold: [] },
      )
    })

    it('are the newest of several, the first among equally old ones', () => {
      assert.deepEqual(
        customs(
          'vllm:num_preemptions_total{engine="0"} 1 1700000000000',
          'vllm:num_preemptions_total{engine="1"} 2 1700000009000',
          'vllm:num_preemptions_total{engine="2"} 3',
          'gpu_temp{gpu="1",a="1"} 5',
          'gpu_temp{gpu="1",a="2"} 6',
        ),
        { preemptions: 2, heat: 5, untold: [] },
      )
    })

    it('are missing where the page has none, or no number, and that is said', () => {
      assert.deepEqual(customs('gpu_temp{gpu="1"} NaN', 'gpu_temp{gpu="0"} 1'), {
        untold: ['"preemptions" (vllm:num_preemptions_total)', '"heat" (gpu_temp)'],
      })
    })

    it('never keep a page from being read', () => {
      const { untold, ...values } = customs('vllm:num_preemptions_total{engine="0" 17')
      assert.deepEqual(values, {})
      assert.equal(untold.length, 2)
    })
  })

  const wrong: readonly (readonly [string, Partial<EngineTableOptions>, RegExp])[] = [
    [
      'a spec that is no metric',
      { engineConfigs: [{ name: 'vllm', loraSpec: 'a b' }] },
      /"a b" is not a metric; write NAME or NAME\{LABEL=VALUE,...\}/,
    ],
    [
      'an engine without a load metric',
      { engineConfigs: [{ name: 'own', loraSpec: 'a' }] },
      /engine "own" has none of queuedRequestsSpec, runningRequestsSpec and kvUsageSpec; give one at least/,
    ],
    [
      'a default engine that is not there',
      { defaultEngine: 'vlm' },
      /the default engine "vlm" is not among vllm, sglang, .*; add it to engineConfigs/,
    ],
  ]
  for (const [what, given, message] of wrong) {
    it(`refuses ${what}`, () => {
      assert.throws(() => new EngineTables(options(given)), { name: 'RangeError', message })
    })
  }

  it('says which label fits a page that is not the one expected', () => {
    const tables = new EngineTables()
    for (const engine of Object.keys(PAGES) as (keyof typeof PAGES)[]) {
      assert.equal(tables.labelFor(page(PAGES[engine])), `${LABEL}: ${engine}`)
    }
    assert.equal(tables.labelFor(page('<html>sglang:</html>')), undefined)
  })

  it('reads every page as a reader does that has seen no other before', () => {
    const random = seededRandom(11)
    const pages = [
      'v0.10.0-load',
      'v0.23.0-idle',
      'v0.23.0-load',
      'v0.32.0-dp2',
      'v0.32.0-load',
    ].map((name) => gunzipSync(readFileSync(`test/fixtures/metrics/${name}.txt.gz`)).toString())
    const used = new EngineTables().of(new Map()).reader
    for (let i = 0; i < 300; i++) {
      const lines = pages[Math.floor(random.next() * pages.length)]!.split('\n')
      // Metrics move by blocks of lines, become longer, or are missing.
      const cut = Math.floor(random.next() * lines.length)
      const moved = random.next() < 0.5 ? [...lines.slice(cut), ...lines.slice(0, cut)] : lines
      const text = page(
        moved
          .filter(() => random.next() < 0.98)
          .map((line) => (line.startsWith('#') && random.next() < 0.1 ? `${line} more` : line))
          .join('\n'),
      )
      const rank = random.next() < 0.5 ? undefined : Math.floor(random.next() * 3)
      const fresh = new EngineTables().of(new Map()).reader
      assert.deepEqual(used.read(text, rank), fresh.read(text, rank), `page ${i}`)
    }
  })
})
