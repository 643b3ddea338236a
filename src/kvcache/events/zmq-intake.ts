import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { Dealer, Subscriber } from 'zeromq'
import type { Endpoint } from '../../framework/endpoint.ts'
import { hostPort } from '../../framework/endpoint.ts'
import { SchedulerError } from '../../framework/errors.ts'
import { DEFAULT_LIMITS } from '../../framework/limits.ts'
import type { Endpoints, Logger, Notices } from '../../framework/services.ts'
import { TurnSlice } from '../../framework/turn-slice.ts'
import type { EventSource } from './event-intake.ts'
import type { ReplayedMessage } from './recovery.ts'

/** Where engines send their events again when nothing else is said. */
export const DEFAULT_KV_REPLAY_PORT = 5558

/** Where engines publish their events when nothing else is said. */
export const DEFAULT_KV_EVENTS_PORT = 5557

const RECEIVE_HIGH_WATER_MARK = 100_000
/** Past this many times the limit ZMQ itself ends the connection, and tells nobody; up to it messages are counted. */
const CUT_OFF = 2
const HEARTBEAT_MS = 5_000
const HEARTBEAT_TIMEOUT_MS = 15_000
const MAX_RECONNECT_MS = 5_000
const REPLAY_IDLE_MS = 2_000
/** How long the port of a socket that was closed may still be taken, and how often it is tried. */
const LEAVING_MS = 5_000
const LOOK_AGAIN_MS = 10
const END_OF_REPLAY = -1
const EMPTY = Buffer.alloc(0)

/** Takes the messages of sockets, and never throws for what they hold. */
export interface MessageSink {
  receive(source: EventSource, frames: readonly Uint8Array[]): unknown
}

/**
 * Receives KV events over ZMQ: on bound sockets to which engines connect, on sockets that dial every endpoint at a
 * port plus its rank, or both. All sockets of the process share one, so that they share its slices of time.
 */
export class ZmqIntake {
  readonly #logger: Logger
  readonly #notices: Notices
  readonly #open = new Set<Subscriber>()
  readonly #loops = new Set<Promise<void>>()
  /** By the address that was asked for. */
  readonly #bound = new Map<string, Subscriber>()
  /** When addresses were left: ZMQ closes a port a moment after its socket. */
  readonly #leftMs = new Map<string, number>()
  #closed = false
  readonly #slice = new TurnSlice()
  readonly #maxMessageBytes: number

  /** @param maxEventBytes of one message */
  constructor(
    options: { readonly logger: Logger; readonly notices: Notices },
    maxEventBytes: number = DEFAULT_LIMITS.maxEventBytes,
  ) {
    this.#maxMessageBytes = CUT_OFF * maxEventBytes
    this.#logger = options.logger.named('kv-events')
    this.#notices = options.notices
  }

  /** Where the socket bound last listens, with its real port; undefined without one. */
  get boundAddress(): string | undefined {
    return [...this.#bound.values()].at(-1)?.lastEndpoint ?? undefined
  }

  /** True for an address that `bind` has opened. */
  isBound(address: string): boolean {
    return this.#bound.has(address)
  }

  /**
   * Opens a bound socket.
   *
   * @param bind ZMQ address such as `tcp://*:5557`
   * @throws {SchedulerError} PORT_IN_USE, or START_FAILED when the address cannot be bound
   */
  async bind(bind: string, sink: MessageSink): Promise<void> {
    const left = this.#leftMs.get(bind)
    for (;;) {
      try {
        await this.#bind(bind, sink)
        this.#leftMs.delete(bind)
        return
      } catch (error) {
        const isLeaving = left !== undefined && performance.now() - left < LEAVING_MS
        if (!isLeaving || (error as SchedulerError).code !== 'PORT_IN_USE') throw error
        await delay(LOOK_AGAIN_MS)
      }
    }
  }

  async #bind(bind: string, sink: MessageSink): Promise<void> {
    const wildcard = /^tcp:\/\/\*:/.test(bind)
    let socket = createSubscriber(wildcard || bind.includes('['), this.#maxMessageBytes)
    try {
      await socket.bind(bind)
    } catch (error) {
      socket.close()
      if (!wildcard || codeOf(error) === 'EADDRINUSE') throw bindError(bind, error)
      // Without IPv6 on this machine the wildcard of both families cannot be bound.
      socket = createSubscriber(false, this.#maxMessageBytes)
      try {
        await socket.bind(bind)
      } catch (again) {
        socket.close()
        throw bindError(bind, again)
      }
    }
    socket.subscribe()
    this.#bound.set(bind, socket)
    this.#logger.info('receiving KV events on a bound socket', { address: socket.lastEndpoint })
    this.#start(socket, { kind: 'bound' }, sink)
  }

  /** Closes a bound socket. */
  unbind(address: string): void {
    const socket = this.#bound.get(address)
    if (socket === undefined) return
    this.#bound.delete(address)
    this.#close(socket)
    this.#leftMs.set(address, performance.now())
  }

  /**
   * Dials every endpoint at `port` plus its rank, as endpoints come and go.
   *
   * @returns a function that hangs up
   */
  dial(port: number, endpoints: Endpoints, sink: MessageSink): () => void {
    const dialled = new Map<string, Subscriber>()
    const stopListening = endpoints.listen({
      added: (endpoint) => {
        const socket = this.#connect(endpoint, port + endpoint.rank, sink)
        if (socket) dialled.set(endpoint.id, socket)
      },
      removed: (endpoint) => {
        this.#notices.set(`kv-dial:${endpoint.hostPort}`, undefined)
        this.#close(dialled.get(endpoint.id))
        dialled.delete(endpoint.id)
      },
    })
    return () => {
      stopListening()
      for (const socket of dialled.values()) this.#close(socket)
      dialled.clear()
    }
  }

  /**
   * Asks an engine's replay socket for the messages from `from` on (vLLM `distributed/kv_events.py`, ROUTER; a topic comes
   * with them since 0.26).
   *
   * @throws when nothing comes for two seconds, the engine sends what is no answer, or the signal fires
   */
  async *replay(
    host: string,
    port: number,
    from: number,
    signal: AbortSignal,
  ): AsyncGenerator<ReplayedMessage, void> {
    const address = `tcp://${hostPort(host, port)}`
    const socket = new Dealer({
      ipv6: host.includes(':'),
      linger: 0,
      receiveHighWaterMark: RECEIVE_HIGH_WATER_MARK,
      maxMessageSize: this.#maxMessageBytes,
      receiveTimeout: REPLAY_IDLE_MS,
      sendTimeout: REPLAY_IDLE_MS,
    })
    const abort = () => socket.close()
    signal.addEventListener('abort', abort)
    try {
      if (signal.aborted || this.#closed) throw new Error('given up')
      socket.connect(address)
      const start = Buffer.alloc(8)
      start.writeBigUInt64BE(BigInt(from))
      await socket.send([EMPTY, start])
      for (;;) {
        const frames = await socket.receive()
        const message = replayedMessage(frames)
        if (message === undefined) throw new Error(`${address} answers in an unknown form`)
        if (message === 'end') return
        yield message
      }
    } catch (error) {
      if (signal.aborted) throw new Error('given up')
      if (codeOf(error) === 'EAGAIN') throw new Error(`no answer from ${address}`)
      throw error
    } finally {
      signal.removeEventListener('abort', abort)
      socket.close()
    }
  }

  /** Ends when no message is being handled any more. */
  async close(): Promise<void> {
    this.#closed = true
    for (const socket of [...this.#open]) this.#close(socket)
    await Promise.all(this.#loops)
  }

  #close(socket: Subscriber | undefined): void {
    if (socket !== undefined && this.#open.delete(socket)) socket.close()
  }

  #connect(endpoint: Endpoint, port: number, sink: MessageSink): Subscriber | undefined {
    if (this.#closed) return undefined
    const socket = createSubscriber(endpoint.address.includes(':'), this.#maxMessageBytes)
    const address = `tcp://${hostPort(endpoint.address, port)}`
    try {
      socket.connect(address)
    } catch (error) {
      socket.close()
      const text = `cannot dial ${address} for KV events: ${(error as Error).message}`
      this.#notices.set(`kv-dial:${endpoint.hostPort}`, text)
      this.#logger.error(text)
      return undefined
    }
    socket.subscribe()
    this.#start(socket, { kind: 'dialled', endpoint }, sink)
    return socket
  }

  #start(socket: Subscriber, source: EventSource, sink: MessageSink): void {
    this.#open.add(socket)
    const loop = this.#receive(socket, source, sink).finally(() => this.#loops.delete(loop))
    this.#loops.add(loop)
  }

  async #receive(socket: Subscriber, source: EventSource, sink: MessageSink): Promise<void> {
    while (this.#open.has(socket)) {
      let frames: Buffer[]
      try {
        frames = await socket.receive()
      } catch (error) {
        if (!this.#open.has(socket)) return
        this.#logger.error('KV event socket failed; it is read again', {
          message: (error as Error).message,
        })
        await nextTurn()
        continue
      }
      await this.#slice.time()
      if (!this.#open.has(socket)) return
      sink.receive(source, frames)
    }
  }
}

/** An answer without its leading empty frame: sequence and payload, before them the topic since vLLM 0.26. */
function replayedMessage(frames: readonly Buffer[]): ReplayedMessage | 'end' | undefined {
  const parts = frames[0]?.length === 0 ? frames.slice(1) : frames
  if (parts.length !== 2 && parts.length !== 3) return undefined
  const [sequenceBytes, payload] = parts.slice(-2) as [Buffer, Buffer]
  if (sequenceBytes.length !== 8) return undefined
  const sequence = Number(sequenceBytes.readBigInt64BE())
  if (sequence === END_OF_REPLAY) return 'end'
  if (!Number.isSafeInteger(sequence) || sequence < 0) return undefined
  return { topic: parts.length === 3 ? parts[0]!.toString() : undefined, sequence, payload }
}

function createSubscriber(ipv6: boolean, maxMessageBytes: number): Subscriber {
  return new Subscriber({
    ipv6,
    receiveHighWaterMark: RECEIVE_HIGH_WATER_MARK,
    maxMessageSize: maxMessageBytes,
    heartbeatInterval: HEARTBEAT_MS,
    heartbeatTimeout: HEARTBEAT_TIMEOUT_MS,
    reconnectMaxInterval: MAX_RECONNECT_MS,
    linger: 0,
  })
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code
}

function bindError(address: string, cause: unknown): SchedulerError {
  if (codeOf(cause) === 'EADDRINUSE') {
    const port = address.slice(address.lastIndexOf(':') + 1)
    return new SchedulerError(
      'PORT_IN_USE',
      `port ${port} for KV events (${address}) is in use; free it or choose another with --kv-events-bind`,
      { cause },
    )
  }
  return new SchedulerError(
    'START_FAILED',
    `cannot bind "${address}" for KV events: ${(cause as Error).message}; give --kv-events-bind an address such as tcp://*:5557`,
    { cause },
  )
}
