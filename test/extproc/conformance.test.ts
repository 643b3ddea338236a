import assert from 'node:assert/strict'
import type { ClientHttp2Session } from 'node:http2'
import { constants } from 'node:http2'
import { deflateSync, gzipSync } from 'node:zlib'
import type { ExtProcOptions, ExtProcServer } from '../../src/extproc/server.ts'
import { startExtProcServer } from '../../src/extproc/server.ts'
import { below, seeded } from '../kvcache/random.ts'
import {
  answersIn,
  bodyOf,
  processMethod,
  requestBody,
  requestHeaders,
  responseBody,
  responseHeaders,
} from './client.ts'
import { CountingMetrics, keepingLogger, QueueRouter, SwitchedHealth, until } from './fakes.ts'
import { connectRaw, cut, frame, frames, RawCall } from './raw-call.ts'

const BODY = '{"model":"m","prompt":"p"}'
const HEALTH = '/grpc.health.v1.Health'

/** gRPC over HTTP/2 as https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md has it, byte by byte. */
describe('ext_proc port, as gRPC wants it', () => {
  let router: QueueRouter
  let metrics: CountingMetrics
  let server: ExtProcServer
  let session: ClientHttp2Session

  const start = async (
    options: ExtProcOptions = {},
    settings: { readonly initialWindowSize?: number } = {},
  ) => {
    session?.destroy()
    await server?.stop(0)
    server = await startExtProcServer(
      { router, health: new SwitchedHealth(), logger: keepingLogger(), metrics },
      { host: '127.0.0.1', grpcPort: 0, grpcHealthPort: 0, secureServing: false, ...options },
    )
    session = await connectRaw(server.grpcPort, settings)
  }
  beforeEach(async () => {
    router = new QueueRouter()
    metrics = new CountingMetrics()
    await start()
  })
  afterEach(async () => {
    session.destroy()
    await until(() => server.active === 0, 'no exchange is left')
    assert.equal(metrics.value('epp_extproc_buffered_bytes'), 0)
    await server.stop(0)
  })

  const call = (headers?: Record<string, string>, path?: string) =>
    new RawCall(session, headers, path)
  const ended = async (one: RawCall, status: string) => {
    await until(() => one.status !== undefined, 'the call has a status')
    assert.equal(one.status, status)
  }
  const request = frames(
    requestHeaders(),
    requestBody(BODY.slice(0, 9)),
    requestBody(BODY.slice(9), true),
  )
  const response = frames(
    responseHeaders({ ':status': '200' }),
    responseBody('data: 1\n\n'),
    responseBody('data: 2\n\n'),
    responseBody('', true),
  )
  const isRouted = (one: RawCall) => () => bodyOf(one.answers, 'requestBody').length === BODY.length
  const assertWhole = (one: RawCall) => {
    const { answers } = one
    assert.equal(answers[0]?.response, 'requestHeaders')
    assert.equal(bodyOf(answers, 'requestBody').toString(), BODY)
    assert.equal(bodyOf(answers, 'responseBody').toString(), 'data: 1\n\ndata: 2\n\n')
    assert.deepEqual(
      [
        one.headers[':status'],
        one.headers['content-type']?.startsWith('application/grpc'),
        one.status,
      ],
      ['200', true, '0'],
    )
  }
  /** A whole exchange, in pieces that `pieces` makes of its two phases. */
  const exchange = async (pieces: (bytes: Buffer) => Buffer[]) => {
    const one = call()
    await one.write(...pieces(request))
    await until(isRouted(one), 'the request is answered')
    await one.write(...pieces(response))
    await ended(one, '0')
    one.stream.end()
    await one.closed
    assertWhole(one)
    assert.deepEqual(router.last.ends, ['completed'])
    assert.equal(Buffer.concat(router.last.responseBytes).toString(), 'data: 1\n\ndata: 2\n\n')
  }

  describe('messages', () => {
    it('all in one piece', () => exchange((bytes) => [bytes]))
    it('byte by byte', () => exchange((bytes) => cut(bytes, () => 1)))
    it('cut anywhere', async () => {
      const size = below(seeded(11))
      for (let i = 0; i < 30; i++) await exchange((bytes) => cut(bytes, () => 1 + size(40)))
    })

    it('of many calls, their pieces in turn', async () => {
      const size = below(seeded(12))
      const calls = Array.from({ length: 8 }, () => call())
      for (const phase of [request, response]) {
        const pieces = calls.map(() => cut(phase, () => 1 + size(60)))
        for (let i = 0; pieces.some((each) => i < each.length); i++) {
          await Promise.all(
            calls.map((one, n) => (pieces[n]![i] ? one.write(pieces[n]![i]!) : undefined)),
          )
        }
        if (phase === request)
          await until(() => calls.every((one) => isRouted(one)()), 'all are answered')
      }
      for (const one of calls) {
        await ended(one, '0')
        assertWhole(one)
      }
    })

    it('a large one in pieces, which comes back whole', async () => {
      const body = JSON.stringify({ model: 'm', prompt: 'x'.repeat(3_000_000) })
      const one = call()
      await one.write(...cut(frames(requestHeaders(), requestBody(body, true)), () => 70_001))
      await until(() => one.bytes.length > body.length, 'it comes back')
      assert.ok(bodyOf(one.answers, 'requestBody').equals(Buffer.from(body)))
      one.stream.close(constants.NGHTTP2_CANCEL)
      await one.closed
    })

    it('a message over the limit ends the call with RESOURCE_EXHAUSTED, told by its head alone', async () => {
      await start({ maxBodyBytes: 1000 })
      const head = Buffer.alloc(5)
      head.writeUInt32BE(1000 + 1024 * 1024 + 1, 1)
      const one = await call().write(head)
      await ended(one, '8')
      assert.match(
        decodeURIComponent(one.headers['grpc-message']!),
        /^Received message larger than max \(1049577 vs 1049576\)/,
      )
    })

    it('one that is none ends the call with INVALID_ARGUMENT', async () => {
      const one = await call().write(frame(Buffer.of(0x0f)))
      await ended(one, '3')
      assert.equal(
        decodeURIComponent(one.headers['grpc-message']!),
        'the message is not a ProcessingRequest',
      )
    })
  })

  describe('compression', () => {
    const [first, ...rest] = [requestHeaders(), requestBody(BODY, true)]
    for (const [encoding, compress] of [
      ['gzip', gzipSync],
      ['deflate', deflateSync],
    ] as const) {
      it(`${encoding} is decoded, message by message, plain ones beside it`, async () => {
        const bytes = processMethod.requestSerialize(first!)
        const whole = Buffer.concat([frame(compress(bytes), true), frames(...rest)])
        for (const size of [whole.length, 7]) {
          const one = call({ 'grpc-encoding': encoding })
          await one.write(...cut(whole, () => size))
          one.stream.end()
          await until(
            () => router.last?.cancellation.isCancelled || one.answers.length > 0,
            'it is routed',
          )
          await ended(one, '0')
        }
        assert.equal(router.seen.length, 2)
        assert.equal(Buffer.concat(router.last.request.body).toString(), BODY)
      })
    }

    it('of another kind is UNIMPLEMENTED, and the answer says which are known', async () => {
      const one = await call({ 'grpc-encoding': 'zstd' }).write(frame(Buffer.of(1), true))
      await ended(one, '12')
      assert.equal(
        decodeURIComponent(one.headers['grpc-message']!),
        'Received message compressed with unsupported encoding "zstd"',
      )
    })

    it('that is none is INTERNAL', async () => {
      await ended(
        await call({ 'grpc-encoding': 'gzip' }).write(frame(Buffer.of(1, 2, 3), true)),
        '13',
      )
    })

    it('of more than the limit is RESOURCE_EXHAUSTED', async () => {
      await start({ maxBodyBytes: 1000 })
      const bomb = frame(gzipSync(Buffer.alloc(3_000_000)), true)
      await ended(await call({ 'grpc-encoding': 'gzip' }).write(bomb), '8')
    })
  })

  describe('the call', () => {
    it('of another content type is 415', async () => {
      const one = call({ 'content-type': 'application/json' })
      one.stream.end()
      await one.closed
      assert.deepEqual([one.headers[':status'], one.status], ['415', undefined])
      const text = await call({ 'content-type': 'application/grpc+proto' }).write(request)
      await until(isRouted(text), 'a subtype is served')
    })

    it('of another method is UNIMPLEMENTED, in trailers alone', async () => {
      for (const path of ['/envoy.service.ext_proc.v3.ExternalProcessor/Other', '/', '/x/y/z']) {
        const one = call({}, path)
        one.stream.end(request)
        await ended(one, '12')
        assert.equal(
          one.headers['grpc-message'],
          `The server does not implement the method ${path}`,
        )
        assert.deepEqual([one.headers[':status'], one.bytes.length], ['200', 0])
      }
    })

    it('that ends before its first message is OK', async () => {
      const one = call()
      one.stream.end()
      await ended(one, '0')
      await one.closed
    })

    it('that ends in the middle of a message is over as well', async () => {
      const one = await call().write(request.subarray(0, request.length - 3))
      await until(() => server.active === 1, 'it has begun')
      one.stream.end()
      await ended(one, '0')
    })

    it('ends by its deadline with DEADLINE_EXCEEDED, and the router hears of it', async () => {
      router.hold()
      const one = await call({ 'grpc-timeout': '50m' }).write(request)
      await until(() => router.seen.length === 1, 'the router was asked')
      await ended(one, '4')
      await until(() => router.last.cancellation.isCancelled, 'the router is told')
      assert.equal(server.active, 0)
      router.release()
      await until(() => router.last.ends.length === 1, 'what it picked is let go')
    })

    it('with a deadline that is far off, is served', async () => {
      for (const timeout of ['99999999H', '10S', '90000000u']) {
        const one = await call({ 'grpc-timeout': timeout }).write(request)
        await until(() => one.status !== undefined || isRouted(one)(), 'it is answered')
        assert.equal(one.status, undefined, timeout)
      }
    })

    it('with a deadline that is none is INTERNAL', async () => {
      const one = call({ 'grpc-timeout': 'soon' })
      await ended(one, '13')
      assert.match(
        decodeURIComponent(one.headers['grpc-message']!),
        /^Invalid grpc-timeout value "soon"/,
      )
    })

    for (const [name, code] of [
      ['CANCEL', constants.NGHTTP2_CANCEL],
      ['NO_ERROR', constants.NGHTTP2_NO_ERROR],
    ] as const) {
      it(`that is reset with ${name} is over, in every phase`, async () => {
        router.hold()
        const asking = await call().write(request.subarray(0, 60))
        const routing = await call().write(request)
        await until(() => server.active === 2 && router.seen.length === 1, 'both have begun')
        for (const one of [asking, routing]) one.stream.close(code)
        await until(() => server.active === 0, 'both are over')
        await until(() => router.last.cancellation.isCancelled, 'the router is told')
        router.release()
        const responding = await call().write(request)
        await until(isRouted(responding), 'it is answered')
        await responding.write(frames(responseHeaders({ ':status': '200' })))
        await until(() => responding.answers.length > 2, 'the response has begun')
        responding.stream.close(code)
        await until(() => router.last.ends.length === 1, 'it is over')
        assert.deepEqual(router.last.ends, ['aborted'])
      })
    }

    it('goes on when the gateway wants no further one on the connection', async () => {
      const one = await call().write(request)
      await until(isRouted(one), 'the request is answered')
      session.close()
      await one.write(response)
      await ended(one, '0')
      one.stream.end()
      await one.closed
      assertWhole(one)
    })

    it('is over when the connection breaks', async () => {
      const calls = Array.from({ length: 20 }, () => call())
      for (const one of calls) await one.write(request)
      await until(() => calls.every((one) => isRouted(one)()), 'all are answered')
      session.destroy(undefined, constants.NGHTTP2_INTERNAL_ERROR)
      await until(() => router.seen.every(({ ends }) => ends.length === 1), 'all are over')
    })
  })

  describe('flow control', () => {
    it('sends no more than the windows allow, and all of it in the end', async () => {
      await start({}, { initialWindowSize: 1000 })
      const body = JSON.stringify({ model: 'm', prompt: 'x'.repeat(100_000) })
      const one = call()
      await one.write(frames(requestHeaders(), requestBody(body, true), requestBody('', true)))
      await until(() => one.bytes.length > body.length, 'it comes back')
      assert.ok(bodyOf(one.answers, 'requestBody').equals(Buffer.from(body)))
      await one.write(frames(responseHeaders({ ':status': '200' }), responseBody(body, true)))
      await ended(one, '0')
      assert.ok(bodyOf(one.answers, 'responseBody').equals(Buffer.from(body)))
    })

    it('of one call that nobody reads leaves the others alone', async () => {
      const slow = call()
      slow.stream.pause()
      const body = JSON.stringify({ model: 'm', prompt: 'x'.repeat(4_000_000) })
      await slow.write(frames(requestHeaders(), requestBody(body, true)))
      await until(() => router.seen.length === 1, 'it is routed')
      await exchange((bytes) => [bytes])
      slow.stream.resume()
      await until(() => slow.bytes.length > body.length, 'it comes back')
      assert.ok(bodyOf(slow.answers, 'requestBody').equals(Buffer.from(body)))
    })

    for (const code of [constants.NGHTTP2_CANCEL, constants.NGHTTP2_NO_ERROR]) {
      it(`of a call that nobody reads, reset with ${code}, holds nothing`, async () => {
        const slow = call()
        const chunk = frames(responseBody(Buffer.alloc(60_000, 'x')))
        await slow.write(request)
        await until(isRouted(slow), 'the request is answered')
        slow.stream.pause()
        await slow.write(frames(responseHeaders({ ':status': '200' })))
        for (let i = 0; i < 100; i++) slow.stream.write(chunk)
        let seen = -1
        let same = 0
        await until(() => {
          const { length } = router.last.responseBytes
          same = length === seen && length > 0 ? same + 1 : 0
          seen = length
          return same === 100
        }, 'the server stops reading')
        slow.stream.close(code)
        await until(() => server.active === 0, 'it is over')
        assert.deepEqual(router.last.ends, ['aborted'])
      })
    }
  })

  describe('health beside it', () => {
    const check = frame(Buffer.alloc(0))
    const health = (method: string) => call({}, `${HEALTH}/${method}`)

    it('is one message, then OK', async () => {
      for (const pieces of [[check], cut(check, () => 1)]) {
        const one = health('Check')
        await one.write(...pieces)
        one.stream.end()
        await ended(one, '0')
        assert.deepEqual(one.bytes, frame(Buffer.of(8, 1)))
      }
    })

    it('wants one message, no more and no less', async () => {
      for (const sent of [Buffer.alloc(0), Buffer.concat([check, check])]) {
        const one = health('Check')
        one.stream.end(sent)
        await ended(one, '12')
      }
    })

    it('is watched until the watcher goes', async () => {
      const one = health('Watch')
      one.stream.end(check)
      await until(() => one.bytes.length > 0, 'the first state')
      assert.deepEqual([one.bytes, one.status], [frame(Buffer.of(8, 1)), undefined])
      one.stream.close(constants.NGHTTP2_CANCEL)
      await one.closed
    })
  })

  it('answers pings, and allows many streams', async () => {
    await new Promise<void>((resolve, reject) =>
      session.ping((error) => (error ? reject(error) : resolve())),
    )
    assert.ok(session.remoteSettings.maxConcurrentStreams! >= 100_000)
  })

  it('sends whole frames only', async () => {
    const one = await call().write(request)
    await until(isRouted(one), 'the request is answered')
    await one.write(response)
    await ended(one, '0')
    assert.equal(answersIn([one.bytes]).length, one.answers.length)
  })
})
