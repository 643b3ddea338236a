import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, constants } from 'node:http2'
import { connect as connectTcp } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { type ChannelCredentials, credentials } from '@grpc/grpc-js'
import { generate } from 'selfsigned'
import { Exchange } from '../../src/extproc/exchange.ts'
import { Exchanges } from '../../src/extproc/exchanges.ts'
import type { ExtProcOptions, ExtProcServer } from '../../src/extproc/server.ts'
import { startExtProcServer } from '../../src/extproc/server.ts'
import type { SchedulerError } from '../../src/framework/errors.ts'
import {
  answersIn,
  bodyOf,
  Gateway,
  processMethod,
  requestBody,
  requestHeaders,
  responseBody,
  responseHeaders,
  setHeaders,
  statusName,
} from './client.ts'
import { CountingMetrics, keepingLogger, QueueRouter, SwitchedHealth, until } from './fakes.ts'

const BODY = '{"model":"m","prompt":"p"}'

describe('ext_proc server', () => {
  let router: QueueRouter
  let health: SwitchedHealth
  let metrics: CountingMetrics
  let logger: ReturnType<typeof keepingLogger>
  const servers: ExtProcServer[] = []
  const gateways: Gateway[] = []

  beforeEach(() => {
    router = new QueueRouter()
    health = new SwitchedHealth()
    metrics = new CountingMetrics()
    logger = keepingLogger()
  })

  afterEach(async () => {
    for (const gateway of gateways.splice(0)) gateway.close()
    for (const server of servers.splice(0)) await server.stop(0)
  })

  async function start(options: ExtProcOptions = {}): Promise<ExtProcServer> {
    const server = await startExtProcServer(
      { router, health, logger, metrics },
      { host: '127.0.0.1', grpcPort: 0, grpcHealthPort: 0, secureServing: false, ...options },
    )
    servers.push(server)
    return server
  }

  for (const secureServing of [false, true]) {
    it(`closes connections beyond its limit and counts them, ${secureServing ? 'with' : 'without'} TLS`, async () => {
      const { grpcPort, grpcHealthPort } = await start({ maxConnections: 2, secureServing })
      for (const [port, name] of [
        [grpcPort, 'ext_proc'],
        [grpcHealthPort, 'health'],
      ] as const) {
        const sockets = Array.from({ length: 5 }, () => connectTcp(port, '127.0.0.1'))
        let closed = 0
        for (const socket of sockets) socket.on('close', () => closed++).on('error', () => {})
        try {
          const refused = () => metrics.value(`epp_connections_refused_total{port=${name}}`)
          await until(() => refused() === 3 && closed === 3, 'three are closed')
        } finally {
          for (const socket of sockets) socket.destroy()
        }
      }
    })
  }

  describe('says what is wrong, once,', () => {
    /** Connects, says something and waits for the end. */
    const say = (port: number, text: string) =>
      new Promise<void>((resolve) => {
        const socket = connectTcp(port, '127.0.0.1', () => socket.write(text))
        socket.on('error', () => {}).on('close', () => resolve())
        socket.resume()
      })
    const said = () => logger.lines.filter((line) => line.includes('ext_proc port'))

    it('with a client that speaks TLS where there is none', async () => {
      const { grpcPort } = await start()
      for (let i = 0; i < 2; i++) {
        await new Promise<void>((resolve) => {
          const socket = connectTls({
            host: '127.0.0.1',
            port: grpcPort,
            rejectUnauthorized: false,
          })
          socket.on('error', () => {}).on('close', () => resolve())
        })
      }
      assert.equal(said().length, 1)
      assert.match(said()[0]!, /^warn a client speaks TLS to the ext_proc port, which is plaintext/)
    })

    it('with a client that speaks plaintext where there is TLS', async () => {
      const { grpcPort } = await start({ secureServing: true })
      await say(grpcPort, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
      await say(grpcPort, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n')
      assert.equal(said().length, 1)
      assert.match(
        said()[0]!,
        /^warn a client speaks plaintext to the ext_proc port, which wants TLS/,
      )
    })

    it('with a client that speaks HTTP/1', async () => {
      const { grpcPort } = await start()
      for (let i = 0; i < 2; i++) await say(grpcPort, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n')
      assert.deepEqual(said(), [
        'warn a client of the ext_proc port does not speak HTTP/2; it serves gRPC, and nothing else',
      ])
    })

    it('with a client that does not take part in the TLS of this port', async () => {
      const { grpcPort } = await start({ secureServing: true })
      await new Promise<void>((resolve) => {
        const socket = connectTls({
          host: '127.0.0.1',
          port: grpcPort,
          ALPNProtocols: ['http/1.1'],
        })
        socket.on('error', () => {}).on('close', () => resolve())
      })
      await until(() => said().length === 1, 'it is said')
      assert.match(said()[0]!, /^warn a client of the ext_proc port breaks the TLS handshake off/)
    })

    it('but not with one that says nothing', async () => {
      for (const secureServing of [false, true]) {
        const { grpcPort } = await start({ secureServing })
        await new Promise<void>((resolve) => {
          const socket = connectTcp(grpcPort, '127.0.0.1', () => socket.end())
          socket.on('error', () => {}).on('close', () => resolve())
          socket.resume()
        })
      }
      assert.deepEqual(said(), [])
    })
  })

  function gatewayTo(port: number, channel?: ChannelCredentials, host = '127.0.0.1'): Gateway {
    const gateway = new Gateway(`${host}:${port}`, channel)
    gateways.push(gateway)
    return gateway
  }

  async function assertServes(gateway: Gateway): Promise<void> {
    const call = gateway.open().send(requestHeaders(), requestBody(BODY, true))
    assert.equal(bodyOf(await call.untilEnd('requestBody'), 'requestBody').toString(), BODY)
    call.cancel()
  }

  describe('health', () => {
    const names = [
      '',
      'readiness',
      'liveness',
      'inference-extension',
      'envoy.service.ext_proc.v3.ExternalProcessor',
    ]

    it('is told on both ports under every name', async () => {
      const server = await start()
      for (const port of [server.grpcPort, server.grpcHealthPort]) {
        const gateway = gatewayTo(port)
        for (const name of names) assert.equal(await gateway.check(name), 'SERVING')
        health.set(false)
        for (const name of names) {
          assert.equal(await gateway.check(name), name === 'liveness' ? 'SERVING' : 'NOT_SERVING')
        }
        assert.deepEqual(
          await gateway.list(),
          Object.fromEntries(
            names.map((name) => [name, name === 'liveness' ? 'SERVING' : 'NOT_SERVING']),
          ),
        )
        health.set(true)
      }
    })

    it('of an unknown name is NOT_FOUND', async () => {
      const gateway = gatewayTo((await start()).grpcHealthPort)
      await assert.rejects(gateway.check('nobody'), { code: 5 })
    })

    it('is watched: the state now, then each change, until the watcher goes', async () => {
      const gateway = gatewayTo((await start()).grpcHealthPort)
      const states: string[] = []
      const watch = gateway.watch('readiness')
      watch.on('data', ({ status }) => states.push(status))
      watch.on('error', () => {})
      await until(() => states.length === 1, 'the first state')
      health.set(true)
      health.set(false)
      await until(() => states.length === 2, 'the second state')
      health.set(true)
      await until(() => states.length === 3, 'the third state')
      assert.deepEqual(states, ['SERVING', 'NOT_SERVING', 'SERVING'])
      watch.cancel()
      await until(() => health.listeners === 0, 'nobody listens')
    })

    it('of an unknown name is watched as SERVICE_UNKNOWN', async () => {
      const watch = gatewayTo((await start()).grpcHealthPort).watch('nobody')
      watch.on('error', () => {})
      const first = await new Promise<{ status: string }>((resolve) => watch.once('data', resolve))
      assert.equal(first.status, 'SERVICE_UNKNOWN')
      watch.cancel()
    })
  })

  describe('TLS', () => {
    const insecure = () =>
      credentials.createSsl(null, null, null, {
        checkServerIdentity: () => undefined,
        rejectUnauthorized: false,
      })

    it('is on by default, self-signed, with ALPN h2; health has its plaintext port', async () => {
      const server = await startExtProcServer(
        { router, health, logger: keepingLogger(), metrics },
        { host: '127.0.0.1', grpcPort: 0, grpcHealthPort: 0 },
      )
      servers.push(server)
      const gateway = gatewayTo(server.grpcPort, insecure(), 'localhost')
      await assertServes(gateway)
      assert.equal(await gateway.check(''), 'SERVING')
      assert.equal(await gatewayTo(server.grpcHealthPort).check(''), 'SERVING')
      const socket = connectTls({
        host: '127.0.0.1',
        port: server.grpcPort,
        servername: 'localhost',
        rejectUnauthorized: false,
        ALPNProtocols: ['h2'],
      })
      await new Promise((resolve) => socket.once('secureConnect', resolve))
      assert.equal(socket.alpnProtocol, 'h2')
      assert.equal(socket.getPeerCertificate().subject.CN, 'endpoint-picker')
      socket.destroy()
    })

    it('serves a given certificate', async () => {
      const folder = mkdtempSync(join(tmpdir(), 'extproc-'))
      try {
        const pem = await generate([{ name: 'commonName', value: 'localhost' }], {
          keyType: 'ec',
          algorithm: 'sha256',
        })
        writeFileSync(join(folder, 'tls.crt'), pem.cert)
        writeFileSync(join(folder, 'tls.key'), pem.private)
        const server = await start({ secureServing: true, certPath: folder })
        await assertServes(
          gatewayTo(server.grpcPort, credentials.createSsl(Buffer.from(pem.cert)), 'localhost'),
        )
      } finally {
        rmSync(folder, { recursive: true })
      }
    })

    it('without the files does not start, and names what is missing', async () => {
      const folder = mkdtempSync(join(tmpdir(), 'extproc-'))
      try {
        await assert.rejects(
          start({ secureServing: true, certPath: folder }),
          (error: SchedulerError) => {
            assert.equal(error.code, 'START_FAILED')
            assert.ok(error.message.startsWith(`cannot read "${folder}/tls.`), error.message)
            assert.ok(
              error.message.endsWith('--cert-path must name a folder with tls.crt and tls.key'),
            )
            return true
          },
        )
        writeFileSync(join(folder, 'tls.crt'), 'no certificate')
        writeFileSync(join(folder, 'tls.key'), 'no key')
        await assert.rejects(start({ secureServing: true, certPath: folder }), {
          code: 'START_FAILED',
        })
      } finally {
        rmSync(folder, { recursive: true })
      }
    })
  })

  describe('ports', () => {
    it('in use are named with their flag, and nothing stays open', async () => {
      const first = await start()
      await assert.rejects(start({ grpcPort: first.grpcPort }), {
        code: 'PORT_IN_USE',
        message: `port ${first.grpcPort} on 127.0.0.1 is in use; end the process that has it or choose another with --grpc-port`,
      })
      await assert.rejects(start({ grpcHealthPort: first.grpcHealthPort }), {
        code: 'PORT_IN_USE',
        message: `port ${first.grpcHealthPort} on 127.0.0.1 is in use; end the process that has it or choose another with --grpc-health-port`,
      })
    })

    it('that cannot be opened are a failed start', async () => {
      await assert.rejects(start({ host: '192.0.2.1' }), { code: 'START_FAILED' })
    })
  })

  it('opens wide receive windows', async () => {
    const server = await start()
    const session = connect(`http://127.0.0.1:${server.grpcPort}`)
    const stream = session.request({
      ':method': 'POST',
      ':path': processMethod.path,
      'content-type': 'application/grpc',
      te: 'trailers',
    })
    await until(
      () => session.remoteSettings.initialWindowSize === 16 * 1024 * 1024,
      'the wide window',
    )
    await until(
      () => (session.state.remoteWindowSize ?? 0) > 16 * 1024 * 1024,
      'the wide connection window',
    )
    assert.ok(session.remoteSettings.maxConcurrentStreams! >= 100_000)
    stream.on('error', () => {})
    session.destroy()
    await until(() => server.active === 0, 'the exchange is over')
  })

  it('outlives gateways that reset their streams, as Envoy does', async () => {
    const gateway = gatewayTo((await start()).grpcPort)
    for (let batch = 0; batch < 30; batch++) {
      const calls = Array.from({ length: 50 }, () => gateway.open())
      await Promise.all(
        calls.map(async (call) => {
          call.send(requestHeaders(), requestBody(BODY, true))
          assert.equal(bodyOf(await call.untilEnd('requestBody'), 'requestBody').toString(), BODY)
          call.cancel()
          assert.equal(statusName(await call.status), 'CANCELLED')
        }),
      )
    }
  })

  it('stands more resets than nghttp2 allows', async () => {
    const session = connect(`http://127.0.0.1:${(await start()).grpcPort}`)
    const told: number[] = []
    session.on('goaway', (code) => told.push(code))
    const open = () => {
      const stream = session.request({
        ':method': 'POST',
        ':path': processMethod.path,
        'content-type': 'application/grpc',
        te: 'trailers',
      })
      stream.on('error', () => {})
      return stream
    }
    const roundTrip = () => new Promise<void>((resolve) => session.ping(() => resolve()))
    await new Promise<void>((resolve) => session.once('connect', () => resolve()))
    const kept = open()
    for (let resets = 0; resets < 3000; resets += 50) {
      const batch = Array.from({ length: 50 }, open)
      await roundTrip()
      for (const stream of batch) stream.close(constants.NGHTTP2_CANCEL)
      await roundTrip()
    }
    assert.deepEqual(told, [])
    let status: unknown
    const answered = (headers: Record<string, unknown>) => {
      status ??= headers['grpc-status']
    }
    kept.on('response', answered)
    kept.on('trailers', answered)
    kept.end()
    kept.resume()
    await until(() => status !== undefined, 'the stream that is kept is answered')
    assert.equal(status, '0')
    session.destroy()
  })

  describe('stop', () => {
    it('answers new requests 503, lets running ones end, and says NOT_SERVING', async () => {
      const server = await start()
      const gateway = gatewayTo(server.grpcPort)
      router.hold()
      const running = gateway.open().send(requestHeaders(), requestBody(BODY, true))
      await until(() => router.seen.length === 1, 'the router was asked')
      const states: string[] = []
      const watch = gateway.watch('')
      watch.on('data', ({ status }) => states.push(status))
      watch.on('error', () => {})
      await until(() => states.length === 1, 'the first state')

      let stopped = false
      const stopping = server.stop(10_000).then(() => {
        stopped = true
      })
      await until(() => states.length === 2, 'the second state')
      assert.deepEqual(states, ['SERVING', 'NOT_SERVING'])
      assert.equal(await gateway.check('liveness'), 'SERVING')
      const late = gateway.open().send(requestHeaders())
      const answer = await late.next()
      assert.equal(answer?.immediateResponse?.status.code, 503)
      assert.equal(setHeaders(answer)['x-llm-d-request-dropped-reason'], 'rejected-shutting-down')
      assert.equal(stopped, false)

      router.release()
      await running.untilEnd('requestBody')
      running.send(responseHeaders({ ':status': '200' }), responseBody('{}', true))
      assert.equal(bodyOf(await running.untilEnd('responseBody'), 'responseBody').toString(), '{}')
      assert.deepEqual(router.last.ends, ['completed'])
      watch.cancel()
      await stopping
    })

    it('ends what is still running when the time is over', async () => {
      const server = await start()
      const gateway = gatewayTo(server.grpcPort)
      const responding = gateway.open().send(requestHeaders(), requestBody(BODY, true))
      await responding.untilEnd('requestBody')
      responding.send(responseHeaders({ ':status': '200' }))
      await responding.next()
      const sending = gateway.open().send(requestHeaders(), requestBody('{'))
      await until(() => server.active === 2, 'both are running')
      await server.stop(20)
      assert.equal((await sending.next())?.immediateResponse?.status.code, 503)
      assert.equal(statusName(await responding.status), 'OK')
      assert.deepEqual(router.seen[0]?.ends, ['aborted'])
      assert.equal(server.active, 0)
      await assert.rejects(gatewayTo(server.grpcPort).check(''), { code: 14 })
    })
  })
})

describe('Exchange', () => {
  const limits = {
    maxBodyBytes: 1e6,
    maxBufferedBytes: 1e6,
    maxHeaderBytes: 1e6,
    maxRequests: 1e6,
  }
  let sent: Uint8Array[]
  let router: QueueRouter
  let exchange: Exchange
  const receive = (...requests: Parameters<typeof processMethod.requestSerialize>[0][]) => {
    for (const request of requests) {
      const bytes = processMethod.requestSerialize(request)
      exchange.message(bytes, 0, bytes.length, true)
    }
    exchange.pause()
  }
  /** What has been sent since this was asked last. */
  const answers = () => answersIn(sent.splice(0))
  beforeEach(async () => {
    sent = []
    router = new QueueRouter()
    const stream = {
      send: (frames: readonly Uint8Array[]) => void sent.push(...frames),
      end: () => {},
    }
    const shared = new Exchanges(router, limits, keepingLogger(), new CountingMetrics())
    exchange = new Exchange(stream, shared)
    receive(requestHeaders(), requestBody(BODY, true))
    await until(() => sent.length > 0, 'the request phase is answered')
    sent.length = 0
  })

  it('answers response chunks that come together with one message', () => {
    const chunks = Array.from({ length: 100 }, (_, i) => `data: ${i}\n\n`)
    receive(
      responseHeaders({ ':status': '200' }),
      ...chunks.map((chunk) => responseBody(chunk)),
      responseBody('', true),
    )
    const all = answers()
    assert.deepEqual(
      all.map(({ response }) => response),
      ['responseHeaders', 'responseBody'],
    )
    assert.equal(bodyOf(all, 'responseBody').toString(), chunks.join(''))
    assert.equal(router.last.responseBytes.length, 1)
  })

  it('answers a chunk that comes alone at once, those right after it together at the end of the turn', async () => {
    const now = performance.now
    let nowMs = now.call(performance)
    performance.now = () => nowMs
    try {
      receive(responseHeaders({ ':status': '200' }))
      assert.equal(answers().length, 1)
      for (const chunk of ['a', 'b', 'c']) {
        nowMs += 0.1
        receive(responseBody(chunk))
      }
      assert.deepEqual(answers(), [])
      await new Promise((resolve) => setImmediate(resolve))
      const together = answers()
      assert.equal(together.length, 1)
      assert.equal(bodyOf(together, 'responseBody').toString(), 'abc')
      nowMs += 2
      receive(responseBody('d'))
      assert.equal(bodyOf(answers(), 'responseBody').toString(), 'd')
      nowMs += 0.1
      receive(responseBody('e', true))
      assert.equal(bodyOf(answers(), 'responseBody').toString(), 'e')
    } finally {
      performance.now = now
    }
    assert.deepEqual(router.last.ends, ['completed'])
  })

  it('shows whoever watches what had come when the stream broke', () => {
    receive(responseHeaders({ ':status': '200' }), responseBody('a'))
    const bytes = processMethod.requestSerialize(responseBody('b'))
    exchange.message(bytes, 0, bytes.length, true)
    exchange.closed()
    assert.equal(Buffer.concat(router.last.responseBytes).toString(), 'ab')
    assert.deepEqual(router.last.ends, ['aborted'])
  })
})
