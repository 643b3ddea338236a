import assert from 'node:assert/strict'
import { LoggedEndpoint } from '../../src/framework/routing/request-log.ts'
import { endpoint } from '../../src/framework/testing.ts'
import { createLogger } from '../../src/telemetry/logger.ts'
import { PrometheusMetrics } from '../../src/telemetry/metrics.ts'
import { createNotices, noticesOf } from '../../src/telemetry/notices.ts'

describe('logger', () => {
  const lines = (format: 'text' | 'json') => {
    const written: string[] = []
    const logger = createLogger({
      format,
      level: 'info',
      write: (line) => written.push(line),
      epochMs: () => Date.UTC(2026, 0, 2, 3, 4, 5),
    })
    return { logger, written }
  }
  const shown = new LoggedEndpoint(
    endpoint({ name: 'qwen', address: '10.0.0.5', labels: { b: '2', app: 'qwen3' } }),
  )

  it('writes text lines as the documents show them', () => {
    const { logger, written } = lines('text')
    logger.named('director').info('Request handled', { model: 'm', endpoint: shown })
    assert.deepEqual(written, [
      '2026-01-02T03:04:05.000Z\tINFO\tdirector\tRequest handled\t' +
        '{"model": "m", "endpoint": "{NamespacedName:default/qwen Address:10.0.0.5 Labels:map[app:qwen3 b:2]}"}\n',
    ])
  })

  it('writes one object a line as json, fields at the top level', () => {
    const { logger, written } = lines('json')
    logger.info('hello', { endpoint: shown, scores: null })
    assert.deepEqual(JSON.parse(written[0]!), {
      time: '2026-01-02T03:04:05.000Z',
      level: 'info',
      logger: 'epp',
      msg: 'hello',
      endpoint: {
        NamespacedName: 'default/qwen',
        Address: '10.0.0.5',
        Labels: { app: 'qwen3', b: '2' },
      },
      scores: null,
    })
  })

  it('keeps what strangers send on one line, and off the terminal', () => {
    for (const format of ['text', 'json'] as const) {
      const { logger, written } = lines(format)
      const evil = 'topic\n2026 INFO forged\r\x1b[2J\x9b\u2028'
      logger.warn(evil, { field: evil })
      assert.match(written[0]!, /^[^\p{Cc}\u2028]*(\t[^\p{Cc}\u2028]*)*\n$/u)
    }
  })

  it('warns once per key', () => {
    const { logger, written } = lines('json')
    for (let i = 0; i < 3; i++) logger.warnOnce('topic', 'bad topic')
    assert.equal(written.length, 1)
  })
})

describe('warnOnce', () => {
  it('goes on warning of new keys however many there were', () => {
    const written: string[] = []
    const logger = createLogger({
      format: 'json',
      level: 'info',
      write: (line) => written.push(line),
      epochMs: () => 0,
    })
    for (let i = 0; i < 20_000; i++) logger.warnOnce(`key ${i}`, 'x')
    logger.warnOnce('key 19999', 'x')
    assert.equal(written.length, 20_000)
  })
})

describe('PrometheusMetrics', () => {
  it('prints counters, gauges and histograms', async () => {
    const metrics = new PrometheusMetrics()
    metrics.counter('epp_a_total', 'A.', { x: '1' }).inc(2)
    metrics.observed('epp_b', 'B.', () => [{ labels: { y: 'z' }, value: 4 }])
    metrics.histogram('epp_c_seconds', 'C.', [0.1, 1]).observe(0.5)
    const page = await metrics.text()
    for (const line of [
      'epp_a_total{x="1"} 2',
      'epp_b{y="z"} 4',
      'epp_c_seconds_bucket{le="0.1"} 0',
      'epp_c_seconds_bucket{le="1"} 1',
      'epp_c_seconds_bucket{le="+Inf"} 1',
      'epp_c_seconds_sum 0.5',
      'epp_c_seconds_count 1',
    ]) {
      assert.ok(page.includes(`${line}\n`), `${line} is missing`)
    }
  })

  it('counts label values past the cap as "other"', async () => {
    const metrics = new PrometheusMetrics()
    for (let i = 0; i < 1500; i++) metrics.counter('epp_m_total', 'M.', { model: `m${i}` }).inc()
    const page = await metrics.text()
    assert.ok(page.includes('epp_m_total{model="other"} 500\n'))
    assert.equal(page.match(/^epp_m_total\{/gm)?.length, 1001)
    assert.ok(page.includes('epp_metric_labels_capped_total{metric="epp_m_total"} 500\n'))
  })

  it('has the cap that it is given', async () => {
    const metrics = new PrometheusMetrics(2)
    for (const model of 'abcd') metrics.counter('epp_m_total', 'M.', { model }).inc()
    const page = await metrics.text()
    assert.equal(page.match(/^epp_m_total\{/gm)?.length, 3)
    assert.ok(page.includes('epp_m_total{model="other"} 2\n'))
  })
})

describe('metrics of one part of the process', () => {
  it('carry its labels, and end with it', async () => {
    const metrics = new PrometheusMetrics()
    const pools = ['default/a', 'default/b'].map((pool) => metrics.scope({ pool }))
    for (const [i, scope] of pools.entries()) {
      scope.counter('requests_total', 'Requests.', { result: 'ok' }).inc(i + 1)
      scope.observed('endpoints', 'Endpoints.', () => [{ labels: { kind: 'x' }, value: i + 10 }])
    }
    const samples = async () =>
      (await metrics.text()).split('\n').filter((line) => /^(requests_total|endpoints)/.test(line))
    assert.deepEqual(await samples(), [
      'requests_total{result="ok",pool="default/a"} 1',
      'requests_total{result="ok",pool="default/b"} 2',
      'endpoints{kind="x",pool="default/a"} 10',
      'endpoints{kind="x",pool="default/b"} 11',
    ])
    pools[0]![Symbol.dispose]()
    assert.deepEqual((await samples()).slice(2), ['endpoints{kind="x",pool="default/b"} 11'])
  })
})

describe('notices of one part of the process', () => {
  it('have keys that begin with its name', () => {
    const all = createNotices(() => 0)
    const own = noticesOf('default/a', all)
    all.set('config-file', 'gone')
    own.set('hashing', 'differs')
    assert.deepEqual(
      all.list().map(({ key }) => key),
      ['config-file', 'default/a:hashing'],
    )
    assert.deepEqual(
      own.list().map(({ text }) => text),
      ['differs'],
    )
    own.set('hashing', undefined)
    assert.equal(all.list().length, 1)
  })
})
