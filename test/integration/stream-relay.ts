import { Publisher, Subscriber } from 'zeromq'

type Message = readonly Buffer[]

/** A hop between an engine's event socket and the picker that dials it: what comes in goes out as a test says. */
export class StreamRelay {
  /** What goes out for one message that came in; all of it when absent. */
  alter: ((message: Message) => readonly Message[]) | undefined
  readonly port: number
  readonly #from: Subscriber
  readonly #to: Publisher
  readonly #done: Promise<void>
  #received = 0

  private constructor(from: Subscriber, to: Publisher) {
    this.#from = from
    this.#to = to
    this.port = Number(to.lastEndpoint!.slice(to.lastEndpoint!.lastIndexOf(':') + 1))
    this.#done = this.#pass()
  }

  /** @param engine the engine's bound address */
  static async start(engine: string): Promise<StreamRelay> {
    const from = new Subscriber({ linger: 0, receiveHighWaterMark: 0 })
    from.connect(engine)
    from.subscribe()
    const to = new Publisher({ linger: 0, sendHighWaterMark: 0 })
    await to.bind('tcp://127.0.0.1:*')
    return new StreamRelay(from, to)
  }

  /** Messages that came in. */
  get received(): number {
    return this.#received
  }

  /** Sends what was kept back. */
  async send(messages: readonly Message[]): Promise<void> {
    for (const message of messages) await this.#to.send([...message])
  }

  async close(): Promise<void> {
    this.#from.close()
    this.#to.close()
    await this.#done
  }

  async #pass(): Promise<void> {
    for await (const message of this.#from) {
      this.#received++
      await this.send(this.alter === undefined ? [message] : this.alter(message))
    }
  }
}
