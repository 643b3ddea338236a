import { Worker } from 'node:worker_threads'
import { type Doubt, doubt } from './doubt.ts'
import type { EncodeAnswer, EncodeMessage } from './encode-worker.ts'
import type { TokenizerFolder } from './tokenizer-file.ts'

/** Text that may wait for a thread, in UTF-16 units. */
const MAX_QUEUED_CHARS = 16 * 1024 * 1024
const MAX_QUEUED_JOBS = 4096

/** Texts that wait go to a thread together, as long as they have so many UTF-16 units in all: a message costs more than a short text. */
const BATCH_CHARS = 32_768

/** What a thread encodes in a millisecond, in UTF-16 units, until it has been measured. */
const CHARS_PER_MS = 300
/** Jobs with less text tell nothing of that. */
const MIN_MEASURED_CHARS = 2000
/** Weight of the last measurement. */
const SMOOTHING = 0.1

const CLOSED = doubt('closed', 'the tokenizer is closed')
/** Why a text was not taken: the threads would not come to it in time. */
export const QUEUE_FULL = doubt('queue-full', 'too much text waits to be tokenized')

function failed(message: string): Doubt {
  return doubt('worker-failed', `the tokenizer's thread failed: ${message}`)
}

interface Waiting {
  readonly folder: TokenizerFolder
  readonly pieces: readonly string[]
  readonly first: readonly boolean[]
  readonly chars: number
  resolve(outcome: readonly Int32Array[] | Doubt): void
}

/** What one message asks for. */
interface Batch {
  readonly id: number
  readonly waiting: readonly Waiting[]
  readonly folder: TokenizerFolder
  readonly chars: number
}

interface Thread {
  readonly worker: Worker
  running: Batch | undefined
  /** Folders whose tokenizers it has read, which takes most of a second each. */
  readonly ready: Set<string>
  startedMs: number
  timer: NodeJS.Timeout | undefined
}

/** Threads that encode text. Each has one message to answer at a time; they start when there is something for them. */
export class EncodePool {
  readonly #maxThreads: number
  readonly #stuckMs: number
  readonly #threads = new Set<Thread>()
  readonly #queue: Waiting[] = []
  #queuedChars = 0
  #charsPerMs = CHARS_PER_MS
  #nextId = 0
  #closed = false

  /** @param stuckMs time after which a job counts as stuck and its thread is replaced */
  constructor(maxThreads: number, stuckMs: number) {
    this.#maxThreads = maxThreads
    this.#stuckMs = stuckMs
  }

  /** Jobs that wait for a thread. */
  get queued(): number {
    return this.#queue.length
  }

  /** How long a job that comes now will wait for a thread, in milliseconds, as the last ones suggest. */
  get waitMs(): number {
    return this.#queuedChars / (this.#charsPerMs * this.#maxThreads)
  }

  /** Encodes pieces of text; the answer is a doubt when too much is waiting or the thread failed. Never rejects. */
  encode(
    folder: TokenizerFolder,
    pieces: readonly string[],
    first: readonly boolean[],
  ): Promise<readonly Int32Array[] | Doubt> {
    const chars = pieces.reduce((sum, piece) => sum + piece.length, 0)
    if (this.#closed) return Promise.resolve(CLOSED)
    if (this.#queue.length >= MAX_QUEUED_JOBS || this.#queuedChars + chars > MAX_QUEUED_CHARS) {
      return Promise.resolve(QUEUE_FULL)
    }
    return new Promise((resolve) => {
      this.#queue.push({ folder, pieces, first, chars, resolve })
      this.#queuedChars += chars
      this.#dispatch()
    })
  }

  /** Has the threads forget all tokenizers but those of these folders. */
  keep(paths: readonly string[]): void {
    for (const { worker, ready } of this.#threads) {
      for (const path of ready) if (!paths.includes(path)) ready.delete(path)
      send(worker, { keep: paths })
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const waiting of this.#queue.splice(0)) waiting.resolve(CLOSED)
    this.#queuedChars = 0
    await Promise.all([...this.#threads].map((thread) => this.#drop(thread, CLOSED)))
  }

  #dispatch(): void {
    while (this.#queue.length > 0) {
      const { folder } = this.#queue[0]!
      const thread = this.#idleThread(folder)
      if (thread === undefined) return
      if (!('code' in thread) && !thread.ready.has(folder.path) && this.#isReady(folder)) {
        // It reads the tokenizer while those that have it go on with the queue.
        this.#run(thread, folder, [])
        continue
      }
      const batch = this.#batch(folder)
      if ('code' in thread) for (const { resolve } of batch) resolve(thread)
      else this.#run(thread, folder, batch)
    }
  }

  /** What waits for one tokenizer, the first of it: as much as one message may have, and no more than a fair share. */
  #batch({ stamp, path }: TokenizerFolder): readonly Waiting[] {
    const most = Math.min(BATCH_CHARS, this.#queuedChars / this.#idleCount())
    let count = 0
    let chars = 0
    for (const { folder, chars: more } of this.#queue) {
      if (folder.path !== path || folder.stamp !== stamp) break
      if (count > 0 && chars + more > most) break
      chars += more
      count++
    }
    this.#queuedChars -= chars
    return this.#queue.splice(0, count)
  }

  /** Threads that could take something now, at least one. */
  #idleCount(): number {
    let idle = this.#maxThreads - this.#threads.size
    for (const { running } of this.#threads) if (running === undefined) idle++
    return Math.max(idle, 1)
  }

  #run(thread: Thread, folder: TokenizerFolder, waiting: readonly Waiting[]): void {
    const id = this.#nextId++
    const chars = waiting.reduce((sum, one) => sum + one.chars, 0)
    thread.running = { id, waiting, folder, chars }
    thread.startedMs = performance.now()
    thread.worker.ref()
    thread.timer = setTimeout(() => {
      void this.#drop(thread, failed(`no answer within ${this.#stuckMs} ms`))
    }, this.#stuckMs)
    const [only] = waiting
    const isOne = waiting.length === 1
    const pieces = isOne ? only!.pieces : waiting.flatMap((one) => one.pieces)
    const first = isOne ? only!.first : waiting.flatMap((one) => one.first)
    send(thread.worker, { id, folder, pieces, first })
  }

  /** Whether some thread has the tokenizer of a folder. */
  #isReady({ path }: TokenizerFolder): boolean {
    return [...this.#threads].some(({ ready }) => ready.has(path))
  }

  /** A thread without a job, one that has the tokenizer first; undefined when all are busy, a doubt when none can be started. */
  #idleThread({ path }: TokenizerFolder): Thread | Doubt | undefined {
    const idle = [...this.#threads].filter(({ running }) => running === undefined)
    const thread = idle.find(({ ready }) => ready.has(path)) ?? idle[0]
    if (thread !== undefined) return thread
    if (this.#threads.size >= this.#maxThreads) return undefined
    try {
      return this.#startThread(startWorker())
    } catch (error) {
      return failed(String(error))
    }
  }

  #startThread(worker: Worker): Thread {
    const thread: Thread = {
      worker,
      running: undefined,
      ready: new Set(),
      startedMs: 0,
      timer: undefined,
    }
    this.#threads.add(thread)
    thread.worker.on('message', (answer: EncodeAnswer) => this.#answered(thread, answer))
    thread.worker.on('error', (error) => void this.#drop(thread, failed(String(error))))
    thread.worker.on('exit', () => void this.#drop(thread, failed('the thread ended')))
    thread.worker.unref()
    return thread
  }

  #answered(thread: Thread, { id, ids, error }: EncodeAnswer): void {
    const batch = thread.running
    if (batch === undefined || batch.id !== id) return
    clearTimeout(thread.timer)
    thread.running = undefined
    thread.worker.unref()
    if (ids !== undefined) {
      thread.ready.add(batch.folder.path)
      if (batch.chars >= MIN_MEASURED_CHARS) {
        const rate = batch.chars / (performance.now() - thread.startedMs)
        this.#charsPerMs += SMOOTHING * (rate - this.#charsPerMs)
      }
      share(batch.waiting, ids)
    } else for (const { resolve } of batch.waiting) resolve(failed(error ?? 'no ids'))
    this.#dispatch()
  }

  /** Ends a thread and fails its job; what waits goes to another one. */
  async #drop(thread: Thread, reason: Doubt): Promise<void> {
    if (!this.#threads.delete(thread)) return
    clearTimeout(thread.timer)
    for (const { resolve } of thread.running?.waiting ?? []) resolve(reason)
    thread.running = undefined
    if (!this.#closed) this.#dispatch()
    await thread.worker.terminate()
  }
}

/** Gives each its part of an answer, which has the numbers of ids first. */
function share(waiting: readonly Waiting[], answer: Int32Array): void {
  let piece = 0
  let at = waiting.reduce((sum, { pieces }) => sum + pieces.length, 0)
  for (const { pieces, resolve } of waiting) {
    const ids: Int32Array[] = []
    for (let i = 0; i < pieces.length; i++) {
      const end = at + answer[piece++]!
      // A view would keep the whole answer in memory.
      ids.push(answer.slice(at, end))
      at = end
    }
    resolve(ids)
  }
}

function send(worker: Worker, message: EncodeMessage): void {
  worker.postMessage(message)
}

/** Runs from the compiled output, and from the source, which has an entry of its own. */
function startWorker(): Worker {
  const entry = import.meta.url.endsWith('.js') ? './encode-worker.js' : './encode-worker-tsx.mjs'
  return new Worker(new URL(entry, import.meta.url), { execArgv: [] })
}
