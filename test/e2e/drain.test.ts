import assert from 'node:assert/strict'
import {
  bodyOf,
  type Exchange,
  Gateway,
  requestBody,
  requestHeaders,
  responseBody,
  responseHeaders,
  setHeaders,
  statusName,
  streamed,
} from '../extproc/client.ts'
import { ModelServer } from '../integration/model-server.ts'
import { Epp } from './epp.ts'
import { eventually } from './process.ts'

const BODY = '{"model":"m","prompt":"p"}'
const EVENTS = Array.from({ length: 5 }, (_, i) => `data: {"n":${i}}\n\n`)
const DRAIN_TIMEOUT_MS = 20_000
const SHORT_TIMEOUT_MS = 500

describe('epp serve that is told to end', function () {
  this.timeout(60_000)
  let server: ModelServer
  let epp: Epp
  const gateways: Gateway[] = []
  const gatewayTo = (port: number) => {
    const gateway = new Gateway(`127.0.0.1:${port}`)
    gateways.push(gateway)
    return gateway
  }

  before(async () => {
    server = await ModelServer.start('127.0.72.1', ['m'])
  })
  after(() => server.stop())
  afterEach(async () => {
    for (const gateway of gateways.splice(0)) gateway.close()
    await epp?.stop()
  })

  const start = async (drainTimeoutMs: number) => {
    epp = await Epp.start([
      ...['--endpoint', server.hostPort, '--secure-serving=false', '--responses', 'full'],
      ...['--kv-events-bind', 'tcp://127.0.0.1:*', '--drain-timeout', `${drainTimeoutMs}ms`],
    ])
    return gatewayTo(epp.ports.grpc)
  }
  /** A request whose response has begun. */
  const begin = async (gateway: Gateway): Promise<Exchange> => {
    const exchange = gateway.open().send(requestHeaders(), requestBody(BODY, true))
    assert.equal(bodyOf(await exchange.untilEnd('requestBody'), 'requestBody').toString(), BODY)
    exchange.send(responseHeaders({ ':status': '200', 'content-type': 'text/event-stream' }))
    assert.equal((await exchange.next())?.response, 'responseHeaders')
    return exchange
  }
  const exitCode = () => eventually('the process has ended', () => epp.process.exitCode)

  it('says so, refuses new requests with 503, lets a running one end whole, and exits 0', async () => {
    const gateway = await start(DRAIN_TIMEOUT_MS)
    const running = await begin(gateway)
    const told: Record<string, string[]> = { grpc: [], health: [] }
    for (const port of ['grpc', 'health'] as const) {
      const watch = gatewayTo(epp.ports[port]).watch('')
      watch.on('data', ({ status }) => told[port]!.push(status))
      watch.on('error', () => {})
    }
    await eventually('both watches tell the state', () =>
      Object.values(told).every((states) => states.length === 1),
    )
    const signalledMs = performance.now()
    process.kill(epp.process.pid, 'SIGTERM')
    await eventually('both watches tell of the drain', () =>
      Object.values(told).every((states) => states.length === 2),
    )
    assert.deepEqual(told, {
      grpc: ['SERVING', 'NOT_SERVING'],
      health: ['SERVING', 'NOT_SERVING'],
    })
    for (const port of [epp.ports.grpc, epp.ports.health]) {
      const asking = gatewayTo(port)
      assert.equal(await asking.check('readiness'), 'NOT_SERVING')
      assert.equal(await asking.check('liveness'), 'SERVING')
    }
    const ready = await fetch(`http://127.0.0.1:${epp.ports.metrics}/readyz`)
    assert.equal(ready.status, 503)

    for (const late of [gateway, gatewayTo(epp.ports.grpc)]) {
      const exchange = late.open().send(requestHeaders(), requestBody(BODY, true))
      const [answer, ...more] = await exchange.rest()
      assert.deepEqual(more, [])
      assert.equal(answer?.immediateResponse?.status.code, 503)
      assert.deepEqual(setHeaders(answer), {
        'content-type': 'application/json',
        'retry-after': '1',
        'x-llm-d-request-dropped-reason': 'rejected-shutting-down',
      })
      assert.deepEqual(JSON.parse(answer!.immediateResponse!.body.toString()), {
        error: {
          message: 'the endpoint picker is shutting down; try again',
          type: 'server_error',
          code: 'SHUTTING_DOWN',
        },
      })
    }

    for (const event of EVENTS) {
      running.send(responseBody(event))
      assert.equal(streamed((await running.next())!, 'responseBody')?.body.toString(), event)
    }
    running.send(responseBody('', true))
    const [last, ...more] = await running.rest()
    assert.equal(streamed(last!, 'responseBody')?.endOfStream, true)
    assert.deepEqual(more, [])
    assert.equal(statusName(await running.status), 'OK')
    assert.equal(await exitCode(), 0)
    const tookMs = performance.now() - signalledMs
    console.log(`      from the signal to the end: ${Math.round(tookMs)} ms`)
    assert.ok(tookMs < DRAIN_TIMEOUT_MS, `${tookMs} ms`)
  })

  it('cuts off what is still running when the time is over, and exits 0', async () => {
    const running = await begin(await start(SHORT_TIMEOUT_MS))
    const signalledMs = performance.now()
    process.kill(epp.process.pid, 'SIGTERM')
    assert.deepEqual(await running.rest(), [])
    assert.equal(await exitCode(), 0)
    const tookMs = performance.now() - signalledMs
    console.log(`      from the signal to the end: ${Math.round(tookMs)} ms`)
    assert.ok(tookMs >= SHORT_TIMEOUT_MS, `${tookMs} ms`)
  })

  it('ends at once when nothing runs, though gateways stay connected', async () => {
    const gateway = await start(DRAIN_TIMEOUT_MS)
    assert.equal(await gateway.check(''), 'SERVING')
    const signalledMs = performance.now()
    process.kill(epp.process.pid, 'SIGTERM')
    assert.equal(await exitCode(), 0)
    const tookMs = performance.now() - signalledMs
    console.log(`      from the signal to the end: ${Math.round(tookMs)} ms`)
    assert.ok(tookMs < DRAIN_TIMEOUT_MS / 2, `${tookMs} ms`)
  })
})
