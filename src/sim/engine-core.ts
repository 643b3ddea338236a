import type { Clock, EngineBlockHasher, KvEvent, KvEventPublisher } from '../framework/services.ts'
import { BlockPool } from './block-pool.ts'
import type { SimEngineOptions } from './options.ts'
import { Sequence, type SequenceInput } from './sequence.ts'
import { DEFAULT_STEP_COST, DEFAULT_STEP_TOKENS, type StepCost } from './step-cost.ts'

/** Where steps wait for their time to pass. */
export interface StepTimers {
  /** Calls `run` after so many milliseconds, never at once. */
  after(delayMs: number, run: () => void): unknown
  /** @param timer as `after` gave it */
  cancel(timer: unknown): void
}

/** The machine's own time. */
const REAL_TIMERS: StepTimers = {
  after: (delayMs, run) => setTimeout(run, delayMs),
  cancel: (timer) => clearTimeout(timer as NodeJS.Timeout),
}

/** What a step costs and holds, and where its time passes; an engine in real time as its options say when absent. */
export interface StepSettings {
  readonly cost: StepCost
  /** Prompt and answer tokens of one step at most. */
  readonly stepTokens: number
  readonly timers: StepTimers
}

/** Counts since the start, and the state now; all of it for `/metrics`. */
export interface CoreCounts {
  queriedTokens: number
  hitTokens: number
  promptTokens: number
  generatedTokens: number
  preemptions: number
  stopped: number
  lengthened: number
  aborted: number
}

/**
 * Runs requests in steps as vLLM's scheduler does: those that run get their next token or piece of prompt, then those
 * that wait are admitted first come first served while there are places, tokens and KV blocks
 * (https://github.com/vllm-project/vllm/blob/v0.10.0/vllm/v1/core/sched/scheduler.py).
 *
 * Blocks are known to the cache, and announced, as soon as the step that fills them is scheduled. A step takes the time
 * that the cost model says.
 */
export class EngineCore {
  readonly counts: CoreCounts = {
    queriedTokens: 0,
    hitTokens: 0,
    promptTokens: 0,
    generatedTokens: 0,
    preemptions: 0,
    stopped: 0,
    lengthened: 0,
    aborted: 0,
  }
  readonly #options: SimEngineOptions
  readonly #hasher: EngineBlockHasher
  readonly #publisher: KvEventPublisher | undefined
  readonly #clock: Clock
  readonly #firstTokenSeconds: (seconds: number) => void
  readonly #pool: BlockPool
  readonly #waiting: Sequence[] = []
  readonly #running: Sequence[] = []
  /** What the next step's message begins with. */
  #events: KvEvent[] = []
  readonly #cost: StepCost
  readonly #stepTokens: number
  readonly #timers: StepTimers
  #timer: unknown
  #closed = false

  constructor(
    options: SimEngineOptions,
    hasher: EngineBlockHasher,
    publisher: KvEventPublisher | undefined,
    clock: Clock,
    firstTokenSeconds: (seconds: number) => void,
    settings: Partial<StepSettings> = {},
  ) {
    this.#options = options
    this.#cost = settings.cost ?? {
      ...DEFAULT_STEP_COST,
      stepMs: options.decodeMs,
      prefillTokenMs: 1000 / options.prefillTokensPerSecond,
    }
    this.#stepTokens = settings.stepTokens ?? DEFAULT_STEP_TOKENS
    this.#timers = settings.timers ?? REAL_TIMERS
    this.#hasher = hasher
    this.#publisher = publisher
    this.#clock = clock
    this.#firstTokenSeconds = firstTokenSeconds
    this.#pool = new BlockPool(options.kvBlocks, options.version !== '0.10.0')
  }

  get running(): readonly Sequence[] {
    return this.#running
  }

  get waiting(): readonly Sequence[] {
    return this.#waiting
  }

  /** Share of KV blocks in use, in [0, 1]. */
  get kvUsage(): number {
    return 1 - this.#pool.free / this.#pool.usable
  }

  /** Distinct blocks in the cache. */
  get cachedBlocks(): number {
    return this.#pool.hashes
  }

  /** Blocks that a prompt without adapter and salt would find in the cache now. */
  findCached(promptIds: Int32Array): number {
    const { blockTokens, version } = this.#options
    const input = {
      promptIds,
      maxTokens: 1,
      lora: undefined,
      loraNumber: 0,
      cacheSalt: undefined,
      next: () => ({ id: 0, last: true }),
      sampled: () => {},
    }
    return this.#hits(new Sequence(input, 0, this.#hasher, blockTokens, version)).length
  }

  /** Queues a request. Its prompt must fit into the model's length, which fits into the cache. */
  submit(input: SequenceInput): Sequence {
    const { blockTokens, version } = this.#options
    const now = this.#clock.nowMs()
    const sequence = new Sequence(input, now, this.#hasher, blockTokens, version)
    this.#waiting.push(sequence)
    this.#wake()
    return sequence
  }

  /** Ends a request that nobody waits for: its place and blocks are free at once. */
  abort(sequence: Sequence): void {
    if (sequence.state === 'ended') return
    this.counts.aborted++
    this.#end(sequence)
  }

  /** Forgets the whole cache; the events of it come with the next step. False while a request runs. */
  resetCache(): boolean {
    if (!this.#pool.reset()) return false
    this.#events.push({ type: 'AllBlocksCleared' })
    return true
  }

  close(): void {
    this.#closed = true
    for (const sequence of [...this.#running, ...this.#waiting]) this.abort(sequence)
    if (this.#timer !== undefined) this.#timers.cancel(this.#timer)
    this.#timer = undefined
  }

  /** A step begins in a later turn, so that requests that come together are scheduled together. */
  #wake(): void {
    if (this.#timer !== undefined || this.#closed) return
    this.#timer = this.#timers.after(0, () => this.#step())
  }

  #step(): void {
    const parts = this.#schedule()
    if (this.#events.length > 0 && parts.length > 0) {
      this.#publisher?.publish(this.#events)
      this.#events = []
    }
    if (parts.length === 0) {
      this.#timer = undefined
      return
    }
    this.#timer = this.#timers.after(this.#stepMs(parts), () => {
      for (const sequence of parts) this.#computed(sequence)
      if (!this.#closed) this.#step()
    })
  }

  #stepMs(parts: readonly Sequence[]): number {
    const { stepMs, prefillTokenMs, sequenceMs, contextTokenMs, prefillContextMs } = this.#cost
    let context = 0
    let prefillMs = 0
    for (const { computed, scheduled } of parts) {
      context += computed
      if (scheduled === 1) continue
      prefillMs += scheduled * prefillTokenMs
      // A token sees the context before its piece, and on average half of the piece.
      prefillMs += scheduled * (computed + scheduled / 2) * prefillContextMs
    }
    return stepMs + parts.length * sequenceMs + context * contextTokenMs + prefillMs
  }

  #schedule(): Sequence[] {
    const parts: Sequence[] = []
    let budget = this.#stepTokens
    let preempted = false
    // Only a preemption takes away from it, and only from its end.
    for (let i = 0; i < this.#running.length; i++) {
      const sequence = this.#running[i]!
      if (sequence.state !== 'running' || budget === 0) continue
      const tokens = Math.min(sequence.length - sequence.computed, budget)
      if (tokens === 1 && this.#hasRoom(sequence)) {
        sequence.scheduled = 1
        parts.push(sequence)
        budget--
        continue
      }
      while (!this.#allocate(sequence, tokens, [])) {
        preempted = true
        const victim = this.#running.at(-1)!
        this.#preempt(victim)
        const at = parts.indexOf(victim)
        if (at >= 0) budget += parts.splice(at, 1)[0]!.scheduled
        if (victim === sequence) break
      }
      if (sequence.state !== 'running') continue
      sequence.scheduled = tokens
      parts.push(sequence)
      budget -= tokens
    }
    while (!preempted && budget > 0 && this.#running.length < this.#options.maxRunning) {
      const sequence = this.#waiting[0]
      if (sequence === undefined) break
      const hits = this.#hits(sequence)
      const cached = hits.length * this.#options.blockTokens
      const tokens = Math.min(sequence.length - cached, budget)
      sequence.computed = cached
      if (!this.#allocate(sequence, tokens, hits)) {
        sequence.computed = 0
        break
      }
      this.#waiting.shift()
      this.#running.push(sequence)
      sequence.state = 'running'
      if (sequence.cachedTokens === undefined) {
        sequence.cachedTokens = cached
        this.counts.queriedTokens += sequence.length
        this.counts.hitTokens += cached
      }
      sequence.scheduled = tokens
      parts.push(sequence)
      budget -= tokens
    }
    return parts
  }

  /** Blocks of the prompt that are there, from the first on. The last token is always computed, so never all of it. */
  #hits(sequence: Sequence): number[] {
    const usable = Math.floor((sequence.length - 1) / this.#options.blockTokens)
    const hits: number[] = []
    while (hits.length < usable) {
      const block = this.#pool.find(sequence.hash(hits.length).published)
      if (block === undefined) break
      hits.push(block)
    }
    return hits
  }

  /** Whether one more token neither needs nor fills a block: so it is with nearly every token of an answer. */
  #hasRoom({ computed, blocks }: Sequence): boolean {
    const { blockTokens } = this.#options
    return computed < blocks.length * blockTokens && (computed + 1) % blockTokens !== 0
  }

  /** Gets the blocks for `tokens` more, or does nothing and says false. */
  #allocate(sequence: Sequence, tokens: number, hits: readonly number[]): boolean {
    const { blockTokens } = this.#options
    const end = sequence.computed + tokens
    const missing = Math.ceil(end / blockTokens) - sequence.blocks.length - hits.length
    const reused = hits.filter((block) => this.#pool.isFree(block)).length
    if (missing + reused > this.#pool.free) return false
    this.#pool.use(hits)
    sequence.blocks.push(...hits)
    sequence.hashedBlocks += hits.length
    const taken = this.#pool.take(Math.max(missing, 0), (hash) =>
      this.#events.push({ type: 'BlockRemoved', blockHashes: [hash] }),
    )
    for (const block of taken) sequence.blocks.push(block)
    this.#announce(sequence, Math.floor(end / blockTokens))
    return true
  }

  /** Makes the blocks known that this step fills: one event for all of them. */
  #announce(sequence: Sequence, whole: number): void {
    const from = sequence.hashedBlocks
    if (whole <= from) return
    const { blockTokens } = this.#options
    const blockHashes: bigint[] = []
    const extraKeys: (readonly unknown[] | null)[] = []
    for (let i = from; i < whole; i++) {
      const { published } = sequence.hash(i)
      this.#pool.setHash(sequence.blocks[i]!, published)
      blockHashes.push(published)
      extraKeys.push(sequence.extraKeys(i))
    }
    sequence.hashedBlocks = whole
    this.#events.push({
      type: 'BlockStored',
      blockHashes,
      parentBlockHash: from === 0 ? null : sequence.hash(from - 1).published,
      tokenIds: sequence.ids(from * blockTokens, whole * blockTokens),
      blockTokens,
      loraName: sequence.input.lora?.name ?? null,
      extraKeys,
    })
  }

  #computed(sequence: Sequence): void {
    if (sequence.state !== 'running') return
    const { input } = sequence
    sequence.computed += sequence.scheduled
    if (sequence.computed < sequence.length) return
    const { id, last } = input.next()
    sequence.append(id)
    this.counts.generatedTokens++
    if (sequence.generated === 1) {
      this.counts.promptTokens += input.promptIds.length
      this.#firstTokenSeconds((this.#clock.nowMs() - sequence.arrivedAtMs) / 1000)
    }
    const finished = last ? 'stop' : sequence.generated >= input.maxTokens ? 'length' : undefined
    if (finished !== undefined) {
      if (last) this.counts.stopped++
      else this.counts.lengthened++
      this.#end(sequence)
    }
    input.sampled(id, finished)
  }

  /** Gives a running request's blocks to others; it waits again, before all others, and is computed anew. */
  #preempt(sequence: Sequence): void {
    this.counts.preemptions++
    this.#free(sequence)
    sequence.state = 'waiting'
    this.#waiting.unshift(sequence)
  }

  #end(sequence: Sequence): void {
    if (sequence.state === 'waiting') this.#waiting.splice(this.#waiting.indexOf(sequence), 1)
    else this.#free(sequence)
    sequence.state = 'ended'
  }

  #free(sequence: Sequence): void {
    this.#running.splice(this.#running.indexOf(sequence), 1)
    this.#pool.release(sequence.blocks)
    sequence.blocks.length = 0
    sequence.hashedBlocks = 0
    sequence.computed = 0
  }
}
