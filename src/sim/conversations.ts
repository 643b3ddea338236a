import type { Random } from '../framework/services.ts'

/** A mild load of people in conversation. */
export interface ConversationsOptions {
  /** Where the API is, such as `http://127.0.0.1:8080`. */
  readonly url: string
  readonly model: string
  readonly random: Random
  /** Conversations at once. */
  readonly people: number
  /** Longest pause between an answer and the next question, in milliseconds; half of it on average. */
  readonly pauseMs: number
  /** Told of what goes wrong; the load goes on. */
  failed(reason: string): void
}

/** People that share a system prompt, as the customers of one company do. */
const COMPANIES = 3
const SYSTEM_WORDS = 300
const QUESTION_WORDS = 40
const ANSWER_TOKENS = 48
/** Questions after which a conversation is over and another begins. */
const MAX_TURNS = 8

const WORDS =
  'cache block prefix token route model server queue batch weight score engine answer prompt memory latency'.split(
    ' ',
  )

/** Keeps asking until `stop`: several people, each with a conversation that grows turn by turn. */
export class Conversations {
  readonly #options: ConversationsOptions
  readonly #stopped = new AbortController()
  readonly #running: readonly Promise<void>[]

  constructor(options: ConversationsOptions) {
    this.#options = options
    this.#running = Array.from({ length: options.people }, (_, i) => this.#converse(i))
  }

  /** Resolves when every request has ended. */
  async stop(): Promise<void> {
    this.#stopped.abort()
    await Promise.all(this.#running)
  }

  async #converse(person: number): Promise<void> {
    const { signal } = this.#stopped
    const system = `You work for company ${person % COMPANIES}. ${this.#words(SYSTEM_WORDS, person % COMPANIES)}`
    while (!signal.aborted) {
      const messages = [{ role: 'system', content: system }]
      for (let turn = 0; turn < MAX_TURNS && !signal.aborted; turn++) {
        messages.push({ role: 'user', content: this.#words(QUESTION_WORDS) })
        const answer = await this.#ask(messages)
        if (answer === undefined) break
        messages.push({ role: 'assistant', content: answer })
      }
    }
  }

  /** The answer, after a pause; undefined when there was none. */
  async #ask(messages: readonly object[]): Promise<string | undefined> {
    const { url, model, random, pauseMs, failed } = this.#options
    const { signal } = this.#stopped
    await pause(random.next() * pauseMs, signal)
    if (signal.aborted) return undefined
    try {
      const response = await fetch(new URL('/v1/chat/completions', url), {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ model, messages, max_tokens: ANSWER_TOKENS }),
        signal,
      })
      const text = await response.text()
      if (response.ok) return JSON.parse(text).choices[0].message.content
      failed(`${response.status}: ${text.slice(0, 200)}`)
    } catch (error) {
      if (!signal.aborted) failed(String(error))
    }
    return undefined
  }

  /** Random words; always the same ones for a seed. */
  #words(count: number, seed?: number): string {
    const { random } = this.#options
    const next = (i: number) =>
      seed === undefined
        ? Math.floor(random.next() * WORDS.length)
        : (i * i + i * seed) % WORDS.length
    return Array.from({ length: count }, (_, i) => WORDS[next(i)]).join(' ')
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done)
  })
}
