import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { RequestListener } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import type { Socket } from 'node:net'
import { text } from '../datalayer/engine.ts'
import { until } from '../datalayer/telemetry.ts'
import { ask, COMPLETION, errorOf, open, RawClient, STREAMED, TestProxy } from './setup.ts'

/** Answers with these bytes, and closes the connection. */
const raw =
  (bytes: string): RequestListener =>
  (request) => {
    request.socket.end(bytes, 'latin1')
  }
const post = (body: string, version = '1.1') =>
  `POST /v1/completions HTTP/${version}\r\nhost: a\r\ncontent-length: ${body.length}\r\n\r\n${body}`

describe("an engine's answer through the proxy", function () {
  this.timeout(60_000)
  let proxy: TestProxy
  afterEach(async () => {
    await until('no request is left', () => proxy.gateway.active === 0)
    assert.equal(proxy.reserved, 0)
    await proxy.stop()
  })

  it('ends with its connection where nothing else tells its end', async () => {
    proxy = await TestProxy.start([raw('HTTP/1.1 200 OK\r\nx-a: 1\r\n\r\nhello')])
    for (let i = 0; i < 3; i++) {
      const { body, headers } = await ask(proxy.port)
      assert.deepEqual([body.toString(), headers['x-a']], ['hello', '1'])
    }
    assert.equal(proxy.decisions.list(1)[0]!.ended, 'completed')
  })

  it('loses interim answers, chunk extensions and trailers', async () => {
    proxy = await TestProxy.start([
      raw(
        'HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n' +
          '5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nx-late: 1\r\n\r\n',
      ),
    ])
    const client = new RawClient(proxy.port).send(post(COMPLETION))
    await until('it is answered', () => client.text.endsWith('0\r\n\r\n'))
    const [head, body] = client.text.split(/\r\n\r\n(.*)/s)
    assert.match(head!, /^HTTP\/1.1 200 OK\r\n/)
    assert.doesNotMatch(head!, /link|late/)
    assert.equal(body, 'b\r\nhello world\r\n0\r\n\r\n')
    client.socket.destroy()
  })

  it('comes in the order of the requests of one connection', async () => {
    proxy = await TestProxy.start([
      (request, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        response.write(`data: ${request.headers['x-request-id']}\n\n`)
        setImmediate(() => response.end('data: [DONE]\n\n'))
      },
    ])
    const client = new RawClient(proxy.port)
    for (const id of ['a', 'b', 'c']) {
      client.send(post(STREAMED).replace('host: a', `host: a\r\nx-request-id: id-${id}`))
    }
    await until('all are answered', () => client.text.split('\r\n0\r\n\r\n').length === 4)
    assert.deepEqual(client.text.match(/data: \S+/g), [
      ...['data: id-a', 'data: [DONE]', 'data: id-b', 'data: [DONE]', 'data: id-c', 'data: [DONE]'],
    ])
    client.socket.destroy()
  })

  it('comes without chunks to a client of HTTP/1.0', async () => {
    proxy = await TestProxy.start([
      (_request, response) => {
        response.write('hello')
        setImmediate(() => response.end(' world'))
      },
    ])
    const client = new RawClient(proxy.port).send(post(COMPLETION, '1.0'))
    await until('it is closed', () => client.closed)
    assert.match(client.text, /\r\n\r\nhello world$/)
    assert.doesNotMatch(client.text, /transfer-encoding/i)
  })

  it('that is no HTTP/1.1 is asked for elsewhere', async () => {
    proxy = await TestProxy.start([
      raw('HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n'),
      text('ok'),
    ])
    for (let i = 0; i < 4; i++) assert.equal((await ask(proxy.port)).body.toString(), 'ok')
    assert.deepEqual(
      proxy.gateway.ejected().map(({ reason }) => reason),
      ['its connections break (UND_ERR_RES_CONTENT_LENGTH_MISMATCH)'],
    )
  })

  it('with chunks that go on as something else is broken', async () => {
    let engine: Socket | undefined
    proxy = await TestProxy.start([
      ({ socket }) => {
        engine = socket
        socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n')
      },
    ])
    const client = await open(proxy.port)
    assert.equal(String((await once(client, 'data'))[0]), 'hello')
    const failed = once(client, 'error')
    engine!.write('hello\r\n')
    await failed
    assert.equal(await proxy.counted('epp_proxy_responses_broken_total', 'engine-gone'), 1)
  })

  it('is passed on as far as it came well, though what follows in the same read is none', async () => {
    proxy = await TestProxy.start([
      ({ socket }) => {
        socket.write(
          'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\nno size\r\n',
        )
      },
    ])
    const client = new RawClient(proxy.port).send(post(COMPLETION))
    await until('it is closed', () => client.closed)
    assert.equal(bodyOf(client.text).replaceAll(/[0-9a-f]+\r\n|\r\n/g, ''), 'hello!')
    assert.doesNotMatch(client.text, /\r\n0\r\n/)
    assert.equal(await proxy.counted('epp_proxy_responses_broken_total', 'engine-gone'), 1)
  })

  it('comes in one chunk for what one read from the engine brings', async () => {
    const begun: Socket[] = []
    proxy = await TestProxy.start([
      ({ socket }) => {
        begun.push(socket)
        socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n')
      },
    ])
    const client = new RawClient(proxy.port).send(post(STREAMED))
    await until('it has begun', () => client.text.endsWith('\r\n3\r\nabc\r\n'))
    begun[0]!.write('1\r\nd\r\n')
    await until('it goes on', () => client.text.endsWith('abc\r\n1\r\nd\r\n'))
    begun[0]!.write('2\r\nef\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n')
    await until('it has ended', () => client.text.endsWith('\r\n0\r\n\r\n'))
    assert.equal(bodyOf(client.text), '3\r\nabc\r\n1\r\nd\r\n12\r\nef0123456789abcdef\r\n0\r\n\r\n')
    client.socket.destroy()
  })

  it('keeps each of its headers, whatever their names, by either version of HTTP', async () => {
    proxy = await TestProxy.start([
      raw(
        'HTTP/1.1 200 OK\r\nConstructor: a\r\n__proto__: b\r\nX-B: 1\r\nx-b: 2\r\nset-cookie: c=1\r\nset-cookie: d=2\r\n' +
          'connection: x-hop\r\nx-hop: 1\r\nx-request-id: engine\r\ncontent-length: 2\r\n\r\nok',
      ),
    ])
    const client = new RawClient(proxy.port).send(post(COMPLETION))
    await until('it is answered', () => client.text.endsWith('ok'))
    client.socket.destroy()
    const lines = client.text.split('\r\n')
    for (const line of ['constructor: a', '__proto__: b', 'x-b: 1', 'x-b: 2', 'set-cookie: d=2']) {
      assert.ok(lines.includes(line), line)
    }
    assert.doesNotMatch(client.text, /x-hop|: engine/)

    const session = connectHttp2(`http://127.0.0.1:${proxy.port}`)
    const stream = session.request({ ':method': 'POST', ':path': '/v1/completions' })
    stream.end(COMPLETION)
    const [headers] = await once(stream, 'response')
    assert.equal(Buffer.concat(await stream.toArray()).toString(), 'ok')
    session.close()
    assert.deepEqual(
      [headers.constructor, headers['x-b'], headers['set-cookie'], headers['x-hop']],
      ['a', '1, 2', ['c=1', 'd=2'], undefined],
    )
  })

  it('with a status that HTTP/2 does not know is 502 there', async () => {
    proxy = await TestProxy.start([raw('HTTP/1.1 600 A\r\ncontent-length: 5\r\n\r\nhello')])
    const session = connectHttp2(`http://127.0.0.1:${proxy.port}`)
    const stream = session.request({ ':method': 'POST', ':path': '/v1/completions' })
    stream.end(COMPLETION)
    const [headers] = await once(stream, 'response')
    const body = Buffer.concat(await stream.toArray())
    session.close()
    assert.equal(headers[':status'], 502)
    const error = errorOf({ status: 502, headers: {}, body })
    assert.equal(error.code, 'ENDPOINT_FAILED')
    assert.match(error.message, /headers that cannot be passed on/)
    assert.deepEqual(proxy.gateway.ejected(), [])
  })
})

/** What follows the headers. */
function bodyOf(text: string): string {
  return text.slice(text.indexOf('\r\n\r\n') + 4)
}
