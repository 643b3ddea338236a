import type { Logger, Notices } from '../../framework/services.ts'
import type { IntakeMetrics } from './intake-metrics.ts'
import type { PublisherState } from './publisher-state.ts'

/** One message of a publisher that an engine sends again. */
export interface ReplayedMessage {
  /** Undefined where the engine does not say (vLLM before 0.26). */
  readonly topic: string | undefined
  readonly sequence: number
  readonly payload: Uint8Array
}

/**
 * Asks an engine for the messages from a sequence number on; ends with the engine's end marker.
 *
 * @throws when the engine does not answer in time, or the signal fires
 */
export type Replay = (
  address: string,
  port: number,
  from: number,
  signal: AbortSignal,
) => AsyncIterable<ReplayedMessage>

/** Where messages are asked for again. */
export interface ReplaySource {
  readonly replay: Replay
  /** Of rank 0; the rank is added. */
  readonly port: number
}

/** What is done with a message, in order. */
type Apply = (publisher: PublisherState, message: ReplayedMessage, isLive: boolean) => void

interface Running {
  readonly held: ReplayedMessage[]
  heldBytes: number
  readonly abort: AbortController
}

/** Messages that wait for an answer; beyond these the answer is not waited for. */
const MAX_HELD = 10_000
const MAX_HELD_BYTES = 64 * 1024 * 1024
const MAX_RUNNING = 8
/** Between the attempts to learn what an engine that sends nothing holds. */
const RETRY_MS = [2_000, 10_000] as const

/**
 * Fills the holes in publishers' sequences with what the engines send again.
 *
 * While an answer is awaited the publisher's live messages wait too, so that all are applied in order; without an answer
 * they are applied as they came, and the hole is treated as one.
 */
export class Recoveries {
  readonly #source: ReplaySource
  readonly #apply: Apply
  readonly #metrics: IntakeMetrics
  readonly #logger: Logger
  readonly #notices: Notices
  readonly #running = new Map<PublisherState, Running>()
  readonly #waiting: (() => void)[] = []
  readonly #retries = new Set<NodeJS.Timeout>()
  #slots = MAX_RUNNING
  #closed = false

  constructor(
    source: ReplaySource,
    apply: Apply,
    services: {
      readonly metrics: IntakeMetrics
      readonly logger: Logger
      readonly notices: Notices
    },
  ) {
    this.#source = source
    this.#apply = apply
    this.#metrics = services.metrics
    this.#logger = services.logger
    this.#notices = services.notices
  }

  /** Keeps a live message for later; false when the publisher waits for no answer. */
  hold(publisher: PublisherState, message: ReplayedMessage): boolean {
    const running = this.#running.get(publisher)
    if (running === undefined) return false
    running.held.push(message)
    running.heldBytes += message.payload.byteLength
    if (running.held.length > MAX_HELD || running.heldBytes > MAX_HELD_BYTES) running.abort.abort()
    return true
  }

  /** Asks for what is missing from `from` on; live messages are to be held from now on. */
  start(publisher: PublisherState, from: number): void {
    void this.#recover(publisher, from)
  }

  /**
   * Learns all that an engine still remembers, without waiting for it to send something.
   *
   * @returns false when the engine never answered
   */
  async seed(publisher: PublisherState): Promise<boolean> {
    if (await this.#recover(publisher, 0)) return true
    for (const delayMs of RETRY_MS) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(() => {
          this.#retries.delete(timer)
          resolve()
        }, delayMs)
        timer.unref()
        this.#retries.add(timer)
      })
      // By then it may have told itself, and asked for what is missing.
      if (this.#closed || publisher.isClosed || publisher.lastSequence >= 0) return true
      if (await this.#recover(publisher, 0)) return true
    }
    return false
  }

  forget(publisher: PublisherState): void {
    this.#running.get(publisher)?.abort.abort()
    this.#notices.set(noticeOf(publisher), undefined)
  }

  close(): void {
    this.#closed = true
    for (const timer of this.#retries) clearTimeout(timer)
    for (const { abort } of this.#running.values()) abort.abort()
  }

  /** True when the engine answered to the end. */
  async #recover(publisher: PublisherState, from: number): Promise<boolean> {
    if (this.#closed || this.#running.has(publisher)) return false
    const running: Running = { held: [], heldBytes: 0, abort: new AbortController() }
    this.#running.set(publisher, running)
    publisher.replaying = true
    let replayed = 0
    let failure: string | undefined
    try {
      await this.#slot()
      const { address } = publisher.owner.endpoint.endpoint
      const port = this.#source.port + publisher.owner.rank
      const { signal } = running.abort
      for await (const message of this.#source.replay(address, port, from, signal)) {
        if (publisher.isClosed) break
        this.#apply(publisher, message, false)
        replayed++
      }
    } catch (error) {
      failure = error instanceof Error ? error.message : String(error)
    } finally {
      this.#release()
    }
    publisher.replaying = false
    this.#running.delete(publisher)
    if (publisher.isClosed || this.#closed) return false
    if (failure === undefined && from === 0) publisher.sentNothingBefore()
    for (const message of running.held) this.#apply(publisher, message, true)
    this.#say(publisher, from, replayed, failure)
    return failure === undefined
  }

  #say(
    publisher: PublisherState,
    from: number,
    replayed: number,
    failure: string | undefined,
  ): void {
    const { hostPort } = publisher.owner.endpoint.endpoint
    const fields = { endpoint: hostPort, rank: publisher.owner.rank, from }
    this.#metrics.replay(failure === undefined ? 'ok' : 'failed', replayed)
    if (failure === undefined) {
      this.#notices.set(noticeOf(publisher), undefined)
      const { coverage } = publisher
      this.#logger.info('KV events replayed', { ...fields, messages: replayed, coverage })
      return
    }
    const text = `${hostPort} rank ${publisher.owner.rank} does not send its KV events again: ${failure}; set replay_endpoint in its --kv-events-config to tcp://*:${this.#source.port}`
    this.#notices.set(noticeOf(publisher), text)
    this.#logger.warnOnce(`kv-replay:${hostPort}:${failure}`, text, fields)
  }

  async #slot(): Promise<void> {
    if (this.#slots > 0) this.#slots--
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  #release(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#slots++
    else next()
  }
}

function noticeOf({ owner }: PublisherState): string {
  return `kv-replay:${owner.endpoint.endpoint.hostPort}:${owner.rank}`
}
