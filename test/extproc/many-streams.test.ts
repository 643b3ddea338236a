import assert from 'node:assert/strict'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { type ExtProcServer, startExtProcServer } from '../../src/extproc/server.ts'
import {
  bodyOf,
  Gateway,
  requestBody,
  requestHeaders,
  responseBody,
  responseHeaders,
  statusName,
} from './client.ts'
import { CountingMetrics, keepingLogger, QueueRouter, SwitchedHealth, until } from './fakes.ts'

const BODY = '{"model":"m","prompt":"p"}'
const STREAMS = 2000
const CHUNKS = 20
/** What all of it is meant to take at most; ten times that fails. */
const WHOLE_MS = 20_000

describe('2,000 long streams on one connection', function () {
  this.timeout(60_000)
  let router: QueueRouter
  let metrics: CountingMetrics
  let server: ExtProcServer
  let gateway: Gateway | undefined

  beforeEach(async () => {
    router = new QueueRouter()
    metrics = new CountingMetrics()
    server = await startExtProcServer(
      { router, health: new SwitchedHealth(), logger: keepingLogger(), metrics },
      { host: '127.0.0.1', grpcPort: 0, grpcHealthPort: 0, secureServing: false },
    )
  })
  afterEach(async () => {
    gateway?.close()
    await server.stop(0)
  })

  const open = async (port: number) => {
    const caller = (gateway = new Gateway(`127.0.0.1:${port}`))
    const calls = Array.from({ length: STREAMS }, () =>
      caller.open().send(requestHeaders(), requestBody(BODY, true)),
    )
    for (const call of calls) await call.untilEnd('requestBody')
    for (const call of calls) call.send(responseHeaders({ ':status': '200' }))
    for (const call of calls) assert.equal((await call.next())?.response, 'responseHeaders')
    return calls
  }

  it('passes every chunk of each, and ends each', async () => {
    const startedMs = performance.now()
    const calls = await open(server.grpcPort)
    assert.equal(server.active, STREAMS)
    for (let i = 0; i < CHUNKS; i++) {
      for (const [n, call] of calls.entries()) call.send(responseBody(`${n}-${i};`))
    }
    for (const call of calls) call.send(responseBody('', true))
    for (const [n, call] of calls.entries()) {
      const whole = Array.from({ length: CHUNKS }, (_, i) => `${n}-${i};`).join('')
      assert.equal(bodyOf(await call.rest(), 'responseBody').toString(), whole)
      assert.equal(statusName(await call.status), 'OK')
    }
    await until(() => server.active === 0, 'all are over')
    assert.ok(router.seen.every(({ ends }) => ends.join() === 'completed'))
    const tookMs = performance.now() - startedMs
    console.log(`      ${Math.round(tookMs)} ms (limit ${WHOLE_MS} ms)`)
    assert.ok(tookMs < 10 * WHOLE_MS)
  })

  it('has none left when the connection is cut', async () => {
    const proxy = await cuttable(server.grpcPort)
    const calls = await open(proxy.port)
    assert.equal(server.active, STREAMS)
    assert.equal(proxy.connections, 1)
    proxy.cut()
    for (const call of calls) assert.equal(statusName(await call.status), 'UNAVAILABLE')
    await until(() => server.active === 0, 'all are over')
    assert.equal(metrics.value('epp_extproc_buffered_bytes'), 0)
    assert.ok(router.seen.every(({ ends }) => ends.join() === 'aborted'))
  })
})

/** A way to a port that can be cut. */
async function cuttable(to: number) {
  const sockets = new Set<Socket>()
  let connections = 0
  const server = createServer((socket) => {
    connections++
    const onward = connect(to, '127.0.0.1')
    for (const each of [socket, onward]) {
      each.setNoDelay(true)
      each.on('error', () => {})
      sockets.add(each)
    }
    socket.pipe(onward).pipe(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return connections
    },
    /** Cuts every connection without a word, and takes no new one. */
    cut() {
      server.close()
      for (const socket of sockets) socket.resetAndDestroy()
    },
  }
}
