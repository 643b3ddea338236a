import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { IncomingMessage, RequestListener } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import { Type } from '../../src/framework/index.ts'
import { definePlugin } from '../../src/framework/plugin.ts'
import { text } from '../datalayer/engine.ts'
import { until } from '../datalayer/telemetry.ts'
import { ask, COMPLETION, errorOf, RawClient, TestProxy } from './setup.ts'

/** Answers with the models of this name. */
const models =
  (...list: readonly object[]): RequestListener =>
  (request, response) =>
    text(request.url === '/v1/models' ? JSON.stringify({ object: 'list', data: list }) : 'ok')(
      request,
      response,
    )

describe('a message through the proxy', function () {
  this.timeout(60_000)
  let proxy: TestProxy
  const seen: IncomingMessage[] = []
  const note: RequestListener = (request, response) => {
    seen.push(request)
    request.resume()
    text('ok')(request, response)
  }
  afterEach(() => {
    seen.length = 0
    return proxy.stop()
  })

  it('loses what belongs to one hop, and what steers the picker, and nothing else', async () => {
    proxy = await TestProxy.start([note])
    const client = new RawClient(proxy.port)
    client.send(
      [
        'POST http://example.com/v1/completions?a=b HTTP/1.1',
        'Host: example.com',
        `Content-Length: ${COMPLETION.length}`,
        'Connection: close, X-Private',
        'X-Private: 1',
        'Keep-Alive: timeout=5',
        'Proxy-Authorization: Basic x',
        'TE: trailers',
        'Trailer: x-late',
        'x-gateway-destination-endpoint-subset: 10.0.0.1',
        'X-Kept: 1',
        'X-Kept: 2',
        'Authorization: Bearer x',
        '',
        COMPLETION,
      ].join('\r\n'),
    )
    await until('it is answered', () => client.closed)
    const [request] = seen
    assert.equal(request!.url, '/v1/completions?a=b')
    const { 'x-request-id': id, ...headers } = request!.headers
    assert.match(id as string, /^[0-9a-f-]{36}$/)
    assert.deepEqual(headers, {
      host: 'example.com',
      connection: 'keep-alive',
      'content-length': String(COMPLETION.length),
      'x-kept': '1, 2',
      authorization: 'Bearer x',
    })
    assert.match(client.text, new RegExp(`^HTTP/1.1 200 [\\s\\S]*x-request-id: ${id}\r\n`))
  })

  it('loses of the answer what belongs to one hop', async () => {
    proxy = await TestProxy.start([
      (_request, response) => {
        response.writeHead(200, {
          connection: 'keep-alive, x-private',
          'keep-alive': 'timeout=99',
          'x-private': '1',
          'proxy-authenticate': 'Basic',
          'set-cookie': ['a=1', 'b=2'],
          'x-kept': 'yes',
        })
        response.end('ok')
      },
    ])
    const { headers } = await ask(proxy.port)
    assert.deepEqual(
      [headers['x-private'], headers['proxy-authenticate'], headers['x-kept']],
      [undefined, undefined, 'yes'],
    )
    assert.deepEqual(headers['set-cookie'], ['a=1', 'b=2'])
    assert.notEqual(headers['keep-alive'], 'timeout=99')
    const session = connectHttp2(`http://127.0.0.1:${proxy.port}`)
    const stream = session.request({ ':method': 'POST', ':path': '/v1/completions' })
    stream.end(COMPLETION)
    const [answered] = await once(stream, 'response')
    assert.deepEqual(answered['set-cookie'], ['a=1', 'b=2'])
    assert.equal(answered['x-kept'], 'yes')
    stream.resume()
    await once(stream, 'close')
    session.close()
  })

  it('gets an id where it has none that is fit to be logged', async () => {
    proxy = await TestProxy.start([note])
    for (const given of [undefined, 'two words', 'x'.repeat(129)]) {
      const got = await ask(proxy.port, { headers: given ? { 'x-request-id': given } : {} })
      const id = got.headers['x-request-id'] as string
      assert.match(id, /^[0-9a-f-]{36}$/)
      assert.equal(seen.at(-1)!.headers['x-request-id'], id)
      assert.ok(proxy.decisions.find(id))
    }
    const refused = await ask(proxy.port, { body: 'no JSON', headers: { 'x-request-id': 'r2' } })
    assert.deepEqual([refused.status, refused.headers['x-request-id']], [400, 'r2'])
    assert.equal(errorOf(refused).code, 'BAD_REQUEST')
  })

  it('gets the headers that plugins set on the response', async () => {
    const marker = definePlugin({
      kind: 'observer',
      type: 'marker',
      description: 'Marks responses.',
      params: Type.Object({}),
      watchesResponses: true,
      create: () => ({
        responseHeaders: (_request, { name }, { status, headers, servedEndpoint }) =>
          new Map([['x-mark', [name, status, headers.get('x-kind'), servedEndpoint].join(' ')]]),
      }),
    })
    proxy = await TestProxy.start(
      [(_request, response) => response.writeHead(201, { 'x-kind': 'k' }).end()],
      {},
      [marker],
    )
    const { headers } = await ask(proxy.port)
    const [engine] = proxy.engines
    assert.equal(headers['x-mark'], `engine-0 201 k ${engine!.address}:${engine!.port}`)
  })

  it('without a body goes to an engine as well', async () => {
    proxy = await TestProxy.start([note])
    assert.equal((await ask(proxy.port, { method: 'GET', path: '/version' })).status, 200)
    const head = await ask(proxy.port, { method: 'HEAD', path: '/version' })
    assert.deepEqual([head.status, head.body.length], [200, 0])
    const session = connectHttp2(`http://127.0.0.1:${proxy.port}`)
    const stream = session.request({ ':path': '/version' })
    assert.equal(Buffer.concat(await stream.toArray()).toString(), 'ok')
    session.close()
    assert.deepEqual(
      seen.map(({ method, url }) => `${method} ${url}`),
      ['GET /version', 'HEAD /version', 'GET /version'],
    )
  })

  it('to /v1/models is answered with the models of all engines, each once', async () => {
    proxy = await TestProxy.start([
      models({ id: 'a', max_model_len: 10 }, { id: 'b' }),
      text('down', 500),
      models({ id: 'a', max_model_len: 20 }, { id: 'c' }, { no: 'id' }),
      text('no JSON'),
    ])
    const got = await ask(proxy.port, { method: 'GET', path: '/v1/models' })
    assert.deepEqual(JSON.parse(got.body.toString()), {
      object: 'list',
      data: [{ id: 'a', max_model_len: 10 }, { id: 'b' }, { id: 'c' }],
    })
    const questions = proxy.engines[0]!.requests
    await ask(proxy.port, { method: 'GET', path: '/v1/models' })
    assert.equal(proxy.engines[0]!.requests, questions)
    await proxy.engines[0]!.stop()
    await until('the dead one is left out', async () => {
      const { body } = await ask(proxy.port, { method: 'GET', path: '/v1/models' })
      return JSON.parse(body.toString()).data.length === 2
    })
  })

  it('to /health tells of an empty pool', async () => {
    proxy = await TestProxy.start([])
    const got = await ask(proxy.port, { method: 'GET', path: '/health' })
    assert.deepEqual([got.status, got.body.toString()], [503, '0 of 0 endpoints reachable\n'])
    assert.equal(errorOf(await ask(proxy.port)).code, 'POOL_EMPTY')
  })
})
