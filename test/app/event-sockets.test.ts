import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { EventSockets } from '../../src/app/event-sockets.ts'
import { parseConfig } from '../../src/config/parse.ts'
import { createKvEventPublisher } from '../../src/kvcache/events/event-publisher.ts'
import { builtinPlugins } from '../../src/plugins/index.ts'
import { freePorts, isFree } from '../free-ports.ts'
import { block, track } from '../kvcache/events/sockets.ts'
import { createKvCache, MemoryLogger, MemoryNotices, models, until } from '../kvcache/fakes.ts'

const config = (address: string) =>
  parseConfig(
    `plugins:\n  - { type: precise-prefix-cache-scorer, parameters: { kvEventsConfig: { zmqEndpoint: '${address}' } } }\n`,
    'p.yaml',
    builtinPlugins,
  )

/** Resolves when nobody has the port any more: ZMQ closes it a moment after its socket. */
async function becomesFree(port: number): Promise<void> {
  for (let tries = 0; !(await isFree('127.0.0.9', port)); tries++) {
    assert.ok(tries < 1000, `port ${port} is still taken`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

describe('EventSockets of several pools', () => {
  const FIRST = 'tcp://127.0.0.1:0'
  const SECOND = 'tcp://127.0.0.2:0'

  function setUp() {
    const sockets = track(
      new EventSockets({ logger: new MemoryLogger(), notices: new MemoryNotices() }, {}),
    )
    const pool = (address: string) => {
      const { cache, endpoints } = createKvCache(models(['m']))
      track(cache)
      endpoints.add({ address })
      const { intake } = cache
      return { endpoints, intake, blocks: () => cache.status()[0]!.blocks }
    }
    /** Publishes at an address, as the engine of a pool, until the condition holds. */
    const publish = async (to: string, as: string, done: () => boolean) => {
      const engine = track(
        await createKvEventPublisher({
          ...{ endpoint: to, topic: `kv@${as}@m`, encoding: 'map', rank: 0 },
        }),
      )
      await until(() => {
        engine.publish([block('a', 0, 1)])
        return done()
      }, `events of ${as} at ${to}`)
    }
    return { sockets, pool, publish }
  }

  it('keep an address as long as one of them wants it', async () => {
    const { sockets, pool, publish } = setUp()
    const [one, two] = [pool('10.0.0.1'), pool('10.0.0.2')]
    await sockets.configure(one, config(FIRST))
    await sockets.configure(two, config(FIRST))
    const first = sockets.boundAddress!
    await publish(first, '10.0.0.1', () => one.blocks() === 1)
    await publish(first, '10.0.0.2', () => two.blocks() === 1)
    await sockets.configure(two, config(SECOND))
    assert.notEqual(sockets.boundAddress, first)
    assert.deepEqual([one.blocks(), two.blocks()], [1, 0], 'the one that moved begins anew')
    const second = sockets.boundAddress!
    await publish(second, '10.0.0.2', () => two.blocks() === 1)
    await sockets.remove(two)
    assert.equal(sockets.boundAddress, first)
    await sockets.remove(one)
    assert.equal(sockets.boundAddress, undefined)
  })

  it('open nothing for a pool that has left meanwhile', async () => {
    const { sockets, pool } = setUp()
    const one = pool('10.0.0.1')
    const opening = sockets.configure(one, config(FIRST))
    await sockets.remove(one)
    await opening
    assert.equal(sockets.boundAddress, undefined)
  })

  it('leave all as it is where an address cannot be bound', async () => {
    const { sockets, pool, publish } = setUp()
    const one = pool('10.0.0.1')
    await sockets.configure(one, config(FIRST))
    const first = sockets.boundAddress!
    await assert.rejects(sockets.configure(one, config('tcp://192.0.2.1:0')), {
      code: 'START_FAILED',
    })
    assert.equal(sockets.boundAddress, first)
    await publish(first, '10.0.0.1', () => one.blocks() === 1)
  })

  it('bind a port for each rank of engines, and close those of ranks that are no more', async () => {
    const { sockets, pool } = setUp()
    const [one, two] = [pool('10.0.0.1'), pool('10.0.0.2')]
    const ranks = (size: number) =>
      parseConfig(
        `${size > 1 ? `dataParallel: header\ndataParallelSize: ${size}\n` : ''}plugins:\n  - { type: precise-prefix-cache-scorer, parameters: { kvEventsConfig: { zmqEndpoint: 'tcp://127.0.0.9:${PORT}' } } }\n`,
        'p.yaml',
        builtinPlugins,
      )
    const PORT = await freePorts(['127.0.0.9'], 3)
    const becomes = async (expected: string, what: string) => {
      let seen = ''
      for (let tries = 0; seen !== expected && tries < 1000; tries++) {
        seen = await taken()
        if (seen !== expected) await new Promise((resolve) => setTimeout(resolve, 10))
      }
      assert.equal(seen, expected, what)
    }
    /** Which of the three ports are taken. */
    const taken = async () => {
      const free = await Promise.all([0, 1, 2].map((rank) => isFree('127.0.0.9', PORT + rank)))
      return free.map((each) => !each).join()
    }
    await sockets.configure(one, ranks(3))
    await sockets.configure(two, ranks(2))
    await becomes('true,true,true', 'all')
    await sockets.configure(one, ranks(1))
    await becomes('true,true,false', 'the other pool still has two')
    await sockets.configure(two, ranks(1))
    await becomes('true,false,false', 'one each')
    await sockets.remove(one)
    await sockets.remove(two)
    await becomes('false,false,false', 'none')
  })

  it('bind again at once what they have left', async () => {
    const { sockets, pool } = setUp()
    const port = await freePorts(['127.0.0.9'], 2)
    const one = pool('10.0.0.1')
    for (let times = 0; times < 100; times++) {
      await sockets.configure(one, config(`tcp://127.0.0.9:${port + (times % 2)}`))
    }
    await sockets.remove(one)
    for (const each of [port, port + 1]) await becomesFree(each)
  })

  it('bind none where one of the ranks’ ports is in use', async () => {
    const { sockets, pool } = setUp()
    const port = await freePorts(['127.0.0.9'], 3)
    const occupier = createServer().listen(port + 2, '127.0.0.9')
    await once(occupier, 'listening')
    try {
      const text = `dataParallel: header\ndataParallelSize: 3\nplugins:\n  - { type: precise-prefix-cache-scorer, parameters: { kvEventsConfig: { zmqEndpoint: 'tcp://127.0.0.9:${port}' } } }\n`
      await assert.rejects(
        sockets.configure(pool('10.0.0.1'), parseConfig(text, 'p.yaml', builtinPlugins)),
        { code: 'PORT_IN_USE' },
      )
      for (const each of [port, port + 1]) await becomesFree(each)
    } finally {
      occupier.close()
    }
  })
})
