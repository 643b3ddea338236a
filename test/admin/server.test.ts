import assert from 'node:assert/strict'
import { connect } from 'node:net'
import type { Overview } from '../../src/admin/overview.ts'
import { type AdminOptions, AdminServer, type AdminSources } from '../../src/admin/server.ts'
import { type Decision, DecisionLog } from '../../src/framework/routing/decision.ts'
import { explanationOf } from '../../src/framework/routing/explanation.ts'
import { endpoint, request } from '../../src/framework/testing.ts'
import { RoutingHistory } from '../../src/telemetry/routing-history.ts'

const decision = (requestId: string): Decision => ({
  requestId,
  atMs: 0,
  generation: 3,
  model: 'm',
  targetModel: 'm',
  pool: undefined,
  remark: undefined,
  match: undefined,
  modelRule: undefined,
  criticality: 'Standard',
  priority: 0,
  poolSize: 2,
  candidates: 2,
  profiles: [
    {
      profile: 'default',
      filters: [{ name: 'f', dropped: ['10.0.0.9:8000'] }],
      endpoints: ['10.0.0.1:8000', '10.0.0.2:8000'],
      scorers: [
        {
          name: 's',
          weight: 2,
          scores: Float64Array.of(0.5, 1),
          terms: { queue: Float64Array.of(3, 4) },
        },
      ],
      totals: Float64Array.of(1, 2),
      ties: 1,
      picked: ['10.0.0.2:8000'],
      metricsAgeMs: Float64Array.of(12.4, Number.NaN),
    },
  ],
  primary: 'default',
  endpoints: ['10.0.0.2:8000'],
  promptTokens: { count: 7, exact: true },
  predictedCachedTokens: 0,
  indexCoverage: undefined,
  phasesUs: { parse: 1 },
  status: 200,
  usage: undefined,
  ended: 'completed',
  firstByteMs: 12,
  durationMs: 34,
})

describe('AdminServer', () => {
  let server: AdminServer
  let url: string
  let checks = [{ name: 'ports', ok: true, detail: 'all are open' }]
  const decisions = new DecisionLog(3)
  const configuration = {
    ...{ pool: undefined, generation: 3, source: 'profile.yaml', lastReload: undefined },
    ...{ warnings: [], needsRestart: [], text: 'schedulingProfiles: []' },
  }
  let epochMs = 5000
  const history = new RoutingHistory({ nowMs: () => epochMs, epochMs: () => epochMs })
  const sources: AdminSources = {
    version: '1.2.3',
    epochMs: () => epochMs,
    metricsContentType: 'text/plain; version=0.0.4',
    metricsText: () => Promise.resolve('epp_x 1\n'),
    ready: () => checks,
    notices: () => [{ key: 'blind', text: 'no events', sinceEpochMs: 0 }],
    endpoints: () => [{ name: 'a', address: '10.0.0.1:8000', labels: { secret: 'no' } }],
    configurations: () => [configuration],
    decisions,
    explanation: (decision) => explanationOf(decision, { nameOf: (hostPort) => hostPort }),
    explain: () => Promise.reject(new Error('nobody asks')),
    maxBodyBytes: 1000,
    history,
  }
  const start = async (options: Partial<AdminOptions> = {}) => {
    server = new AdminServer(sources, { host: '127.0.0.1', port: 0, token: undefined, ...options })
    url = `http://127.0.0.1:${await server.start()}`
  }
  const get = async (path: string, init: RequestInit = {}) => {
    const response = await fetch(url + path, init)
    return { status: response.status, headers: response.headers, text: await response.text() }
  }

  const overview = async (path: string) => JSON.parse((await get(path)).text) as Overview

  afterEach(() => server.close())

  it('serves metrics and health', async () => {
    await start()
    assert.equal((await get('/metrics')).text, 'epp_x 1\n')
    assert.equal((await get('/healthz')).status, 200)
  })

  it('closes connections beyond its limit, and says so', async () => {
    let dropped = 0
    await start({ maxConnections: 2, dropped: () => dropped++ })
    const { port } = new URL(url)
    const sockets = Array.from({ length: 5 }, () => connect(Number(port), '127.0.0.1'))
    const closed = sockets.map((socket) => new Promise((resolve) => socket.on('close', resolve)))
    for (const socket of sockets) socket.on('error', () => {})
    await Promise.all(closed.slice(2))
    assert.equal(dropped, 3)
    for (const socket of sockets) socket.destroy()
    await Promise.all(closed)
    assert.equal((await get('/healthz')).status, 200)
  })

  it('says what is not ready, and what is blind', async () => {
    await start()
    assert.deepEqual((await get('/readyz?verbose')).text.split('\n'), [
      '[+] ports: all are open',
      '[!] blind: no events (since 1970-01-01T00:00:00.000Z)',
      'ready',
      '',
    ])
    checks = [{ name: 'ports', ok: false, detail: 'not open' }]
    const { status, text } = await get('/readyz')
    assert.equal(status, 503)
    assert.equal(text, 'not ready\n')
  })

  it('shows the newest decision of a request by endpoint', async () => {
    await start()
    decisions.add(decision('r1'))
    decisions.add(decision('r2'))
    const page = JSON.parse((await get('/decisions/r1')).text) as Record<string, unknown>
    assert.deepEqual(page.profiles, [
      {
        profile: 'default',
        filters: [{ name: 'f', dropped: ['10.0.0.9:8000'] }],
        scorers: [{ name: 's', weight: 2 }],
        endpoints: [
          {
            endpoint: '10.0.0.1:8000',
            scores: { s: { score: 0.5, weighted: 1, terms: { queue: 3 } } },
            total: 1,
            metricsAgeMs: 12,
          },
          {
            endpoint: '10.0.0.2:8000',
            scores: { s: { score: 1, weighted: 2, terms: { queue: 4 } } },
            total: 2,
            metricsAgeMs: null,
          },
        ],
        ties: 1,
        picked: ['10.0.0.2:8000'],
      },
    ])
    const list = JSON.parse((await get('/decisions?limit=1')).text) as { requestId: string }[]
    assert.deepEqual(
      list.map(({ requestId }) => requestId),
      ['r2'],
    )
    assert.equal((await get('/decisions/none')).status, 404)
  })

  it('keeps the last decisions only', () => {
    const log = new DecisionLog(2)
    for (const id of ['a', 'b', 'c']) log.add(decision(id))
    assert.deepEqual(
      log.list(9).map(({ requestId }) => requestId),
      ['c', 'b'],
    )
    assert.equal(log.find('a'), undefined)
  })

  it('shows all of the dashboard in one answer, and of the past what the asker has not seen', async () => {
    await start()
    const one = endpoint()
    decisions.add(decision('r3'))
    history.picked(request(), one)
    epochMs += 1000
    history.picked(request(), one)
    epochMs += 1000
    const shown = await overview('/overview')
    assert.equal(shown.nowMs, 7000)
    assert.deepEqual(shown.endpoints, [{ name: 'a', address: '10.0.0.1:8000' }])
    assert.deepEqual(
      shown.seconds.map(({ second, requests, byEndpoint }) => ({ second, requests, byEndpoint })),
      [5, 6].map((second) => ({ second, requests: 1, byEndpoint: { [one.hostPort]: 1 } })),
    )
    assert.deepEqual(
      (await overview('/overview?after=5')).seconds.map(({ second }) => second),
      [6],
    )
    const [newest] = shown.decisions
    assert.deepEqual(newest?.winner, { endpoint: '10.0.0.2:8000', weighted: [2], total: 2 })
    assert.deepEqual(newest?.runnerUp, { endpoint: '10.0.0.1:8000', weighted: [1], total: 1 })
    assert.equal(newest?.firstByteMs, 12)
    assert.deepEqual(shown.configurations, [
      { generation: 3, source: 'profile.yaml', needsRestart: [], warnings: 0 },
    ])
  })

  it('gives a browser the dashboard, and anything else the list of pages', async () => {
    await start()
    assert.match((await get('/')).text, /^\/metrics\n\/healthz\n/)
    const page = await get('/', { headers: { accept: 'text/html,*/*;q=0.8' } })
    assert.equal(page.headers.get('content-type'), 'text/html; charset=utf-8')
    const files = [...page.text.matchAll(/"(\/dashboard\/[^"]+)"/g)].map(([, path]) => path!)
    assert.ok(files.length >= 6, files.join(' '))
    for (const path of files) {
      const file = await get(path)
      assert.equal(file.status, 200, path)
      assert.equal(file.headers.get('content-security-policy'), "default-src 'self'")
    }
    assert.match((await get('/dashboard/uplot.js')).text, /uPlot/)
  })

  it('gives no file but those of the dashboard', async () => {
    await start()
    for (const path of [
      ...['/dashboard/', '/dashboard/none.js', '/dashboard/..%2fpackage.json'],
      ...['/dashboard/%2e%2e%2fsrc%2fapp.js', '/dashboard/tsconfig.json', '/dashboard/uplot.d.ts'],
    ]) {
      assert.equal((await get(path)).status, 404, path)
    }
  })

  it('answers no stranger that claims to be this machine', async () => {
    await start()
    const { port } = new URL(url)
    const answer = async (host: string) => {
      const socket = connect(Number(port), '127.0.0.1')
      socket.write(`GET /endpoints HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`)
      return Number((await socket.toArray()).join('').split(' ')[1])
    }
    assert.equal(await answer(`evil.example:${port}`), 403)
    for (const host of ['localhost:9090', 'LOCALHOST', '127.0.0.1', '[::1]:9090', 'a.localhost']) {
      assert.equal(await answer(host), 200, host)
    }
  })

  it('refuses other methods, unknown pages and paths that do not decode', async () => {
    await start()
    assert.equal((await get('/endpoints', { method: 'POST' })).status, 405)
    assert.equal((await get('/nothing')).status, 404)
    assert.equal((await get('/decisions/%ff')).status, 404)
  })

  it('wants the token where one is set, but not for metrics and health', async () => {
    await start({ token: 'secret' })
    assert.equal((await get('/endpoints')).status, 401)
    assert.equal(
      (await get('/endpoints', { headers: { authorization: 'Bearer secre' } })).status,
      401,
    )
    const granted = await get('/endpoints', { headers: { authorization: 'Bearer secret' } })
    assert.equal(granted.status, 200)
    assert.equal(granted.headers.get('content-security-policy'), "default-src 'self'")
    assert.equal((await get('/metrics')).status, 200)
    // What asks for the token has no data in it, and a browser that opens a page cannot send one.
    const page = await get('/', { headers: { accept: 'text/html' } })
    assert.equal(page.status, 200)
    assert.equal((await get('/overview')).status, 401)
  })
})
