import assert from 'node:assert/strict'
import type { RequestListener } from 'node:http'
import { Engine, text } from '../datalayer/engine.ts'
import { until } from '../datalayer/telemetry.ts'
import { ask, errorOf, specOf, TestProxy } from './setup.ts'

const ok = text('{"ok":true}')
/** Takes the request and resets the connection. */
const reset: RequestListener = (request) => request.socket.resetAndDestroy()

describe('a request whose endpoint is broken', function () {
  this.timeout(60_000)
  let proxy: TestProxy
  afterEach(async () => {
    await until('no request is left', () => proxy.gateway.active === 0)
    assert.equal(proxy.reserved, 0)
    await proxy.stop()
  })
  const hostPort = (i: number) => `${proxy.engines[i]!.address}:${proxy.engines[i]!.port}`
  const notices = () =>
    proxy.telemetry.notices.list().filter(({ key }) => key === 'endpoint-ejected')

  it('is routed again when it refuses, and the endpoint gets nothing until a probe finds it well', async () => {
    proxy = await TestProxy.start([ok, ok], { ejectionMs: 100 })
    const [broken, well] = proxy.engines as [Engine, Engine]
    await broken.stop()
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask(proxy.port)))
    assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200])
    assert.equal(well.requests, 20)
    assert.deepEqual(
      proxy.gateway.ejected().map(({ endpoint }) => endpoint),
      [hostPort(0)],
    )
    assert.match(
      notices()[0]!.text,
      /127\.0\.81\.1:\d+: (it refuses connections|the probe failed) \(ECONNREFUSED\)/,
    )
    assert.equal(await proxy.counted('epp_proxy_ejections_total', 'reason="refused"'), 1)
    assert.equal(await proxy.counted('epp_proxy_endpoints_ejected'), 1)
    assert.ok((await proxy.counted('epp_proxy_retries_total')) >= 1)
    await until(
      'a probe fails',
      async () => (await proxy.counted('epp_proxy_probes_total', 'failed')) > 0,
    )
    assert.equal((await ask(proxy.port, { method: 'GET', path: '/health' })).status, 200)

    const paths: string[] = []
    const again = await Engine.start(
      broken.address,
      (request, response) => {
        paths.push(request.url!)
        ok(request, response)
      },
      broken.port,
    )
    await until('it is back', () => proxy.gateway.ejected().length === 0)
    assert.deepEqual(paths, ['/health'])
    assert.deepEqual(notices(), [])
    assert.equal(await proxy.counted('epp_proxy_probes_total', 'result="ok"'), 1)
    await Promise.all(Array.from({ length: 20 }, () => ask(proxy.port)))
    assert.ok(paths.filter((path) => path === '/v1/completions').length > 0)
    await again.stop()
  })

  it('is routed again when it resets before the first byte', async () => {
    proxy = await TestProxy.start([reset, ok])
    for (let i = 0; i < 4; i++) assert.equal((await ask(proxy.port)).status, 200)
    assert.equal(await proxy.counted('epp_proxy_ejections_total', 'reason="reset"'), 1)
    assert.equal(proxy.engines[0]!.requests, 1)
  })

  it('is not routed again when the engine answers with an error', async () => {
    proxy = await TestProxy.start([text('busy', 503), text('busy', 503)])
    const got = await ask(proxy.port)
    assert.deepEqual([got.status, got.body.toString()], [503, 'busy'])
    assert.equal(proxy.engines[0]!.requests + proxy.engines[1]!.requests, 1)
    assert.deepEqual(proxy.gateway.ejected(), [])
  })

  it('tries no more endpoints than retries allow', async () => {
    proxy = await TestProxy.start([reset, reset, reset], { retries: 1 })
    const got = await ask(proxy.port)
    assert.equal(got.status, 502)
    assert.equal(errorOf(got).code, 'ENDPOINT_FAILED')
    assert.equal(
      proxy.engines.reduce((sum, { requests }) => sum + requests, 0),
      2,
    )
  })

  it('keeps one id for all attempts', async () => {
    proxy = await TestProxy.start([
      reset,
      (request, response) => response.end(request.headers['x-request-id']),
    ])
    const gots = [await ask(proxy.port), await ask(proxy.port)]
    for (const got of gots) assert.equal(got.body.toString(), got.headers['x-request-id'])
  })

  it('is answered 503 with retry-after when all are down, and /health says so', async () => {
    proxy = await TestProxy.start([ok, ok], { ejectionMs: 60_000 })
    for (const engine of proxy.engines) await engine.stop()
    await ask(proxy.port)
    const got = await ask(proxy.port)
    assert.equal(got.status, 503)
    assert.equal(got.headers['retry-after'], '1')
    assert.deepEqual(errorOf(got), {
      message: 'all 2 model servers of the pool are unreachable; try again',
      type: 'server_error',
      code: 'POOL_EMPTY',
    })
    const health = await ask(proxy.port, { method: 'GET', path: '/health' })
    assert.deepEqual([health.status, health.body.toString()], [503, '0 of 2 endpoints reachable\n'])
    assert.equal((await ask(proxy.port, { method: 'GET', path: '/v1/models' })).status, 503)
    // The next one who asks has them probed, however long their time is.
    const back = await Engine.start(proxy.engines[0]!.address, ok, proxy.engines[0]!.port)
    await until('a request is answered', async () => (await ask(proxy.port)).status === 200)
    await back.stop()
  })

  it('waits longer after each failure, and forgets an endpoint that is removed', async () => {
    proxy = await TestProxy.start([ok, ok], { ejectionMs: 20, maxEjectionMs: 100 })
    await proxy.engines[0]!.stop()
    for (let i = 0; i < 4; i++) await ask(proxy.port)
    await until(
      'four probes have failed',
      async () => (await proxy.counted('epp_proxy_probes_total', 'failed')) >= 4,
    )
    const { untilEpochMs } = proxy.gateway.ejected()[0]!
    assert.ok(untilEpochMs <= Date.now() + 100)
    proxy.endpoints.replace('test', [specOf(proxy.engines[1]!, 1)])
    assert.deepEqual(proxy.gateway.ejected(), [])
    assert.deepEqual(notices(), [])
    assert.equal((await ask(proxy.port)).status, 200)
  })

  it('is answered 504 when the engine does not begin to answer in time', async () => {
    proxy = await TestProxy.start([() => {}], { engineHeadersTimeoutMs: 100 })
    const got = await ask(proxy.port)
    assert.equal(got.status, 504)
    assert.equal(errorOf(got).code, 'ENDPOINT_TIMEOUT')
    assert.deepEqual(proxy.gateway.ejected(), [])
    assert.equal(await proxy.counted('epp_proxy_refusals_total', 'ENDPOINT_TIMEOUT'), 1)
  })
})
