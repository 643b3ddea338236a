import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request as httpRequest, type RequestListener } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import { seededRandom } from '../../src/framework/random.ts'
import { until } from '../datalayer/telemetry.ts'
import { ask, COMPLETION, TestProxy } from './setup.ts'

/** Sends the body back. */
const echo: RequestListener = (request, response) => {
  response.writeHead(200, {
    'content-type': 'application/octet-stream',
    'x-seen-length': request.headers['content-length'] ?? '',
    'x-seen-encoding': request.headers['transfer-encoding'] ?? '',
  })
  request.pipe(response)
}

/** A request of so many bytes, whose prompt is noise. */
function bodyOf(bytes: number): Buffer {
  const random = seededRandom(bytes)
  const frame = '{"model":"m","prompt":""}'
  const noise = Buffer.alloc(bytes - frame.length)
  for (let i = 0; i < noise.length; i++) noise[i] = 0x61 + Math.floor(random.next() * 26)
  return Buffer.concat([Buffer.from(frame.slice(0, -2)), noise, Buffer.from('"}')])
}

const SIZES = [500, 24_000, 400_000, 3_000_000, 20 * 1024 * 1024]

describe('a body through the proxy', function () {
  this.timeout(60_000)
  let proxy: TestProxy
  before(async () => {
    proxy = await TestProxy.start([echo, echo])
  })
  after(() => proxy.stop())
  afterEach(async () => {
    await until('no request is left', () => proxy.gateway.active === 0)
    assert.equal(proxy.reserved, 0)
    assert.equal(await proxy.counted('epp_proxy_buffered_bytes'), 0)
  })

  for (const bytes of SIZES) {
    const body = bodyOf(bytes)
    it(`of ${bytes} bytes goes there and comes back the same`, async () => {
      const got = await ask(proxy.port, { body })
      assert.equal(got.status, 200)
      assert.ok(got.body.equals(body))
      assert.equal(got.headers['x-seen-length'], String(bytes))
      assert.equal(got.headers['x-seen-encoding'], '')
    })

    it(`of ${bytes} bytes in chunks, without a length, goes there and comes back the same`, async () => {
      const request = httpRequest({
        ...{ host: '127.0.0.1', port: proxy.port, method: 'POST', path: '/v1/completions' },
        agent: false,
      })
      for (let at = 0; at < bytes; at += 30_000) request.write(body.subarray(at, at + 30_000))
      request.end()
      const [response] = await once(request, 'response')
      const chunks: Buffer[] = []
      for await (const chunk of response) chunks.push(chunk)
      assert.ok(Buffer.concat(chunks).equals(body))
      assert.equal(response.headers['x-seen-length'], String(bytes))
    })

    it(`of ${bytes} bytes by HTTP/2 goes there and comes back the same`, async () => {
      const session = connectHttp2(`http://127.0.0.1:${proxy.port}`)
      const stream = session.request({ ':method': 'POST', ':path': '/v1/completions' })
      stream.end(body)
      const chunks: Buffer[] = []
      for await (const chunk of stream) chunks.push(chunk)
      assert.ok(Buffer.concat(chunks).equals(body))
      session.close()
    })
  }

  it('in single bytes is put together', async () => {
    const body = bodyOf(700)
    const request = httpRequest({
      ...{ host: '127.0.0.1', port: proxy.port, method: 'POST', path: '/v1/completions' },
      agent: false,
    })
    request.setNoDelay(true)
    for (const byte of body) {
      await new Promise((done) => request.write(Buffer.from([byte]), done))
    }
    request.end()
    const [response] = await once(request, 'response')
    const chunks: Buffer[] = []
    for await (const chunk of response) chunks.push(chunk)
    assert.ok(Buffer.concat(chunks).equals(body))
  })

  it('of an answer of 20 MiB comes whole, with the length that the engine told', async () => {
    const answer = bodyOf(20 * 1024 * 1024)
    for (const engine of proxy.engines) {
      engine.answer = (_request, response) => {
        response.writeHead(200, { 'content-length': answer.length })
        response.end(answer)
      }
    }
    const got = await ask(proxy.port)
    assert.equal(got.headers['content-length'], String(answer.length))
    assert.ok(got.body.equals(answer))
    for (const engine of proxy.engines) engine.answer = echo
  })

  it('is sent on by a keep-alive connection time after time', async () => {
    const { Agent } = await import('node:http')
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    for (let i = 0; i < 50; i++) {
      const request = httpRequest({
        ...{ host: '127.0.0.1', port: proxy.port, method: 'POST', path: '/v1/completions', agent },
      })
      request.end(COMPLETION)
      const [response] = await once(request, 'response')
      const chunks: Buffer[] = []
      for await (const chunk of response) chunks.push(chunk)
      assert.equal(Buffer.concat(chunks).toString(), COMPLETION)
      assert.equal(request.reusedSocket, i > 0)
    }
    agent.destroy()
  })
})
