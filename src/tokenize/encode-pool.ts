import { Worker } from 'node:worker_threads'
import { type Doubt, doubt } from './doubt.ts'
import type { EncodeAnswer, EncodeJob, EncodeMessage } from './encode-worker.ts'
import type { TokenizerFolder } from './tokenizer-file.ts'

/** Text that may wait for a thread, in UTF-16 units. */
const MAX_QUEUED_CHARS = 16 * 1024 * 1024
const MAX_QUEUED_JOBS = 1024

const CLOSED = doubt('closed', 'the tokenizer is closed')
const QUEUE_FULL = doubt('queue-full', 'too much text waits to be tokenized')

function failed(message: string): Doubt {
  return doubt('worker-failed', `the tokenizer's thread failed: ${message}`)
}

interface Waiting {
  readonly job: EncodeJob
  readonly chars: number
  resolve(outcome: readonly Int32Array[] | Doubt): void
}

interface Thread {
  readonly worker: Worker
  running: Waiting | undefined
  timer: NodeJS.Timeout | undefined
}

/** Threads that encode long text. Each does one job at a time; they start when there is a job for them. */
export class EncodePool {
  readonly #maxThreads: number
  readonly #stuckMs: number
  readonly #threads = new Set<Thread>()
  readonly #queue: Waiting[] = []
  #queuedChars = 0
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
      const job = { id: this.#nextId++, folder, pieces, first }
      this.#queue.push({ job, chars, resolve })
      this.#queuedChars += chars
      this.#dispatch()
    })
  }

  /** Has the threads forget all tokenizers but those of these folders. */
  keep(paths: readonly string[]): void {
    for (const { worker } of this.#threads) send(worker, { keep: paths })
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const waiting of this.#queue.splice(0)) waiting.resolve(CLOSED)
    this.#queuedChars = 0
    await Promise.all([...this.#threads].map((thread) => this.#drop(thread, CLOSED)))
  }

  #dispatch(): void {
    while (this.#queue.length > 0) {
      const thread = this.#idleThread()
      if (thread === undefined) return
      const waiting = this.#queue.shift()!
      this.#queuedChars -= waiting.chars
      if ('code' in thread) {
        waiting.resolve(thread)
        continue
      }
      thread.running = waiting
      thread.worker.ref()
      thread.timer = setTimeout(() => {
        void this.#drop(thread, failed(`no answer within ${this.#stuckMs} ms`))
      }, this.#stuckMs)
      send(thread.worker, waiting.job)
    }
  }

  /** A thread without a job; undefined when all are busy, a doubt when none can be started. */
  #idleThread(): Thread | Doubt | undefined {
    for (const thread of this.#threads) if (thread.running === undefined) return thread
    if (this.#threads.size >= this.#maxThreads) return undefined
    try {
      return this.#startThread(startWorker())
    } catch (error) {
      return failed(String(error))
    }
  }

  #startThread(worker: Worker): Thread {
    const thread: Thread = { worker, running: undefined, timer: undefined }
    this.#threads.add(thread)
    thread.worker.on('message', (answer: EncodeAnswer) => this.#answered(thread, answer))
    thread.worker.on('error', (error) => void this.#drop(thread, failed(String(error))))
    thread.worker.on('exit', () => void this.#drop(thread, failed('the thread ended')))
    thread.worker.unref()
    return thread
  }

  #answered(thread: Thread, answer: EncodeAnswer): void {
    const waiting = thread.running
    if (waiting === undefined || waiting.job.id !== answer.id) return
    clearTimeout(thread.timer)
    thread.running = undefined
    thread.worker.unref()
    waiting.resolve(answer.ids ?? failed(answer.error ?? 'no ids'))
    this.#dispatch()
  }

  /** Ends a thread and fails its job; what waits goes to another one. */
  async #drop(thread: Thread, reason: Doubt): Promise<void> {
    if (!this.#threads.delete(thread)) return
    clearTimeout(thread.timer)
    thread.running?.resolve(reason)
    thread.running = undefined
    if (!this.#closed) this.#dispatch()
    await thread.worker.terminate()
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
