import { Worker } from 'node:worker_threads'
import { DEFAULT_LIMITS } from '../../framework/limits.ts'
import type { ChatPrompt } from '../../framework/request.ts'
import { type Doubt, doubt } from '../doubt.ts'
import type { TokenNames } from './chat-template.ts'
import type { EngineRules } from './engine-rules.ts'
import type { OwnTemplateJob, OwnTemplateMessage } from './own-template-worker.ts'
import { RenderedChat } from './rendered-chat.ts'

/** Time for one rendering. */
const RENDER_MS = 50
/** The text that a template may write. */
const MAX_TEXT_BYTES = 8 * 1024 * 1024
/** Memory of the thread: room for such a text, its pieces and the template. */
const THREAD_MEBIBYTES = 128
const MAX_QUEUED = 64
/** Text that may wait, in UTF-16 units. */
const MAX_QUEUED_CHARS = 16 * 1024 * 1024

const failure = (text: string): Doubt => doubt('own-template', text)
const TOO_SLOW = failure(`the request's chat template takes more than ${RENDER_MS} ms`)
const TOO_BIG = failure("the request's chat template takes too much memory")
const QUEUE_FULL = doubt('queue-full', 'too many requests with chat templates of their own wait')
const CLOSED = doubt('closed', 'the tokenizer is closed')

interface Waiting {
  readonly job: OwnTemplateJob
  readonly chars: number
  resolve(answer: RenderedChat | Doubt): void
}

/**
 * Renders chats with the templates that requests bring, in a thread of its own that is ended when one takes too long or
 * too much memory: a template is a program. The thread starts with the first request and again after each that it did not
 * survive; others wait for it meanwhile.
 */
export class OwnTemplates {
  readonly #queue: Waiting[] = []
  #queuedChars = 0
  #worker: Worker | undefined
  #isReady = false
  #running: Waiting | undefined
  #timer: NodeJS.Timeout | undefined
  #closed = false
  readonly #maxMessages: number

  constructor(maxMessages: number = DEFAULT_LIMITS.maxMessages) {
    this.#maxMessages = maxMessages
  }

  /** Never rejects. */
  render(
    template: string,
    tokens: TokenNames,
    prompt: ChatPrompt,
    ruleSets: readonly EngineRules[],
  ): Promise<RenderedChat | Doubt> {
    if (this.#closed) return Promise.resolve(CLOSED)
    const json = prompt.text?.()
    const chars = template.length + (json?.length ?? 0)
    if (this.#queue.length >= MAX_QUEUED || this.#queuedChars + chars > MAX_QUEUED_CHARS) {
      return Promise.resolve(QUEUE_FULL)
    }
    // What a thread can be sent: a prompt may read its body when asked for it.
    const { kind, api, body } = prompt
    const data = api === undefined ? { kind, body } : { kind, api, body }
    return new Promise((resolve) => {
      const job = {
        ...{ template, tokens, prompt: data, json, ruleSets },
        ...{ maxTextBytes: MAX_TEXT_BYTES, maxMessages: this.#maxMessages },
      }
      this.#queue.push({ job, chars, resolve })
      this.#queuedChars += chars
      this.#next()
    })
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const { resolve } of this.#queue.splice(0)) resolve(CLOSED)
    this.#queuedChars = 0
    await this.#end(CLOSED)
  }

  #next(): void {
    if (this.#running !== undefined || this.#queue.length === 0) return
    this.#worker ??= this.#start()
    this.#worker.ref()
    if (!this.#isReady) return
    const waiting = this.#queue.shift()!
    this.#queuedChars -= waiting.chars
    this.#running = waiting
    this.#timer = setTimeout(() => void this.#end(TOO_SLOW), RENDER_MS)
    this.#worker.postMessage(waiting.job)
  }

  #start(): Worker {
    const entry = import.meta.url.endsWith('.js')
      ? './own-template-worker.js'
      : './own-template-worker-tsx.mjs'
    const worker = new Worker(new URL(entry, import.meta.url), {
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: THREAD_MEBIBYTES },
    })
    const ended = (why: Doubt): void => {
      if (worker === this.#worker) void this.#end(why)
    }
    worker.on('message', (message: OwnTemplateMessage) => {
      if (worker === this.#worker) this.#answered(message)
    })
    worker.on('error', (error: NodeJS.ErrnoException) => {
      ended(error.code === 'ERR_WORKER_OUT_OF_MEMORY' ? TOO_BIG : failure(String(error.name)))
    })
    worker.on('exit', () => ended(failure('the thread for chat templates of requests ended')))
    return worker
  }

  #answered(message: OwnTemplateMessage): void {
    if (message === 'ready') this.#isReady = true
    else {
      clearTimeout(this.#timer)
      const running = this.#running
      this.#running = undefined
      running?.resolve('code' in message ? message : new RenderedChat(message))
    }
    this.#worker?.unref()
    this.#next()
  }

  /** Ends the thread and answers its job; one that never got ready fails all that wait, so that none starts it for ever. */
  async #end(why: Doubt): Promise<void> {
    const worker = this.#worker
    const wasReady = this.#isReady
    this.#worker = undefined
    this.#isReady = false
    clearTimeout(this.#timer)
    this.#running?.resolve(why)
    this.#running = undefined
    if (!wasReady && worker !== undefined) {
      for (const { resolve } of this.#queue.splice(0)) resolve(why)
      this.#queuedChars = 0
    }
    if (!this.#closed) this.#next()
    await worker?.terminate()
  }
}
