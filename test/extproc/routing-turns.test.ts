import assert from 'node:assert/strict'
import { Exchange } from '../../src/extproc/exchange.ts'
import { Exchanges } from '../../src/extproc/exchanges.ts'
import type { IncomingRequest, Routed } from '../../src/framework/services.ts'
import { answersIn, processMethod, requestBody, requestHeaders } from './client.ts'
import { CountingMetrics, keepingLogger, QueueRouter, until } from './fakes.ts'

const REQUESTS = 60
/** Of CPU, for each request. */
const ROUTING_MS = 2
/** As long as a slice is, and the last request of it. */
const LIMIT_MS = 6
const LIMITS = {
  ...{ maxBodyBytes: 1e6, maxBufferedBytes: 1e9, maxHeaderBytes: 1e5, maxRequests: 1e4 },
}

/** Takes the thread for as long as a long prompt may. */
class SlowRouter extends QueueRouter {
  override route(...[request, cancellation]: Parameters<QueueRouter['route']>): Promise<Routed> {
    const start = process.cpuUsage()
    while (process.cpuUsage(start).user / 1000 < ROUTING_MS);
    return super.route(request as IncomingRequest, cancellation)
  }
}

describe('requests that come all at once', () => {
  const shared = (router: QueueRouter) =>
    new Exchanges(router, LIMITS, keepingLogger(), new CountingMetrics())

  function come(exchanges: Exchanges, sent: Uint8Array[]): Exchange {
    const stream = { send: (frames: readonly Uint8Array[]) => void sent.push(...frames), end() {} }
    const exchange = new Exchange(stream, exchanges)
    for (const message of [requestHeaders(), requestBody('{"model":"m","prompt":"p"}', true)]) {
      const bytes = processMethod.requestSerialize(message)
      exchange.message(bytes, 0, bytes.length, true)
    }
    exchange.pause()
    return exchange
  }

  it('are routed over many turns of the event loop', async () => {
    const router = new SlowRouter()
    const all = shared(router)
    const sent: Uint8Array[][] = Array.from({ length: REQUESTS }, () => [])
    const start = process.cpuUsage()
    for (const answers of sent) come(all, answers)
    const tookMs = process.cpuUsage(start).user / 1000
    console.log(
      `      ${REQUESTS} requests of ${ROUTING_MS} ms: ${tookMs.toFixed(1)} ms in the first turn (limit ${LIMIT_MS})`,
    )
    assert.ok(tookMs < LIMIT_MS * 10, `${tookMs} ms`)
    assert.ok(router.seen.length < REQUESTS / 2, `${router.seen.length} routed`)
    await until(() => sent.every((answers) => answers.length > 0), 'all are answered')
    assert.equal(router.seen.length, REQUESTS)
    for (const answers of sent) {
      assert.deepEqual(
        answersIn(answers).map(({ response }) => response),
        ['requestHeaders', 'requestBody'],
      )
    }
  })

  it('are not routed when they went away before their turn', async () => {
    const router = new SlowRouter()
    const all = shared(router)
    const exchanges = Array.from({ length: 20 }, () => come(all, []))
    const routed = router.seen.length
    for (const exchange of exchanges) exchange.closed()
    await new Promise((resolve) => setTimeout(resolve, 50))
    assert.equal(router.seen.length, routed)
    assert.equal(all.active, 0)
    assert.equal(all.bufferedBytes, 0)
  })
})
