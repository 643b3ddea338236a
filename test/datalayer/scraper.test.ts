import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { generate } from 'selfsigned'
import { EndpointStore } from '../../src/datalayer/endpoint-store.ts'
import { parseMetricSelector } from '../../src/datalayer/metric-selector.ts'
import { Scraper, type ScraperOptions } from '../../src/datalayer/scraper.ts'
import type { EndpointSpec } from '../../src/framework/endpoint.ts'
import { seededRandom } from '../../src/framework/random.ts'
import { Engine, load, text } from './engine.ts'
import { PAGES } from './engine-pages.ts'
import { telemetry, until } from './telemetry.ts'

const clock = { nowMs: () => performance.now(), epochMs: () => Date.now() }
const FAST: ScraperOptions = {
  intervalMs: 10,
  idleIntervalMs: 10,
  timeoutMs: 200,
  stalenessMs: 500,
  maxBackoffMs: 40,
}
/** Where a scrape that takes long on a busy machine must not count as failed. */
const PATIENT: ScraperOptions = { ...FAST, timeoutMs: 10_000, stalenessMs: 30_000 }
const specOf = (engine: Engine, fields: Partial<EndpointSpec> = {}): EndpointSpec => ({
  namespace: 'default',
  name: `engine-${engine.address}`,
  address: engine.address,
  port: engine.port,
  rank: 0,
  labels: {},
  ...fields,
})

describe('Scraper', () => {
  let engines: Engine[]
  let scraper: Scraper | undefined
  const engine = async (address: string, answer: Engine['answer'], port = 0) => {
    const started = await Engine.start(address, answer, port)
    engines.push(started)
    return started
  }
  const start = (specs: readonly EndpointSpec[], options = FAST) => {
    const services = telemetry()
    const store = new EndpointStore(services)
    store.replace('test', specs)
    scraper = new Scraper(
      { ...services, endpoints: store, sink: store, clock, random: seededRandom(7) },
      options,
    )
    scraper.start()
    const metrics = (index = 0) => store.list()[index]?.metrics
    return { ...services, store, metrics, scraper }
  }

  beforeEach(() => {
    engines = []
  })
  afterEach(async () => {
    await scraper?.stop()
    scraper = undefined
    await Promise.all(engines.map((each) => each.stop()))
  })

  it('puts what a real page says into the store, over one connection', async () => {
    const page = gunzipSync(readFileSync('test/fixtures/metrics/v0.32.0-load.txt.gz'))
    const one = await engine('127.0.0.2', text(page))
    const { metrics, value } = start([specOf(one)])
    await until('five scrapes', () => one.requests >= 5)
    const { scrapedAtMs, ...said } = metrics()!
    assert.deepEqual(said, {
      waiting: 4,
      running: 8,
      kvCacheUsage: 0.3165467625899281,
      blockTokens: 64,
      kvBlocks: 140,
      hashAlgorithm: 'sha256_cbor',
      prefixCache: { queriedTokens: 24_815, hitTokens: 16_192, finishedRequests: 42 },
      adapters: { running: [], waiting: [], max: 2 },
      custom: new Map(),
    })
    assert.ok(Math.abs(performance.now() - scrapedAtMs) < 1000)
    assert.equal(one.connections, 1)
    assert.ok((await value('epp_scrapes_total{result="ok"}'))! >= 4)
    assert.ok((await value('epp_scrape_duration_seconds_count'))! >= 4)
  })

  it('follows the load, and asks at the metrics port where there is one', async () => {
    const one = await engine('127.0.0.2', load(1, 2))
    const { metrics } = start([specOf(one, { port: 1, metricsPort: one.port })])
    await until('the first load', () => metrics()?.waiting === 1)
    one.answer = load(7, 8)
    await until('the second load', () => metrics()?.waiting === 7 && metrics()?.running === 8)
  })

  it('asks at the port, path and names that it is told, but first where discovery says', async () => {
    const page =
      'nv_trt_llm_request_metrics{request_type="scheduled"} 9\n' +
      'nv_trt_llm_request_metrics{request_type="waiting"} 4\n' +
      'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction"} 0.25\n'
    const paths = new Set<string | undefined>()
    const one = await engine('127.0.0.2', (request, response) => {
      paths.add(request.url)
      response.end(page)
    })
    const options: ScraperOptions = {
      ...FAST,
      port: one.port,
      path: '/other/metrics',
      names: {
        waiting: parseMetricSelector('nv_trt_llm_request_metrics{request_type=waiting}'),
        kvCacheUsage: parseMetricSelector(
          'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=fraction}',
        ),
      },
    }
    const said = specOf(one, { port: 3, metricsPort: one.port })
    const { metrics } = start([specOf(one, { port: 1 }), said], options)
    await until('metrics of both', () => metrics(0) !== undefined && metrics(1) !== undefined)
    const { waiting, running, kvCacheUsage } = metrics()!
    assert.deepEqual([waiting, running, kvCacheUsage], [4, 0, 0.25])
    assert.deepEqual([...paths], ['/other/metrics'])
    await scraper!.stop()
    const { metrics: later } = start([said], { ...options, port: 1 })
    await until('metrics at its own port', () => later()?.waiting === 4)
  })

  it('asks over TLS, and verifies certificates only when told so', async () => {
    const made = await generate([{ name: 'commonName', value: 'engine' }], {
      keyType: 'ec',
      algorithm: 'sha256',
    })
    const tls = { cert: made.cert, key: made.private }
    const one = await Engine.start('127.0.0.2', load(5, 1), 0, tls)
    engines.push(one)
    const { metrics } = start([specOf(one)], { ...FAST, scheme: 'https' })
    await until('metrics', () => metrics()?.waiting === 5)
    await scraper!.stop()
    const strict = { ...FAST, scheme: 'https', insecureSkipVerify: false } as const
    const { notices } = start([specOf(one)], strict)
    await until('the reason', () => /SELF_SIGNED/.test(notices.list()[0]?.text ?? ''))
  })

  it('gives ranks of one server their own series', async () => {
    const lines = [0, 1].map(
      (rank) =>
        `vllm:num_requests_running{engine="${rank}"} ${rank + 3}\n` +
        `vllm:num_requests_waiting{engine="${rank}"} 0\nvllm:kv_cache_usage_perc{engine="${rank}"} 0\n`,
    )
    const metric = (name: string) =>
      lines
        .join('')
        .split('\n')
        .filter((line) => line.startsWith(name))
        .join('\n')
    const page = ['vllm:num_requests_running', 'vllm:num_requests_waiting', 'vllm:kv'].map(metric)
    const one = await engine('127.0.0.2', text(`${page.join('\n')}\n`))
    const rank0 = specOf(one, { port: 1, metricsPort: one.port })
    const rank1 = specOf(one, { port: 2, metricsPort: one.port, rank: 1 })
    const { store, metrics } = start([rank0, rank1])
    await until('both ranks', () => metrics(0)?.running === 3 && metrics(1)?.running === 4)
    store.replace('test', [rank0])
    await until('the server without ranks', () => metrics(0)?.running === 7)
  })

  const broken: readonly (readonly [string, Engine['answer'], string, RegExp])[] = [
    ['a page of HTML', text('<html>'), 'not-metrics', /no vllm:num_requests_running on the page/],
    ['an error status', text('no', 503), 'status', /HTTP status 503/],
    [
      'a page that never ends',
      (_request, response) => {
        const more = () => {
          if (response.write(Buffer.alloc(256 * 1024, 0x78))) setImmediate(more)
          else response.once('drain', more)
        }
        more()
      },
      'too-large',
      /more than 4194304 bytes/,
    ],
    ['an answer that never comes', () => {}, 'timeout', /no answer in 200 ms/],
    [
      'a connection that breaks off',
      (request) => request.socket.destroy(),
      'connect',
      /UND_ERR_SOCKET|ECONNRESET/,
    ],
    [
      'garbage instead of HTTP',
      (request) => request.socket.end('garbage\r\n\r\n'),
      'connect',
      /does not match the HTTP/,
    ],
    [
      'a compressed page',
      text(Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0])),
      'not-metrics',
      /no vllm/,
    ],
  ]
  for (const [what, answer, result, reason] of broken) {
    it(`forgets metrics that ${what} no longer renews, says so, and takes them up again`, async () => {
      const one = await engine('127.0.0.2', load(1, 1))
      const two = await engine('127.0.0.3', load(2, 2))
      const { metrics, notices, lines, value } = start([specOf(one), specOf(two)])
      await until('metrics of both', () => metrics(0) !== undefined && metrics(1) !== undefined)
      one.answer = answer
      await until('staleness', () => metrics(0) === undefined)
      await until('a failure counted', async () => {
        return ((await value(`epp_scrapes_total{result="${result}"}`)) ?? 0) > 0
      })
      await until('the reason in the notice', () => reason.test(notices.list()[0]?.text ?? ''))
      assert.match(
        notices.list()[0]!.text,
        /^no metrics from 1 of 2 endpoints, .*: 127\.0\.0\.2:\d+ \(/,
      )
      assert.equal(await value('epp_endpoints_stale'), 1)
      assert.notEqual(metrics(1), undefined, 'the other endpoint is not touched')
      one.answer = load(3, 3)
      await until('fresh metrics', () => metrics(0)?.waiting === 3)
      assert.deepEqual(notices.list(), [])
      const warnings = lines.filter((line) => line.includes('metrics of an endpoint are stale'))
      assert.equal(warnings.length, 1)
    })
  }

  it('says that an endpoint never answered', async () => {
    const gone = await engine('127.0.0.2', load(0, 0))
    await gone.stop()
    engines = []
    const { metrics, notices } = start([specOf(gone)])
    await until('the notice', () => notices.list().length === 1)
    assert.match(notices.list()[0]!.text, /ECONNREFUSED/)
    assert.equal(metrics(), undefined)
  })

  it('backs off from an endpoint that fails, up to a limit, and finds it again', async () => {
    const one = await engine('127.0.0.2', text('no', 500))
    const { metrics } = start([specOf(one)], { ...FAST, intervalMs: 10, maxBackoffMs: 100 })
    await until('three failures', () => one.requests >= 3)
    const before = one.requests
    const beganMs = performance.now()
    await until('five more', () => one.requests >= before + 5)
    assert.ok(performance.now() - beganMs > 250, 'five scrapes at 90 ms or more, not at 10')
    one.answer = load(1, 0)
    await until('metrics', () => metrics()?.waiting === 1)
  })

  it('asks an idle endpoint less often', async () => {
    const idle = await engine('127.0.0.2', load(0, 0))
    const busy = await engine('127.0.0.3', load(0, 1))
    start([specOf(idle), specOf(busy)], { ...FAST, idleIntervalMs: 1000 })
    await until('twenty scrapes of the busy one', () => busy.requests >= 20)
    assert.ok(idle.requests >= 1 && idle.requests <= busy.requests / 2, `${idle.requests}`)
  })

  it('asks an idle endpoint often enough for its metrics to be believed', async () => {
    const idle = await engine('127.0.0.2', load(0, 0))
    const busy = await engine('127.0.0.3', load(0, 1))
    const short = { intervalMs: 40, timeoutMs: 200, stalenessMs: 160 }
    start([specOf(idle), specOf(busy)], short)
    await until('thirty scrapes of the busy one', () => busy.requests >= 30)
    // Five intervals would be longer than metrics are believed.
    assert.ok(idle.requests * 3 > busy.requests, `${idle.requests} of ${busy.requests}`)
  })

  describe('at servers that can leave metrics out', () => {
    const whole = () => gunzipSync(readFileSync('test/fixtures/metrics/v0.32.0-load.txt.gz'))
    const namesOf = (url: string | undefined) =>
      new Set(new URL(url ?? '', 'http://engine').searchParams.getAll('name[]'))
    /** As prometheus_client does: samples whose own name is asked for. */
    const filtered = (page: string, names: ReadonlySet<string>) => {
      if (names.size === 0) return page
      const isAsked = (line: string) => names.has(/^[\w:]+/.exec(line)?.[0] ?? '')
      return page.split('\n').filter(isAsked).join('\n').concat('\n')
    }
    const count = (page: string) => page.split('\n').filter((line) => /^[^#]/.test(line)).length

    it('asks once for all and then for what is read, which says the same', async () => {
      const asked: number[] = []
      const page = whole().toString()
      const one = await engine('127.0.0.2', (request, response) => {
        const names = namesOf(request.url)
        asked.push(names.size)
        response.end(filtered(page, names))
      })
      const { metrics, value } = start([specOf(one)], PATIENT)
      await until('the first page', () => metrics() !== undefined)
      const { scrapedAtMs: _, ...first } = metrics()!
      await until('six scrapes', () => one.requests >= 6)
      const { scrapedAtMs: __, ...later } = metrics()!
      assert.deepEqual(later, first)
      assert.equal(later.kvBlocks, 140)
      const [names] = asked.slice(1)
      assert.deepEqual(asked, [0, ...new Array(asked.length - 1).fill(names)])
      assert.ok(names! >= 8, `${names}`)
      assert.equal(await value('epp_metrics_pages_filtered'), 1)
    })

    it('asks for metrics of the configuration too, from when they are configured', async () => {
      const page = gunzipSync(readFileSync('test/fixtures/metrics/v0.32.0-dp2.txt.gz')).toString()
      const bytes: number[] = []
      const one = await engine('127.0.0.2', (request, response) => {
        const answer = filtered(page, namesOf(request.url))
        bytes.push(answer.length)
        response.end(answer)
      })
      const services = start([specOf(one, { rank: 0 })], PATIENT)
      services.scraper.engines({
        defaultEngine: 'vllm',
        engineLabelKey: 'engine',
        engineConfigs: [
          {
            name: 'vllm',
            customMetrics: [{ attributeKey: 'open', metricSpec: 'vllm:engine_sleep_state' }],
          },
        ],
      })()
      await until(
        'it under the tables',
        () => services.metrics()?.custom.get('open') !== undefined && bytes.at(-1)! < 10_000,
      )
      assert.ok(count(page) > 100)
      assert.ok(services.metrics()!.blockTokens !== undefined)
    })

    for (const [what, answer] of [
      ['ignores the names', (page: string) => page],
      [
        'takes the first name alone',
        (page: string, [name]: readonly string[]) => filtered(page, new Set([name!])),
      ],
      ['answers nothing', () => ''],
      ['does not take a query', () => undefined],
    ] as readonly [string, (page: string, names: readonly string[]) => string | undefined][]) {
      it(`asks a server that ${what} for whole pages, and misses no scrape`, async () => {
        const asked: number[] = []
        const page = whole().toString()
        const one = await engine('127.0.0.2', (request, response) => {
          const names = [...namesOf(request.url)]
          asked.push(names.length)
          const said = names.length === 0 ? page : answer(page, names)
          if (said === undefined) response.writeHead(404)
          response.end(said ?? 'no')
        })
        const { metrics, value } = start([specOf(one)], PATIENT)
        await until(
          'six scrapes',
          async () => (await value('epp_scrapes_total{result="ok"}'))! >= 6,
        )
        assert.equal(asked.filter((names) => names > 0).length, 1, asked.join())
        assert.equal(metrics()!.kvBlocks, 140)
        assert.equal(await value('epp_metrics_pages_filtered'), 0)
        const line = 'epp_scrapes_total{result="status"}'
        assert.equal((await value(line)) ?? 0, 0)
      })
    }

    it('asks for all again where an answer tells less than it did, and believes that', async () => {
      let page = whole().toString()
      const asked: number[] = []
      const one = await engine('127.0.0.2', (request, response) => {
        const names = namesOf(request.url)
        asked.push(names.size)
        response.end(filtered(page, names))
      })
      const { metrics, value } = start([specOf(one)], PATIENT)
      await until('it filtered', async () => (await value('epp_metrics_pages_filtered')) === 1)
      asked.length = 0
      page = page.replaceAll(/^vllm:cache_config_info.*\n/gm, '')
      await until('the change', () => metrics()?.kvBlocks === undefined)
      const { length } = asked
      await until('more scrapes', () => asked.length > length + 3)
      assert.equal(asked.filter((names) => names === 0).length, 1, asked.join())
    })

    it('asks a server anew that answers no more as one that filters', async () => {
      let filters = true
      let asked: number[] = []
      const page = whole().toString()
      const one = await engine('127.0.0.2', (request, response) => {
        const names = namesOf(request.url)
        asked.push(names.size)
        response.end(filters ? filtered(page, names) : names.size === 0 ? page : 'gone')
      })
      const { value, metrics } = start([specOf(one)], PATIENT)
      await until('it filtered', async () => (await value('epp_metrics_pages_filtered')) === 1)
      filters = false
      asked = []
      await until('whole pages', () => asked.slice(-3).join() === '0,0,0')
      assert.equal(asked.filter((names) => names > 0).length, 1, asked.join())
      assert.equal(metrics()!.kvBlocks, 140)
    })
  })

  it('stops with its endpoint, and forgets its staleness', async () => {
    const one = await engine('127.0.0.2', text('no', 500))
    const two = await engine('127.0.0.3', load(0, 1))
    const { store, notices, value } = start([specOf(one), specOf(two)])
    await until('the notice', () => notices.list().length === 1)
    store.replace('test', [specOf(two)])
    assert.deepEqual(notices.list(), [])
    assert.equal(await value('epp_endpoints_stale'), 0)
    await until('rest', () => two.requests > 0)
    const { requests } = one
    const seen = two.requests
    await until('ten scrapes of the other', () => two.requests > seen + 10)
    assert.ok(one.requests <= requests + 1)
  })

  it('scrapes anew when a server comes back at its address as another', async () => {
    const one = await engine('127.0.0.2', load(1, 1))
    const { store, metrics } = start([specOf(one, { uid: 'a' })])
    await until('metrics', () => metrics()?.waiting === 1)
    store.replace('test', [specOf(one, { uid: 'b' })])
    assert.equal(metrics(), undefined)
    one.answer = load(2, 2)
    await until('metrics of the new one', () => metrics()?.waiting === 2)
  })

  it('stops within a scrape that hangs', async () => {
    const one = await engine('127.0.0.2', () => {})
    start([specOf(one)], { ...FAST, timeoutMs: 60_000 })
    await until('a scrape', () => one.requests === 1)
    await scraper!.stop()
    scraper = undefined
  })

  describe('with several engines in one pool', () => {
    const LABEL = 'llm-d.ai/engine-type'
    const vllm = gunzipSync(readFileSync('test/fixtures/metrics/v0.32.0-load.txt.gz'))
    const fleet = async () => {
      const specs: EndpointSpec[] = []
      const pages = [
        ['vllm', vllm],
        ['vllm', gunzipSync(readFileSync('test/fixtures/metrics/v0.10.0-load.txt.gz'))],
        ...Object.entries(PAGES).slice(1),
      ] as const
      for (const [i, [name, page]] of pages.entries()) {
        const one = await engine(`127.0.0.${i + 2}`, text(page as string | Buffer))
        specs.push(specOf(one, { labels: i === 0 ? {} : { [LABEL]: name as string } }))
      }
      return specs
    }
    const loads = (store: EndpointStore) =>
      store.list().map(({ metrics }) => metrics && [metrics.waiting, metrics.running])

    it('reads each under its names, and says what some do not tell', async () => {
      const { store, notices, value } = start(await fleet())
      await until('all loads', () => store.list().every(({ metrics }) => metrics !== undefined))
      assert.deepEqual(loads(store), [
        [4, 8],
        [4, 8],
        [2, 5],
        [3, 7],
        [4, 9],
        [11, 0],
      ])
      assert.deepEqual(
        notices.list().map(({ key, text: said }) => [key, said.replace(/:\d+ /, ' ')]),
        [
          [
            'metrics-untold',
            '1 endpoints do not tell all that is asked for: 127.0.0.7 (triton: running requests (counted as 0), KV-cache use (counted as 0))',
          ],
        ],
      )
      assert.equal(await value('epp_endpoints_partly_told{reason="metric"}'), 1)
    })

    it('says which label a page without its own wants, and follows a label that changes', async () => {
      const sglang = await engine('127.0.0.2', text(PAGES.sglang))
      const spec = specOf(sglang)
      const { store, metrics, notices } = start([spec])
      await until('the advice', () => /label the endpoint/.test(notices.list()[0]?.text ?? ''))
      assert.match(
        notices.list()[0]!.text,
        /\(no vllm:num_requests_running on the page; label the endpoint llm-d.ai\/engine-type: sglang\)/,
      )
      const { id } = store.list()[0]!
      store.replace('test', [{ ...spec, labels: { [LABEL]: 'sglang' } }])
      await until('its load', () => metrics()?.running === 5)
      assert.equal(store.list()[0]!.id, id, 'the same endpoint')
      assert.deepEqual(notices.list(), [])
    })

    it('says which engine it does not know, reads it as the default one, and forgets it', async () => {
      const one = await engine('127.0.0.2', load(6, 1))
      const spec = specOf(one, { labels: { [LABEL]: 'vlllm' } })
      const { store, metrics, notices, lines, value } = start([spec])
      await until('its load', () => metrics()?.waiting === 6)
      assert.match(notices.list()[0]!.text, /127\.0\.0\.2:\d+ says "vlllm", read as vllm/)
      assert.equal(await value('epp_endpoints_partly_told{reason="engine"}'), 1)
      assert.equal(lines.filter((line) => line.includes('"engine":"vlllm"')).length, 1)
      store.replace('test', [])
      assert.deepEqual(notices.list(), [])
    })

    it('takes other tables while it runs, and goes back', async () => {
      const one = await engine('127.0.0.2', text(`${PAGES.vllm}${PAGES.sglang}other_waiting 77\n`))
      const { metrics, scraper: running } = start([specOf(one)])
      await until('as vLLM', () => metrics()?.waiting === 1)
      running.engines({
        defaultEngine: 'sglang',
        engineLabelKey: LABEL,
        engineConfigs: [
          { name: 'sglang', customMetrics: [{ attributeKey: 'w', metricSpec: 'other_waiting' }] },
        ],
      })()
      await until('as SGLang', () => metrics()?.waiting === 2)
      assert.deepEqual([...metrics()!.custom], [['w', 77]])
      assert.throws(
        () => running.engines({ defaultEngine: 'none', engineLabelKey: LABEL, engineConfigs: [] }),
        RangeError,
      )
      running.reset()
      await until('as vLLM again', () => metrics()?.waiting === 1)
      assert.equal(metrics()!.custom.size, 0)
    })

    it('moves to another port, path and interval while it runs, with the endpoint kept', async () => {
      const one = await engine('127.0.0.2', load(1, 1))
      const other = await engine('127.0.0.2', (request, response) => {
        text(request.url === '/m' ? PAGES.vllm.replace(' 1.0', ' 9.0') : 'no')(request, response)
      })
      const { store, metrics, scraper: running } = start([specOf(one)])
      await until('the first page', () => metrics()?.waiting === 1)
      const { id } = store.list()[0]!
      const source = { scheme: 'http', insecureSkipVerify: true, intervalMs: 20 } as const
      running.source({ ...source, path: '/m', port: other.port })
      await until('the other page', () => metrics()?.waiting === 9)
      const { requests } = one
      await until('ten more', () => other.requests > 10)
      assert.equal(one.requests, requests)
      assert.equal(store.list()[0]!.id, id)
      running.reset()
      await until('the first page again', () => metrics()?.waiting === 1)
    })

    it('lets what a flag changes come before the configuration', async () => {
      const one = await engine('127.0.0.2', (request, response) => {
        text(request.url === '/flag' ? PAGES.vllm : 'no')(request, response)
      })
      const { metrics, scraper: running } = start([specOf(one)], { ...FAST, path: '/flag' })
      running.source({
        scheme: 'http',
        insecureSkipVerify: true,
        path: '/configuration',
        port: undefined,
        intervalMs: undefined,
      })
      await until('the page', () => metrics()?.waiting === 1)
      const seen = one.requests
      await until('more', () => one.requests > seen + 5)
      assert.equal(metrics()?.waiting, 1)
    })
  })

  describe('of ranks behind one port', () => {
    const ranksPage = (...running: readonly number[]) =>
      text(
        ['num_requests_running', 'num_requests_waiting', 'kv_cache_usage_perc']
          .flatMap((name) =>
            running.map(
              (n, rank) => `vllm:${name}{engine="${rank}"} ${name.endsWith('g') ? n : 0}`,
            ),
          )
          .join('\n'),
      )
    const startRanks = (specs: readonly EndpointSpec[], ranks: number) => {
      const services = telemetry()
      const store = new EndpointStore(services)
      store.setRanksPerPort(ranks)
      store.replace('test', specs)
      const random = seededRandom(7)
      scraper = new Scraper({ ...services, endpoints: store, sink: store, clock, random }, FAST)
      scraper.start()
      const running = () => store.list().map(({ metrics }) => metrics?.running)
      const notice = (key: string) => services.notices.list().find((each) => each.key === key)?.text
      return { ...services, store, running, notice }
    }

    it('fetches one page for all, as long as one of them is there', async () => {
      const one = await engine('127.0.0.2', ranksPage(3, 4, 5))
      const { store, running, value } = startRanks([specOf(one)], 3)
      await until('all ranks', () => running().join() === '3,4,5')
      assert.equal(one.connections, 1)
      const [scrapes, requests] = [await value('epp_scrapes_total{result="ok"}'), one.requests]
      assert.ok(requests - scrapes! <= 1, `${requests} requests for ${scrapes} scrapes`)
      store.setRanksPerPort(2)
      one.answer = ranksPage(6, 7)
      await until('the two that are left', () => running().join() === '6,7')
      assert.equal(one.connections, 1)
    })

    it('says where a server has other ranks than are expected', async () => {
      const one = await engine('127.0.0.2', ranksPage(3, 4))
      const { running, notice, value } = startRanks([specOf(one)], 3)
      await until('the ranks that there are', () => running().join() === '3,4,')
      await until('the notice', () => notice('data-parallel-size') !== undefined)
      assert.equal(
        notice('data-parallel-size'),
        `dataParallelSize is not the engines' --data-parallel-size: 127.0.0.2:${one.port} has ranks 0, 1 and not 3 ranks`,
      )
      assert.equal(await value('epp_endpoints_partly_told{reason="ranks"}'), 1)
      one.answer = ranksPage(3, 4, 5)
      await until('the right ranks', () => running().join() === '3,4,5')
      await until('no notice', () => notice('data-parallel-size') === undefined)
    })

    it('forgets what all of them said when the page does not come any more', async () => {
      const one = await engine('127.0.0.2', ranksPage(3, 4))
      const { running, notice, value } = startRanks([specOf(one)], 2)
      await until('both', () => running().join() === '3,4')
      one.answer = text('no', 503)
      await until('nothing of either', () => running().join() === ',')
      assert.match(
        notice('metrics-stale')!,
        /^no metrics from 1 of 1 endpoints, .*127\.0\.0\.2:\d+ \(/,
      )
      assert.equal(await value('epp_endpoints_stale'), 2)
    })
  })
})
