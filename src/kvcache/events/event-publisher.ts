import { Publisher, Router } from 'zeromq'
import type { KvEvent, KvEventPublisher } from '../../framework/services.ts'
import { TurnSlice } from '../../framework/turn-slice.ts'
import { encodeEventBatch, eventAsMap } from './event-batch.ts'

/** How events are written: six positional elements as vLLM 0.10 does, or maps as vLLM 0.24 and later do. */
export type KvEventEncoding = 'array-v0.10' | 'map'

/** What `--kv-events-config` says, and the rank. */
export interface KvEventPublisherOptions {
  /** Bound when it holds `*` or `::` or begins with `ipc://` or `inproc://`, else connected to. */
  readonly endpoint: string
  readonly topic: string
  readonly encoding: KvEventEncoding
  /** Data-parallel rank. */
  readonly rank: number
  /** Where messages may be asked for again; always bound. */
  readonly replayEndpoint?: string
  /** Messages kept for that. */
  readonly bufferSteps?: number
  /** Messages that wait for a slow reader, beyond which those to it are dropped (`hwm`); 100,000 when absent. */
  readonly highWaterMark?: number
  /** Address to bind where the endpoint says `*`; all addresses when absent. */
  readonly wildcard?: string
}

const SEND_HIGH_WATER_MARK = 100_000
const DEFAULT_BUFFER_STEPS = 10_000
const LINGER_MS = 1_000
const END_OF_REPLAY = Buffer.alloc(8, 0xff)
const EMPTY = Buffer.alloc(0)

/** Opens a publisher as an engine does (vLLM `distributed/kv_events.py`, `ZmqEventPublisher`). */
export async function createKvEventPublisher(
  options: KvEventPublisherOptions,
): Promise<ZmqEventPublisher> {
  const { endpoint, replayEndpoint, wildcard = '*' } = options
  const ipv6 = endpoint.includes('[') || endpoint.includes('::')
  const socket = new Publisher({
    ipv6,
    sendHighWaterMark: options.highWaterMark ?? SEND_HIGH_WATER_MARK,
    linger: LINGER_MS,
  })
  let router: Router | undefined
  try {
    if (bindsTo(endpoint)) await socket.bind(endpoint.replace('*', wildcard))
    else socket.connect(endpoint)
    if (replayEndpoint !== undefined) {
      router = new Router({ linger: 0 })
      await router.bind(replayEndpoint.replace('*', wildcard))
    }
  } catch (error) {
    socket.close()
    router?.close()
    throw error
  }
  return new ZmqEventPublisher(options, socket, router)
}

/** Sends batches in order, and answers requests for old ones. Made by `createKvEventPublisher`. */
export class ZmqEventPublisher implements KvEventPublisher {
  readonly #options: KvEventPublisherOptions
  readonly #socket: Publisher
  readonly #router: Router | undefined
  readonly #topic: Buffer
  readonly #buffer: { readonly sequence: Buffer; readonly payload: Uint8Array }[] = []
  readonly #bufferSteps: number
  readonly #adapterIds = new Map<string, number>()
  readonly #replaying: Promise<void>
  #firstBuffered = 0
  #sequence = 0
  #sending: Promise<void> = Promise.resolve()
  #failure: Error | undefined

  constructor(options: KvEventPublisherOptions, socket: Publisher, router: Router | undefined) {
    this.#options = options
    this.#socket = socket
    this.#router = router
    this.#topic = Buffer.from(options.topic)
    this.#bufferSteps = options.bufferSteps ?? DEFAULT_BUFFER_STEPS
    this.#replaying = router === undefined ? Promise.resolve() : this.#replay(router)
  }

  /** Where it is bound or connected, with the real port. */
  get address(): string {
    return this.#socket.lastEndpoint ?? this.#options.endpoint
  }

  /** Where it answers requests for old messages, with the real port. */
  get replayAddress(): string | undefined {
    return this.#router?.lastEndpoint ?? undefined
  }

  /** Sequence number of the next message. */
  get nextSequence(): number {
    return this.#sequence
  }

  publish(events: readonly KvEvent[]): void {
    const sequence = Buffer.alloc(8)
    sequence.writeBigUInt64BE(BigInt(this.#sequence++))
    const written = events.map((event) => this.#write(event))
    const payload = encodeEventBatch(Date.now() / 1000, written, this.#options.rank)
    if (this.#router !== undefined) this.#keep(sequence, payload)
    this.#sending = this.#sending
      .then(() => this.#socket.send([this.#topic, sequence, payload]))
      .catch((error: Error) => {
        // A socket that is being closed takes no more; anything else is told by `close`.
        if (!this.#socket.closed) this.#failure = error
      })
  }

  /** Sends what is under way. @throws the first failure of sending, if there was one */
  async close(): Promise<void> {
    await this.#sending
    this.#socket.close()
    this.#router?.close()
    await this.#replaying
    if (this.#failure !== undefined) throw this.#failure
  }

  #keep(sequence: Buffer, payload: Uint8Array): void {
    this.#buffer.push({ sequence, payload })
    if (this.#buffer.length - this.#firstBuffered <= this.#bufferSteps) return
    this.#firstBuffered++
    if (this.#firstBuffered < this.#bufferSteps) return
    this.#buffer.splice(0, this.#firstBuffered)
    this.#firstBuffered = 0
  }

  /** Answers `[identity, "", start]` by `[identity, "", topic, sequence, payload]` each, and an end marker. */
  async #replay(router: Router): Promise<void> {
    const slice = new TurnSlice()
    while (!router.closed) {
      try {
        const [identity, delimiter, start] = await router.receive()
        if (identity === undefined || delimiter?.length !== 0 || start?.length !== 8) continue
        const from = start.readBigUInt64BE()
        for (const { sequence, payload } of this.#buffer.slice(this.#firstBuffered)) {
          if (sequence.readBigUInt64BE() < from) continue
          await router.send([identity, EMPTY, this.#topic, sequence, payload])
          await slice.time()
        }
        await router.send([identity, EMPTY, EMPTY, END_OF_REPLAY, EMPTY])
      } catch (error) {
        if (router.closed) return
        this.#failure ??= error as Error
      }
    }
  }

  #write(event: KvEvent): unknown {
    return this.#options.encoding === 'map' ? eventAsMap(event) : this.#eventAsArray(event)
  }

  #eventAsArray(event: KvEvent): unknown {
    switch (event.type) {
      case 'BlockStored':
        return [
          event.type,
          event.blockHashes,
          event.parentBlockHash,
          Array.from(event.tokenIds),
          event.blockTokens,
          this.#adapterId(event.loraName),
        ]
      case 'BlockRemoved':
        return [event.type, event.blockHashes]
      default:
        return [event.type]
    }
  }

  /** vLLM 0.10 tells adapters by a number, in order of first use. */
  #adapterId(name: string | null): number | null {
    if (name === null) return null
    let id = this.#adapterIds.get(name)
    if (id === undefined) {
      id = this.#adapterIds.size + 1
      this.#adapterIds.set(name, id)
    }
    return id
  }
}

function bindsTo(endpoint: string): boolean {
  return (
    endpoint.includes('*') ||
    endpoint.includes('::') ||
    endpoint.startsWith('ipc://') ||
    endpoint.startsWith('inproc://')
  )
}
