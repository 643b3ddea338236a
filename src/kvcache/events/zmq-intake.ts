import { setImmediate as nextTurn } from 'node:timers/promises'
import { Subscriber } from 'zeromq'
import type { Endpoint } from '../../framework/endpoint.ts'
import { hostPort } from '../../framework/endpoint.ts'
import { SchedulerError } from '../../framework/errors.ts'
import type { Endpoints, Logger, Notices } from '../../framework/services.ts'
import type { EventIntake, EventSource } from './event-intake.ts'

/** Where engines publish their events when nothing else is said. */
export const DEFAULT_KV_EVENTS_PORT = 5557

const RECEIVE_HIGH_WATER_MARK = 100_000
const MAX_MESSAGE_BYTES = 64 << 20
const HEARTBEAT_MS = 5_000
const HEARTBEAT_TIMEOUT_MS = 15_000
const MAX_RECONNECT_MS = 5_000
// In each turn of the event loop messages are handled for so long, then other work of the process goes on.
const SLICE_MS = 4

/**
 * Receives KV events over ZMQ: on a bound socket to which engines connect, on sockets that dial every endpoint at a
 * port plus its rank, or both. Hands every message to the intake.
 */
export class ZmqIntake {
  readonly #intake: EventIntake
  readonly #endpoints: Endpoints
  readonly #logger: Logger
  readonly #notices: Notices
  readonly #dialled = new Map<string, Subscriber>()
  readonly #loops = new Set<Promise<void>>()
  #bound: Subscriber | undefined
  #stopListening: (() => void) | undefined
  #closed = false
  #sliceStartedMs = 0
  /** Ends with the turn of the event loop in which the slice began; undefined before the turn's first message. */
  #sliceEnds: Promise<void> | undefined

  constructor(options: {
    readonly intake: EventIntake
    readonly endpoints: Endpoints
    readonly logger: Logger
    readonly notices: Notices
  }) {
    this.#intake = options.intake
    this.#endpoints = options.endpoints
    this.#logger = options.logger.named('kv-events')
    this.#notices = options.notices
  }

  /** Where the bound socket listens, with its real port; undefined when it does not. */
  get boundAddress(): string | undefined {
    return this.#bound?.lastEndpoint ?? undefined
  }

  /**
   * @param bind ZMQ address such as `tcp://*:5557`
   * @throws {SchedulerError} PORT_IN_USE, or START_FAILED when the address cannot be bound
   */
  async bind(bind = `tcp://*:${DEFAULT_KV_EVENTS_PORT}`): Promise<void> {
    const wildcard = /^tcp:\/\/\*:/.test(bind)
    let socket = createSubscriber(wildcard || bind.includes('['))
    try {
      await socket.bind(bind)
    } catch (error) {
      socket.close()
      if (!wildcard || codeOf(error) === 'EADDRINUSE') throw bindError(bind, error)
      // Without IPv6 on this machine the wildcard of both families cannot be bound.
      socket = createSubscriber(false)
      try {
        await socket.bind(bind)
      } catch (again) {
        socket.close()
        throw bindError(bind, again)
      }
    }
    socket.subscribe()
    this.#bound = socket
    this.#logger.info('receiving KV events on a bound socket', { address: socket.lastEndpoint })
    this.#start(socket, { kind: 'bound' })
  }

  /** Dials every endpoint at `port` plus its rank, as endpoints come and go. */
  dial(port = DEFAULT_KV_EVENTS_PORT): void {
    this.#stopListening = this.#endpoints.listen({
      added: (endpoint) => this.#connect(endpoint, port + endpoint.rank),
      removed: (endpoint) => this.#disconnect(endpoint),
    })
  }

  /** Ends when no message is being handled any more. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#stopListening?.()
    this.#bound?.close()
    for (const socket of this.#dialled.values()) socket.close()
    this.#dialled.clear()
    await Promise.all(this.#loops)
  }

  #connect(endpoint: Endpoint, port: number): void {
    const socket = createSubscriber(endpoint.address.includes(':'))
    const address = `tcp://${hostPort(endpoint.address, port)}`
    try {
      socket.connect(address)
    } catch (error) {
      socket.close()
      const text = `cannot dial ${address} for KV events: ${(error as Error).message}`
      this.#notices.set(`kv-dial:${endpoint.hostPort}`, text)
      this.#logger.error(text)
      return
    }
    socket.subscribe()
    this.#dialled.set(endpoint.id, socket)
    this.#start(socket, { kind: 'dialled', endpoint })
  }

  #disconnect(endpoint: Endpoint): void {
    this.#notices.set(`kv-dial:${endpoint.hostPort}`, undefined)
    this.#dialled.get(endpoint.id)?.close()
    this.#dialled.delete(endpoint.id)
  }

  #start(socket: Subscriber, source: EventSource): void {
    const loop = this.#receive(socket, source).finally(() => this.#loops.delete(loop))
    this.#loops.add(loop)
  }

  async #receive(socket: Subscriber, source: EventSource): Promise<void> {
    while (!socket.closed) {
      let frames: Buffer[]
      try {
        frames = await socket.receive()
      } catch (error) {
        if (socket.closed) return
        this.#logger.error('KV event socket failed; it is read again', {
          message: (error as Error).message,
        })
        await nextTurn()
        continue
      }
      while (this.#sliceIsUsedUp()) await this.#sliceEnds
      if (socket.closed) return
      this.#intake.receive(source, frames)
    }
  }

  /** All sockets share one slice, so that many of them do not take longer than one. */
  #sliceIsUsedUp(): boolean {
    const nowMs = performance.now()
    if (this.#sliceEnds === undefined) {
      this.#sliceStartedMs = nowMs
      this.#sliceEnds = nextTurn().then(() => {
        this.#sliceEnds = undefined
      })
    }
    return nowMs - this.#sliceStartedMs > SLICE_MS
  }
}

function createSubscriber(ipv6: boolean): Subscriber {
  return new Subscriber({
    ipv6,
    receiveHighWaterMark: RECEIVE_HIGH_WATER_MARK,
    maxMessageSize: MAX_MESSAGE_BYTES,
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
