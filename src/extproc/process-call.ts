import type { Metadata, ServerInterceptingCallInterface } from '@grpc/grpc-js'
import { ServerInterceptingCall, status } from '@grpc/grpc-js'
import type { Stream } from './exchange.ts'
import { Exchange } from './exchange.ts'
import type { Exchanges } from './exchanges.ts'

/** Says which pool a call is for, where one process answers for several. */
const POOL_METADATA = 'x-epp-pool'

/** Unsent bytes of one stream past which no further message is read from it. */
const MAX_UNSENT_BYTES = 1024 * 1024

/**
 * Runs an exchange straight on grpc-js's interception layer.
 *
 * The layer above it, one object stream per call, sends each message only when the one before has left, which costs a
 * turn and a write of its own per message; here all messages of one turn go out together.
 */
export class ProcessCall extends ServerInterceptingCall implements Stream {
  readonly #call: ServerInterceptingCallInterface
  readonly #exchange: Exchange
  #unsentBytes = 0
  #ended = false
  #paused = false
  #reading = false
  #readAgain = false

  constructor(call: ServerInterceptingCallInterface, exchanges: Exchanges) {
    super(call)
    this.#call = call
    this.#exchange = new Exchange(this, exchanges)
  }

  override start(_handler: unknown): void {
    this.#call.start({
      onReceiveMetadata: (metadata: Metadata) => {
        this.#exchange.called({
          authority: this.#call.getHost(),
          pool: metadata.get(POOL_METADATA)[0]?.toString(),
        })
        this.#read()
      },
      onReceiveMessage: (message: Buffer) => {
        this.#exchange.receive(message)
        if (this.#ended) return
        if (this.#unsentBytes > MAX_UNSENT_BYTES) this.#paused = true
        else this.#read()
      },
      onReceiveHalfClose: () => this.#exchange.halfClosed(),
      onCancel: () => {
        this.#ended = true
        this.#exchange.cancelled()
      },
    })
  }

  send(message: Buffer, written?: () => void): void {
    if (this.#ended) return
    this.#unsentBytes += message.length
    this.#call.sendMessage(message, () => {
      this.#unsentBytes -= message.length
      written?.()
      if (this.#paused && this.#unsentBytes <= MAX_UNSENT_BYTES) {
        this.#paused = false
        if (!this.#ended) this.#read()
      }
    })
  }

  end(): void {
    this.#endWith(status.OK, '')
  }

  refuse(details: string): void {
    this.#endWith(status.INVALID_ARGUMENT, details)
  }

  #endWith(code: status, details: string): void {
    if (this.#ended) return
    this.#ended = true
    this.#call.sendStatus({ code, details, metadata: null })
  }

  /** Asks for the next message. A message at hand is delivered within `startRead`: a loop instead of a recursion. */
  #read(): void {
    this.#readAgain = true
    if (this.#reading) return
    this.#reading = true
    while (this.#readAgain) {
      this.#readAgain = false
      this.#call.startRead()
    }
    this.#reading = false
  }
}
