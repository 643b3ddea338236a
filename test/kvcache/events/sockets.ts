import type { KvEvent } from '../../../src/framework/services.ts'
import { request } from '../../../src/framework/testing.ts'
import { ZmqIntake } from '../../../src/kvcache/events/zmq-intake.ts'
import { KvCache } from '../../../src/kvcache/kv-cache.ts'
import { hashOf, tokensOf } from '../events.ts'
import {
  ManualClock,
  ManualEndpoints,
  MemoryLogger,
  MemoryMetrics,
  MemoryNotices,
  models,
} from '../fakes.ts'

export const portOf = (address: string) => Number(address.slice(address.lastIndexOf(':') + 1))

/** A store of consecutive blocks of 16 tokens each. */
export function block(chain: string, from: number, blocks: number): KvEvent {
  return {
    type: 'BlockStored',
    blockHashes: Array.from({ length: blocks }, (_, i) => hashOf(chain, from + i)),
    parentBlockHash: from === 0 ? null : hashOf(chain, from - 1),
    tokenIds: tokensOf(chain, from, blocks, 16),
    blockTokens: 16,
    loraName: null,
    extraKeys: Array.from({ length: blocks }, () => null),
  }
}

/** A cache that is fed by real sockets. */
export async function setup(sockets: { bind?: string; dialPort?: number }) {
  const endpoints = new ManualEndpoints()
  const metrics = new MemoryMetrics()
  const notices = new MemoryNotices()
  const logger = new MemoryLogger()
  const cache = track(
    new KvCache({
      clock: new ManualClock(),
      logger,
      metrics,
      notices,
      endpoints,
      models: models(['m']),
      maxMemoryBytes: 64 << 20,
    }),
  )
  const zmq = track(new ZmqIntake({ logger, notices }))
  if (sockets.bind !== undefined) await zmq.bind(sockets.bind, cache.intake)
  if (sockets.dialPort !== undefined) zmq.dial(sockets.dialPort, endpoints, cache.intake)
  const held = (chain: string) => {
    const tokens = { prompts: [Int32Array.from([...tokensOf(chain, 0, 9, 16), 1])], exact: true }
    return [...cache.index.match(request({ targetModel: 'm' }), tokens, endpoints.list()).blocks]
  }
  const status = () => cache.status().flatMap(({ publishers }) => publishers)
  return { cache, zmq, endpoints, metrics, notices, logger, held, status }
}

/** What a test has opened and not closed itself, so that a failure leaves nothing open. */
const opened: { close(): unknown }[] = []

export function track<T extends { close(): unknown }>(thing: T): T {
  opened.push(thing)
  return thing
}

afterEach(async () => {
  for (const thing of opened.splice(0).reverse()) await thing.close()
})
