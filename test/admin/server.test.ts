import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { type AdminOptions, AdminServer, type AdminSources } from '../../src/admin/server.ts'
import { type Decision, DecisionLog } from '../../src/framework/routing/decision.ts'

const decision = (requestId: string): Decision => ({
  requestId,
  atMs: 0,
  generation: 3,
  model: 'm',
  targetModel: 'm',
  pool: undefined,
  remark: undefined,
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
})

describe('AdminServer', () => {
  let server: AdminServer
  let url: string
  let checks = [{ name: 'ports', ok: true, detail: 'all are open' }]
  const decisions = new DecisionLog(3)
  const sources: AdminSources = {
    metricsContentType: 'text/plain; version=0.0.4',
    metricsText: () => Promise.resolve('epp_x 1\n'),
    ready: () => checks,
    notices: () => [{ key: 'blind', text: 'no events', sinceEpochMs: 0 }],
    endpoints: () => [{ name: 'a' }],
    configuration: () => ({ generation: 3 }),
    decisions,
  }
  const start = async (options: Partial<AdminOptions> = {}) => {
    server = new AdminServer(sources, { host: '127.0.0.1', port: 0, token: undefined, ...options })
    url = `http://127.0.0.1:${await server.start()}`
  }
  const get = async (path: string, init: RequestInit = {}) => {
    const response = await fetch(url + path, init)
    return { status: response.status, headers: response.headers, text: await response.text() }
  }

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
  })
})
