import assert from 'node:assert/strict'
import type { ExtProcOptions, ExtProcServer } from '../../src/extproc/server.ts'
import { startExtProcServer } from '../../src/extproc/server.ts'
import { SchedulerError } from '../../src/framework/errors.ts'
import {
  bodyOf,
  type Exchange,
  Gateway,
  headerList,
  metadataDestination,
  type ProcessingRequest,
  type ProcessingResponse,
  processMethod,
  removedHeaders,
  requestBody,
  requestHeaders,
  requestTrailers,
  responseBody,
  responseHeaders,
  responseTrailers,
  servedBy,
  setHeaders,
  statusName,
  streamed,
  subsetHint,
} from './client.ts'
import { CountingMetrics, keepingLogger, QueueRouter, SwitchedHealth, until } from './fakes.ts'

const DESTINATION = 'x-gateway-destination-endpoint'
const BODY = JSON.stringify({ model: 'my-model', prompt: 'test', max_tokens: 100, temperature: 0 })

let router: QueueRouter
let metrics: CountingMetrics
let logger: ReturnType<typeof keepingLogger>
let server: ExtProcServer
let gateway: Gateway

async function start(options: ExtProcOptions = {}): Promise<void> {
  router = new QueueRouter()
  metrics = new CountingMetrics()
  logger = keepingLogger()
  server = await startExtProcServer(
    { router, health: new SwitchedHealth(), logger, metrics },
    { host: '127.0.0.1', grpcPort: 0, grpcHealthPort: 0, secureServing: false, ...options },
  )
  gateway = new Gateway(`127.0.0.1:${server.grpcPort}`)
}

async function stop(): Promise<void> {
  gateway.close()
  await server.stop(0)
}

/** Every request has ended once, and nothing of it is left. */
async function assertAllOver(): Promise<void> {
  await until(() => server.active === 0, 'all exchanges are over')
  await until(() => metrics.value('epp_extproc_buffered_bytes') === 0, 'no body bytes are held')
  for (const { ends } of router.seen) assert.ok(ends.length <= 1, `ended ${ends.length} times`)
}

async function finish(): Promise<void> {
  try {
    await assertAllOver()
  } finally {
    await stop()
  }
}

function immediate(answer: ProcessingResponse | undefined) {
  assert.equal(answer?.response, 'immediateResponse')
  const { status, body } = answer!.immediateResponse!
  return { status: status.code, headers: setHeaders(answer), ...JSON.parse(body.toString()).error }
}

describe('ext_proc exchange', () => {
  beforeEach(() => start())
  afterEach(finish)

  describe('request in full duplex', () => {
    it('is answered with the destination, then the body, and nothing before the body is whole', async () => {
      const call = gateway.open().send(requestHeaders(), requestBody(BODY.slice(0, 10)))
      await until(() => server.active === 1, 'the exchange has begun')
      assert.equal(call.unread, 0)
      call.send(requestBody(BODY.slice(10)), requestBody('', true))
      const [headers, ...bodies] = await call.untilEnd('requestBody')
      assert.equal(headers?.response, 'requestHeaders')
      assert.equal(headers?.requestHeaders?.response?.clearRouteCache, true)
      assert.equal(setHeaders(headers)[DESTINATION], '192.168.1.2:8000')
      assert.equal(metadataDestination(headers), '192.168.1.2:8000')
      assert.deepEqual(removedHeaders(headers), ['x-llm-d-model-name-rewrite'])
      assert.equal(bodies.length, 1)
      assert.equal(bodyOf(bodies, 'requestBody').toString(), BODY)
      call.halfClose()
      assert.equal(statusName(await call.status), 'OK')
    })

    it('gives the router lower-case headers, body pieces and no subset', async () => {
      const call = gateway.open().send(requestHeaders({ 'x-one': 'a' }), requestBody(BODY, true))
      await call.untilEnd('requestBody')
      const { request } = router.last
      assert.equal(request.headers.get(':path'), '/v1/completions')
      assert.equal(request.headers.get('x-one'), 'a')
      assert.equal(request.subset, undefined)
      call.cancel()
    })

    it('goes where the model-rewrite header says, only its bytes changed', async () => {
      const call = gateway
        .open()
        .send(requestHeaders({ 'x-llm-d-model-name-rewrite': 'target' }), requestBody(BODY, true))
      const answers = await call.untilEnd('requestBody')
      assert.equal(bodyOf(answers, 'requestBody').toString(), BODY.replace('my-model', 'target'))
      call.cancel()
    })

    it('comes in two chunks and is rewritten across them', async () => {
      const cut = BODY.indexOf('model":"my-') + 11
      const call = gateway
        .open()
        .send(
          requestHeaders({ 'x-llm-d-model-name-rewrite': 'target' }),
          requestBody(BODY.slice(0, cut)),
          requestBody(BODY.slice(cut), true),
        )
      const answers = await call.untilEnd('requestBody')
      assert.equal(bodyOf(answers, 'requestBody').toString(), BODY.replace('my-model', 'target'))
      call.cancel()
    })

    it('of 3 MB comes back whole in chunks of at most 62,000 bytes, its end told once', async () => {
      const prompt = 'the quick brown fox '.repeat(150_000)
      const body = Buffer.from(JSON.stringify({ model: 'm', prompt }))
      const call = gateway.open().send(requestHeaders())
      for (let at = 0; at < body.length; at += 32_768)
        call.send(requestBody(body.subarray(at, at + 32_768)))
      call.send(requestBody('', true))
      const [, ...bodies] = await call.untilEnd('requestBody')
      const chunks = bodies.map((answer) => streamed(answer, 'requestBody')!)
      assert.ok(bodyOf(bodies, 'requestBody').equals(body))
      assert.equal(chunks.length, Math.ceil(body.length / 62_000))
      assert.ok(chunks.every((chunk) => chunk.body.length <= 62_000))
      assert.equal(chunks.filter((chunk) => chunk.endOfStream).length, 1)
      call.cancel()
    })

    it('whose end is told twice is answered once', async () => {
      const call = gateway
        .open()
        .send(
          requestHeaders(),
          requestBody(BODY, true),
          requestBody('', true),
          requestBody(BODY, true),
        )
      const answers = await call.exactly(2)
      assert.equal(router.seen.length, 1)
      assert.equal(bodyOf(answers, 'requestBody').toString(), BODY)
      assert.equal(answers.length, 2)
    })

    it('that ends with trailers has no chunk that ends it; the answer to the trailers follows', async () => {
      const call = gateway.open().send(requestHeaders(), requestBody(BODY), requestTrailers())
      const answers = await call.exactly(3)
      assert.deepEqual(
        answers.map(({ response }) => response),
        ['requestHeaders', 'requestBody', 'requestTrailers'],
      )
      assert.equal(bodyOf(answers, 'requestBody').toString(), BODY)
      assert.equal(streamed(answers[1]!, 'requestBody')?.endOfStream, false)
    })

    it('without a body is answered on its headers alone', async () => {
      const call = gateway.open().send(requestHeaders({ ':method': 'GET' }, { endOfStream: true }))
      const answers = await call.exactly(1)
      assert.equal(answers.length, 1)
      assert.equal(setHeaders(answers[0])[DESTINATION], '192.168.1.2:8000')
      assert.deepEqual(router.last.request.body, [])
    })

    it('with an empty body gets an empty last chunk', async () => {
      const call = gateway.open().send(requestHeaders(), requestBody('', true))
      const answers = await call.exactly(2)
      assert.deepEqual(streamed(answers[1]!, 'requestBody'), {
        body: Buffer.alloc(0),
        endOfStream: true,
      })
      assert.equal(answers.length, 2)
    })

    it('is taken for full duplex when no mode is told', async () => {
      const { protocolConfig: _, ...silent } = requestHeaders()
      const call = gateway.open().send(silent, requestBody(BODY, true))
      assert.equal(bodyOf(await call.untilEnd('requestBody'), 'requestBody').toString(), BODY)
      call.cancel()
    })

    it('sets the headers that the router wants', async () => {
      router.setHeaders = new Map([['x-request-id', 'made']])
      const call = gateway.open().send(requestHeaders(), requestBody(BODY, true))
      const [headers] = await call.untilEnd('requestBody')
      assert.equal(setHeaders(headers)['x-request-id'], 'made')
      call.cancel()
    })

    it('reaches the router with repeated headers joined and the raw value first', async () => {
      const call = gateway.open().send(
        {
          requestHeaders: {
            headers: {
              headers: [
                ...headerList({ 'X-A': '1', 'x-a': '2' }).headers,
                { key: 'x-b', value: 'v' },
              ],
            },
          },
        },
        requestBody('{"model":"m"}', true),
      )
      await call.untilEnd('requestBody')
      assert.equal(router.last.request.headers.get('x-a'), '1, 2')
      assert.equal(router.last.request.headers.get('x-b'), 'v')
      call.cancel()
    })
  })

  describe('subset hint', () => {
    it('as a list leaves the best of the list', async () => {
      const hint = subsetHint(['192.168.1.1:8000', '192.168.1.3:8000'])
      const call = gateway.open().send(requestHeaders({}, hint), requestBody(BODY, true))
      const [headers] = await call.untilEnd('requestBody')
      assert.equal(setHeaders(headers)[DESTINATION], '192.168.1.1:8000')
      call.cancel()
    })

    it('as a string with the last body message leaves the one it names, loaded as it is', async () => {
      const call = gateway
        .open()
        .send(requestHeaders(), { ...requestBody(BODY, true), ...subsetHint('192.168.1.3:8000') })
      const [headers] = await call.untilEnd('requestBody')
      assert.equal(setHeaders(headers)[DESTINATION], '192.168.1.3:8000')
      call.cancel()
    })

    for (const subset of [['192.168.1.99:8000'], []]) {
      it(`of ${subset.length} unknown is answered 503 with the reason`, async () => {
        const call = gateway
          .open()
          .send(requestHeaders({}, subsetHint(subset)), requestBody(BODY, true))
        const answer = immediate(await call.next())
        assert.equal(answer.status, 503)
        assert.equal(answer.code, 'SUBSET_EMPTY')
        assert.equal(answer.headers['x-llm-d-request-dropped-reason'], 'rejected-no-endpoints')
      })
    }
  })

  describe('refusal', () => {
    it('of a body without a model is 400 in OpenAI’s shape', async () => {
      const call = gateway.open().send(requestHeaders(), requestBody('{"prompt":"x"}', true))
      const answer = immediate(await call.next())
      assert.deepEqual(answer, {
        status: 400,
        headers: { 'content-type': 'application/json' },
        message: 'the request names no model; set "model"',
        type: 'invalid_request_error',
        code: 'MODEL_MISSING',
      })
      assert.equal(statusName(await call.status), 'OK')
      assert.equal(metrics.value('epp_extproc_refusals_total{code=MODEL_MISSING}'), 1)
    })

    it('of a body that is not JSON is 400 and does not quote it', async () => {
      const call = gateway.open().send(requestHeaders(), requestBody('no healthy upstream', true))
      const answer = immediate(await call.next())
      assert.equal(answer.status, 400)
      assert.equal(answer.message, 'the request body is not JSON; send a JSON object')
    })

    it('by the filters is 429 with retry-after', async () => {
      router.failure = new SchedulerError('NO_ENDPOINTS', 'filter "x" left none')
      const call = gateway.open().send(requestHeaders(), requestBody(BODY, true))
      const answer = immediate(await call.next())
      assert.equal(answer.status, 429)
      assert.equal(answer.headers['retry-after'], '1')
      assert.equal(answer.headers['x-llm-d-request-dropped-reason'], 'rejected-saturated')
    })

    it('for an unforeseen fault is 500, says nothing of it to the client and all to the log', async () => {
      router.failure = new TypeError('secret detail')
      const call = gateway.open().send(requestHeaders(), requestBody(BODY, true))
      const answer = immediate(await call.next())
      assert.deepEqual(
        [answer.status, answer.message, answer.code],
        [500, 'internal error', 'INTERNAL'],
      )
      assert.equal(logger.lines.filter((line) => line.startsWith('error')).length, 1)
      assert.equal(metrics.value('epp_extproc_refusals_total{code=INTERNAL}'), 1)
    })

    it('of a throw that is no rejection is 500 as well', async () => {
      router.route = () => {
        throw new TypeError('thrown at once')
      }
      const call = gateway.open().send(requestHeaders(), requestBody(BODY, true))
      assert.equal(immediate(await call.next()).status, 500)
    })

    it('of an answer that cannot be written is 500 and ends the request', async () => {
      router.setHeaders = new Map([['x', undefined as unknown as string]])
      const call = gateway.open().send(requestHeaders(), requestBody(BODY, true))
      const answers = await call.rest()
      assert.equal(immediate(answers.at(-1)).status, 500)
      assert.deepEqual(router.last.ends, ['aborted'])
    })
  })

  describe('response in full duplex', () => {
    async function routed(more: Partial<ProcessingRequest> = {}): Promise<Exchange> {
      const call = gateway.open().send(requestHeaders({}, more), requestBody(BODY, true))
      await call.untilEnd('requestBody')
      return call
    }

    it('as JSON in two chunks comes back whole and is counted', async () => {
      const call = await routed()
      const json = '{"usage":{"prompt_tokens":11,"completion_tokens":4}}'
      call.send(responseHeaders({ ':status': '200', 'content-type': 'application/json' }))
      call.send(responseBody(json.slice(0, 20)), responseBody(json.slice(20), true))
      const [headers, ...bodies] = await call.untilEnd('responseBody')
      assert.equal(headers?.response, 'responseHeaders')
      assert.equal(bodyOf(bodies, 'responseBody').toString(), json)
      assert.equal(statusName(await call.status), 'OK')
      const { status, responseHeaders: told, usage, ends } = router.last
      assert.equal(status, 200)
      assert.equal(told?.get('content-type'), 'application/json')
      assert.deepEqual(usage, { promptTokens: 11, completionTokens: 4, cachedTokens: undefined })
      assert.deepEqual(ends, ['completed'])
    })

    it('that is not JSON comes back as it is', async () => {
      const call = await routed()
      call.send(responseHeaders({ ':status': '502' }), responseBody('no healthy upstream', true))
      const answers = await call.untilEnd('responseBody')
      assert.equal(bodyOf(answers, 'responseBody').toString(), 'no healthy upstream')
      await call.status
      assert.equal(router.last.status, 502)
    })

    it('that ends in an empty chunk ends once', async () => {
      const call = await routed()
      call.send(responseHeaders({ ':status': '200' }), responseBody('{}'), responseBody('', true))
      const answers = await call.rest()
      assert.equal(bodyOf(answers, 'responseBody').toString(), '{}')
      const ends = answers.filter((answer) => streamed(answer, 'responseBody')?.endOfStream)
      assert.deepEqual(ends, [answers.at(-1)])
    })

    it('as server-sent events passes chunk by chunk and is counted', async () => {
      const call = await routed()
      call.send(responseHeaders({ ':status': '200', 'content-type': 'text/event-stream' }))
      assert.equal((await call.next())?.response, 'responseHeaders')
      const events = [
        'data: {}\n\n',
        'data: {"usage":{"prompt_tokens":7,"total_tokens":17,"completion_tokens":10}}\n\ndata: [DONE]\n\n',
      ]
      for (const event of events) {
        call.send(responseBody(event))
        assert.equal(streamed((await call.next())!, 'responseBody')?.body.toString(), event)
      }
      call.send(responseBody('', true))
      assert.deepEqual(streamed((await call.next())!, 'responseBody'), {
        body: Buffer.alloc(0),
        endOfStream: true,
      })
      await call.status
      assert.equal(router.last.usage?.promptTokens, 7)
      assert.deepEqual(router.last.responseBytes.map(String), events)
    })

    it('of 2,000 chunks comes back in order', async () => {
      const call = await routed()
      call.send(responseHeaders({ ':status': '200' }))
      let whole = ''
      for (let i = 0; i < 2000; i++) {
        const chunk = `data: ${i} ${'x'.repeat(i % 300)}\n\n`
        whole += chunk
        call.send(responseBody(chunk))
      }
      call.send(responseBody('', true))
      const [, ...bodies] = await call.untilEnd('responseBody')
      assert.equal(bodyOf(bodies, 'responseBody').toString(), whole)
      assert.ok(bodies.length <= 2001, `${bodies.length} messages`)
      assert.ok(bodies.every((answer) => streamed(answer, 'responseBody')!.body.length <= 62_000))
      await call.status
    })

    it('with trailers ends with the answer to them', async () => {
      const call = await routed()
      call.send(responseHeaders({ ':status': '200' }), responseBody('abc'), responseTrailers())
      const answers = await call.rest()
      assert.deepEqual(
        answers.map(({ response }) => response),
        ['responseHeaders', 'responseBody', 'responseTrailers'],
      )
      assert.equal(streamed(answers[1]!, 'responseBody')?.endOfStream, false)
      assert.deepEqual(router.last.ends, ['completed'])
    })

    it('without a body ends with its headers', async () => {
      const call = await routed()
      call.send(responseHeaders({ ':status': '204' }, true))
      assert.deepEqual(
        (await call.rest()).map(({ response }) => response),
        ['responseHeaders'],
      )
      assert.deepEqual(router.last.ends, ['completed'])
    })

    for (const [what, endOfStream] of [
      ['with a body', false],
      ['without a body', true],
    ] as const) {
      it(`${what} gets the headers that the router wants, before all else`, async () => {
        router.responseHeaders = new Map([['x-session-token', 'abc=']])
        const call = await routed()
        call.send({
          ...responseHeaders({ ':status': '200' }, endOfStream),
          ...servedBy('10.0.0.1:8000'),
        })
        if (!endOfStream) call.send(responseBody('abc', true))
        const answers = await call.rest()
        assert.deepEqual(
          answers.map(({ response }) => response),
          endOfStream ? ['responseHeaders'] : ['responseHeaders', 'responseBody'],
        )
        assert.deepEqual(setHeaders(answers[0]), { 'x-session-token': 'abc=' })
        assert.equal(router.last.servedEndpoint, '10.0.0.1:8000')
        assert.deepEqual(router.last.ends, ['completed'])
      })
    }

    it('gets no header mutation where nothing is wanted', async () => {
      for (const wanted of [undefined, new Map<string, string>()]) {
        router.responseHeaders = wanted
        const call = await routed()
        call.send(responseHeaders({ ':status': '200' }, true))
        const [answer] = await call.rest()
        assert.equal(answer?.responseHeaders?.response?.headerMutation ?? undefined, undefined)
        assert.equal(router.last.servedEndpoint, undefined)
      }
    })

    it('that nothing watches gets none either', async () => {
      router.watchResponse = false
      router.responseHeaders = new Map([['x-session-token', 'abc=']])
      const call = await routed()
      call.send(responseHeaders({ ':status': '200' }, true))
      assert.deepEqual(setHeaders((await call.rest())[0]), {})
    })

    it('whose metadata does not decode is refused', async () => {
      const message = { ...responseHeaders({ ':status': '200' }), ...servedBy('10.0.0.1:8000') }
      const bytes = processMethod.requestSerialize(message)
      bytes[bytes.indexOf('10.0.0.1:8000') - 1] = 0x7f
      const call = gateway.openRaw()
      for (const first of [requestHeaders(), requestBody(BODY, true)]) {
        call.send(processMethod.requestSerialize(first))
      }
      await call.untilEnd('requestBody')
      call.send(bytes)
      const { code, details } = await call.status
      assert.deepEqual([code, details], [3, 'the metadata of the message does not decode'])
      assert.deepEqual(router.last.ends, ['aborted'])
    })

    it('that nothing watches passes unseen; the request has ended before', async () => {
      router.watchResponse = false
      const call = await routed()
      assert.deepEqual(router.last.ends, ['not-watched'])
      call.send(responseHeaders({ ':status': '200' }), responseBody('abc'), responseBody('d', true))
      const answers = await call.untilEnd('responseBody')
      assert.equal(answers[0]?.response, 'responseHeaders')
      assert.equal(bodyOf(answers, 'responseBody').toString(), 'abcd')
      assert.equal(statusName(await call.status), 'OK')
      assert.deepEqual(router.last.ends, ['not-watched'])
      assert.deepEqual([router.last.status, router.last.responseBytes], [undefined, []])
    })

    it('that nothing watches may break off', async () => {
      router.watchResponse = false
      const call = await routed()
      call.send(responseHeaders({ ':status': '200' }), responseBody('abc'))
      await call.next()
      call.cancel()
      await until(() => server.active === 0, 'the exchange is over')
      assert.deepEqual(router.last.ends, ['not-watched'])
    })

    it('of the gateway itself, before the pick, ends the search', async () => {
      router.hold()
      const call = gateway.open().send(requestHeaders(), requestBody(BODY, true))
      await until(() => router.seen.length === 1, 'the router was asked')
      call.send(responseHeaders({ ':status': '504' }))
      assert.equal(statusName(await call.status), 'OK')
      assert.equal(router.last.cancellation.isCancelled, true)
      router.release()
      await until(() => router.last.ends.length === 1, 'the request has ended')
      assert.deepEqual(router.last.ends, ['aborted'])
    })
  })

  describe('end of the stream', () => {
    const ways: [string, (call: Exchange) => void][] = [
      ['cancelled', (call) => call.cancel()],
      ['half-closed', (call) => call.halfClose()],
    ]
    for (const [way, leave] of ways) {
      it(`${way} while the body comes asks no router`, async () => {
        const call = gateway.open().send(requestHeaders(), requestBody(BODY.slice(0, 9)))
        await until(() => metrics.value('epp_extproc_buffered_bytes') === 9, 'the piece is held')
        leave(call)
        await call.status
        await until(() => server.active === 0, 'the exchange is over')
        assert.equal(router.seen.length, 0)
        assert.equal(metrics.value('epp_extproc_exchanges_total{outcome=abandoned}'), 1)
      })

      it(`${way} while the router works fires the signal and ends the request`, async () => {
        router.hold()
        const call = gateway.open().send(requestHeaders(), requestBody(BODY, true))
        await until(() => router.seen.length === 1, 'the router was asked')
        leave(call)
        await until(() => router.last.cancellation.isCancelled, 'the signal has fired')
        router.release()
        await until(() => router.last.ends.length > 0, 'the request has ended')
        assert.deepEqual(router.last.ends, ['client-gone'])
      })

      it(`${way} before the response ends the request`, async () => {
        const call = gateway.open().send(requestHeaders(), requestBody(BODY, true))
        await call.untilEnd('requestBody')
        leave(call)
        await until(() => router.last.ends.length > 0, 'the request has ended')
        assert.deepEqual(router.last.ends, ['client-gone'])
      })

      it(`${way} within the response ends the request`, async () => {
        const call = gateway.open().send(requestHeaders(), requestBody(BODY, true))
        await call.untilEnd('requestBody')
        call.send(responseHeaders({ ':status': '200' }), responseBody('data: 1\n\n'))
        await until(() => router.last.responseBytes.length === 1, 'the chunk was seen')
        leave(call)
        await until(() => router.last.ends.length > 0, 'the request has ended')
        assert.deepEqual(router.last.ends, ['aborted'])
      })

      it(`${way} after the response changes nothing`, async () => {
        const call = gateway.open().send(requestHeaders(), requestBody(BODY, true))
        await call.untilEnd('requestBody')
        call.send(responseHeaders({ ':status': '200' }), responseBody('{}', true))
        await call.untilEnd('responseBody')
        leave(call)
        await until(() => server.active === 0, 'the exchange is over')
        assert.deepEqual(router.last.ends, ['completed'])
      })
    }

    it('loses no byte when the half-close comes with the last chunk', async () => {
      const call = gateway.open().send(requestHeaders(), requestBody(BODY, true))
      await call.untilEnd('requestBody')
      call.send(responseHeaders({ ':status': '200' }), responseBody('{}', true))
      call.halfClose()
      assert.equal(bodyOf(await call.rest(), 'responseBody').toString(), '{}')
      assert.deepEqual(router.last.ends, ['completed'])
    })
  })

  describe('malformed protocol', () => {
    const first = processMethod.requestSerialize(requestHeaders())
    const badMetadata = Buffer.from([0x22, 0x00, 0x42, 0x04, 0x0a, 0x02, 0x0a, 0x09])
    const cases: [string, Buffer[]][] = [
      ['text', [Buffer.from('GET / HTTP/1.1\r\n\r\n')]],
      ['a cut message', [first.subarray(0, first.length - 3)]],
      ['a cut second message', [first, Buffer.from([0x22, 0x05, 0x0a])]],
      ['metadata that does not decode', [first, badMetadata]],
      ['headers that do not decode', [Buffer.from([0x12, 0x04, 0x0a, 0x02, 0x0a, 0x09])]],
      ['a body before headers', [processMethod.requestSerialize(requestBody('x'))]],
      ['trailers before headers', [processMethod.requestSerialize(requestTrailers())]],
      ['headers twice', [first, first]],
    ]
    for (const [name, messages] of cases) {
      it(`${name} is refused, counted and said once; the next request is served`, async () => {
        for (let i = 0; i < 2; i++) {
          const call = gateway.openRaw().send(...messages)
          assert.equal(statusName(await call.status), 'INVALID_ARGUMENT')
        }
        assert.equal(metrics.value('epp_extproc_exchanges_total{outcome=malformed}'), 2)
        assert.equal(logger.lines.length, 1)
        const call = gateway.open().send(requestHeaders(), requestBody(BODY, true))
        assert.equal(bodyOf(await call.untilEnd('requestBody'), 'requestBody').toString(), BODY)
        call.cancel()
      })
    }

    it('in the response phase ends the request', async () => {
      const call = gateway
        .openRaw()
        .send(first, processMethod.requestSerialize(requestBody(BODY, true)))
      await call.untilEnd('requestBody')
      call.send(Buffer.from([0xff]))
      assert.equal(statusName(await call.status), 'INVALID_ARGUMENT')
      assert.deepEqual(router.last.ends, ['aborted'])
    })

    it('a message of a later Envoy is passed over', async () => {
      const call = gateway.openRaw().send(first, Buffer.from([0x62, 0x00]))
      call.send(processMethod.requestSerialize(requestBody(BODY, true)))
      assert.equal(bodyOf(await call.untilEnd('requestBody'), 'requestBody').toString(), BODY)
      call.cancel()
    })

    it('observability mode is counted, said once and not answered', async () => {
      const call = gateway
        .open()
        .send({ ...requestHeaders(), observabilityMode: true }, requestBody(BODY, true))
      call.halfClose()
      assert.deepEqual(await call.rest(), [])
      assert.equal(metrics.value('epp_extproc_exchanges_total{outcome=observed}'), 1)
      assert.equal(router.seen.length, 0)
    })
  })
})

describe('ext_proc exchange in other modes', () => {
  beforeEach(() => start())
  afterEach(finish)

  const config = (
    requestBodyMode: 'BUFFERED' | 'BUFFERED_PARTIAL' | 'STREAMED' | 'NONE',
    responseBodyMode: typeof requestBodyMode | 'FULL_DUPLEX_STREAMED' = requestBodyMode,
  ) => ({ protocolConfig: { requestBodyMode, responseBodyMode } })

  it('BUFFERED: headers at once, the destination in the answer to the body', async () => {
    const call = gateway.open().send(requestHeaders({}, config('BUFFERED')))
    const headers = await call.next()
    assert.equal(headers?.response, 'requestHeaders')
    assert.deepEqual(setHeaders(headers), {})
    call.send(requestBody(BODY, true))
    const body = await call.next()
    assert.equal(body?.response, 'requestBody')
    assert.equal(setHeaders(body)[DESTINATION], '192.168.1.2:8000')
    assert.equal(metadataDestination(body), '192.168.1.2:8000')
    assert.equal(body?.requestBody?.response?.clearRouteCache, true)
    assert.equal(body?.requestBody?.response?.bodyMutation, undefined)
    call.send(responseHeaders({ ':status': '200' }))
    assert.equal((await call.next())?.response, 'responseHeaders')
    call.send(responseBody('{"usage":{"prompt_tokens":3}}', true))
    const response = await call.next()
    assert.equal(response?.response, 'responseBody')
    assert.equal(response?.responseBody?.response, undefined)
    await call.status
    assert.equal(router.last.usage?.promptTokens, 3)
    assert.deepEqual(router.last.ends, ['completed'])
  })

  it('BUFFERED: a changed body goes back whole', async () => {
    const call = gateway
      .open()
      .send(
        requestHeaders({ 'x-llm-d-model-name-rewrite': 'target' }, config('BUFFERED')),
        requestBody(BODY, true),
      )
    await call.next()
    const answer = await call.next()
    const body = answer?.requestBody?.response?.bodyMutation?.body
    assert.equal(body?.toString(), BODY.replace('my-model', 'target'))
    assert.equal(setHeaders(answer)['content-length'], undefined)
    call.cancel()
  })

  it('BUFFERED: of a changed body the new length is told where the old one was', async () => {
    for (const [target, length] of [
      ['target', String(BODY.length - 2)],
      [undefined, undefined],
    ] as const) {
      const headers = {
        'content-length': String(BODY.length),
        ...(target !== undefined && { 'x-llm-d-model-name-rewrite': target }),
      }
      const call = gateway
        .open()
        .send(requestHeaders(headers, config('BUFFERED')), requestBody(BODY, true))
      await call.next()
      assert.equal(setHeaders(await call.next())['content-length'], length)
      call.cancel()
    }
  })

  it('BUFFERED: trailers are answered after the body', async () => {
    router.watchResponse = false
    const call = gateway
      .open()
      .send(requestHeaders({}, config('BUFFERED')), requestBody(BODY), requestTrailers())
    assert.deepEqual(
      (await call.rest()).map(({ response }) => response),
      ['requestHeaders', 'requestBody', 'requestTrailers'],
    )
  })

  it('BUFFERED: a refusal answers the body', async () => {
    const call = gateway.open().send(requestHeaders({}, config('BUFFERED')), requestBody('{', true))
    assert.equal((await call.next())?.response, 'requestHeaders')
    assert.equal(immediate(await call.next()).status, 400)
  })

  it('BUFFERED: without a body the trailers’ answer names the destination in the metadata', async () => {
    router.watchResponse = false
    const call = gateway.open().send(requestHeaders({}, config('BUFFERED')), requestTrailers())
    const answers = await call.rest()
    assert.deepEqual(
      answers.map(({ response }) => response),
      ['requestHeaders', 'requestTrailers'],
    )
    assert.equal(metadataDestination(answers[1]), '192.168.1.2:8000')
  })

  it('BUFFERED_PARTIAL: a body that goes on is known as its beginning, one that has ended as whole', async () => {
    for (const [body, isWhole, seen] of [
      [BODY, true, undefined],
      [BODY.slice(0, 40), false, 'part'],
    ] as const) {
      const call = gateway
        .open()
        .send(
          requestHeaders({ 'x-llm-d-model-name-rewrite': 'target' }, config('BUFFERED_PARTIAL')),
          requestBody(body, isWhole),
        )
      const [headers, answer] = [await call.next(), await call.next()]
      assert.deepEqual(setHeaders(headers), {})
      assert.equal(setHeaders(answer)[DESTINATION], '192.168.1.2:8000')
      const { bodyMutation } = answer?.requestBody?.response ?? {}
      assert.equal(bodyMutation?.body?.toString(), body.replace('my-model', 'target'))
      assert.equal(router.last.request.bodySeen, seen)
      call.cancel()
    }
    assert.equal(metrics.value('epp_extproc_unseen_bodies_total{seen=part}'), 1)
    assert.match(
      logger.lines.join(),
      /^warn the gateway passes the beginning of a request body alone/,
    )
  })

  for (const mode of ['STREAMED', 'NONE'] as const) {
    it(`${mode}: the body counts as unseen, which is said once; a request without one has none`, async () => {
      for (let i = 0; i < 2; i++) {
        const call = gateway.open().send(requestHeaders({}, config(mode)))
        await call.next()
        assert.equal(router.last.request.bodySeen, 'none')
        call.cancel()
      }
      const get = gateway.open().send(requestHeaders({}, { ...config(mode), endOfStream: true }))
      await get.next()
      assert.equal(router.last.request.bodySeen, undefined)
      get.cancel()
      assert.equal(metrics.value('epp_extproc_unseen_bodies_total{seen=none}'), 2)
      assert.equal(logger.lines.length, 1)
      assert.match(
        logger.lines[0]!,
        new RegExp(`request_body_mode ${mode}.*prefix scorers are neutral`),
      )
    })
  }

  for (const mode of ['BUFFERED', 'BUFFERED_PARTIAL', 'STREAMED', 'NONE'] as const) {
    it(`${mode}: where nothing watches, the gateway is asked to keep the response`, async () => {
      const override = async (response: Parameters<typeof config>[1]) => {
        const call = gateway.open().send(requestHeaders({}, config(mode, response)))
        const answer = await call.next()
        call.cancel()
        assert.equal(answer?.response, 'requestHeaders')
        return answer?.modeOverride && { ...(answer.modeOverride as object) }
      }
      assert.equal(await override('STREAMED'), undefined)
      router.watchResponse = false
      assert.deepEqual(await override('STREAMED'), {
        responseHeaderMode: 'SKIP',
        responseTrailerMode: 'SKIP',
        ...(mode !== 'NONE' && { requestBodyMode: mode }),
      })
      assert.equal(await override('FULL_DUPLEX_STREAMED'), undefined)
    })
  }

  it('STREAMED: routed on the headers, each chunk let pass', async () => {
    const call = gateway.open().send(requestHeaders({}, config('STREAMED')))
    const headers = await call.next()
    assert.equal(setHeaders(headers)[DESTINATION], '192.168.1.2:8000')
    assert.deepEqual(router.last.request.body, [])
    call.send(requestBody('{"mo'), requestBody('del":1}', true))
    for (let i = 0; i < 2; i++) {
      const chunk = await call.next()
      assert.equal(chunk?.response, 'requestBody')
      assert.equal(chunk?.requestBody?.response, undefined)
    }
    call.send(responseHeaders({ ':status': '200' }), responseBody('a'), responseBody('b', true))
    assert.deepEqual(
      (await call.rest()).map(({ response }) => response),
      ['responseHeaders', 'responseBody', 'responseBody'],
    )
    assert.deepEqual(router.last.ends, ['completed'])
  })

  it('STREAMED: chunks that come while the router works wait for the headers', async () => {
    router.watchResponse = false
    router.hold()
    const call = gateway
      .open()
      .send(
        requestHeaders({}, config('STREAMED')),
        requestBody('a'),
        requestBody('b'),
        requestTrailers(),
      )
    await until(() => router.seen.length === 1, 'the router was asked')
    router.release()
    assert.deepEqual(
      (await call.rest()).map(({ response }) => response),
      ['requestHeaders', 'requestBody', 'requestBody', 'requestTrailers'],
    )
    assert.deepEqual(router.last.ends, ['not-watched'])
  })

  it('STREAMED: a second end of the body is not answered', async () => {
    const call = gateway.open().send(requestHeaders({}, config('STREAMED')))
    await call.next()
    call.send(requestBody('a', true), requestBody('', true), requestTrailers())
    call.send(responseHeaders({ ':status': '200' }, true))
    assert.deepEqual(
      (await call.rest()).map(({ response }) => response),
      ['requestBody', 'responseHeaders'],
    )
  })

  it('NONE: routed on the headers; the end of the stream after the response’s is its end', async () => {
    const call = gateway.open().send(requestHeaders({}, config('NONE')))
    assert.equal(setHeaders(await call.next())[DESTINATION], '192.168.1.2:8000')
    call.send(responseHeaders({ ':status': '200' }))
    assert.equal((await call.next())?.response, 'responseHeaders')
    call.halfClose()
    await call.status
    assert.deepEqual(router.last.ends, ['completed'])
  })

  for (const end of ['halfClose', 'cancel'] as const) {
    it(`NONE: a gateway that shows nothing of responses, and is gone by ${end}, tells of no end`, async () => {
      const call = gateway.open().send(requestHeaders({}, config('NONE')))
      await call.next()
      call[end]()
      await call.status
      await until(() => router.last.ends.length > 0, 'the request has ended')
      assert.deepEqual(router.last.ends, ['not-watched'])
    })
  }

  it('NONE: steps out after the headers when nothing watches the response', async () => {
    router.watchResponse = false
    const call = gateway.open().send(requestHeaders({}, config('NONE')))
    assert.equal((await call.rest()).length, 1)
    assert.deepEqual(router.last.ends, ['not-watched'])
  })
})

describe('ext_proc limits', () => {
  afterEach(finish)

  it('a body over the limit is answered 413 at once; what follows of it is ignored', async () => {
    await start({ maxBodyBytes: 2 * 1024 * 1024 })
    const call = gateway.open().send(requestHeaders())
    const piece = Buffer.alloc(1024 * 1024, ' ')
    for (let i = 0; i < 8; i++) call.send(requestBody(piece))
    const answer = immediate(await call.next())
    assert.equal(answer.status, 413)
    assert.equal(
      answer.message,
      "the request's body is larger than the 2 MiB that --max-body-mib allows; send a shorter one",
    )
    assert.deepEqual(await call.rest(), [])
    assert.equal(router.seen.length, 0)
  })

  it('a body that its content-length says is too large is answered before it comes', async () => {
    await start({ maxBodyBytes: 1000 })
    const call = gateway.open().send(requestHeaders({ 'content-length': '1001' }))
    assert.equal(immediate(await call.next()).status, 413)
  })

  it('a body of exactly the limit is served', async () => {
    await start({ maxBodyBytes: Buffer.byteLength(BODY) })
    const call = gateway.open().send(requestHeaders(), requestBody(BODY, true))
    assert.equal(bodyOf(await call.untilEnd('requestBody'), 'requestBody').toString(), BODY)
    call.cancel()
  })

  it('bodies that fill the buffers are answered 503; when they are gone the next is served', async () => {
    await start({ maxBufferedBytes: 1024 * 1024 })
    const holding = gateway
      .open()
      .send(requestHeaders(), requestBody(Buffer.alloc(1024 * 1024, ' ')))
    await until(
      () => metrics.value('epp_extproc_buffered_bytes') === 1024 * 1024,
      'the body is held',
    )
    const refused = gateway.open().send(requestHeaders(), requestBody(BODY, true))
    const answer = immediate(await refused.next())
    assert.deepEqual([answer.status, answer.code], [503, 'BUFFERS_FULL'])
    assert.equal(answer.headers['x-llm-d-request-dropped-reason'], 'rejected-saturated')
    holding.cancel()
    await until(() => metrics.value('epp_extproc_buffered_bytes') === 0, 'the body is let go')
    const served = gateway.open().send(requestHeaders(), requestBody(BODY, true))
    assert.equal(bodyOf(await served.untilEnd('requestBody'), 'requestBody').toString(), BODY)
    served.cancel()
  })

  it('a body whose answer nobody reads is let go with the stream', async () => {
    await start()
    const call = gateway.open()
    call.pause()
    const body = Buffer.from(JSON.stringify({ model: 'm', prompt: 'x'.repeat(30_000_000) }))
    call.send(requestHeaders())
    for (let at = 0; at < body.length; at += 1_000_000)
      call.send(requestBody(body.subarray(at, at + 1_000_000)))
    call.send(requestBody('', true))
    await until(
      () => metrics.value('epp_extproc_exchanges_total{outcome=routed}') === 1,
      'it is routed',
    )
    assert.equal(metrics.value('epp_extproc_buffered_bytes'), body.length)
    call.cancel()
  })

  it('requests beyond those in progress are answered 503; when one has ended the next is served', async () => {
    await start({ maxRequests: 2 })
    const running = [0, 1].map(() => gateway.open().send(requestHeaders(), requestBody('{')))
    await until(() => server.active === 2, 'two are in progress')
    const answer = immediate(await gateway.open().send(requestHeaders()).next())
    assert.deepEqual([answer.status, answer.code], [503, 'REQUESTS_FULL'])
    assert.match(answer.message, /^2 requests are in progress, as many as --max-requests allows/)
    assert.equal(answer.headers['x-llm-d-request-dropped-reason'], 'rejected-saturated')
    assert.equal(metrics.value('epp_extproc_refusals_total{code=REQUESTS_FULL}'), 1)
    running[0]!.cancel()
    await until(() => server.active === 1, 'one has ended')
    const served = gateway.open().send(requestHeaders(), requestBody(BODY, true))
    assert.equal(bodyOf(await served.untilEnd('requestBody'), 'requestBody').toString(), BODY)
    served.cancel()
    running[1]!.cancel()
  })

  it('headers over the limit are answered 400', async () => {
    await start({ maxHeaderBytes: 1000 })
    const call = gateway.open().send(requestHeaders({ 'x-long': 'x'.repeat(1000) }))
    const answer = immediate(await call.next())
    assert.equal(answer.status, 400)
    assert.match(answer.message, /^the request's headers take \d+ bytes, more than 1000/)
  })

  it('a gateway that does not read is not written to without bound', async () => {
    await start()
    router.watchResponse = true
    const call = gateway.open().send(requestHeaders(), requestBody(BODY, true))
    await call.untilEnd('requestBody')
    call.send(responseHeaders({ ':status': '200' }))
    await call.next()
    call.pause()
    const chunk = Buffer.alloc(60_000, 'x')
    let sent = 0
    for (; sent < 1000; sent++) call.send(responseBody(chunk))
    const seen = () => router.last.responseBytes.length
    let last = -1
    let same = 0
    await until(() => {
      same = seen() === last && last > 0 ? same + 1 : 0
      last = seen()
      return same === 200
    }, 'the server stops reading')
    assert.ok(seen() < 250, `${seen()} of ${sent} chunks read`)
    call.resume()
    call.send(responseBody('', true))
    const answers = await call.untilEnd('responseBody')
    assert.equal(bodyOf(answers, 'responseBody').length, sent * chunk.length)
  })
})
