import { decode, encode } from '@msgpack/msgpack'
import { Publisher, Subscriber } from 'zeromq'

/** What becomes of the messages on their way. */
export type Passage =
  | 'whole'
  /** None arrives. */
  | 'cut'
  /** They arrive with blocks of another size than their tokens are cut in. */
  | { readonly blockTokens: number }

/** A hop between one engine's event socket and the picker's: the place where messages are lost or altered. */
export class EventRelay {
  passage: Passage = 'whole'
  /** Where the engine connects. */
  readonly address: string
  readonly #from: Subscriber
  readonly #to: Publisher
  readonly #done: Promise<void>

  private constructor(from: Subscriber, to: Publisher) {
    this.#from = from
    this.#to = to
    this.address = from.lastEndpoint!
    this.#done = this.#pass()
  }

  /** @param picker the picker's bound address */
  static async start(picker: string): Promise<EventRelay> {
    const from = new Subscriber({ linger: 0 })
    await from.bind('tcp://127.0.0.1:*')
    from.subscribe()
    const to = new Publisher({ linger: 0 })
    to.connect(picker)
    return new EventRelay(from, to)
  }

  async close(): Promise<void> {
    this.#from.close()
    this.#to.close()
    await this.#done
  }

  async #pass(): Promise<void> {
    for await (const [topic, sequence, payload] of this.#from) {
      if (this.passage === 'cut') continue
      const { passage } = this
      await this.#to.send([
        topic!,
        sequence!,
        passage === 'whole' ? payload! : resized(payload!, passage.blockTokens),
      ])
    }
  }
}

function resized(payload: Uint8Array, blockTokens: number): Uint8Array {
  const [time, events, rank] = decode(payload, { useBigInt64: true }) as [number, object[], unknown]
  const altered = events.map((event) =>
    'block_size' in event ? { ...event, block_size: blockTokens } : event,
  )
  return encode([time, altered, rank], { useBigInt64: true })
}
