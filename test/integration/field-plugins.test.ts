import assert from 'node:assert/strict'
import { App } from '../../src/app.ts'
import {
  Gateway,
  type ProcessingResponse,
  requestBody,
  requestHeaders,
  responseBody,
  responseHeaders,
  setHeaders,
} from '../extproc/client.ts'
import { defaultOptions } from './options.ts'

/** Nothing listens there: what is tried needs no metrics. */
const ENDPOINTS = ['a=127.0.0.2:9', 'a=127.0.0.2:10', 'b=127.0.0.3:9', 'c=127.0.0.4:9']
const DESTINATION = 'x-gateway-destination-endpoint'

type Outcome = { readonly status: number; readonly text: string } | Served
interface Served {
  readonly destination: string
  /** Headers set on the response. */
  readonly set: Readonly<Record<string, string>>
}

/** The headers that an answer sets on the response. */
function setOn(answer: ProcessingResponse | undefined): Record<string, string> {
  const mutation = (answer as { responseHeaders?: ProcessingResponse['requestHeaders'] })
    .responseHeaders?.response?.headerMutation
  return Object.fromEntries(
    (mutation?.setHeaders ?? []).map(({ header }) => [header.key, header.rawValue.toString()]),
  )
}

describe("plugins of the field, through a gateway's stream", function () {
  this.timeout(60_000)
  let app: App
  let gateway: Gateway

  const start = async (configText: string) => {
    app = await App.start({ ...defaultOptions(), endpoints: ENDPOINTS, configText, seed: 7 })
    gateway = new Gateway(`127.0.0.1:${app.ports.grpc}`)
  }
  afterEach(async () => {
    gateway.close()
    await app.close()
  })

  /** @param served what the gateway says with the response */
  const ask = async (
    headers: Readonly<Record<string, string>>,
    served?: string,
  ): Promise<Outcome> => {
    const exchange = gateway.open()
    exchange.send(
      requestHeaders(headers),
      requestBody('{"model":"conformance-fake-model","prompt":"hello"}', true),
    )
    const [first] = await exchange.untilEnd('requestBody')
    if (first?.response === 'immediateResponse') {
      const { status, body } = first.immediateResponse!
      return { status: status.code, text: body.toString() }
    }
    const lb = { fields: { 'x-gateway-destination-endpoint-served': { stringValue: served } } }
    exchange.send({
      ...responseHeaders({ ':status': '200' }),
      ...(served !== undefined && {
        metadataContext: { filterMetadata: { 'envoy.lb': lb } },
      }),
    })
    exchange.send(responseBody('{}', true))
    const [answer] = await exchange.untilEnd('responseBody')
    return { destination: setHeaders(first)[DESTINATION]!, set: setOn(answer) }
  }

  describe('conformance: header-based-testing-filter and destination-endpoint-served-verifier', () => {
    beforeEach(() =>
      start(
        'plugins:\n  - type: destination-endpoint-served-verifier\n' +
          'schedulingProfiles:\n  - name: default\n    plugins:\n' +
          '      - { type: header-based-testing-filter }\n      - { type: random-picker }\n',
      ),
    )

    for (const [header, allowed] of [
      ['127.0.0.3', ['127.0.0.3:9']],
      ['127.0.0.2:10', ['127.0.0.2:10']],
      ['127.0.0.2', ['127.0.0.2:9', '127.0.0.2:10']],
      ['10.99.0.1,127.0.0.4', ['127.0.0.4:9']],
    ] as const) {
      it(`sends what names ${header} to ${allowed.join(' or ')}, and to each of them`, async () => {
        const seen = new Set<string>()
        for (let n = 0; n < 20; n++) {
          const outcome = await ask({ 'test-epp-endpoint-selection': header }, allowed[0])
          assert.ok('destination' in outcome, JSON.stringify(outcome))
          assert.equal(outcome.set['x-conformance-test-served-endpoint'], allowed[0])
          seen.add(outcome.destination)
        }
        assert.deepEqual([...seen].sort(), [...allowed].sort())
      })
    }

    it('answers 429 for foreign addresses and without the header, naming the filter', async () => {
      for (const headers of [{ 'test-epp-endpoint-selection': '10.99.0.1' }, {}]) {
        const outcome = await ask(headers)
        assert.ok('status' in outcome, JSON.stringify(outcome))
        assert.equal(outcome.status, 429)
        assert.match(outcome.text, /header-based-testing-filter/)
      }
    })

    it('says so when the gateway does not tell who served', async () => {
      const outcome = await ask({ 'test-epp-endpoint-selection': '127.0.0.3' })
      assert.ok('set' in outcome)
      assert.match(outcome.set['x-conformance-test-served-endpoint']!, /^fail: missing metadata /)
    })
  })

  it('session affinity: a client that sends the header of a response back stays', async () => {
    await start(
      'schedulingProfiles:\n  - name: default\n    plugins:\n' +
        '      - { type: session-affinity-filter }\n      - { type: random-picker }\n',
    )
    for (let n = 0; n < 8; n++) {
      const first = await ask({})
      assert.ok('set' in first)
      const token = { 'x-session-token': first.set['x-session-token']! }
      for (let again = 0; again < 4; again++) {
        const { destination, set } = (await ask(token)) as Served
        assert.equal(destination, first.destination)
        assert.deepEqual(set, token)
      }
    }
  })

  it('session affinity: an id stays where its first request went', async () => {
    await start(
      'schedulingProfiles:\n  - name: default\n    plugins:\n' +
        '      - { type: session-affinity-scorer, parameters: { strategy: session_id } }\n',
    )
    const went = new Set<string>()
    for (let n = 0; n < 8; n++) {
      const first = (await ask({ 'x-session-id': `${n}` })) as Served
      went.add(first.destination)
      for (let again = 0; again < 4; again++) {
        const next = (await ask({ 'x-session-id': `${n}` })) as Served
        assert.deepEqual(next, { destination: first.destination, set: {} })
      }
    }
    assert.ok(went.size > 1, 'all sessions went to one endpoint')
  })

  it('header-profile-handler: each request runs the profile that it names', async () => {
    await start(
      'plugins:\n  - { type: header-profile-handler, parameters: { defaultProfile: c } }\n' +
        '  - { name: only-b, type: label-selector-filter, parameters: { matchLabels: { none: here } } }\n' +
        'schedulingProfiles:\n' +
        '  - { name: b, plugins: [{ pluginRef: only-b }, { type: random-picker }] }\n' +
        '  - { name: c, plugins: [{ type: decode-filter }, { type: weighted-random-picker }] }\n',
    )
    assert.ok('destination' in (await ask({})))
    const empty = await ask({ 'epp-profile': 'b' })
    assert.ok('status' in empty && empty.status === 429, JSON.stringify(empty))
    assert.match(empty.text, /only-b/)
    const unknown = await ask({ 'epp-profile': 'prefill' })
    assert.ok('status' in unknown && unknown.status === 400, JSON.stringify(unknown))
    assert.match(unknown.text, /no profile is named \\"prefill\\"/)
  })
})
