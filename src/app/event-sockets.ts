import type { CheckedConfig } from '../config/parse.ts'
import type { Endpoints, Logger, Notices } from '../framework/services.ts'
import type { EventIntake } from '../kvcache/events/event-intake.ts'
import type { Replay } from '../kvcache/events/recovery.ts'
import { SharedIntake } from '../kvcache/events/shared-intake.ts'
import { ZmqIntake } from '../kvcache/events/zmq-intake.ts'
import { type EventPorts, eventPorts } from './settings.ts'

/** What of a pool the sockets feed. */
export interface EventConsumer {
  readonly endpoints: Endpoints
  readonly intake: EventIntake
}

/** The sockets that one pool has. */
interface Open {
  bind?: { readonly address: string; readonly leave: () => void }
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
    const done = this.#last.then(() => this.#change(pool, eventPorts(this.#flags, config)))
    this.#last = done.catch(() => {})
    return done
  }

  /** Closes the sockets that only this pool needs. */
  remove(pool: EventConsumer): void {
    this.#gone.add(pool)
    const open = this.#open.get(pool)
    if (open === undefined) return
    this.#open.delete(pool)
    open.bind?.leave()
    open.dial?.hangUp()
    this.#unbind(open.bind?.address)
  }

  close(): Promise<void> {
    return this.#zmq.close()
  }

  async #change(pool: EventConsumer, ports: EventPorts): Promise<void> {
    const { bind, dialPort } = ports
    if (this.#gone.has(pool) || (bind === undefined && dialPort === undefined)) return
    if (bind !== undefined && !this.#zmq.isBound(bind)) await this.#zmq.bind(bind, this.#shared)
    if (this.#gone.has(pool)) {
      this.#unbind(bind)
      return
    }
    const open = this.#open.get(pool) ?? {}
    this.#open.set(pool, open)
    this.#setBind(pool, open, bind)
    this.#setDial(pool, open, dialPort)
    this.#setReplay(pool, open, ports.replayPort)
  }

  #setBind(pool: EventConsumer, open: Open, address: string | undefined): void {
    const old = open.bind
    if (old?.address === address) return
    if (address === undefined) delete open.bind
    else open.bind = { address, leave: this.#shared.add(pool.intake) }
    if (old === undefined) return
    if (address === undefined) old.leave()
    this.#unbind(old.address)
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

  /** Closes a bound socket that no pool wants any more. */
  #unbind(address: string | undefined): void {
    if (address === undefined) return
    for (const { bind } of this.#open.values()) if (bind?.address === address) return
    this.#zmq.unbind(address)
  }
}
