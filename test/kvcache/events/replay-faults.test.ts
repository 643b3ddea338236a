import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import { encode } from '@msgpack/msgpack'
import { until } from '../fakes.ts'
import { assertEqual, assertWithin } from './block-table.ts'
import { type Fault, ReplayProxy } from './replay-proxy.ts'
import { setup } from './sockets.ts'
import { dial, Engine, eventuallyBound, LIMIT_MS, settled, sourceOf } from './table-engine.ts'

const GAP = 60

describe('replay from an engine that answers badly', function () {
  this.timeout(10 * LIMIT_MS)

  /** An engine that has been heard, and then not for some messages; the proxy stands before its replay socket. */
  async function withGap(options: { readonly timeoutMs?: number; readonly gap?: number } = {}) {
    const engine = await Engine.start(31, { clears: 0 })
    const proxy = await ReplayProxy.start(engine.ports.replay)
    const kv = await setup({})
    kv.endpoints.add({ address: '127.0.0.1' })
    kv.cache.intake.recoverFrom(sourceOf(kv, proxy.port, options.timeoutMs))
    const hangUp = await dial(kv, engine)
    await engine.publish(100)
    await settled(kv, engine)
    proxy.questions = 0
    hangUp()
    await engine.publish(options.gap ?? GAP)
    const status = () => kv.cache.status()[0]!
    return { engine, proxy, kv, status }
  }

  it('waits for one that is slow, while live messages come', async () => {
    const { engine, proxy, kv, status } = await withGap()
    proxy.fault = async (frames) => {
      await pause(10)
      return frames
    }
    const stop = engine.load()
    await dial(kv, engine)
    await until(() => status().coverage !== 'replaying', 'the replay', LIMIT_MS)
    await stop()
    await settled(kv, engine)
    assertEqual(engine.table, kv.cache, kv.endpoints)
    assert.equal(status().coverage, 'complete')
    assert.equal(kv.metrics.sum('epp_kv_event_gaps_total'), 0)
  })

  it('asks one again that stops in the middle, from where it stopped', async () => {
    const { engine, proxy, kv, status } = await withGap()
    proxy.fault = (frames, { question, index }) =>
      question === 0 && index >= GAP / 2 ? 'stop' : frames
    await dial(kv, engine)
    await until(() => status().coverage !== 'replaying', 'the replay', LIMIT_MS)
    await settled(kv, engine)
    assertEqual(engine.table, kv.cache, kv.endpoints)
    assert.equal(status().coverage, 'complete')
    assert.equal(proxy.questions, 2)
  })

  it('asks one again that leaves messages out, as a full queue of ZMQ does', async () => {
    const { engine, proxy, kv, status } = await withGap()
    let left = 0
    const rest = engine.publisher.nextSequence
    proxy.fault = (frames, { index }) => {
      // An empty message in the place of one that never comes would be noticed; a number twice is not.
      const isLeftOut = index > 3 && index % 7 === 3 && left < 4
      if (!isLeftOut) return frames
      left++
      return replaced(frames, { sequence: 0n })
    }
    await dial(kv, engine)
    await until(() => status().coverage !== 'replaying', 'the replay', LIMIT_MS)
    await settled(kv, engine)
    assertEqual(engine.table, kv.cache, kv.endpoints)
    assert.equal(status().coverage, 'complete')
    assert.ok(proxy.questions > 1 && engine.last >= rest, `${proxy.questions} questions`)
  })

  it('clears and says so when one stops in the middle and brings nothing more', async () => {
    const { engine, proxy, kv, status } = await withGap()
    proxy.fault = (frames, { question, index }) => (question > 0 || index > 9 ? 'stop' : frames)
    await dial(kv, engine)
    await until(() => status().coverage === 'gap', 'the gap', LIMIT_MS)
    await settled(kv, engine)
    assertWithin(engine.table, kv.cache, kv.endpoints)
    assert.equal(kv.metrics.sum('epp_kv_event_gaps_total'), 1)
    const notices = new Map(kv.notices.list().map(({ key, text }) => [key.split(':')[0], text]))
    assert.match(notices.get('kv-replay')!, /no answer from tcp/)
    assert.match(notices.get('kv-coverage')!, /KV events lost/)
  })

  it('ends the wait for one that never comes to its end', async () => {
    const { engine, proxy, kv, status } = await withGap({ timeoutMs: 300 })
    proxy.fault = async (frames) => {
      await pause(50)
      return frames
    }
    await dial(kv, engine)
    await until(() => status().coverage === 'gap', 'the gap', LIMIT_MS)
    assert.match(
      kv.notices.list().find(({ key }) => key.startsWith('kv-replay'))!.text,
      /it has not said all after 300 ms/,
    )
    await settled(kv, engine)
    assertWithin(engine.table, kv.cache, kv.endpoints)
  })

  it('ends the wait when too many live messages wait, and holds no more than that', async () => {
    const { engine, proxy, kv, status } = await withGap()
    proxy.fault = async (frames, { question }) => {
      if (question === 0) await pause(400)
      return question === 0 ? frames : 'stop'
    }
    await dial(kv, engine)
    const heldBefore = kv.metrics.sum('epp_kv_event_messages_total{held}')
    let mostHeld = 0
    const publishing = engine.publish(25_000)
    await until(
      () => {
        const held = kv.metrics.sum('epp_kv_event_messages_total{held}') - heldBefore
        if (status().coverage === 'replaying') mostHeld = Math.max(mostHeld, held)
        return status().coverage !== 'replaying'
      },
      'the end of the wait',
      LIMIT_MS,
    )
    await publishing
    await settled(kv, engine)
    assertWithin(engine.table, kv.cache, kv.endpoints)
    console.log(`      at most ${mostHeld} messages waited`)
    assert.ok(mostHeld > 5000 && mostHeld <= 20_000, `${mostHeld}`)
    assert.equal(status().coverage, 'gap')
  })

  const garbage: readonly (readonly [string, Fault])[] = [
    ['frames of another form', () => [Buffer.from('a'), Buffer.from('b')]],
    [
      'a number of another length',
      (frames) => [...frames.slice(0, -2), Buffer.alloc(3), frames.at(-1)!],
    ],
    ['negative numbers', (frames) => replaced(frames, { sequence: 2n ** 64n - 7n })],
    ['numbers beyond all', (frames) => replaced(frames, { sequence: 2n ** 62n })],
    [
      'payloads that do not decode',
      (frames) => replaced(frames, { payload: Buffer.from([0xc1, 2, 3]) }),
    ],
    [
      'payloads cut short',
      (frames) => replaced(frames, { payload: frames.at(-1)!.subarray(0, 9) }),
    ],
    ['payloads of another shape', (frames) => replaced(frames, { payload: encode({ a: 1 }) })],
    [
      'messages of another address',
      (frames) => [frames[0]!, Buffer.from('kv@10.9.9.9@m'), ...frames.slice(-2)],
    ],
  ]
  for (const [what, fault] of garbage) {
    it(`stays with what is known, or clears and says so, when it sends ${what}`, async () => {
      const { engine, proxy, kv, status } = await withGap({ timeoutMs: 1000 })
      proxy.fault = (frames, at) => (frames.at(-1)!.length === 0 ? frames : fault(frames, at))
      await dial(kv, engine)
      await until(() => status().coverage !== 'replaying', 'the end', LIMIT_MS)
      proxy.fault = (frames) => frames
      await engine.publish(20)
      await settledOrStopped(kv, engine)
      assertWithin(engine.table, kv.cache, kv.endpoints)
      assert.notEqual(status().coverage, 'complete')
      assert.ok(kv.notices.list().some(({ key }) => key.startsWith('kv-coverage')))
    })
  }

  it('learns all anew where the message before the gap is not the one that it applied', async () => {
    const { engine, proxy, kv, status } = await withGap()
    proxy.fault = (frames, { question, index }) =>
      question === 0 && index === 0
        ? replaced(frames, { payload: encode([Date.now() / 1000 + 1e-6, [], 0]) })
        : frames
    await dial(kv, engine)
    await until(() => status().coverage !== 'replaying', 'the replay', LIMIT_MS)
    await settled(kv, engine)
    assertEqual(engine.table, kv.cache, kv.endpoints)
    assert.equal(status().coverage, 'complete')
    assert.equal(kv.metrics.sum('epp_kv_publisher_restarts_total'), 1)
    assert.equal(kv.metrics.sum('epp_kv_event_gaps_total'), 0)
  })

  for (const [gap, messages, what] of [
    [GAP, 400, 'more'],
    [1000, 50, 'less'],
  ] as const) {
    it(`learns the new engine when the old one is replaced in the middle of its answer, and has said ${what}`, async () => {
      const { engine, proxy, kv, status } = await withGap({ gap })
      const { ports } = engine
      let cut: () => void = () => {}
      const reached = new Promise<void>((resolve) => {
        cut = resolve
      })
      proxy.fault = (frames, { question, index }) => {
        if (question > 0 || index < 20) return frames
        cut()
        return 'stop'
      }
      const hangUp = await dial(kv, engine)
      await reached
      hangUp()
      await engine.publisher.close()
      const after = await eventuallyBound(() => Engine.start(77, { ports }))
      await after.publish(messages)
      await dial(kv, after)
      await until(() => status().coverage !== 'replaying', 'the replay', LIMIT_MS)
      await settled(kv, after)
      assertEqual(after.table, kv.cache, kv.endpoints)
      assert.equal(status().coverage, 'complete')
    })
  }

  it('asks a silent engine again whose first answer broke off, and says meanwhile that it did', async () => {
    const engine = await Engine.start(41)
    const proxy = await ReplayProxy.start(engine.ports.replay)
    const kv = await setup({})
    await engine.publish(100)
    proxy.fault = (frames, { question, index }) =>
      question === 1 || (question === 0 && index > 30) ? 'stop' : frames
    kv.endpoints.add({ address: '127.0.0.1' })
    kv.cache.intake.recoverFrom(sourceOf(kv, proxy.port))
    const status = () => kv.cache.status()[0]!
    await until(() => status().coverage === 'gap', 'the gap', LIMIT_MS)
    assert.match(
      kv.notices.list().find(({ key }) => key.startsWith('kv-coverage'))!.text,
      /its answer broke off after sequence 30 \(no answer from .*\): what it holds is not known/,
    )
    assert.equal(status().blocks, 0)
    await until(() => status().coverage === 'complete', 'the next attempt', LIMIT_MS)
    assertEqual(engine.table, kv.cache, kv.endpoints)
    assert.deepEqual(kv.notices.list(), [])
  })

  it('answers for many engines a few at a time, and lets go of those that leave while they wait', async () => {
    const kv = await setup({})
    let running = 0
    let most = 0
    let asked = 0
    kv.cache.intake.recoverFrom({
      port: 1,
      replay: async function* (_address, _port, _from, signal) {
        most = Math.max(most, ++running)
        asked++
        try {
          await new Promise((_, reject) => {
            signal.addEventListener('abort', () => reject(signal.reason), { once: true })
          })
          yield { topic: undefined, sequence: 0, payload: Buffer.alloc(0) }
        } finally {
          running--
        }
      },
    })
    const endpoints = Array.from({ length: 30 }, (_, i) =>
      kv.endpoints.add({ address: `10.0.0.${i + 1}` }),
    )
    await until(() => running === 8, 'eight questions', LIMIT_MS)
    // Those that wait, then those that are answered.
    for (const endpoint of endpoints.slice(8)) kv.endpoints.remove(endpoint)
    assert.equal(asked, 8)
    for (const endpoint of endpoints.slice(0, 8)) kv.endpoints.remove(endpoint)
    await until(() => running === 0, 'no question', LIMIT_MS)
    kv.endpoints.add({ address: '10.0.1.1' })
    await until(() => running === 1, 'the next question', LIMIT_MS)
    assert.deepEqual([most, asked], [8, 9])
  })
})

function replaced(
  frames: readonly Buffer[],
  { sequence, payload }: { readonly sequence?: bigint; readonly payload?: Uint8Array },
): readonly Buffer[] {
  const number = Buffer.from(frames.at(-2)!)
  if (sequence !== undefined) number.writeBigUInt64BE(BigInt.asUintN(64, sequence))
  return [
    ...frames.slice(0, -2),
    number,
    payload === undefined ? frames.at(-1)! : Buffer.from(payload),
  ]
}

/** Like `settled`; an engine that lied about its numbers is not heard to the end. */
async function settledOrStopped(
  kv: Awaited<ReturnType<typeof setup>>,
  engine: Engine,
): Promise<void> {
  const heard = () => kv.cache.status()[0]!.publishers[0]!.lastSequence
  await until(
    () => {
      engine.publisher.publish([])
      return heard() >= engine.last - 1 && kv.cache.status()[0]!.coverage !== 'replaying'
    },
    'the live messages are applied',
    LIMIT_MS,
  )
}
