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

/** Opens the sockets for KV events that flags or configurations ask for: one bound for all pools, dialled ones per pool. */
export class EventSockets {
  readonly #zmq: ZmqIntake
  readonly #shared = new SharedIntake()
  readonly #flags: EventPorts
  readonly #logger: Logger
  readonly #leave = new Map<EventConsumer, (() => void)[]>()
  #bound: string | undefined
  #last: Promise<void> = Promise.resolve()

  constructor(services: { readonly logger: Logger; readonly notices: Notices }, flags: EventPorts) {
    this.#zmq = new ZmqIntake(services)
    this.#flags = flags
    this.#logger = services.logger.named('kv-events')
  }

  /** Where engines connect, with the real port; undefined when nothing is bound. */
  get boundAddress(): string | undefined {
    return this.#zmq.boundAddress
  }

  /**
   * Opens what the pool's configuration asks for and is not open. What is open stays open until the pool leaves.
   *
   * @throws {SchedulerError} PORT_IN_USE or START_FAILED when the address cannot be bound
   */
  configure(pool: EventConsumer, config: CheckedConfig): Promise<void> {
    const done = this.#last.then(() => this.#open(pool, eventPorts(this.#flags, config)))
    this.#last = done.catch(() => {})
    return done
  }

  /** Closes the sockets that only this pool needs. */
  remove(pool: EventConsumer): void {
    for (const leave of this.#leave.get(pool) ?? []) leave()
    this.#leave.delete(pool)
  }

  close(): Promise<void> {
    return this.#zmq.close()
  }

  async #open(pool: EventConsumer, { bind, dialPort, replayPort }: EventPorts): Promise<void> {
    if (bind === undefined && dialPort === undefined) return
    if (bind !== undefined) await this.#bind(bind)
    if (this.#leave.has(pool)) return
    const leave: (() => void)[] = []
    if (bind !== undefined) leave.push(this.#shared.add(pool.intake))
    if (dialPort !== undefined) leave.push(this.#zmq.dial(dialPort, pool.endpoints, pool.intake))
    this.#leave.set(pool, leave)
    if (replayPort === undefined) return
    const replay: Replay = (...question) => this.#zmq.replay(...question)
    pool.intake.recoverFrom({ replay, port: replayPort })
  }

  async #bind(address: string): Promise<void> {
    if (this.#bound === undefined) {
      await this.#zmq.bind(address, this.#shared)
      this.#bound = address
    } else if (this.#bound !== address) {
      this.#logger.warnOnce(
        `bound ${address}`,
        'KV events come in on the address bound first; restart to change it',
        { bound: this.#bound, asked: address },
      )
    }
  }
}
