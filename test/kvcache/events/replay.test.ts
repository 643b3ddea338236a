import assert from 'node:assert/strict'
import { encode } from '@msgpack/msgpack'
import { Router } from 'zeromq'
import { createKvEventPublisher } from '../../../src/kvcache/events/event-publisher.ts'
import type { ZmqIntake } from '../../../src/kvcache/events/zmq-intake.ts'
import { until } from '../fakes.ts'
import { block, portOf, setup, track } from './sockets.ts'

describe('replay', () => {
  /** A picker that asks engines for missed events, beside one engine that keeps them. */
  async function setUpReplay(
    options: { readonly bufferSteps?: number; readonly dial?: boolean } = {},
  ) {
    const engine = track(
      await createKvEventPublisher({
        endpoint: 'tcp://*:0',
        wildcard: '127.0.0.1',
        replayEndpoint: 'tcp://127.0.0.1:0',
        topic: 'kv@127.0.0.1@m',
        encoding: 'map',
        rank: 0,
        ...(options.bufferSteps !== undefined && { bufferSteps: options.bufferSteps }),
      }),
    )
    const kv = await setup(options.dial ? { dialPort: portOf(engine.address) } : {})
    const source = {
      replay: (...question: Parameters<ZmqIntake['replay']>) => kv.zmq.replay(...question),
      port: portOf(engine.replayAddress!),
    }
    return { ...kv, engine, source }
  }
  const emptyBatch = () => Buffer.from(encode([Date.now() / 1000 + 1e-6, [], 0]))

  it('tells a new picker what a silent engine holds', async () => {
    const { cache, engine, source, endpoints, held } = await setUpReplay({ dial: true })
    for (let i = 0; i < 5; i++) engine.publish([block('a', i, 1)])
    cache.intake.recoverFrom(source)
    endpoints.add({ address: '127.0.0.1' })
    assert.equal(cache.status()[0]!.coverage, 'replaying')
    await until(() => cache.status()[0]!.coverage === 'complete', 'the end of the replay')
    assert.deepEqual(held('a'), [5])
    // Its next live message is of the same publisher.
    await until(() => {
      engine.publish([])
      return cache.status()[0]!.publishers[0]!.topic !== ''
    }, 'a live message')
    assert.equal(cache.status()[0]!.publishers.length, 1)
    assert.equal(cache.status()[0]!.coverage, 'complete')
    assert.deepEqual(held('a'), [5])
  })

  it('fills a gap in order, and counts nothing as lost', async () => {
    const { cache, engine, source, endpoints, held, metrics } = await setUpReplay()
    cache.intake.recoverFrom(source)
    const endpoint = endpoints.add({ address: '127.0.0.1' })
    for (let i = 0; i < 4; i++) engine.publish([block('a', i, 1)])
    await until(() => held('a')[0] === 4, 'the first replay')
    const from = engine.nextSequence
    engine.publish([block('a', 4, 1)])
    engine.publish([block('a', 5, 1)])
    const sequence = Buffer.alloc(8)
    sequence.writeBigUInt64BE(BigInt(from + 2))
    const live = [Buffer.from('kv@127.0.0.1@m'), sequence, emptyBatch()]
    cache.intake.receive({ kind: 'dialled', endpoint }, live)
    await until(() => cache.status()[0]!.coverage === 'complete', 'the end of the replay')
    assert.deepEqual(held('a'), [6])
    assert.equal(metrics.sum('epp_kv_event_gaps_total'), 0)
  })

  it('says what is missing when the engine remembers only the last messages', async () => {
    const { cache, engine, source, endpoints, held } = await setUpReplay({ bufferSteps: 2 })
    for (let i = 0; i < 5; i++) engine.publish([block('abcde'[i]!, 0, 1)])
    cache.intake.recoverFrom(source)
    endpoints.add({ address: '127.0.0.1' })
    await until(() => cache.status()[0]!.coverage === 'late', 'the end of the replay')
    assert.deepEqual(
      ['c', 'd', 'e'].map((chain) => held(chain)[0]),
      [0, 1, 1],
    )
  })

  it('takes answers without a topic, as engines before vLLM 0.26 give them', async () => {
    const router = track(new Router({ linger: 0 }))
    await router.bind('tcp://127.0.0.1:0')
    const answering = (async () => {
      const [identity] = await router.receive()
      const number = (value: bigint) => {
        const bytes = Buffer.alloc(8)
        bytes.writeBigInt64BE(value)
        return bytes
      }
      await router.send([identity!, '', number(0n), emptyBatch()])
      await router.send([identity!, '', number(-1n), ''])
    })()
    const { cache, zmq, endpoints } = await setup({})
    cache.intake.recoverFrom({
      replay: (...question) => zmq.replay(...question),
      port: portOf(router.lastEndpoint!),
    })
    endpoints.add({ address: '127.0.0.1' })
    await until(() => cache.status()[0]!.coverage === 'complete', 'the end of the replay')
    await answering
  })

  it('treats a hole as one when the engine does not answer', async () => {
    const { cache, zmq, endpoints, notices, metrics } = await setup({})
    const endpoint = endpoints.add({ address: '127.0.0.1' })
    const send = (sequence: number) => {
      const bytes = Buffer.alloc(8)
      bytes.writeBigUInt64BE(BigInt(sequence))
      const frames = [Buffer.from('kv@127.0.0.1@m'), bytes, emptyBatch()]
      return cache.intake.receive({ kind: 'dialled', endpoint }, frames)
    }
    send(0)
    const nobody = track(new Router({ linger: 0 }))
    await nobody.bind('tcp://127.0.0.1:0')
    cache.intake.recoverFrom({
      replay: (...question) => zmq.replay(...question),
      port: portOf(nobody.lastEndpoint!),
    })
    assert.equal(send(5), 'held')
    assert.equal(send(6), 'held')
    assert.equal(cache.status()[0]!.coverage, 'replaying')
    await until(() => cache.status()[0]!.coverage === 'gap', 'the end of the wait')
    assert.equal(metrics.sum('epp_kv_event_gaps_total'), 1)
    assert.match(notices.get('kv-replay:127.0.0.1:8000:0')!, /no answer from tcp.*replay_endpoint/)
  })
})
