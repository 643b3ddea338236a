import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import { until } from '../datalayer/telemetry.ts'
import { ask, open, RawClient, STREAMED, TestProxy } from './setup.ts'

const MEBIBYTE = 1024 * 1024
const EVENT = (i: number) => `data: {"n":${i}}\n\n`
const BLOCK = Buffer.alloc(64 * 1024, 'x')

/** Streams that a test goes on with, one for each request that has come. */
class Streams {
  readonly responses: ServerResponse[] = []
  /** Streams whose client has gone. */
  gone = 0

  readonly answer: RequestListener = (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(EVENT(0))
    response.on('close', () => {
      if (!response.writableFinished) this.gone++
    })
    this.responses.push(response)
  }
}

describe('a stream through the proxy', function () {
  this.timeout(60_000)
  let proxy: TestProxy
  let streams: Streams
  const start = async (engines = 1) => {
    streams = new Streams()
    proxy = await TestProxy.start(Array.from({ length: engines }, () => streams.answer))
  }
  afterEach(async () => {
    await until('no request is left', () => proxy.gateway.active === 0)
    assert.equal(proxy.reserved, 0)
    await proxy.stop()
  })
  const firstEvent = async (response: IncomingMessage) => String((await once(response, 'data'))[0])

  it('passes each chunk on as it comes', async () => {
    await start()
    const client = await open(proxy.port, { body: STREAMED })
    assert.equal(client.headers['content-type'], 'text/event-stream')
    assert.equal(await firstEvent(client), EVENT(0))
    for (let i = 1; i < 20; i++) {
      const next = once(client, 'data')
      streams.responses[0]!.write(EVENT(i))
      assert.equal(String((await next)[0]), EVENT(i))
    }
    const ended = once(client, 'end')
    streams.responses[0]!.end()
    await ended
  })

  it('tells of its headers before the first token', async () => {
    let begin: ServerResponse | undefined
    streams = new Streams()
    proxy = await TestProxy.start([
      (_request, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
        begin = response
      },
    ])
    const client = await open(proxy.port, { body: STREAMED })
    assert.equal(client.statusCode, 200)
    begin!.end(EVENT(0))
    const chunks = await client.toArray()
    assert.equal(Buffer.concat(chunks).toString(), EVENT(0))
  })

  it('is one of 500 at once, none of which loses or mixes anything', async () => {
    const events = 40
    proxy = await TestProxy.start(
      Array.from(
        { length: 4 },
        (): RequestListener => (request, response) => {
          const id = request.headers['x-request-id']
          response.writeHead(200, { 'content-type': 'text/event-stream' })
          let sent = 0
          const next = () => {
            if (sent === events) return response.end('data: [DONE]\n\n')
            response.write(`data: ${id} ${sent++}\n\n`)
            setImmediate(next)
          }
          next()
        },
      ),
    )
    const ids = Array.from({ length: 500 }, (_, i) => `stream-${i}`)
    const startMs = performance.now()
    const answers = await Promise.all(
      ids.map((id) => ask(proxy.port, { body: STREAMED, headers: { 'x-request-id': id } })),
    )
    console.log(
      `      500 streams of ${events} events: ${Math.round(performance.now() - startMs)} ms`,
    )
    for (const [i, { body }] of answers.entries()) {
      const expected = Array.from({ length: events }, (_, n) => `data: ${ids[i]} ${n}\n\n`).join('')
      assert.equal(body.toString(), `${expected}data: [DONE]\n\n`)
    }
    assert.ok(ids.every((id) => proxy.decisions.find(id)!.ended === 'completed'))
  })

  it('is given up at the engine when the client goes, 1,000 times', async () => {
    await start(2)
    for (let round = 0; round < 10; round++) {
      const clients = await Promise.all(
        Array.from({ length: 100 }, () => open(proxy.port, { body: STREAMED })),
      )
      for (const client of clients) client.destroy()
    }
    await until('every engine has been told', () => streams.gone === 1000, 20_000)
    await until('no request is left', () => proxy.gateway.active === 0)
    assert.equal(await proxy.counted('epp_proxy_requests_total', 'client-gone'), 1000)
    assert.deepEqual(
      [...new Set(proxy.decisions.list(1000).map(({ ended }) => ended))],
      ['aborted'],
    )
  })

  it('is given up when the client goes before the engine has answered', async () => {
    let gone = 0
    proxy = await TestProxy.start([
      (request) => {
        request.socket.on('close', () => gone++)
      },
    ])
    const client = new RawClient(proxy.port)
    client.send(
      `POST /v1/completions HTTP/1.1\r\nhost: a\r\nx-request-id: r1\r\ncontent-length: ${STREAMED.length}\r\n\r\n${STREAMED}`,
    )
    await until('the engine has it', () => proxy.engines[0]!.requests === 1)
    client.socket.destroy()
    await until('the engine is told', () => gone === 1)
    await until('the decision has ended', () => proxy.decisions.find('r1')!.ended !== undefined)
    assert.equal(proxy.decisions.find('r1')!.ended, 'client-gone')
  })

  describe('whose engine dies in the middle', () => {
    const kill = () => streams.responses[0]!.socket!.destroy()

    it('breaks for a client of HTTP/1.1', async () => {
      await start()
      const client = await open(proxy.port, { body: STREAMED })
      assert.equal(await firstEvent(client), EVENT(0))
      const failed = once(client, 'error')
      kill()
      const [error] = await failed
      assert.equal((error as NodeJS.ErrnoException).code, 'ECONNRESET')
      assert.equal(client.complete, false)
      assert.equal(await proxy.counted('epp_proxy_responses_broken_total', 'engine-gone'), 1)
      assert.equal(proxy.decisions.list(1)[0]!.ended, 'aborted')
    })

    it('is reset for a client of HTTP/1.0, to which a closed connection would mean the end', async () => {
      await start()
      const client = new RawClient(proxy.port)
      client.send(
        `POST /v1/completions HTTP/1.0\r\nhost: a\r\ncontent-length: ${STREAMED.length}\r\n\r\n${STREAMED}`,
      )
      await until('the first event is there', () => client.text.endsWith(EVENT(0)))
      kill()
      await until('the connection is closed', () => client.closed)
      assert.equal(client.failure?.code, 'ECONNRESET')
    })

    it('is reset for a client of HTTP/2, whose connection goes on', async () => {
      await start()
      const session = connectHttp2(`http://127.0.0.1:${proxy.port}`)
      const stream = session.request({ ':method': 'POST', ':path': '/v1/completions' })
      stream.end(STREAMED)
      await once(stream, 'data')
      const failed = once(stream, 'error')
      kill()
      assert.match(String((await failed)[0]), /NGHTTP2_INTERNAL_ERROR/)
      const health = session.request({ ':path': '/health' })
      const [headers] = await once(health, 'response')
      assert.equal(headers[':status'], 200)
      health.resume()
      session.close()
    })

    it('breaks when it is silent for too long', async () => {
      streams = new Streams()
      proxy = await TestProxy.start([streams.answer], { engineIdleTimeoutMs: 100 })
      const client = await open(proxy.port, { body: STREAMED })
      client.resume()
      await once(client, 'error')
      assert.equal(await proxy.counted('epp_proxy_responses_broken_total', 'engine-idle'), 1)
    })

    it('is not begun anew, as part of it has been passed on', async () => {
      await start(2)
      const client = await open(proxy.port, { body: STREAMED })
      await firstEvent(client)
      const failed = once(client, 'error')
      kill()
      await failed
      assert.equal(streams.responses.length, 1)
      assert.equal(await proxy.counted('epp_proxy_retries_total'), 0)
    })
  })

  describe('that is read slowly', () => {
    /** Writes as fast as it may, and tells how much it could. */
    const endless =
      (written: { bytes: number }): RequestListener =>
      (_request, response) => {
        response.writeHead(200, { 'content-type': 'application/octet-stream' })
        const more = () => {
          while (!response.destroyed) {
            written.bytes += BLOCK.length
            if (!response.write(BLOCK)) return response.once('drain', more)
          }
        }
        more()
      }

    it('holds the engine back and takes no memory', async () => {
      const written = { bytes: 0 }
      proxy = await TestProxy.start([endless(written)])
      const beforeBytes = process.memoryUsage().rss
      const clients = await Promise.all(Array.from({ length: 20 }, () => open(proxy.port)))
      for (const client of clients) client.pause()
      let last = -1
      // Until nothing moves any more.
      await until(
        'the engine is held back',
        async () => {
          const before = last
          last = written.bytes
          await new Promise((done) => setTimeout(done, 200))
          return before === written.bytes
        },
        20_000,
      )
      const grownBytes = process.memoryUsage().rss - beforeBytes
      const text = `20 readers that stopped: ${(written.bytes / 20 / MEBIBYTE).toFixed(1)} MiB on the way for each, ${(grownBytes / MEBIBYTE).toFixed(0)} MiB more resident`
      console.log(`      ${text}`)
      // The kernel's buffers of two connections hold most of it; this process is client, proxy and engine.
      assert.ok(written.bytes / 20 < 32 * MEBIBYTE, text)
      assert.ok(grownBytes < 200 * MEBIBYTE, text)
      // Reading on gets it going again.
      const at = written.bytes
      clients[0]!.resume()
      await until('the engine goes on', () => written.bytes > at + 8 * MEBIBYTE)
      for (const client of clients) client.destroy()
    })

    it('by HTTP/2 holds the engine back as well', async () => {
      const written = { bytes: 0 }
      proxy = await TestProxy.start([endless(written)])
      const session = connectHttp2(`http://127.0.0.1:${proxy.port}`)
      const stream = session.request({ ':method': 'POST', ':path': '/v1/completions' })
      stream.end(STREAMED)
      await once(stream, 'response')
      let last = -1
      await until('the engine is held back', async () => {
        const before = last
        last = written.bytes
        await new Promise((done) => setTimeout(done, 200))
        return before === written.bytes
      })
      assert.ok(written.bytes < 32 * MEBIBYTE, `${written.bytes} bytes`)
      stream.close()
      session.close()
    })

    it('breaks when nothing of it is read for too long', async () => {
      proxy = await TestProxy.start([endless({ bytes: 0 })], { readerTimeoutMs: 200 })
      const client = await open(proxy.port)
      client.pause()
      await until('it is broken', () => proxy.gateway.active === 0)
      assert.equal(await proxy.counted('epp_proxy_responses_broken_total', 'slow-reader'), 1)
      client.on('error', () => {})
      client.destroy()
    })
  })
})
