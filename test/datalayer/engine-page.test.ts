import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { type EngineMetricNames, EngineTables } from '../../src/datalayer/engine-tables.ts'
import { parseMetricSelector } from '../../src/datalayer/metric-selector.ts'
import type { AdapterLoad } from '../../src/framework/endpoint.ts'

const recorded = (name: string) => gunzipSync(readFileSync(`test/fixtures/metrics/${name}.txt.gz`))
const page = (...lines: string[]) => Buffer.from(`${lines.join('\n')}\n`)
const LINES = [
  'vllm:num_requests_running{engine="0",model_name="m"} 2.0',
  'vllm:num_requests_waiting{engine="0",model_name="m"} 1.0',
  'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25',
]
const CONFIG =
  'vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="573",prefix_caching_hash_algo="sha256"} 1.0'

/** The reader of the default engine, under these names. */
const readerOf = (names?: EngineMetricNames) =>
  new EngineTables(undefined, names).of(new Map()).reader
const readVllmPage = (text: Buffer, rank: number | undefined, names?: EngineMetricNames) =>
  readerOf(names).read(text, rank)
/** What a page without LoRA and custom metrics says of them. */
const PLAIN = { adapters: undefined, custom: new Map() }
const IDLE_ADAPTERS = { running: [], waiting: [], max: 2 }

describe('EnginePageReader', () => {
  const loads: readonly (readonly [
    ...[string, number, number, string, AdapterLoad | undefined],
    prefixCache: readonly number[],
    samples: number,
  ])[] = [
    [
      'v0.10.0-load',
      0.3666666666666667,
      120,
      'sha256_cbor_64bit',
      undefined,
      [22_320, 15_232, 36],
      9,
    ],
    [
      'v0.23.0-load',
      0.3093525179856115,
      140,
      'sha256_cbor',
      IDLE_ADAPTERS,
      [23_931, 15_808, 39],
      13,
    ],
    [
      'v0.32.0-load',
      0.3165467625899281,
      140,
      'sha256_cbor',
      IDLE_ADAPTERS,
      [24_815, 16_192, 42],
      14,
    ],
  ]
  for (const [name, kvCacheUsage, kvBlocks, hashAlgorithm, adapters, counters, samples] of loads) {
    const [queriedTokens, hitTokens, finishedRequests] = counters
    it(`reads the recorded page ${name}`, () => {
      assert.deepEqual(readVllmPage(recorded(name), undefined), {
        load: {
          waiting: 4,
          running: 8,
          kvCacheUsage,
          blockTokens: 64,
          kvBlocks,
          hashAlgorithm,
          adapters,
          prefixCache: { queriedTokens, hitTokens, finishedRequests },
          custom: new Map(),
        },
        untold: [],
        samples,
      })
    })
  }

  describe('LoRA adapters', () => {
    const adapters = (...lines: string[]) => {
      const reading = readVllmPage(page(...LINES, ...lines), undefined)
      return 'load' in reading ? reading.load.adapters : reading
    }
    const info = (running: string, waiting: string, value: string, max = '4') =>
      `vllm:lora_requests_info{max_lora="${max}",running_lora_adapters="${running}",waiting_lora_adapters="${waiting}"} ${value}`

    it('are those of the series with the largest value, wherever it stands', () => {
      assert.deepEqual(
        adapters(
          info('', '', '1.7952132468e+09'),
          info('sql-lora,chat', 'chat', '1.7952132471e+09'),
          info('old', 'old', '1.795213247e+09'),
        ),
        { running: ['sql-lora', 'chat'], waiting: ['chat'], max: 4 },
      )
    })

    it('are those of a recorded page as they were while it served them', () => {
      const text = recorded('v0.32.0-load')
        .toString()
        .replace(/^vllm:lora_requests_info\{.*running_lora_adapters="",.*\n/m, '')
      const reading = readVllmPage(Buffer.from(text), undefined)
      assert.ok('load' in reading)
      assert.deepEqual(reading.load.adapters, {
        running: ['chat-lora'],
        waiting: ['chat-lora'],
        max: 2,
      })
    })

    it('may have any name and stand between spaces', () => {
      assert.deepEqual(adapters(info(' größe , a\\"b\\\\c ,', '', '1')), {
        running: ['größe', 'a"b\\c'],
        waiting: [],
        max: 4,
      })
    })

    it('are unknown without a series, none without labels', () => {
      assert.equal(adapters('# TYPE vllm:lora_requests_info gauge'), undefined)
      assert.deepEqual(adapters('vllm:lora_requests_info 1'), { running: [], waiting: [], max: 0 })
      assert.equal((adapters(info('a', '', '1', 'None')) as AdapterLoad).max, 0)
    })
  })

  it('reads an idle page', () => {
    const reading = readVllmPage(recorded('v0.23.0-idle'), undefined)
    assert.ok('load' in reading)
    assert.deepEqual([reading.load.running, reading.load.waiting], [0, 0])
  })

  it('joins the engines of one page, or takes the one of a rank', () => {
    const text = recorded('v0.32.0-dp2')
      .toString('latin1')
      .replace(/(num_requests_running\{engine="0".*\}) 0\.0/, '$1 3.0')
      .replace(/(num_requests_running\{engine="1".*\}) 0\.0/, '$1 5.0')
      .replace(/(num_requests_waiting\{engine="1".*\}) 0\.0/, '$1 2.0')
      .replace(/(kv_cache_usage_perc\{engine="0".*\}) 0\.0/, '$1 0.5')
    const load = (rank: number | undefined) => {
      const reading = readVllmPage(Buffer.from(text, 'latin1'), rank)
      assert.ok('load' in reading)
      const { running, waiting, kvCacheUsage, kvBlocks } = reading.load
      return { running, waiting, kvCacheUsage, kvBlocks }
    }
    assert.deepEqual(load(undefined), { running: 8, waiting: 2, kvCacheUsage: 0.5, kvBlocks: 200 })
    assert.deepEqual(load(0), { running: 3, waiting: 0, kvCacheUsage: 0.5, kvBlocks: 100 })
    assert.deepEqual(load(1), { running: 5, waiting: 2, kvCacheUsage: 0, kvBlocks: 100 })
    assert.deepEqual(load(7), load(undefined), 'a rank that is not there')
  })

  it('takes no longer name for the name, in whatever order the lines stand', () => {
    const reading = readVllmPage(
      page(
        'vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0',
        '# TYPE vllm:num_requests_waiting gauge',
        'vllm:num_requests_running_total 9.0',
        ...LINES,
        CONFIG,
      ),
      undefined,
    )
    assert.deepEqual(reading, {
      load: {
        waiting: 1,
        running: 2,
        kvCacheUsage: 0.25,
        blockTokens: 16,
        kvBlocks: 573,
        hashAlgorithm: 'sha256',
        ...PLAIN,
      },
      untold: [],
      samples: 4,
    })
  })

  it('reads lines without labels, with a time, at the very beginning and end of a page', () => {
    const text =
      'vllm:num_requests_running 2\nvllm:num_requests_waiting 1 1700000000000\nvllm:kv_cache_usage_perc 1e-1'
    const reading = readVllmPage(Buffer.from(text), undefined)
    assert.deepEqual('load' in reading && reading.load, {
      waiting: 1,
      running: 2,
      kvCacheUsage: 0.1,
      blockTokens: undefined,
      kvBlocks: undefined,
      hashAlgorithm: undefined,
      ...PLAIN,
    })
  })

  it('finds all series of a metric that begins far from where the last page had it', () => {
    const reader = readerOf()
    const series = Array.from({ length: 200 }, (_, i) => LINES[0]!.replace('"m"', `"model-${i}"`))
    for (const fillerLines of [100, 0, 40, 200, 1]) {
      const filler = Array.from({ length: fillerLines }, () => `# ${'x'.repeat(60)}`)
      const reading = reader.read(page(...filler, ...series, LINES[1]!, LINES[2]!), undefined)
      assert.equal('load' in reading && reading.load.running, 400, `after ${fillerLines} lines`)
    }
  })

  it('takes the old name of the use where the new one is missing', () => {
    const old = LINES[2]!.replace('kv_cache', 'gpu_cache').replace('0.25', '0.75')
    const reading = (lines: readonly string[]) => {
      const found = readVllmPage(page(...lines), undefined)
      return 'load' in found ? found.load.kvCacheUsage : found.fault
    }
    assert.equal(reading([LINES[0]!, LINES[1]!, old]), 0.75)
    assert.equal(reading([...LINES, old]), 0.25)
  })

  it('finds labels by their exact name, whatever their values hold', () => {
    const config =
      'vllm:cache_config_info{hash_block_size="99",x="a,block_size=",y="\\"block_size=\\"7",block_size="32",num_gpu_blocks="None"} 1.0'
    const reading = readVllmPage(page(...LINES, config), undefined)
    assert.ok('load' in reading)
    assert.deepEqual(
      [reading.load.blockTokens, reading.load.kvBlocks, reading.load.hashAlgorithm],
      [32, undefined, undefined],
    )
  })

  describe('with the names of other engines', () => {
    const triton: EngineMetricNames = {
      waiting: parseMetricSelector('nv_trt_llm_request_metrics{request_type=waiting}'),
      kvCacheUsage: parseMetricSelector(
        'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=fraction}',
      ),
    }
    const TRITON = [
      'nv_trt_llm_request_metrics{model="t",request_type="scheduled",version="1"} 7',
      'nv_trt_llm_request_metrics{model="t",request_type="waiting",version="1"} 3',
      'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="max",model="t"} 900',
      'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="t"} 0.5',
    ]
    const load = (lines: readonly string[], names: EngineMetricNames) => {
      const reading = readVllmPage(page(...lines), undefined, names)
      return 'load' in reading ? reading.load : reading
    }

    it('takes the series with the labels asked for, and needs no running requests', () => {
      assert.deepEqual(load(TRITON, triton), {
        waiting: 3,
        running: 0,
        kvCacheUsage: 0.5,
        blockTokens: undefined,
        kvBlocks: undefined,
        hashAlgorithm: undefined,
        ...PLAIN,
      })
      assert.equal(readerOf(triton).tellsRunning, false)
      const running = parseMetricSelector('nv_trt_llm_request_metrics{request_type=scheduled}')
      const reader = readerOf({ ...triton, running })
      assert.equal(reader.tellsRunning, true)
      const reading = reader.read(page(...TRITON), undefined)
      assert.equal('load' in reading && reading.load.running, 7)
    })

    it('reads SGLang with its block size and blocks', () => {
      const names = {
        waiting: parseMetricSelector('sglang:num_queue_reqs'),
        running: parseMetricSelector('sglang:num_running_reqs'),
        kvCacheUsage: parseMetricSelector('sglang:token_usage'),
        cacheConfig: parseMetricSelector('sglang:cache_config_info'),
      }
      const lines = [
        'sglang:num_queue_reqs{model_name="m"} 2.0',
        'sglang:num_running_reqs{model_name="m"} 5.0',
        'sglang:token_usage{model_name="m"} 0.75',
        'sglang:cache_config_info{page_size="64",num_pages="120"} 1.0',
      ]
      assert.deepEqual(load(lines, names), {
        waiting: 2,
        running: 5,
        kvCacheUsage: 0.75,
        blockTokens: 64,
        kvBlocks: 120,
        hashAlgorithm: undefined,
        ...PLAIN,
      })
      assert.deepEqual(load(lines.slice(1), names), {
        fault: 'metric-missing',
        detail: 'no sglang:num_queue_reqs on the page',
      })
    })

    it('does without a page of another engine', () => {
      assert.deepEqual(load(LINES, triton), {
        fault: 'not-metrics',
        detail: 'no nv_trt_llm_request_metrics on the page',
      })
      assert.deepEqual(load([TRITON[0]!, TRITON[3]!], triton), {
        fault: 'metric-missing',
        detail: 'no nv_trt_llm_request_metrics on the page',
      })
    })

    it("takes either of vLLM's names of the use, whichever was asked for", () => {
      const old = { kvCacheUsage: parseMetricSelector('vllm:gpu_cache_usage_perc') }
      const reading = readVllmPage(page(...LINES), undefined, old)
      assert.equal('load' in reading && reading.load.kvCacheUsage, 0.25)
    })
  })

  const faults: readonly (readonly [string, Buffer, string, string])[] = [
    [
      'a page of HTML',
      page('<html><body>502 Bad Gateway</body></html>'),
      'not-metrics',
      'no vllm:num_requests_running on the page',
    ],
    ['nothing', Buffer.alloc(0), 'not-metrics', 'no vllm:num_requests_running on the page'],
    [
      'another engine',
      page('sglang:num_queue_reqs 0'),
      'not-metrics',
      'no vllm:num_requests_running on the page',
    ],
    [
      'a page without the queue',
      page(LINES[0]!, LINES[2]!),
      'metric-missing',
      'no vllm:num_requests_waiting on the page',
    ],
    [
      'a page without the use',
      page(LINES[0]!, LINES[1]!),
      'metric-missing',
      'no vllm:kv_cache_usage_perc on the page',
    ],
    [
      'a value that is no number',
      page(LINES[0]!, LINES[1]!.replace('1.0', 'NaN'), LINES[2]!),
      'bad-value',
      'vllm:num_requests_waiting is NaN',
    ],
    [
      'an infinite value',
      page(LINES[0]!.replace('2.0', '+Inf'), LINES[1]!, LINES[2]!),
      'bad-value',
      'vllm:num_requests_running is NaN',
    ],
    [
      'a negative value',
      page(LINES[0]!.replace('2.0', '-1'), LINES[1]!, LINES[2]!),
      'bad-value',
      'vllm:num_requests_running is -1',
    ],
    [
      'a line that is cut off',
      Buffer.from(`${LINES[0]}\n${LINES[1]}\nvllm:kv_cache_usage_perc{engine="0`),
      'bad-value',
      'vllm:kv_cache_usage_perc is NaN',
    ],
    [
      'a line without a value',
      page(LINES[0]!, LINES[1]!, 'vllm:kv_cache_usage_perc{engine="0"}'),
      'bad-value',
      'vllm:kv_cache_usage_perc is NaN',
    ],
  ]
  for (const [what, bytes, fault, detail] of faults) {
    it(`says why ${what} is no reading`, () => {
      assert.deepEqual(readVllmPage(bytes, undefined), { fault, detail })
    })
  }

  it('reads every cut of a real page without failing', () => {
    const whole = recorded('v0.23.0-load')
    for (let length = 0; length < whole.length; length += 97) {
      const reading = readVllmPage(whole.subarray(0, length), 0)
      assert.ok('fault' in reading || reading.load.waiting === 4)
    }
  })

  describe('of ranks behind one port', () => {
    const series = (label: string, ...values: readonly (readonly [number, number, number])[]) =>
      ['num_requests_running', 'num_requests_waiting', 'kv_cache_usage_perc'].flatMap((name, i) =>
        values.map((of, rank) => `vllm:${name}{${label}="${rank}"} ${of[i]}`),
      )
    const info = (rank: number) =>
      `vllm:cache_config_info{block_size="16",engine="${rank}",num_gpu_blocks="900"} 1.0`

    it('gives each its own series, and its part of the blocks that each states for all', () => {
      const text = page(...series('engine', [1, 2, 0.5], [3, 0, 0.25]), info(0), info(1))
      const reading = readerOf().readRanks(text, 2)
      assert.ok('loads' in reading)
      assert.deepEqual(
        reading.loads.map((load) => [
          load!.running,
          load!.waiting,
          load!.kvCacheUsage,
          load!.kvBlocks,
        ]),
        [
          [1, 2, 0.5, 450],
          [3, 0, 0.25, 450],
        ],
      )
      assert.deepEqual([reading.told, reading.untold], [['0', '1'], []])
    })

    it('reads what SGLang calls them', () => {
      const reader = new EngineTables().of(new Map([['llm-d.ai/engine-type', 'sglang']])).reader
      const of = (name: string) => [4, 5].map((n, rank) => `sglang:${name}{dp_rank="${rank}"} ${n}`)
      const names = ['num_running_reqs', 'num_queue_reqs', 'token_usage']
      const reading = reader.readRanks(page(...names.flatMap(of)), 2)
      assert.ok('loads' in reading)
      assert.deepEqual(
        reading.loads.map((load) => load!.running),
        [4, 5],
      )
    })

    it('gives nothing to a rank that the page does not tell of though it tells of others', () => {
      const reading = readerOf().readRanks(page(...series('engine', [1, 2, 0.5])), 2)
      assert.ok('loads' in reading)
      assert.deepEqual(
        reading.loads.map((load) => load?.running),
        [1, undefined],
      )
      assert.deepEqual(reading.told, ['0'])
    })

    it('shares the load equally where it is not told by rank, and says so', () => {
      const lines = LINES.map((line) => line.replace('engine="0",', ''))
      const counters = ['queries', 'hits'].map((name) => `vllm:prefix_cache_${name}_total 64`)
      const blocks = 'vllm:cache_config_info{block_size="16",num_gpu_blocks="573"} 1.0'
      const text = page(...lines, ...counters, 'vllm:request_success_total 1', blocks)
      const reading = readerOf().readRanks(text, 4)
      assert.ok('loads' in reading)
      const share = {
        ...{ waiting: 0.25, running: 0.5, kvCacheUsage: 0.25, blockTokens: 16, kvBlocks: 143 },
        ...{ hashAlgorithm: undefined, ...PLAIN },
      }
      assert.deepEqual(reading.loads, [share, share, share, share])
      assert.deepEqual(reading.untold, ['load by rank (each has an equal share)'])
    })

    it('is no reading when a series of any is wrong', () => {
      const text = page(...series('engine', [1, 2, 0.5], [-3, 0, 0.25]))
      assert.deepEqual(readerOf().readRanks(text, 2), {
        fault: 'bad-value',
        detail: 'vllm:num_requests_running is -3 (rank 1)',
      })
    })

    it('costs no more than the page has lines', () => {
      const many = Array.from({ length: 256 }, (_, rank) => [rank, 0, 0] as const)
      const text = page(...series('engine', ...many))
      const reader = readerOf()
      const startMs = performance.now()
      const reading = reader.readRanks(text, 256)
      const tookMs = performance.now() - startMs
      console.log(`        256 ranks of one page in ${tookMs.toFixed(1)} ms (limit 200)`)
      assert.ok('loads' in reading && reading.loads[255]!.running === 255)
      assert.ok(tookMs < 2000, `${tookMs} ms`)
    })
  })
})
