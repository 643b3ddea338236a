import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { connect as connectHttp2, constants } from 'node:http2'
import { startGateway } from '../../src/gateway/gateway.ts'
import { text } from '../datalayer/engine.ts'
import { until } from '../datalayer/telemetry.ts'
import { ask, COMPLETION, errorOf, type Got, isCode, open, RawClient, TestProxy } from './setup.ts'

const ok = text('{"ok":true}')
const big = (bytes: number) => `{"model":"m","prompt":"${'x'.repeat(bytes - 24)}"}`

describe('limits of the proxy', function () {
  this.timeout(60_000)
  let proxy: TestProxy
  afterEach(async () => {
    await until('no request is left', () => proxy.gateway.active === 0)
    assert.equal(proxy.reserved, 0)
    assert.equal(await proxy.counted('epp_proxy_buffered_bytes'), 0)
    await proxy.stop()
  })
  const refusals = (code: string) => proxy.counted('epp_proxy_refusals_total', `"${code}"`)
  const head = (more = '') => `POST /v1/completions HTTP/1.1\r\nhost: a\r\n${more}`

  it('a body with a length that is too large is 413 before it is read', async () => {
    proxy = await TestProxy.start([ok], { maxBodyBytes: 1024 * 1024 })
    const client = new RawClient(proxy.port)
    client.send(head('content-length: 2000000\r\n\r\n'))
    await until('it is answered', () => client.text.includes('BODY_TOO_LARGE'))
    assert.match(
      client.text,
      /^HTTP\/1.1 413 .*\r\n[\s\S]*connection: close\r\n[\s\S]*1 MiB that --max-body-mib allows/i,
    )
    client.socket.destroy()
    await until('it is counted', async () => (await refusals('BODY_TOO_LARGE')) === 1)
  })

  it('a body of 20 MiB without a length is 413, and the client that still sends reads it', async () => {
    proxy = await TestProxy.start([ok], { maxBodyBytes: 1024 * 1024 })
    const request = httpRequest({
      ...{ host: '127.0.0.1', port: proxy.port, method: 'POST', path: '/v1/completions' },
      agent: false,
    })
    // What is still on its way when the proxy closes the connection finds it closed.
    request.on('error', () => {})
    const chunk = Buffer.alloc(256 * 1024, 'x')
    for (let i = 0; i < 80; i++) request.write(chunk)
    request.end()
    const [response] = await once(request, 'response')
    assert.equal(response.statusCode, 413)
    response.resume()
    await once(response, 'end')
    assert.equal(proxy.engines[0]!.requests, 0)
  })

  it('a body that is too large is 413 by HTTP/2, and the connection goes on', async () => {
    proxy = await TestProxy.start([ok], { maxBodyBytes: 1024 * 1024 })
    const session = connectHttp2(`http://127.0.0.1:${proxy.port}`)
    const post = (body: string | Buffer) => {
      const stream = session.request({ ':method': 'POST', ':path': '/v1/completions' })
      stream.end(body)
      return stream
    }
    const first = post(Buffer.alloc(3 * 1024 * 1024, 'x'))
    const [refused] = await once(first, 'response')
    assert.equal(refused[':status'], 413)
    first.resume()
    const second = post(COMPLETION)
    const [answered] = await once(second, 'response')
    assert.equal(answered[':status'], 200)
    second.resume()
    await once(second, 'end')
    session.destroy()
  })

  it('a body that is too large and never ends is 413 by HTTP/2, and then nobody reads it', async () => {
    proxy = await TestProxy.start([ok], { maxBodyBytes: 1024 })
    const session = connectHttp2(`http://127.0.0.1:${proxy.port}`)
    const stream = session.request({ ':method': 'POST', ':path': '/v1/completions' })
    stream.write(Buffer.alloc(2048, 'x'))
    const [refused] = await once(stream, 'response')
    assert.equal(refused[':status'], 413)
    stream.resume()
    await Promise.all([once(stream, 'end'), once(stream, 'close')])
    assert.equal(stream.rstCode, constants.NGHTTP2_NO_ERROR)
    session.destroy()
  })

  it('bodies that fill the room for all of them are 503', async () => {
    proxy = await TestProxy.start([ok], { maxBufferedBytes: 1024 * 1024 })
    const holder = new RawClient(proxy.port)
    holder.send(
      `${head(`content-length: ${1024 * 1024}\r\n\r\n`)}${big(900_000).slice(0, 800_000)}`,
    )
    await until(
      'it is held',
      async () => (await proxy.counted('epp_proxy_buffered_bytes')) === 800_000,
    )
    const got = await ask(proxy.port, { body: big(400_000) })
    assert.equal(got.status, 503)
    assert.equal(errorOf(got).code, 'BUFFERS_FULL')
    assert.equal(got.headers['retry-after'], '1')
    holder.socket.destroy()
  })

  it('requests beyond so many are 503', async () => {
    proxy = await TestProxy.start(
      [(_request, response) => void response.writeHead(200).flushHeaders()],
      {
        maxRequests: 2,
      },
    )
    const held = [await open(proxy.port), await open(proxy.port)]
    const got = await ask(proxy.port)
    assert.deepEqual([got.status, errorOf(got).code], [503, 'REQUESTS_FULL'])
    for (const each of held) each.destroy()
  })

  it('connections beyond so many are closed', async () => {
    proxy = await TestProxy.start([ok], { maxConnections: 2 })
    const clients = [new RawClient(proxy.port), new RawClient(proxy.port)]
    for (const client of clients) await once(client.socket, 'connect')
    const third = new RawClient(proxy.port)
    await until('it is closed', () => third.closed)
    assert.equal(await proxy.counted('epp_connections_refused_total', 'port="proxy"'), 1)
    for (const client of clients) client.socket.destroy()
  })

  it('headers that are too large are 431, by either version', async () => {
    proxy = await TestProxy.start([ok], { maxHeaderBytes: 8192 })
    const got = await ask(proxy.port, { headers: { 'x-large': 'x'.repeat(10_000) } })
    assert.equal(got.status, 431)
    assert.equal(errorOf(got).code, 'HEADERS_TOO_LARGE')
    const session = connectHttp2(`http://127.0.0.1:${proxy.port}`)
    const stream = session.request({ ':path': '/v1/models', 'x-large': 'x'.repeat(10_000) })
    const [headers] = await once(stream, 'response')
    assert.equal(headers[':status'], 431)
    stream.resume()
    await once(stream, 'end')
    session.destroy()
    assert.equal(await refusals('HEADERS_TOO_LARGE'), 2)
  })

  it('headers that come too slowly are 408', async () => {
    proxy = await TestProxy.start([ok], { headersTimeoutMs: 200 })
    const client = new RawClient(proxy.port)
    client.send('POST /v1/comp')
    await until('it is closed', () => client.closed)
    assert.match(client.text, /^HTTP\/1.1 408 /)
    assert.match(client.text, /"code":"REQUEST_TIMEOUT"/)
    assert.equal(await refusals('REQUEST_TIMEOUT'), 1)
  })

  it('a connection that says nothing is closed', async () => {
    proxy = await TestProxy.start([ok], { headersTimeoutMs: 100 })
    const client = new RawClient(proxy.port)
    await until('it is closed', () => client.closed)
    assert.equal(client.text, '')
  })

  it('a body that stops is 408, one that is slow is not', async () => {
    proxy = await TestProxy.start([ok], { bodyTimeoutMs: 300 })
    const stopped = new RawClient(proxy.port)
    stopped.send(`${head('content-length: 100\r\n\r\n')}{"model"`)
    const slow = new RawClient(proxy.port)
    slow.send(head(`content-length: ${COMPLETION.length}\r\nconnection: close\r\n\r\n`))
    let sent = 0
    const timer = setInterval(() => {
      if (sent < COMPLETION.length) slow.send(COMPLETION[sent++]!)
    }, 25)
    try {
      await until('the one is refused', () => stopped.text.includes('REQUEST_TIMEOUT'))
      await until('the other is answered', () => slow.text.includes('"ok":true'))
    } finally {
      clearInterval(timer)
    }
    assert.match(stopped.text, /^HTTP\/1.1 408 /)
    stopped.socket.destroy()
  })

  it('upgrades and CONNECT are refused, an offer of HTTP/2 is left alone', async () => {
    proxy = await TestProxy.start([ok])
    const upgrade = (to: string) =>
      ask(proxy.port, { headers: { connection: 'Upgrade', upgrade: to } })
    const refused: Got = await upgrade('websocket')
    assert.equal(refused.status, 400)
    assert.match(errorOf(refused).message, /the upgrade to "websocket" is not supported/)
    assert.equal((await upgrade('h2c')).status, 200)
    const client = new RawClient(proxy.port)
    client.send('CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n')
    await until('it is closed', () => client.closed)
    assert.match(client.text, /^HTTP\/1.1 400 [\s\S]*CONNECT is not supported/)
  })

  it('what is no HTTP is 400', async () => {
    proxy = await TestProxy.start([ok])
    const client = new RawClient(proxy.port)
    client.send('hello\r\n\r\n')
    await until('it is closed', () => client.closed)
    assert.match(client.text, /^HTTP\/1.1 400 [\s\S]*the request is not HTTP/)
  })

  it('100-continue is said when the body may come, and not when it may not', async () => {
    proxy = await TestProxy.start([ok], { maxBodyBytes: 1024 * 1024 })
    const may = new RawClient(proxy.port)
    may.send(
      head(
        `content-length: ${COMPLETION.length}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n`,
      ),
    )
    await until('it is said', () => may.text.startsWith('HTTP/1.1 100 Continue\r\n\r\n'))
    may.send(COMPLETION)
    await until('it is answered', () => may.text.includes('"ok":true'))
    const mayNot = new RawClient(proxy.port)
    mayNot.send(head('content-length: 9000000\r\nexpect: 100-continue\r\n\r\n'))
    await until('it is closed', () => mayNot.closed)
    assert.match(mayNot.text, /^HTTP\/1.1 413 /)
  })

  it('a port in use is named, with the flag', async () => {
    proxy = await TestProxy.start([ok])
    const services = {
      ...proxy.telemetry,
      router: { route: () => assert.fail(), mayWatchResponse: () => true },
      endpoints: proxy.endpoints,
      clock: { nowMs: () => 0, epochMs: () => 0 },
    }
    await assert.rejects(
      startGateway(services, { host: '127.0.0.1', port: proxy.port }),
      (error: Error) =>
        isCode('PORT_IN_USE')(error) &&
        error.message ===
          `port ${proxy.port} on 127.0.0.1 is in use; end the process that has it or choose another with --listen`,
    )
  })

  describe('when it is told to stop', () => {
    it('new requests are 503, a running one ends whole', async () => {
      let finish: (() => void) | undefined
      proxy = await TestProxy.start([
        (_request, response) => {
          response.writeHead(200).write('begun')
          finish = () => response.end(' and ended')
        },
      ])
      const running = await open(proxy.port)
      const idle = new RawClient(proxy.port)
      await once(idle.socket, 'connect')
      const stopped = proxy.gateway.stop(10_000)
      const got = await ask(proxy.port)
      assert.deepEqual([got.status, errorOf(got).code], [503, 'SHUTTING_DOWN'])
      assert.equal(got.headers.connection, 'close')
      assert.equal((await ask(proxy.port, { method: 'GET', path: '/health' })).status, 503)
      finish!()
      const chunks: Buffer[] = []
      for await (const chunk of running) chunks.push(chunk)
      assert.equal(Buffer.concat(chunks).toString(), 'begun and ended')
      await stopped
      await assert.rejects(ask(proxy.port))
    })

    it('what does not end in time is broken', async () => {
      proxy = await TestProxy.start([
        (_request, response) => void response.writeHead(200).write('begun'),
      ])
      const running = await open(proxy.port)
      const failed = once(running, 'error')
      running.resume()
      await proxy.gateway.stop(50)
      await failed
      assert.equal(await proxy.counted('epp_proxy_responses_broken_total', 'shutting-down'), 1)
    })

    it('what has no answer yet is told', async () => {
      proxy = await TestProxy.start([() => {}])
      const asked = ask(proxy.port)
      await until('the engine has it', () => proxy.engines[0]!.requests === 1)
      await proxy.gateway.stop(0)
      assert.equal(errorOf(await asked).code, 'SHUTTING_DOWN')
    })
  })
})
