import assert from 'node:assert/strict'
import { PluginProbe } from '../../../src/framework/instrument.ts'
import type { Observer, ResponseStart } from '../../../src/framework/plugin.ts'
import { responseHeadersOf } from '../../../src/framework/routing/response-headers.ts'
import { endpoint, request } from '../../../src/framework/testing.ts'
import { createNotices } from '../../../src/telemetry/notices.ts'
import { CountingMetrics, keepingLogger } from '../../extproc/fakes.ts'

const RESPONSE: ResponseStart = {
  status: 200,
  headers: new Map([[':status', '200']]),
  servedEndpoint: '10.0.0.1:8000',
}

/** What these observers set on one response, with the faults that were counted and logged. */
function set(...observers: Observer[]) {
  const metrics = new CountingMetrics()
  const logger = keepingLogger()
  const configured = observers.map((plugin, i) => ({
    name: `plugin-${i}`,
    plugin,
    probe: new PluginProbe(
      { kind: 'observer', type: 'test', name: `plugin-${i}` },
      { metrics, logger, notices: createNotices(() => 0) },
    ),
  }))
  const headers = responseHeadersOf(configured, request(), endpoint(), RESPONSE)
  const faults = (i: number) =>
    metrics.value(`epp_plugin_failures_total{kind=observer,type=test,name=plugin-${i}}`)
  return { headers: headers && Object.fromEntries(headers), faults, lines: logger.lines }
}
const sets = (headers: Readonly<Record<string, string>>): Observer => ({
  responseHeaders: () => new Map(Object.entries(headers)),
})

describe('responseHeadersOf', () => {
  it('is undefined where no observer wants any', () => {
    assert.equal(set().headers, undefined)
    assert.equal(
      set({ ended() {} }, { responseHeaders: () => undefined }, sets({})).headers,
      undefined,
    )
  })

  it('joins what observers want, the last one first', () => {
    const { headers } = set(sets({ a: '1', b: '2' }), {}, sets({ b: '3', c: '' }))
    assert.deepEqual(headers, { a: '1', b: '3', c: '' })
  })

  it('shows observers the request, the endpoint and the response', () => {
    let seen: unknown
    set({
      responseHeaders(asked, target, response) {
        seen = [asked.id, target.port, response]
        return undefined
      },
    })
    assert.deepEqual(seen, ['request', 8000, RESPONSE])
  })

  it('counts an observer that throws, and keeps the others', () => {
    const { headers, faults, lines } = set(sets({ a: '1' }), {
      responseHeaders() {
        throw new Error('broken')
      },
    })
    assert.deepEqual(headers, { a: '1' })
    assert.deepEqual([faults(0), faults(1)], [0, 1])
    assert.deepEqual(lines, ['warn observer "plugin-1" failed: broken'])
  })

  const refused: readonly (readonly [string, string, string])[] = [
    ['content-length', '3', "it frames the message, which is the gateway's to do"],
    ['transfer-encoding', 'chunked', "it frames the message, which is the gateway's to do"],
    ['connection', 'close', "it frames the message, which is the gateway's to do"],
    ['keep-alive', 'x', "it frames the message, which is the gateway's to do"],
    ['upgrade', 'x', "it frames the message, which is the gateway's to do"],
    ['te', 'trailers', "it frames the message, which is the gateway's to do"],
    [':status', '500', 'a name is a lower-case token'],
    ['X-Upper', 'a', 'a name is a lower-case token'],
    ['', 'a', 'a name is a lower-case token'],
    ['a b', 'a', 'a name is a lower-case token'],
    ['x-split', 'a\r\nset-cookie: b', 'a value is printable ASCII'],
    ['x-null', '\0', 'a value is printable ASCII'],
    ['x-number', 7 as unknown as string, 'a value is printable ASCII'],
    ['x-long', 'x'.repeat(16_380), 'it is longer than 16384 characters'],
  ]
  for (const [name, value, problem] of refused) {
    it(`leaves out ${JSON.stringify(name)}: ${JSON.stringify(value).slice(0, 20)}, and says so`, () => {
      const { headers, faults, lines } = set(sets({ [name]: value, good: 'yes' }))
      assert.deepEqual(headers, { good: 'yes' })
      assert.equal(faults(0), 1)
      assert.deepEqual(lines, [
        `warn plugin "plugin-0" must not set the response header ${JSON.stringify(name)}: ${problem}`,
      ])
    })
  }
})
