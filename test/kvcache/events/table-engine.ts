import {
  createKvEventPublisher,
  type ZmqEventPublisher,
} from '../../../src/kvcache/events/event-publisher.ts'
import type { ReplaySource } from '../../../src/kvcache/events/recovery.ts'
import type { ZmqIntake } from '../../../src/kvcache/events/zmq-intake.ts'
import { until } from '../fakes.ts'
import { BlockTable } from './block-table.ts'
import { portOf, type setup, track } from './sockets.ts'

/** The longest that anything may take; far more than it does. */
export const LIMIT_MS = 60_000
/** An engine of real sockets whose block table is known. */
export class Engine {
  readonly table: BlockTable
  readonly publisher: ZmqEventPublisher
  #loading = false
  #nudgedMs = 0

  private constructor(table: BlockTable, publisher: ZmqEventPublisher) {
    this.table = table
    this.publisher = publisher
  }

  static async start(
    seed: number,
    options: {
      readonly bufferSteps?: number
      /** Share of messages that clear the whole cache. */
      readonly clears?: number
      readonly rank?: number
      readonly highWaterMark?: number
      readonly ports?: { readonly events: number; readonly replay: number }
    } = {},
  ): Promise<Engine> {
    const { bufferSteps, highWaterMark, rank = 0, ports = { events: 0, replay: 0 } } = options
    const publisher = await createKvEventPublisher({
      endpoint: `tcp://*:${ports.events}`,
      wildcard: '127.0.0.1',
      replayEndpoint: `tcp://127.0.0.1:${ports.replay}`,
      topic: 'kv@127.0.0.1@m',
      encoding: 'map',
      rank,
      ...(bufferSteps !== undefined && { bufferSteps }),
      ...(highWaterMark !== undefined && { highWaterMark }),
    })
    return new Engine(new BlockTable(seed, options.clears), track(publisher))
  }

  get ports() {
    return {
      events: portOf(this.publisher.address),
      replay: portOf(this.publisher.replayAddress!),
    }
  }

  /** Sequence number of the last message. */
  get last(): number {
    return this.publisher.nextSequence - 1
  }

  /** Publishes an empty message, at most one in two milliseconds: more would push out what it remembers. */
  nudge(): void {
    if (performance.now() - this.#nudgedMs < 2) return
    this.#nudgedMs = performance.now()
    this.publisher.publish([])
  }

  /** Publishes messages, some in each turn of the event loop. */
  async publish(messages: number): Promise<void> {
    for (let i = 0; i < messages; i++) {
      this.publisher.publish(this.table.change())
      if (i % 20 === 19) await new Promise((resolve) => setImmediate(resolve))
    }
  }

  /** Publishes on and on, two messages in each millisecond or so, until the function returned is called. */
  load(): () => Promise<void> {
    this.#loading = true
    const done = (async () => {
      while (this.#loading) {
        await this.publish(2)
        await new Promise((resolve) => setTimeout(resolve, 1))
      }
    })()
    return () => {
      this.#loading = false
      return done
    }
  }
}

export type Setup = Awaited<ReturnType<typeof setup>>

/** The replay sockets on that port plus rank, as the picker asks them. */
export const sourceOf = ({ zmq }: Setup, port: number, timeoutMs?: number): ReplaySource => ({
  replay: (...question: Parameters<ZmqIntake['replay']>) => zmq.replay(...question),
  port,
  ...(timeoutMs !== undefined && { timeoutMs }),
})

/** Waits until the picker has heard all that the engine has said, and waits for nothing any more. */
export async function settled({ cache }: Setup, engine: Engine, endpoint = 0): Promise<void> {
  await until(
    () => {
      const { publishers, coverage } = cache.status()[endpoint]!
      const heard = publishers[0]?.lastSequence === engine.last
      // The last messages may be the missing ones.
      if (!heard && coverage !== 'replaying') engine.nudge()
      return heard && coverage !== 'replaying'
    },
    'all messages are applied',
    LIMIT_MS,
  )
}

/** Dials the engine, and waits until the picker hears it. */
export async function dial(
  kv: Setup,
  engine: Engine,
  port = engine.ports.events,
): Promise<() => void> {
  const before = kv.metrics.sum('epp_kv_event_messages_total{applied}')
  const heldBefore = kv.metrics.sum('epp_kv_event_messages_total{held}')
  const hangUp = kv.zmq.dial(port, kv.endpoints, kv.cache.intake)
  await until(
    () => {
      engine.nudge()
      return (
        kv.metrics.sum('epp_kv_event_messages_total{applied}') > before ||
        kv.metrics.sum('epp_kv_event_messages_total{held}') > heldBefore
      )
    },
    'the engine is heard',
    LIMIT_MS,
  )
  return hangUp
}

/** Tries until the ports are free. */
export async function eventuallyBound<T>(start: () => Promise<T>): Promise<T> {
  for (const endMs = performance.now() + LIMIT_MS; ; ) {
    try {
      return await start()
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || performance.now() > endMs) {
        throw error
      }
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
}
