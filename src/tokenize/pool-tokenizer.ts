import { type Endpoint, networkAddress, sharesPort } from '../framework/endpoint.ts'
import type { Prompt } from '../framework/request.ts'
import type { Clock, Endpoints } from '../framework/services.ts'
import { type Doubt, doubt } from './doubt.ts'
import type { EngineFault, EngineTokenizer } from './engine-tokenizer.ts'
import type { Outcome } from './outcome.ts'

/** Engines that one prompt is sent to, one after the other. */
const MAX_TRIES = 3

/** How long an engine that cannot be reached is left alone. */
const UNREACHED_MS = 5000

/** How long an engine without `/tokenize` is left alone. */
const NO_ROUTE_MS = 30_000

/** Failures in a row after which an engine is left alone: a single one may be due to the prompt. */
const FAILURES = 3

/** An engine without `/tokenize`, or one that fails. */
interface Fallen {
  /** Failures since its last good answer. */
  failures: number
  /** Until then it is not asked, in the clock's monotonic milliseconds. */
  untilMs: number
  fault: EngineFault
}

const NO_ENGINES = doubt('no-engines', 'there is no engine to ask for token ids')
const NO_ROUTE = doubt(
  'no-tokenize-route',
  'the engines have no /tokenize; mount a tokenizer (--tokenizers-dir), fetch one (epp fetch-tokenizer) or set vllm.url of token-producer',
)

export interface PoolTokenizerParts {
  readonly endpoints: Pick<Endpoints, 'list'>
  readonly clock: Clock
  readonly scheme: 'http' | 'https'
  /** Time for one prompt, all tries together. */
  readonly budgetMs: number
}

/**
 * Asks the engines of the pool for token ids, in turn. An engine that does not answer in half of the time that is left is
 * given up for the next one; one that cannot be reached, fails repeatedly or has no `/tokenize` is left alone for a while.
 */
export class PoolTokenizer {
  readonly #parts: PoolTokenizerParts
  readonly #engine: EngineTokenizer
  /** By endpoint id; only endpoints that are there. */
  readonly #fallen = new Map<string, Fallen>()
  #list: readonly Endpoint[] = []
  /** One of the list for each server: ranks behind one port answer alike. */
  #servers: readonly Endpoint[] = []
  #turn = 0

  constructor(parts: PoolTokenizerParts, engine: EngineTokenizer) {
    this.#parts = parts
    this.#engine = engine
  }

  /** The answer is a doubt when no engine gave ids. Never rejects. */
  async tokenize(model: string, prompt: Prompt, signal: AbortSignal): Promise<Outcome> {
    const { clock, budgetMs, scheme } = this.#parts
    const endMs = clock.nowMs() + budgetMs
    let last: Doubt | undefined
    const candidates = this.#candidates()
    for (const [i, endpoint] of candidates.entries()) {
      const leftMs = endMs - clock.nowMs()
      if (leftMs < 1 || signal.aborted) break
      const shareMs = i === candidates.length - 1 ? leftMs : leftMs / 2
      const limit = AbortSignal.any([signal, AbortSignal.timeout(Math.ceil(shareMs))])
      const url = `${scheme}://${networkAddress(endpoint.hostPort)}`
      const answer = await this.#engine.tokenize(url, model, prompt, limit)
      if ('prompts' in answer) {
        this.#fallen.delete(endpoint.id)
        return answer
      }
      last = answer.doubt
      // The caller gave up: that says nothing about the engine.
      if (answer.fault === 'request' || signal.aborted) return last
      this.#failed(endpoint, answer.fault)
    }
    return last ?? this.#whyNone()
  }

  /** The engines to ask, beginning with the next in turn. */
  #candidates(): readonly Endpoint[] {
    const endpoints = this.#parts.endpoints.list()
    if (endpoints !== this.#list) this.#forget(endpoints)
    const nowMs = this.#parts.clock.nowMs()
    const start = this.#turn++
    const candidates: Endpoint[] = []
    const servers = this.#servers
    for (let i = 0; i < servers.length && candidates.length < MAX_TRIES; i++) {
      const endpoint = servers[(start + i) % servers.length]!
      if ((this.#fallen.get(endpoint.id)?.untilMs ?? 0) <= nowMs) candidates.push(endpoint)
    }
    return candidates
  }

  #forget(endpoints: readonly Endpoint[]): void {
    this.#list = endpoints
    this.#servers = endpoints.some(sharesPort) ? onePerServer(endpoints) : endpoints
    if (this.#fallen.size === 0) return
    const living = new Set(endpoints.map(({ id }) => id))
    for (const id of this.#fallen.keys()) if (!living.has(id)) this.#fallen.delete(id)
  }

  #failed(endpoint: Endpoint, fault: EngineFault): void {
    if (fault === 'model') return
    const fallen = this.#fallen.get(endpoint.id) ?? { failures: 0, untilMs: 0, fault }
    fallen.failures++
    fallen.fault = fault
    const nowMs = this.#parts.clock.nowMs()
    if (fault === 'no-route') fallen.untilMs = nowMs + NO_ROUTE_MS
    else if (fault === 'connect' || fallen.failures >= FAILURES) {
      fallen.untilMs = nowMs + UNREACHED_MS
    }
    this.#fallen.set(endpoint.id, fallen)
  }

  /** Why there was no engine to ask. */
  #whyNone(): Doubt {
    const { length } = this.#servers
    if (length === 0) return NO_ENGINES
    const faults = [...this.#fallen.values()].map(({ fault }) => fault)
    if (faults.length > 0 && faults.every((fault) => fault === 'no-route')) return NO_ROUTE
    return doubt('engine-failed', `none of the ${length} engines answers /tokenize`)
  }
}

function onePerServer(endpoints: readonly Endpoint[]): readonly Endpoint[] {
  const byAddress = new Map<string, Endpoint>()
  for (const endpoint of endpoints) {
    const address = networkAddress(endpoint.hostPort)
    if (!byAddress.has(address)) byAddress.set(address, endpoint)
  }
  return [...byAddress.values()]
}
