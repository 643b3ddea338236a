import assert from 'node:assert/strict'
import { type AdminOptions, AdminServer } from '../../src/admin/server.ts'
import type { AdminSources, AskedRequest } from '../../src/admin/sources.ts'
import { SchedulerError } from '../../src/framework/errors.ts'
import { DecisionLog } from '../../src/framework/routing/decision.ts'

const UNUSED = () => assert.fail('not asked for')
const JSON_BODY = { 'content-type': 'application/json' }

describe('POST /explain', () => {
  let server: AdminServer
  let url: string
  let explain: AdminSources['explain']
  const start = async (options: Partial<AdminOptions> = {}) => {
    const sources: AdminSources = {
      ...{ version: '1', epochMs: () => 0, metricsContentType: '', metricsText: UNUSED },
      ...{ ready: UNUSED, notices: UNUSED, endpoints: UNUSED, configurations: UNUSED },
      ...{ decisions: new DecisionLog(1), explanation: UNUSED },
      history: { keptSeconds: 0, since: UNUSED, total: {} as AdminSources['history']['total'] },
      explain: (asked, signal) => explain(asked, signal),
      maxBodyBytes: 1000,
    }
    server = new AdminServer(sources, { host: '127.0.0.1', port: 0, token: undefined, ...options })
    url = `http://127.0.0.1:${await server.start()}`
  }
  const post = async (path: string, init: RequestInit = {}) => {
    const response = await fetch(url + path, {
      ...{ method: 'POST', headers: JSON_BODY, body: '{}' },
      ...init,
    })
    const text = await response.text()
    return { status: response.status, headers: response.headers, text }
  }
  afterEach(() => server.close())

  it('hands on the body, the headers of the request and what the query says', async () => {
    await start()
    let seen: AskedRequest | undefined
    explain = async (asked) => {
      seen = asked
      return { winner: null }
    }
    const { status, text } = await post('/explain?path=/v1/messages&pool=ns/p', {
      body: '{"a": 1}',
      headers: { ...JSON_BODY, 'x-session': 's', authorization: 'Bearer t', 'x-request-id': 'r' },
    })
    assert.equal(status, 200)
    assert.deepEqual(JSON.parse(text), { winner: null })
    assert.equal(seen!.body.toString(), '{"a": 1}')
    assert.deepEqual([seen!.path, seen!.pool], ['/v1/messages', 'ns/p'])
    assert.equal(seen!.headers.get('x-session'), 's')
    assert.equal(seen!.headers.get('x-request-id'), 'r')
    for (const own of ['authorization', 'content-type', 'content-length', 'host']) {
      assert.equal(seen!.headers.has(own), false, own)
    }
  })

  it('answers what is wrong with the request as the request itself would be', async () => {
    await start()
    explain = () => Promise.reject(new SchedulerError('MODEL_UNKNOWN', 'no model "x"'))
    const { status, text } = await post('/explain')
    assert.equal(status, 404)
    assert.equal(JSON.parse(text).error.message, 'no model "x"')
  })

  it('refuses other types, origins of strangers, long bodies, and GET', async () => {
    await start()
    explain = async () => ({})
    const refused = async (init: RequestInit) => (await post('/explain', init)).status
    assert.equal(await refused({ headers: { 'content-type': 'text/plain' } }), 415)
    assert.equal(await refused({ headers: { ...JSON_BODY, origin: 'http://evil.example' } }), 403)
    assert.equal(await refused({ headers: { ...JSON_BODY, origin: url } }), 200)
    assert.equal(await refused({ body: `"${'a'.repeat(999)}"` }), 413)
    assert.equal(await refused({ body: `"${'a'.repeat(998)}"` }), 200)
    assert.equal((await fetch(`${url}/explain`)).status, 405)
    assert.equal(
      await refused({
        headers: { ...JSON_BODY, 'content-type': 'application/json; charset=utf-8' },
      }),
      200,
    )
  })

  it('needs the token where there is one', async () => {
    await start({ token: 'secret' })
    explain = async () => ({})
    assert.equal((await post('/explain')).status, 401)
    const headers = { ...JSON_BODY, authorization: 'Bearer secret' }
    assert.equal((await post('/explain', { headers })).status, 200)
  })

  it('makes ten at once, and says when to come again', async () => {
    await start()
    let release: (() => void)[] = []
    explain = () => new Promise((resolve) => release.push(() => resolve({})))
    const running = Array.from({ length: 10 }, () => post('/explain'))
    while (release.length < 10) await new Promise(setImmediate)
    const eleventh = await post('/explain')
    assert.equal(eleventh.status, 429)
    assert.equal(eleventh.headers.get('retry-after'), '1')
    for (const each of release) each()
    release = []
    assert.deepEqual(
      (await Promise.all(running)).map(({ status }) => status),
      Array(10).fill(200),
    )
    explain = async () => ({})
    assert.equal((await post('/explain')).status, 200)
  })

  it('tells whoever explains when the client goes away in the middle of its body', async () => {
    await start()
    explain = async () => ({})
    const client = new AbortController()
    const body = new ReadableStream({
      start(stream) {
        stream.enqueue(Buffer.from('{'))
        setImmediate(() => client.abort())
      },
    })
    await assert.rejects(
      fetch(`${url}/explain`, {
        ...{ method: 'POST', headers: JSON_BODY, body, duplex: 'half', signal: client.signal },
      } as RequestInit),
    )
    // Its place is free again: ten more can be asked at once.
    const answers = await Promise.all(Array.from({ length: 10 }, () => post('/explain')))
    assert.deepEqual(
      answers.map(({ status }) => status),
      Array(10).fill(200),
    )
  })
})
