import { Agent, request } from 'node:http'

/** Groups of requests that share the beginning of their prompts. */
const GROUPS = 40
const SHARED_TOKENS = 1500
const OWN_TOKENS = 100
/** Every so many requests, one whose client goes away. */
const ABORT_EVERY = 13
const STREAM_EVERY = 2
/** What an engine that is gone, or a pool that is empty for a moment, may give. */
const EXPECTED = new Set(['200', '502', '503', '429', 'aborted', 'cut'])

/** Requests at a steady rate, some streamed, some aborted; what becomes of them is counted. */
export class SoakLoad {
  /** Status, or how it ended, to how often. */
  readonly outcomes = new Map<string, number>()
  /** Outcomes that no fault explains. */
  readonly strange: string[] = []
  readonly #url: string
  readonly #model: string
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 512 })
  readonly #timer: NodeJS.Timeout
  readonly #underWay = new Set<Promise<void>>()
  #sent = 0

  constructor(url: string, model: string, perSecond: number) {
    this.#url = url
    this.#model = model
    const startMs = performance.now()
    this.#timer = setInterval(() => {
      const due = ((performance.now() - startMs) / 1000) * perSecond
      while (this.#sent < due) {
        const one = this.#send(this.#sent++)
        this.#underWay.add(one)
        void one.then(() => this.#underWay.delete(one))
      }
    }, 5)
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await Promise.all(this.#underWay)
    this.#agent.destroy()
  }

  #send(number: number): Promise<void> {
    return new Promise((resolve) => {
      const end = (outcome: string) => {
        this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1)
        if (!EXPECTED.has(outcome) && this.strange.length < 100) this.strange.push(outcome)
        resolve()
      }
      const aborts = number % ABORT_EVERY === 0
      const stream = number % STREAM_EVERY === 0
      const sent = request(`${this.#url}/v1/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        agent: this.#agent,
      })
      sent.once('error', ({ message }) => end(aborts ? 'aborted' : `cut by ${message}`))
      sent.once('response', (response) => {
        if (aborts) sent.destroy()
        response.resume()
        response.once('error', () => {})
        response.once('close', () => {
          if (aborts) end('aborted')
          else end(response.complete ? String(response.statusCode) : 'cut')
        })
      })
      const group = number % GROUPS
      const prompt = Array.from({ length: SHARED_TOKENS + OWN_TOKENS }, (_, i) =>
        i < SHARED_TOKENS ? 1000 + group * 17 + i : 1000 + ((number * 7919 + i) % 90_000),
      )
      sent.end(JSON.stringify({ model: this.#model, prompt, max_tokens: 8, stream }))
    })
  }
}
