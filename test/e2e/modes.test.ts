import assert from 'node:assert/strict'
import { connect } from 'node:http2'
import { envoyAvailable } from './envoy.ts'
import { type Cell, DIMENSIONS } from './modes/cells.ts'
import { hostOf } from './modes/gateway.ts'
import { Matrix } from './modes/matrix.ts'
import { eventually } from './process.ts'

const REQUESTS = 20
const FULL_DUPLEX = 'FULL_DUPLEX_STREAMED'
const LONG_STREAMS = 200
/** A connection may learn of its end from a question without an answer. */
const KEEPALIVE_MS = 20_000
const SALT_HEADER = 'x-tenant-salt'
const CONFIGURATION = `saltHeader: ${SALT_HEADER}\ndataParallel: header\ndataParallelSize: 2\n`

const cellOf = (cell: Partial<Cell>): Cell => ({
  ...{ requestMode: FULL_DUPLEX, responseMode: FULL_DUPLEX, responses: 'full', bytes: 512 },
  ...{ kind: 'json', fault: 'none', downstream: 'HTTP/1.1' },
  ...cell,
})

describe('processing modes of a real Envoy', function () {
  this.timeout(120_000)
  let matrix: Matrix

  before(async function () {
    if (!envoyAvailable()) return this.skip()
    matrix = await Matrix.start(CONFIGURATION)
  })
  after(() => matrix?.stop())

  describe('with --responses none', () => {
    /** Messages that Envoy sends to the picker for some requests. */
    const messages = async (cell: Cell, listener: 'shipped' | 'roomy') => {
      const before = await matrix.gateway.messagesSent(listener)
      for (let i = 0; i < REQUESTS; i++) await matrix.run(cell, listener)
      return (await matrix.gateway.messagesSent(listener)) - before
    }
    const responseModes = DIMENSIONS.responseMode.filter((mode) => mode !== 'HIDDEN')

    for (const requestMode of DIMENSIONS.requestMode) {
      it(`${requestMode}: Envoy sends nothing of a response where it may keep it, else little`, async () => {
        const said: string[] = []
        for (const listener of ['shipped', 'roomy'] as const) {
          const count = (responseMode: Cell['responseMode']) =>
            messages(cellOf({ requestMode, responseMode, responses: 'none' }), listener)
          const ofRequests = await count('HIDDEN')
          for (const responseMode of responseModes) {
            if (responseMode === 'BUFFERED' && listener === 'shipped') continue
            const ofResponses = (await count(responseMode)) - ofRequests
            said.push(`${listener} ${responseMode} ${ofResponses}`)
            const what = `${ofResponses} messages of ${REQUESTS} responses in ${listener} ${responseMode}`
            if (responseMode === FULL_DUPLEX) {
              // Bytes that Envoy has sent are lost when the stream ends, hence it cannot: headers, body, and its end.
              assert.ok(ofResponses >= 2 * REQUESTS, what)
            } else if (listener === 'roomy' && requestMode !== FULL_DUPLEX) {
              assert.equal(ofResponses, 0, what)
            } else {
              // The headers of an answer that is faster than the end of the stream.
              assert.ok(ofResponses <= REQUESTS, what)
            }
          }
        }
        console.log(`      messages of ${REQUESTS} responses: ${said.join(', ')}`)
      })
    }
  })

  describe('request bodies', () => {
    it('BUFFERED, larger than Envoy buffers by default: 413 by Envoy, nothing left here', async () => {
      const cell = cellOf({ requestMode: 'BUFFERED', responseMode: 'STREAMED', bytes: 3_000_000 })
      const { got, sighting } = await matrix.ask(cell, 'default')
      assert.equal(got.status, 413)
      assert.deepEqual(sighting.received, [])
      await matrix.settled('full')
      assert.equal((await matrix.run(cell, 'roomy')).status, 200)
    })

    it('BUFFERED_PARTIAL: of a longer one the beginning is looked at, and is said to be inexact', async () => {
      const cell = cellOf({ requestMode: 'BUFFERED_PARTIAL', responseMode: 'STREAMED' })
      const long = await matrix.ask({ ...cell, bytes: 400 * 1024 }, 'shipped', {
        headers: { 'x-request-id': 'long', 'x-llm-d-model-name-rewrite': 'other' },
      })
      assert.equal(long.got.status, 200)
      assert.match(Buffer.concat(long.sighting.received).toString(), /^\{"model":"other","n":1.0/)
      const decision = await decisionOf('long')
      assert.equal(decision.model, 'm')
      assert.equal(decision.promptTokens?.exact, false)
      assert.ok(decision.promptTokens.count > 1000, `${decision.promptTokens.count} tokens`)
      assert.match(
        decision.remark ?? '',
        /the beginning of the body alone: token counts are not exact/,
      )
      await matrix.ask(cell, 'shipped', { headers: { 'x-request-id': 'short' } })
      assert.equal((await decisionOf('short')).remark, undefined)
    })

    for (const requestMode of ['NONE', 'STREAMED'] as const) {
      it(`${requestMode}: picked without one, and said so`, async () => {
        const cell = cellOf({ requestMode, responseMode: 'STREAMED' })
        const headers = { 'x-request-id': requestMode }
        assert.equal((await matrix.ask(cell, 'shipped', { headers })).got.status, 200)
        const decision = await decisionOf(requestMode)
        assert.equal(decision.remark, 'no body: prefix scorers neutral')
        assert.equal(decision.promptTokens, undefined)
      })
    }

    for (const requestMode of [FULL_DUPLEX, 'BUFFERED'] as const) {
      for (const downstream of DIMENSIONS.downstream) {
        it(`${requestMode}, ${downstream}: model and salt are put into it, nothing else is touched`, async () => {
          const cell = cellOf({ requestMode, responseMode: 'STREAMED', downstream })
          const headers = { 'x-llm-d-model-name-rewrite': 'a "new" one', [SALT_HEADER]: 'tenant-1' }
          for (const [body, expected] of [
            [
              '{ "model":"old" ,"messages":[{"role":"user","content":"hi"}],"n":1.0}',
              '{ "model":"a \\"new\\" one" ,"messages":[{"role":"user","content":"hi"}],"n":1.0,"cache_salt":"tenant-1"}',
            ],
            [
              '{"cache_salt": "mine","model":"old","messages":[{"role":"user","content":"hi"}]}',
              '{"cache_salt": "tenant-1","model":"a \\"new\\" one","messages":[{"role":"user","content":"hi"}]}',
            ],
          ] as const) {
            const { got, sighting } = await matrix.ask(cell, 'roomy', { headers, body })
            assert.equal(got.status, 200)
            assert.equal(Buffer.concat(sighting.received).toString(), expected)
            assert.equal(sighting.headers['x-llm-d-model-name-rewrite'], undefined)
            assert.match(sighting.headers['x-data-parallel-rank'] as string, /^[01]$/)
          }
        })
      }
    }

    it('into which the salt cannot be put: 500, and the engine is not asked', async () => {
      for (const requestMode of ['STREAMED', 'NONE'] as const) {
        const cell = cellOf({ requestMode, responseMode: 'STREAMED' })
        const headers = { [SALT_HEADER]: 'tenant-1' }
        const { got, sighting } = await matrix.ask(cell, 'shipped', { headers })
        assert.equal(got.status, 500)
        assert.match(got.body.toString(), /FULL_DUPLEX_STREAMED or BUFFERED/)
        assert.ok(!got.body.includes('tenant-1'))
        assert.deepEqual(sighting.received, [])
      }
    })

    it('with trailers are passed whole', async () => {
      for (const requestMode of [FULL_DUPLEX, 'BUFFERED'] as const) {
        const cell = cellOf({ requestMode, responseMode: 'STREAMED' })
        const session = connect(`http://127.0.0.1:${matrix.gateway.port('roomy')}`)
        const stream = session.request(
          {
            ...{ ':method': 'POST', ':path': '/v1/chat/completions', ':authority': hostOf(cell) },
            ...{ 'content-type': 'application/json', 'x-cell': `trailers ${requestMode}` },
          },
          { endStream: false, waitForTrailers: true },
        )
        const sighting = matrix.engine.expect(`trailers ${requestMode}`, {
          ...{ answer: Buffer.from('{}'), contentType: 'application/json', fault: 'none' },
        })
        stream.once('wantTrailers', () => stream.sendTrailers({ 'x-sum': '1' }))
        const status = new Promise((resolve) =>
          stream.once('response', (headers) => resolve(headers[':status'])),
        )
        const body = '{"model":"m","messages":[{"role":"user","content":"hi"}]}'
        stream.end(body)
        assert.equal(await status, 200)
        assert.equal(Buffer.concat(sighting.received).toString(), body)
        session.destroy()
      }
      await matrix.settled('full')
    })
  })

  it('observability mode is answered with nothing, and stands in nobody’s way', async () => {
    const before = await matrix.picker('full').metric(OBSERVED)
    const headers = { 'x-gateway-destination-endpoint': matrix.engine.hostPort }
    const cell = cellOf({ requestMode: 'STREAMED', responseMode: 'STREAMED', bytes: 24 * 1024 })
    const { got, answer } = await matrix.ask(cell, 'observed', { headers })
    assert.equal(got.status, 200)
    assert.ok(got.body.equals(answer))
    await eventually(
      'it is counted',
      async () => (await matrix.picker('full').metric(OBSERVED)) === before! + 1,
    )
    await matrix.settled('full')
  })

  it(`an Envoy that dies with ${LONG_STREAMS} streams leaves nothing behind, and the next is served`, async () => {
    for (const responses of ['full', 'none'] as const) {
      const cell = cellOf({ responses, kind: 'sse', fault: 'client goes within the answer' })
      const epp = matrix.picker(responses)
      const never = new Promise<void>(() => {})
      const asks = Array.from({ length: LONG_STREAMS }, (_, i) => {
        const id = `${responses} ${i}`
        const { fault } = cell
        const contentType = 'text/event-stream'
        matrix.engine.expect(id, { answer: Buffer.alloc(2000, 'x'), contentType, fault })
        return matrix.callers.ask({
          ...{ host: hostOf(cell), port: matrix.gateway.port('shipped') },
          ...{ path: '/v1/chat/completions', headers: { 'x-cell': id } },
          body: Buffer.from('{"model":"m","messages":[{"role":"user","content":"hi"}]}'),
          ...{ downstream: cell.downstream, fault, leave: never },
        })
      })
      await eventually(
        'all streams run',
        async () => (await epp.metric('epp_extproc_exchanges_active')) === LONG_STREAMS,
      )
      await matrix.replaceGateway()
      for (const got of await Promise.all(asks)) assert.equal(got.isWhole, false)
      const endedMs = performance.now()
      await matrix.settled(responses, 10 * KEEPALIVE_MS)
      const tookMs = performance.now() - endedMs
      console.log(`      ${responses}: ${Math.round(tookMs)} ms (limit ${KEEPALIVE_MS} ms)`)
      assert.equal((await matrix.run(cellOf({ responses }))).status, 200)
    }
  })

  interface Decision {
    readonly model: string
    readonly remark?: string
    readonly promptTokens?: { readonly count: number; readonly exact: boolean }
  }
  const decisionOf = (id: string) => matrix.picker('full').json<Decision>(`/decisions/${id}`)
})

const OBSERVED = 'epp_extproc_exchanges_total{outcome="observed"}'
