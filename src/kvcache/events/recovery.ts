import type { Logger, Notices } from '../../framework/services.ts'
import { TurnSlice } from '../../framework/turn-slice.ts'
import { HeldMessages } from './held-messages.ts'
import type { IntakeMetrics } from './intake-metrics.ts'
import type { PublisherState } from './publisher-state.ts'
import { Slots } from './slots.ts'

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
  /** Longest time to fill one hole, with as many questions as it takes; two minutes when absent. */
  readonly timeoutMs?: number
}

/** What is done with messages. */
export interface RecoveryHost {
  /** @param isLive false for a message that was asked for */
  apply(publisher: PublisherState, message: ReplayedMessage, isLive: boolean): void
  /** The engine's time of a message, in seconds; undefined where it does not decode. */
  timestampOf(message: ReplayedMessage): number | undefined
}

/** What one question gave. */
interface Answer {
  /** Messages applied. */
  readonly messages: number
  /** The engine is not the one whose messages were applied before; these are forgotten. */
  readonly restarted: boolean
  /** Undefined when the engine answered to the end and left nothing out. */
  readonly failure: string | undefined
}

/** A hole that is being filled. */
interface Recovery {
  readonly publisher: PublisherState
  readonly held: HeldMessages
  /** When no more is asked, on the process's monotonic clock; undefined before the first question. */
  endsMs: number | undefined
}

const TIMEOUT_MS = 120_000
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
  readonly #host: RecoveryHost
  readonly #metrics: IntakeMetrics
  readonly #logger: Logger
  readonly #notices: Notices
  readonly #running = new Map<PublisherState, HeldMessages>()
  readonly #slots = new Slots(MAX_RUNNING)
  readonly #retries = new Set<NodeJS.Timeout>()
  readonly #slice = new TurnSlice()
  #closed = false

  constructor(
    source: ReplaySource,
    host: RecoveryHost,
    services: {
      readonly metrics: IntakeMetrics
      readonly logger: Logger
      readonly notices: Notices
    },
  ) {
    this.#source = source
    this.#host = host
    this.#metrics = services.metrics
    this.#logger = services.logger
    this.#notices = services.notices
  }

  /**
   * Keeps a live message for later; undefined when the publisher waits for no answer.
   *
   * @param timestamp the engine's time of the message, in seconds
   */
  hold(
    publisher: PublisherState,
    message: ReplayedMessage,
    timestamp: number,
  ): 'held' | 'overflow' | undefined {
    return this.#running.get(publisher)?.add(message, timestamp)
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
    return publisher.lastSequence >= 0
  }

  forget(publisher: PublisherState): void {
    this.#running.get(publisher)?.giveUp('the endpoint is gone')
    this.#notices.set(noticeOf(publisher), undefined)
  }

  close(): void {
    this.#closed = true
    for (const timer of this.#retries) clearTimeout(timer)
    for (const held of this.#running.values()) held.giveUp('the picker stops')
  }

  /** True when the engine answered to the end. */
  async #recover(publisher: PublisherState, from: number): Promise<boolean> {
    if (this.#closed || this.#running.has(publisher)) return false
    const held = new HeldMessages()
    const recovery: Recovery = { publisher, held, endsMs: undefined }
    this.#running.set(publisher, held)
    publisher.replaying = true
    let messages = 0
    let missing: number | undefined = from
    let answer: Answer
    for (;;) {
      const last = publisher.lastSequence
      answer = await this.#ask(recovery, missing)
      messages += answer.messages
      // An engine that brought nothing new is not asked again.
      const mayAsk =
        (answer.restarted || publisher.lastSequence !== last) &&
        performance.now() < (recovery.endsMs ?? 0)
      if (answer.restarted && mayAsk) {
        missing = 0
        continue
      }
      if (missing === 0 && answer.failure === undefined && answer.messages === 0) {
        publisher.sentNothingBefore()
      }
      if (answer.failure !== undefined && held.size === 0) {
        if (mayAsk) {
          missing = publisher.lastSequence + 1
          continue
        }
        publisher.brokeOff(answer.failure)
      }
      missing = await this.#drain(publisher, held, mayAsk)
      if (missing === undefined) break
    }
    if (this.#isOver(publisher)) return false
    this.#say(publisher, from, messages, answer.failure)
    return answer.failure === undefined
  }

  /** Asks once, and applies what comes, up to what is left out. */
  async #ask(recovery: Recovery, missing: number): Promise<Answer> {
    const { publisher, held } = recovery
    const last = publisher.lastSequence
    if (missing === 0 && last >= 0) publisher.restarted()
    // The message before the hole is asked for too: by its time it shows whether it is still the same engine.
    const overlap = missing > 0 && missing === last + 1 ? last : undefined
    const signal = held.expectAnswer()
    let messages = 0
    let restarted = false
    let failure: string | undefined
    try {
      await this.#slots.take(signal)
      const timeoutMs = this.#source.timeoutMs ?? TIMEOUT_MS
      recovery.endsMs ??= performance.now() + timeoutMs
      const timer = setTimeout(
        () => held.giveUp(`it has not said all after ${timeoutMs} ms`),
        recovery.endsMs - performance.now(),
      )
      try {
        const { address } = publisher.owner.endpoint.endpoint
        const port = this.#source.port + publisher.owner.rank
        const answers = this.#source.replay(address, port, overlap ?? missing, signal)
        for await (const message of answers) {
          if (this.#isOver(publisher)) break
          if (messages === 0 && message.sequence === overlap) {
            const timestamp = this.#host.timestampOf(message)
            if (timestamp === undefined || publisher.isLast(overlap, timestamp)) continue
            held.dropBefore(timestamp)
            publisher.restarted()
            restarted = true
            break
          }
          // ZMQ drops what an engine sends faster than it leaves.
          if (messages > 0 && message.sequence > publisher.lastSequence + 1) {
            failure =
              publisher.lastSequence < 0
                ? 'what it sends does not decode, or is of another address'
                : `it left out what follows ${publisher.lastSequence}`
            break
          }
          messages++
          this.#host.apply(publisher, message, false)
          await this.#slice.time()
        }
      } finally {
        clearTimeout(timer)
        this.#slots.release()
      }
    } catch (error) {
      failure = signal.aborted
        ? String(signal.reason)
        : error instanceof Error
          ? error.message
          : String(error)
    }
    this.#metrics.replay(failure === undefined ? 'ok' : 'failed', messages)
    return { messages, restarted, failure }
  }

  /**
   * Applies what was held, and holds no more once all is applied.
   *
   * @param mayAsk true stops at a hole, and false only where a new engine begins; the first number that is missing is
   *   returned then
   */
  async #drain(
    publisher: PublisherState,
    held: HeldMessages,
    mayAsk: boolean,
  ): Promise<number | undefined> {
    for (;;) {
      const next = this.#isOver(publisher) ? undefined : held.first()
      if (next === undefined) {
        publisher.replaying = false
        this.#running.delete(publisher)
        return undefined
      }
      const missing = publisher.missing(next.message.sequence, next.timestamp)
      // A new engine has not been asked yet.
      const isNew = missing === 0 && publisher.lastSequence >= 0
      if (missing !== undefined && (mayAsk || isNew)) return missing
      held.shift()
      this.#host.apply(publisher, next.message, true)
      await this.#slice.time()
    }
  }

  #isOver(publisher: PublisherState): boolean {
    return this.#closed || publisher.isClosed
  }

  #say(
    publisher: PublisherState,
    from: number,
    messages: number,
    failure: string | undefined,
  ): void {
    const { coverage, owner } = publisher
    const { hostPort } = owner.endpoint.endpoint
    const fields = { endpoint: hostPort, rank: owner.rank, from }
    if (failure === undefined || coverage === 'complete') {
      this.#notices.set(noticeOf(publisher), undefined)
      this.#logger.info('KV events replayed', { ...fields, messages, coverage })
      return
    }
    const text = `${hostPort} rank ${owner.rank} does not send its KV events again: ${failure}; set replay_endpoint in its --kv-events-config to tcp://*:${this.#source.port}`
    this.#notices.set(noticeOf(publisher), text)
    this.#logger.warnOnce(`kv-replay:${hostPort}:${failure}`, text, fields)
  }
}

function noticeOf({ owner }: PublisherState): string {
  return `kv-replay:${owner.endpoint.endpoint.hostPort}:${owner.rank}`
}
