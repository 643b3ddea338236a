import assert from 'node:assert/strict'
import { eventually } from '../e2e/process.ts'
import {
  bodyOf,
  type Exchange,
  headerList,
  metadataDestination,
  type ProcessingRequest,
  type ProcessingResponse,
  REQUEST_HEADERS,
  removedHeaders,
  requestBody,
  requestHeaders,
  responseBody,
  responseHeaders,
  setHeaders,
  statusName,
  streamed,
  subsetHint,
} from '../extproc/client.ts'
import { type Pod, Pool } from './pool.ts'

const ADDRESSES = ['127.0.71.1', '127.0.71.2', '127.0.71.3', '127.0.71.4']
const DESTINATION = 'x-gateway-destination-endpoint'
const REWRITE = 'x-gateway-model-name-rewrite'
const ADAPTER = 'sql-lora-1fdg2'
const MODELS = ['sql-lora', ADAPTER, 'sql-lora-sheddable', 'sql-lora-1fdg3', 'direct-model']
const MEBIBYTE = 1024 * 1024
const USAGE = { prompt_tokens: 7, completion_tokens: 10, total_tokens: 17 }
const IDLE: readonly Pod[] = [0, 1, 2].map(() => ({ waiting: 0, kvCacheUsage: 0 }))

const completion = (model: string, prompt: string) =>
  JSON.stringify({ max_tokens: 100, model, prompt, temperature: 0 })
const pod = (waiting: number, kvCacheUsage: number, ...adapters: string[]): Pod => ({
  waiting,
  kvCacheUsage,
  adapters,
})

interface Routing {
  readonly pods: readonly Pod[]
  readonly model: string
  /** Model that the header asks for. */
  readonly rewrite?: string
  /** Where the body is cut in two. */
  readonly cutAt?: number
  /** Pods that the gateway allows; all when absent. */
  readonly subset?: readonly number[]
  /** The pod that is to serve. */
  readonly to: number
}

/** By their numbers in the tests of llm-d's endpoint picker, which these follow. */
const ROUTED: Readonly<Record<string, Routing>> = {
  '1: the pod with the shorter queue and more free cache': {
    pods: [pod(3, 0.2), pod(0, 0.1), pod(10, 0.2)],
    model: 'sql-lora',
    rewrite: ADAPTER,
    to: 1,
  },
  '2: the pod with the adapter, its queue short too (a third-party scorer knows)': {
    pods: [pod(0, 0.2, 'foo', 'bar'), pod(0, 0.1, 'foo', ADAPTER), pod(10, 0.2, 'foo', 'bar')],
    model: 'sql-lora',
    rewrite: ADAPTER,
    to: 1,
  },
  '3: the pod with the adapter, though its cache is fuller (a third-party scorer knows)': {
    pods: [pod(10, 0.2, 'foo', 'bar'), pod(10, 0.4, 'foo', ADAPTER), pod(10, 0.3, 'foo')],
    model: 'sql-lora',
    rewrite: ADAPTER,
    to: 1,
  },
  '7: a loaded pool sheds nothing': {
    pods: [pod(6, 0.2, 'foo', 'bar', 'sql-lora-1fdg3'), pod(0, 0.85, 'foo'), pod(10, 0.9, 'foo')],
    model: 'sql-lora-sheddable',
    rewrite: 'sql-lora-1fdg3',
    to: 0,
  },
  '9: a body in two chunks': {
    pods: [pod(4, 0.2, 'foo', 'bar', 'sql-lora-1fdg3'), pod(0, 0.85, 'foo'), pod(10, 0.9, 'foo')],
    model: 'sql-lora-sheddable',
    rewrite: 'sql-lora-1fdg3',
    cutAt: completion('sql-lora-sheddable', '').indexOf('sheddable'),
    to: 0,
  },
  '10: the best of a subset of all': {
    pods: [pod(0, 0.2, 'foo'), pod(0, 0.1, 'foo', ADAPTER), pod(10, 0.2, 'foo')],
    model: 'sql-lora',
    rewrite: ADAPTER,
    subset: [0, 1, 2],
    to: 1,
  },
  '11: the only one of the subset, though it is loaded': {
    pods: [pod(0, 0.2, 'foo'), pod(0, 0.1, 'foo', ADAPTER), pod(10, 0.2, 'foo')],
    model: 'sql-lora',
    rewrite: ADAPTER,
    subset: [2],
    to: 2,
  },
  '13: a model that nothing is configured for, its body in two chunks and unchanged': {
    pods: [pod(6, 0.2, 'foo', 'bar', 'direct-model'), pod(0, 0.85, 'foo'), pod(10, 0.9, 'foo')],
    model: 'direct-model',
    cutAt: 3,
    to: 0,
  },
}

/** What an immediate answer says; fails when it is none, or more came than it. */
async function refusal(exchange: Exchange) {
  const answer = await exchange.next()
  assert.equal(answer?.response, 'immediateResponse')
  assert.deepEqual(await exchange.rest(), [], 'nothing comes after it')
  assert.equal(statusName(await exchange.status), 'OK')
  const { status, body } = answer!.immediateResponse!
  return {
    status: status.code,
    headers: setHeaders(answer),
    body: JSON.parse(body.toString()) as unknown,
  }
}

const refused = (
  status: number,
  type: string,
  code: string,
  message: string,
  headers: Readonly<Record<string, string>> = {},
) => ({
  status,
  headers: { 'content-type': 'application/json', ...headers },
  body: { error: { message, type, code } },
})
const dropped = (reason: string) => ({
  'retry-after': '1',
  'x-llm-d-request-dropped-reason': reason,
})

/** Fails unless every answer is of the body, and the last one alone ends it. */
function assertBody(
  answers: readonly ProcessingResponse[],
  field: 'requestBody' | 'responseBody',
  body: string,
): void {
  for (const [i, answer] of answers.entries()) {
    assert.equal(answer.response, field)
    assert.equal(streamed(answer, field)?.endOfStream, i === answers.length - 1)
  }
  assert.equal(bodyOf(answers, field).toString(), body)
}

describe("the protocol as llm-d's endpoint picker is tested, on the whole product", function () {
  this.timeout(60_000)
  let pool: Pool

  const start = (...args: string[]) => Pool.start(ADDRESSES, MODELS, args)
  /** The whole request phase of one that is routed: where to, with the answers. */
  const route = async (...messages: ProcessingRequest[]) => {
    const exchange = pool.gateway.open().send(...messages)
    const answers = await exchange.untilEnd('requestBody')
    const refusedWith = answers.find(({ immediateResponse }) => immediateResponse)
    assert.equal(refusedWith?.immediateResponse?.body.toString(), undefined)
    return { exchange, headers: answers[0]!, bodies: answers.slice(1) }
  }
  /** A model server's response, after which the stream ends by itself. */
  const respond = async (exchange: Exchange) => {
    exchange.send(responseHeaders({ ':status': '200' }), responseBody('{}', true))
    await exchange.untilEnd('responseBody')
    assert.deepEqual(await exchange.rest(), [])
    assert.equal(statusName(await exchange.status), 'OK')
  }
  const assertDestination = (answer: ProcessingResponse, index: number) => {
    assert.equal(answer.response, 'requestHeaders')
    assert.equal(answer.requestHeaders?.response?.clearRouteCache, true)
    assert.deepEqual(setHeaders(answer), { [DESTINATION]: pool.servers[index]!.hostPort })
    assert.equal(metadataDestination(answer), pool.servers[index]!.hostPort)
  }

  describe('requests', () => {
    before(async () => {
      pool = await start('--max-body-mib', '1', '--max-buffered-mib', '2', '--responses', 'full')
    })
    after(() => pool.stop())

    for (const [name, { pods, model, rewrite, cutAt, subset, to }] of Object.entries(ROUTED)) {
      it(`routes to ${name}`, async () => {
        await pool.become(pods)
        const labels = { model_name: model, target_model_name: rewrite ?? model, priority: '0' }
        const requestsBefore = await pool.counted('inference_objective_request_total', labels)
        const body = completion(model, `test ${name}`)
        const cut = cutAt ?? body.length
        const control: Record<string, string> = rewrite === undefined ? {} : { [REWRITE]: rewrite }
        const hint = subset && subsetHint(subset.map((i) => pool.servers[i]!.hostPort))
        const { exchange, headers, bodies } = await route(
          requestHeaders({ hi: 'mom', ...control }, hint),
          requestBody(body.slice(0, cut), cutAt === undefined),
          ...(cutAt === undefined ? [] : [requestBody(body.slice(cut), true)]),
        )
        assertDestination(headers, to)
        assert.deepEqual(removedHeaders(headers), Object.keys(control))
        const sent = body.replace(`"model":"${model}"`, `"model":"${rewrite ?? model}"`)
        assertBody(bodies, 'requestBody', sent)
        await respond(exchange)
        const requests = await pool.counted('inference_objective_request_total', labels)
        assert.equal(requests - requestsBefore, 1)
        assert.equal(await pool.counted('inference_pool_ready_pods', { name: 'default' }), 3)
      })
    }

    it('passes bodies of many chunks on, ended once, both ways', async () => {
      await pool.become(IDLE)
      const body = completion('sql-lora', 'Is this long? '.repeat(20_000))
      const half = body.length / 2
      const { exchange, bodies } = await route(
        requestHeaders(),
        requestBody(body.slice(0, half)),
        requestBody(body.slice(half), true),
      )
      assert.ok(bodies.length >= body.length / 62_000)
      assertBody(bodies, 'requestBody', body)
      exchange.send(
        responseHeaders({ ':status': '200' }),
        responseBody(body.slice(0, half)),
        responseBody(body.slice(half), true),
      )
      const [headers, ...answers] = await exchange.rest()
      assert.equal(headers?.response, 'responseHeaders')
      assertBody(answers, 'responseBody', body)
    })

    it('routes GET /v1/models, which has no body, by load within the subset', async () => {
      await pool.become([pod(3, 0.2), pod(0, 0.1), pod(10, 0.2)])
      const get = { ':method': 'GET', ':path': '/v1/models' }
      for (const [subset, to] of [[[0, 1, 2], 1] as const, [[0, 2], 0] as const]) {
        const hint = subsetHint(subset.map((i) => pool.servers[i]!.hostPort))
        const exchange = pool.gateway.open()
        exchange.send(requestHeaders(get, { endOfStream: true, ...hint }))
        assertDestination((await exchange.next())!, to)
        exchange.send(responseHeaders({ ':status': '200' }), responseBody('{"data":[]}', true))
        const [headers, ...bodies] = await exchange.rest()
        assert.equal(headers?.response, 'responseHeaders')
        assertBody(bodies, 'responseBody', '{"data":[]}')
        assert.equal(statusName(await exchange.status), 'OK')
      }
    })

    it('takes the model from the newer of the two headers, and takes both off with all other control headers', async () => {
      await pool.become(IDLE)
      const control = {
        'x-llm-d-model-name-rewrite': ADAPTER,
        [REWRITE]: 'sql-lora-1fdg3',
        'x-llm-d-inference-fairness-id': 'a',
        'x-gateway-inference-fairness-id': 'a',
        'x-llm-d-inference-objective': 'a',
        'x-gateway-inference-objective': 'a',
        'x-llm-d-slo-ttft-ms': '1',
        'x-llm-d-slo-tpot-ms': '1',
        'x-slo-ttft-ms': '1',
        'x-slo-tpot-ms': '1',
        'x-llm-d-video-fps': '1',
        'x-llm-d-video-duration-seconds': '1',
        'x-llm-d-video-resolution': '1x1',
        'x-llm-d-request-dropped-reason': 'a',
        'x-gateway-destination-endpoint-subset': '127.0.71.3',
        'x-gateway-destination-endpoint-served': '127.0.71.3',
        'x-gateway-destination-endpoint-scores': 'a',
        'x-prefiller-host-port': '127.0.71.9:1',
        'x-encoder-hosts-ports': '127.0.71.9:1',
        'x-data-parallel-host-port': '127.0.71.9:1',
        'x-kv-cache-source-host-port': '127.0.71.9:1',
        'test-epp-endpoint-selection': '127.0.71.3',
      }
      const { exchange, headers, bodies } = await route(
        requestHeaders({ 'x-mine': 'stays', ...control, [DESTINATION]: '127.0.71.9:1' }),
        requestBody(completion('sql-lora', 'p'), true),
      )
      assert.deepEqual([...removedHeaders(headers)].sort(), Object.keys(control).sort())
      assert.notEqual(setHeaders(headers)[DESTINATION], '127.0.71.9:1', 'overwritten')
      assertBody(bodies, 'requestBody', completion(ADAPTER, 'p'))
      await respond(exchange)
    })

    it('makes a request id where there is none, and knows the decision by it', async () => {
      await pool.become(IDLE)
      const { 'x-request-id': _, ...others } = REQUEST_HEADERS
      const { exchange, headers } = await route(
        { ...requestHeaders(), requestHeaders: { headers: headerList(others) } },
        requestBody(completion('sql-lora', 'p'), true),
      )
      const { [DESTINATION]: destination, 'x-request-id': id, ...more } = setHeaders(headers)
      assert.deepEqual(more, {})
      assert.match(id!, /^[\da-f]{8}-([\da-f]{4}-){3}[\da-f]{12}$/)
      const decision = await pool.epp.json<{ endpoints: string[] }>(`/decisions/${id}`)
      assert.deepEqual(decision.endpoints, [destination])
      await respond(exchange)
    })

    describe('that are refused', () => {
      const ask = (body: string, more: Partial<ProcessingRequest> = {}, path = '/v1/completions') =>
        refusal(
          pool.gateway
            .open()
            .send(requestHeaders({ ':path': path }, more), requestBody(body, true)),
        )

      it('5: 400 without a model', async () => {
        await pool.become(IDLE)
        const message = 'the request names no model; set "model" in its body'
        const expected = refused(400, 'invalid_request_error', 'MODEL_MISSING', message)
        assert.deepEqual(await ask('{"prompt":"test"}'), expected)
        assert.deepEqual(await ask('{"model":"","prompt":"test"}'), expected)
        const chat = '{"messages":[{"role":"user","content":"test"}]}'
        assert.deepEqual(await ask(chat, {}, '/v1/chat/completions'), expected)
      })

      it('8: 400 for a body that is not JSON', async () => {
        await pool.become(IDLE)
        assert.deepEqual(
          await ask('no healthy upstream'),
          refused(
            400,
            'invalid_request_error',
            'BAD_REQUEST',
            'the request body is not JSON; send a JSON object',
          ),
        )
      })

      it('12: 503 when the subset names no endpoint of the pool', async () => {
        await pool.become(IDLE)
        assert.deepEqual(
          await ask(completion('sql-lora', 'p'), subsetHint(['192.168.1.99:8000'])),
          refused(
            503,
            'server_error',
            'SUBSET_EMPTY',
            "none of the 1 endpoints that the gateway allows is among the pool's 3",
            dropped('rejected-no-endpoints'),
          ),
        )
      })

      it('503 when the pool is empty, with a body or without', async () => {
        await pool.become([])
        const expected = refused(
          503,
          'server_error',
          'POOL_EMPTY',
          'no model server is ready; the pool has 0 endpoints',
          dropped('rejected-no-endpoints'),
        )
        assert.deepEqual(await ask(completion('sql-lora', 'p')), expected)
        const get = requestHeaders(
          { ':method': 'GET', ':path': '/v1/models' },
          { endOfStream: true },
        )
        assert.deepEqual(await refusal(pool.gateway.open().send(get)), expected)
        assert.equal(await pool.counted('inference_pool_ready_pods', { name: 'default' }), 0)
      })

      it('429 when the filters leave no endpoint', async () => {
        await pool.become(IDLE.map((each) => ({ ...each, labels: { pool: 'another' } })))
        assert.deepEqual(
          await ask(completion('sql-lora', 'p')),
          refused(
            429,
            'rate_limit_error',
            'NO_ENDPOINTS',
            'filter "label-selector-filter" of profile "default" left none of 3 endpoints for this request',
            dropped('rejected-saturated'),
          ),
        )
      })

      it('413 for a body over the limit, whether its length was told or not', async () => {
        await pool.become(IDLE)
        const expected = refused(
          413,
          'invalid_request_error',
          'BODY_TOO_LARGE',
          "the request's body is larger than the 1 MiB that --max-body-mib allows; send a shorter one",
        )
        const told = pool.gateway
          .open()
          .send(requestHeaders({ 'content-length': String(MEBIBYTE + 1) }))
        assert.deepEqual(await refusal(told), expected)
        const half = Buffer.alloc(MEBIBYTE / 2, ' ')
        const untold = pool.gateway.open().send(requestHeaders())
        untold.send(requestBody(half), requestBody(half), requestBody(' '))
        assert.deepEqual(await refusal(untold), expected)
      })

      it('503 while other bodies fill the buffers, and no longer', async () => {
        await pool.become(IDLE)
        const others = [1, 2].map(() => pool.gateway.open())
        for (const other of others) {
          other.send(requestHeaders(), requestBody(Buffer.alloc(MEBIBYTE, ' ')))
        }
        await eventually(
          'both bodies are held',
          async () => (await pool.counted('epp_extproc_buffered_bytes')) === 2 * MEBIBYTE,
        )
        assert.deepEqual(
          await ask(completion('sql-lora', 'p')),
          refused(
            503,
            'server_error',
            'BUFFERS_FULL',
            'the bodies of the requests in progress fill the 2 MiB that --max-buffered-mib allows; try again',
            dropped('rejected-saturated'),
          ),
        )
        for (const other of others) other.cancel()
        await eventually(
          'both bodies are let go',
          async () => (await pool.counted('epp_extproc_buffered_bytes')) === 0,
        )
        const { exchange } = await route(
          requestHeaders(),
          requestBody(completion('sql-lora', 'p'), true),
        )
        await respond(exchange)
      })

      /** True when a request for the model is routed; it is ended then. */
      const isRouted = async (model: string) => {
        const exchange = pool.gateway
          .open()
          .send(requestHeaders(), requestBody(completion(model, 'p'), true))
        const answers = await exchange.untilEnd('requestBody')
        if (answers[0]?.response === 'immediateResponse') return false
        await respond(exchange)
        return true
      }

      it('404 for a model that no endpoint lists, not even at a fresh look, once all have answered', async () => {
        const [first, , , silent] = pool.servers
        await pool.become(IDLE)
        first!.models = [...MODELS, 'just-loaded']
        assert.ok(await isRouted('just-loaded'), 'the fresh look finds it')

        silent!.models = undefined
        await pool.become([...IDLE, pod(20, 0.9)])
        assert.ok(await isRouted('no-such-model'), 'one endpoint has not said what it serves')
        silent!.models = MODELS
        await eventually(
          'a look after the last answer',
          async () => !(await isRouted('no-such-model')),
        )

        const missing = (model: string) =>
          refused(
            404,
            'invalid_request_error',
            'MODEL_UNKNOWN',
            `the model "${model}" does not exist; GET /v1/models lists those that do`,
          )
        assert.deepEqual(await ask(completion('no-such-model', 'p')), missing('no-such-model'))
        const rewritten = pool.gateway
          .open()
          .send(
            requestHeaders({ [REWRITE]: 'nor-this' }),
            requestBody(completion('sql-lora', 'p'), true),
          )
        assert.deepEqual(await refusal(rewritten), missing('nor-this'), 'the target counts')
      })

      it('counts each under its code', async () => {
        for (const code of [
          'MODEL_MISSING',
          'BAD_REQUEST',
          'SUBSET_EMPTY',
          'POOL_EMPTY',
          'NO_ENDPOINTS',
          'BODY_TOO_LARGE',
          'BUFFERS_FULL',
          'MODEL_UNKNOWN',
        ]) {
          assert.ok((await pool.counted('epp_extproc_refusals_total', { code })) > 0, code)
        }
      })
    })

    describe('when all are over', () => {
      it('leaves nothing behind', async () => {
        await eventually('no load is left', async () =>
          (await pool.endpoints()).every(({ inFlight }) => inFlight === 0),
        )
        assert.equal(await pool.counted('epp_extproc_exchanges_active'), 0)
        assert.equal(await pool.counted('epp_extproc_buffered_bytes'), 0)
      })
    })
  })

  for (const mode of ['full', 'auto'] as const) {
    describe(`responses, with --responses ${mode} and no plugin that needs them`, () => {
      before(async () => {
        pool = await start('--responses', mode)
        await pool.become(IDLE)
      })
      after(() => pool.stop())

      /** Sends each chunk when the one before it has come back. */
      const pass = async (headers: Record<string, string>, chunks: readonly string[]) => {
        const { exchange } = await route(
          requestHeaders(),
          requestBody(completion('sql-lora', 'p'), true),
        )
        exchange.send(responseHeaders(headers))
        const first = await exchange.next()
        assert.equal(first?.response, 'responseHeaders')
        assert.equal(first?.responseHeaders?.response?.headerMutation, undefined)
        const answers: ProcessingResponse[] = []
        for (const [i, chunk] of chunks.entries()) {
          const isLast = i === chunks.length - 1
          exchange.send(responseBody(chunk, isLast))
          answers.push(...(isLast ? await exchange.rest() : [(await exchange.next())!]))
          assert.equal(bodyOf(answers, 'responseBody').toString(), chunks.slice(0, i + 1).join(''))
        }
        assertBody(answers, 'responseBody', chunks.join(''))
        assert.equal(statusName(await exchange.status), 'OK')
      }
      const json = { ':status': '200', 'content-type': 'application/json' }
      const tokens = async () => [
        await pool.counted('inference_objective_input_tokens_sum', { model_name: 'sql-lora' }),
        await pool.counted('inference_objective_input_tokens_count', { model_name: 'sql-lora' }),
      ]

      it('16: JSON in several chunks', () =>
        pass(json, ['{"max_tokens":100,"model":"sql-lora-1fdg2",', '"prompt":"test","temp":0}']))

      it('17: no JSON, though it is called so', () => pass(json, ['no healthy upstream']))

      it('18: JSON, its end in an empty chunk', () =>
        pass(json, ['{"max_tokens":100,"model":"sql-lora-1fdg2","prompt":"test"}', '']))

      it(`19: events of a stream, their tokens ${mode === 'full' ? '' : 'not '}counted`, async () => {
        await pass({ ':status': '200', 'content-type': 'text/event-stream' }, [
          'data: {}\n\n',
          `data: {"id":"1","choices":[],"usage":${JSON.stringify(USAGE)}}\n\ndata: [DONE]\n\n`,
          '',
        ])
        assert.deepEqual(await tokens(), mode === 'full' ? [7, 1] : [0, 0])
      })

      it('leaves no load behind', async () => {
        await eventually('no load is left', async () =>
          (await pool.endpoints()).every(({ inFlight }) => inFlight === 0),
        )
      })
    })
  }
})
