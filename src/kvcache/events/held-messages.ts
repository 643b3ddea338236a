import type { ReplayedMessage } from './recovery.ts'

/** Messages that wait for an answer; beyond these the answer is not waited for. */
const MAX_HELD = 10_000
const MAX_HELD_BYTES = 64 * 1024 * 1024
/** What still comes while the messages that wait are being applied may be as much again; the rest is lost. */
const OVERFLOW = 2

interface HeldMessage {
  readonly message: ReplayedMessage
  /** The engine's time of the message, in seconds. */
  readonly timestamp: number
}

/** One publisher's live messages, in the order in which they came, while an answer to a question is awaited. */
export class HeldMessages {
  #messages: HeldMessage[] = []
  /** Index of the first that is still here. */
  #first = 0
  #bytes = 0
  #answer = new AbortController()

  get size(): number {
    return this.#messages.length - this.#first
  }

  /** Keeps a message; `overflow` when there is no room for it. Too many of them end the wait. */
  add(message: ReplayedMessage, timestamp: number): 'held' | 'overflow' {
    const bytes = this.#bytes + message.payload.byteLength
    if (this.size >= OVERFLOW * MAX_HELD || bytes > OVERFLOW * MAX_HELD_BYTES) return 'overflow'
    this.#messages.push({ message, timestamp })
    this.#bytes = bytes
    if (this.size > MAX_HELD) this.giveUp(`more than ${MAX_HELD} messages came meanwhile`)
    else if (bytes > MAX_HELD_BYTES) {
      this.giveUp(`more than ${MAX_HELD_BYTES} bytes of messages came meanwhile`)
    }
    return 'held'
  }

  first(): HeldMessage | undefined {
    return this.#messages[this.#first]
  }

  shift(): void {
    const gone = this.first()
    if (gone === undefined) return
    this.#bytes -= gone.message.payload.byteLength
    this.#first++
    // Taken away many at a time, since each time moves what is left.
    if (this.#first < 1024 && this.#first < this.#messages.length) return
    this.#messages = this.#messages.slice(this.#first)
    this.#first = 0
  }

  /** Drops the messages of an engine that was replaced: those from before a time of the new one, in seconds. */
  dropBefore(timestamp: number): void {
    this.#messages = this.#messages.slice(this.#first).filter((held) => held.timestamp >= timestamp)
    this.#first = 0
    this.#bytes = this.#messages.reduce((sum, { message }) => sum + message.payload.byteLength, 0)
  }

  /** Fires when the answer that is asked for from now on is not to be waited for any more. */
  expectAnswer(): AbortSignal {
    this.#answer = new AbortController()
    return this.#answer.signal
  }

  giveUp(reason: string): void {
    this.#answer.abort(reason)
  }
}
