import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Exchange, type Stream } from '../../src/extproc/exchange.ts'
import { Exchanges } from '../../src/extproc/exchanges.ts'
import {
  answersIn,
  type ProcessingRequest,
  processMethod,
  requestBody,
  requestHeaders,
  requestTrailers,
  responseBody,
  responseHeaders,
  responseTrailers,
} from '../extproc/client.ts'
import { CountingMetrics, keepingLogger, QueueRouter } from '../extproc/fakes.ts'
import { type FuzzTarget, nearly } from './target.ts'

const MODES = ['NONE', 'STREAMED', 'BUFFERED', 'BUFFERED_PARTIAL', 'FULL_DUPLEX_STREAMED']
const BODY = JSON.stringify({ model: 'm', prompt: 'p' })
const ends = fc.boolean()
const bytes = fc.oneof(fc.constantFrom('', BODY, BODY.slice(0, 9), BODY.slice(9)), fc.string())
const limits = {
  maxBodyBytes: 4096,
  maxBufferedBytes: 8192,
  maxHeaderBytes: 2048,
  maxRequests: 100,
}

const encoded = (message: ProcessingRequest) => processMethod.requestSerialize(message) as Buffer
const modes = fc.option(
  fc.record({
    requestBodyMode: fc.constantFrom(...MODES),
    responseBodyMode: fc.constantFrom(...MODES),
  }),
  { nil: undefined },
)
const messages = fc
  .oneof(
    fc.tuple(ends, modes, fc.boolean()).map(([end, protocolConfig, observabilityMode]) => ({
      ...requestHeaders({}, { endOfStream: end }),
      ...(protocolConfig && { protocolConfig }),
      ...(observabilityMode && { observabilityMode }),
    })),
    fc.tuple(bytes, ends).map(([body, end]) => requestBody(body, end)),
    fc.constant(requestTrailers()),
    fc.tuple(fc.constantFrom('200', '503', ''), ends).map(([status, end]) => {
      return responseHeaders({ ':status': status }, end)
    }),
    fc.tuple(bytes, ends).map(([body, end]) => responseBody(body, end)),
    fc.constant(responseTrailers()),
  )
  .map((message) => encoded(message as ProcessingRequest))

type Step = Buffer | 'half-close' | 'cancel' | 'wait' | 'release'
const steps = fc.array(
  fc.oneof(
    { weight: 12, arbitrary: messages },
    { weight: 1, arbitrary: messages.chain((message) => nearly([message])) },
    { weight: 3, arbitrary: fc.constantFrom('half-close', 'cancel', 'wait', 'release') },
  ) as fc.Arbitrary<Step>,
  { maxLength: 20 },
)

/** Messages in any order: an exchange answers, refuses or ends; when its stream is gone it holds nothing, and each request ended once. */
export const exchanges: FuzzTarget = {
  name: 'exchanges',
  inputs: fc.record({ steps, held: fc.boolean(), watched: fc.boolean() }),
  async check({
    steps,
    held,
    watched,
  }: {
    steps: readonly Step[]
    held: boolean
    watched: boolean
  }) {
    const router = new QueueRouter()
    router.watchResponse = watched
    if (held) router.hold()
    const shared = new Exchanges(router, limits, keepingLogger(), new CountingMetrics())
    const sent: Uint8Array[] = []
    let isOver = false
    const over = () => {
      isOver = true
    }
    const stream: Stream = {
      send(frames, written) {
        assert.ok(!isOver, 'sent after the end')
        sent.push(...frames)
        if (written) queueMicrotask(written)
      },
      end: over,
    }
    const exchange = new Exchange(stream, shared)
    let received = 0
    for (const step of steps) {
      if (typeof step !== 'string') {
        received += step.length
        exchange.message(Buffer.from(step), 0, step.length, true)
        exchange.pause()
      } else if (step === 'half-close') exchange.halfClosed()
      else if (step === 'cancel') exchange.closed()
      else if (step === 'release') router.release()
      else await new Promise((resolve) => setImmediate(resolve))
      assert.ok(shared.bufferedBytes >= 0 && shared.bufferedBytes <= limits.maxBufferedBytes)
    }
    router.release()
    exchange.closed()
    await new Promise((resolve) => setImmediate(resolve))
    await new Promise((resolve) => setImmediate(resolve))
    assert.ok(answersIn(sent).length <= 2 * steps.length + 4)
    const answered = sent.reduce((sum, { length }) => sum + length, 0)
    assert.ok(answered <= 4 * received + 2000 * (steps.length + 1))
    assert.equal(shared.active, 0)
    assert.equal(shared.bufferedBytes, 0)
    for (const { ends } of router.seen) assert.ok(ends.length <= 1, `ended ${ends.length} times`)
  },
}
