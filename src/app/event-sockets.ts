import type { CheckedConfig } from '../config/parse.ts'
import type { Endpoints, Logger, Notices } from '../framework/services.ts'
import type { EventIntake } from '../kvcache/events/event-intake.ts'
import { rankEndpoint } from '../kvcache/events/rank-endpoint.ts'
import type { Replay } from '../kvcache/events/recovery.ts'
import { SharedIntake } from '../kvcache/events/shared-intake.ts'
import { ZmqIntake } from '../kvcache/events/zmq-intake.ts'
import { type EventPorts, eventPorts, ranksPerPort } from './settings.ts'

/** What of a pool the sockets feed. */
export interface EventConsumer {
  readonly endpoints: Endpoints
  readonly intake: EventIntake
}

/** The sockets that one pool has. */
interface Open {
  bind?: {
    readonly address: string
    /** With those to which the ranks above 0 of an engine connect. */
    readonly addresses: readonly string[]
    readonly leave: () => void
  }
  dial?: { readonly port: number; readonly hangUp: () => void }
  replayPort?: number
}

/** Opens the sockets for KV events that flags or configurations ask for: bound ones for all pools, dialled ones per pool. */
export class EventSockets {
  readonly #zmq: ZmqIntake
  readonly #shared = new SharedIntake()
  readonly #flags: EventPorts
  readonly #logger: Logger
  readonly #open = new Map<EventConsumer, Open>()
  /** Pools that have left; a change for one of them may still be waiting. */
  readonly #gone = new WeakSet<EventConsumer>()
  #last: Promise<void> = Promise.resolve()

  /** @param maxEventBytes of one message */
  constructor(
    services: { readonly logger: Logger; readonly notices: Notices },
    flags: EventPorts,
    maxEventBytes?: number,
  ) {
    this.#zmq = new ZmqIntake(services, maxEventBytes)
    this.#flags = flags
    this.#logger = services.logger.named('kv-events')
  }

  /** Where engines connect, with the real port; undefined when nothing is bound. */
  get boundAddress(): string | undefined {
    return this.#zmq.boundAddress
  }

  /**
   * Opens what the pool's configuration asks for, and closes what it asked for before and does not now. All stays as it is
   * for a configuration that uses no events: another one may use them again.
   *
   * @throws {SchedulerError} PORT_IN_USE or START_FAILED when the address cannot be bound; all stays as it is
   */
  configure(pool: EventConsumer, config: CheckedConfig): Promise<void> {
    return this.#afterOthers(() =>
      this.#change(pool, eventPorts(this.#flags, config), ranksPerPort(config)),
    )
  }

  /** Closes the sockets that only this pool needs. From now on the pool gets nothing. */
  remove(pool: EventConsumer): Promise<void> {
    this.#gone.add(pool)
    const open = this.#open.get(pool)
    if (open === undefined) return this.#last
    this.#open.delete(pool)
    open.bind?.leave()
    open.dial?.hangUp()
    return this.#afterOthers(async () => this.#unbind(open.bind?.addresses))
  }

  close(): Promise<void> {
    return this.#zmq.close()
  }

  #afterOthers(change: () => Promise<void>): Promise<void> {
    const done = this.#last.then(change)
    this.#last = done.catch(() => {})
    return done
  }

  async #change(pool: EventConsumer, ports: EventPorts, ranks: number): Promise<void> {
    const { bind, dialPort } = ports
    if (this.#gone.has(pool) || (bind === undefined && dialPort === undefined)) return
    const addresses = bind === undefined ? [] : await this.#bindAll(bind, ranks)
    if (this.#gone.has(pool)) {
      this.#unbind(addresses)
      return
    }
    const open = this.#open.get(pool) ?? {}
    this.#open.set(pool, open)
    const before = open.bind?.addresses
    this.#setBind(pool, open, bind, addresses)
    this.#setDial(pool, open, dialPort)
    this.#setReplay(pool, open, ports.replayPort)
    this.#unbind(before)
  }

  /**
   * Binds an address for the ranks of engines: each connects to a port of its own. All or none.
   *
   * @returns the addresses, that of rank 0 last
   */
  async #bindAll(address: string, ranks: number): Promise<readonly string[]> {
    const addresses = [
      ...new Set(Array.from({ length: ranks }, (_, rank) => rankEndpoint(address, rank))),
    ].reverse()
    try {
      for (const each of addresses) {
        if (!this.#zmq.isBound(each)) await this.#zmq.bind(each, this.#shared)
      }
    } catch (error) {
      this.#unbind(addresses)
      throw error
    }
    return addresses
  }

  #setBind(
    pool: EventConsumer,
    open: Open,
    address: string | undefined,
    addresses: readonly string[],
  ): void {
    const old = open.bind
    if (old !== undefined && old.address === address) {
      open.bind = { ...old, addresses }
      return
    }
    if (address === undefined) delete open.bind
    else open.bind = { address, addresses, leave: this.#shared.add(pool.intake) }
    if (old === undefined) return
    if (address === undefined) old.leave()
    pool.intake.forgetSource('bound')
    this.#logger.info('The address for KV events has changed', { before: old.address, address })
  }

  #setDial(pool: EventConsumer, open: Open, port: number | undefined): void {
    const old = open.dial
    if (old?.port === port) return
    old?.hangUp()
    delete open.dial
    if (old !== undefined) {
      pool.intake.forgetSource('dialled')
      this.#logger.info('The port at which KV events are dialled has changed', {
        before: old.port,
        port,
      })
    }
    if (port === undefined) return
    open.dial = { port, hangUp: this.#zmq.dial(port, pool.endpoints, pool.intake) }
  }

  #setReplay(pool: EventConsumer, open: Open, port: number | undefined): void {
    if (open.replayPort === port) return
    const replay: Replay = (...question) => this.#zmq.replay(...question)
    if (port === undefined) delete open.replayPort
    else open.replayPort = port
    pool.intake.recoverFrom(port === undefined ? undefined : { replay, port })
  }

  /** Closes those of the bound sockets that no pool wants any more. */
  #unbind(addresses: readonly string[] = []): void {
    const wanted = new Set([...this.#open.values()].flatMap(({ bind }) => bind?.addresses ?? []))
    for (const address of addresses) if (!wanted.has(address)) this.#zmq.unbind(address)
  }
}
