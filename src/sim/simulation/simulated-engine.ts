import type { Clock, KvEvent } from '../../framework/services.ts'
import { EngineCore, type StepTimers } from '../engine-core.ts'
import { simEngineOptions } from '../options.ts'
import type { Sequence } from '../sequence.ts'
import { quickBlockHasher } from './block-hash.ts'
import type { EngineModel } from './engine-model.ts'
import type { EngineMessage, EngineState } from './picker.ts'

/** Messages that an engine keeps for those who missed them (vLLM's `buffer_steps`). */
const KEPT_MESSAGES = 10_000

/** What becomes of one request. */
export interface EngineWatcher {
  firstToken(): void
  /** @param cachedTokens of its prompt, as the cache held them when it was first scheduled */
  ended(cachedTokens: number): void
}

/** Where an engine's events go. */
export interface EventWire {
  /** False where nobody will ever want them. */
  isHeard(): boolean
  /** @param atS the engine's time in seconds */
  encode(events: readonly KvEvent[], atS: number): Uint8Array
  /** A message leaves. */
  sent(message: EngineMessage): void
}

/** An engine in simulated time. It can be restarted: then it is as new, and whoever was being served gets no answer. */
export class SimulatedEngine {
  readonly model: EngineModel
  readonly #time: Clock & { readonly timers: StepTimers }
  readonly #wire: EventWire
  #core: EngineCore
  #messages: EngineMessage[] = []
  readonly #sent = { events: 0, messages: 0 }
  #sequence = 0
  #starts = 0
  #finished = 0
  #generatedBefore = 0
  #preemptedBefore = 0

  constructor(model: EngineModel, time: Clock & { readonly timers: StepTimers }, wire: EventWire) {
    this.model = model
    this.#time = time
    this.#wire = wire
    this.#core = this.#start()
  }

  /** How often it has been started. */
  get starts(): number {
    return this.#starts
  }

  get waiting(): number {
    return this.#core.waiting.length
  }

  /** Events that it has sent, and messages that they were in, since the start of the simulation. */
  get sent(): { readonly events: number; readonly messages: number } {
    return this.#sent
  }

  /** Tokens generated since the start of the simulation. */
  get generatedTokens(): number {
    return this.#generatedBefore + this.#core.counts.generatedTokens
  }

  get preemptions(): number {
    return this.#preemptedBefore + this.#core.counts.preemptions
  }

  /** What its metrics page says now. */
  get state(): EngineState {
    const { counts, waiting, running, kvUsage } = this.#core
    const { blockTokens, kvTokens } = this.model
    return {
      waiting: waiting.length,
      running: running.length,
      kvUsage,
      blockTokens,
      kvBlocks: Math.floor(kvTokens / blockTokens),
      queriedTokens: counts.queriedTokens,
      hitTokens: counts.hitTokens,
      finishedRequests: this.#finished,
    }
  }

  /** Whether a request fits into the cache at all. */
  takes(tokens: number): boolean {
    return tokens <= this.model.kvTokens - this.model.blockTokens
  }

  submit(promptIds: Int32Array, answer: Int32Array, watcher: EngineWatcher): Sequence {
    let given = 0
    const token = { id: 0, last: false }
    const sequence = this.#core.submit({
      promptIds,
      maxTokens: answer.length,
      lora: undefined,
      loraNumber: 0,
      cacheSalt: undefined,
      next: () => {
        token.id = answer[given++]!
        return token
      },
      sampled: (_id, finished) => {
        if (sequence.generated === 1) watcher.firstToken()
        if (finished === undefined) return
        this.#finished++
        watcher.ended(sequence.cachedTokens ?? 0)
      },
    })
    return sequence
  }

  /** A new process in the place of the old one: an empty cache, and messages numbered from 0. */
  restart(): void {
    this.#core.close()
    this.#generatedBefore += this.#core.counts.generatedTokens
    this.#preemptedBefore += this.#core.counts.preemptions
    this.#sequence = 0
    this.#messages = []
    this.#finished = 0
    this.#core = this.#start()
  }

  close(): void {
    this.#core.close()
  }

  /** The messages that it has kept, the oldest first. */
  kept(): readonly EngineMessage[] {
    return this.#messages.slice(-KEPT_MESSAGES)
  }

  #start(): EngineCore {
    this.#starts++
    const { cost, stepTokens, blockTokens, maxRunning, kvTokens } = this.model
    // One block more: vLLM's null block holds nothing.
    const options = simEngineOptions({
      blockSize: String(blockTokens),
      numGpuBlocks: String(Math.floor(kvTokens / blockTokens) + 1),
      maxNumSeqs: String(maxRunning),
    })
    const publisher = {
      publish: (events: readonly KvEvent[]) => this.#send(events),
      close: async () => {},
    }
    const settings = { cost, stepTokens, timers: this.#time.timers }
    return new EngineCore(options, quickBlockHasher, publisher, this.#time, () => {}, settings)
  }

  #send(events: readonly KvEvent[]): void {
    if (!this.#wire.isHeard()) return
    this.#sent.events += events.length
    this.#sent.messages++
    const payload = this.#wire.encode(events, this.#time.epochMs() / 1000)
    const message = { sequence: this.#sequence++, payload }
    this.#messages.push(message)
    if (this.#messages.length > 2 * KEPT_MESSAGES) this.#messages.splice(0, KEPT_MESSAGES)
    this.#wire.sent(message)
  }
}
