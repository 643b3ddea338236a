import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Endpoint } from '../../framework/endpoint.ts'
import type { InferenceRequest } from '../../framework/request.ts'
import type { Decision } from '../../framework/routing/decision.ts'
import type { Clock } from '../../framework/services.ts'
import type { Chosen, SessionAffinity } from './session-affinity.ts'

/** More sessions than this are not remembered at once; the longest unused go first. */
const MAX_SESSIONS = 100_000

export interface SessionIdConfig {
  readonly sources: readonly { readonly header: string }[]
  readonly evictionTtlSeconds: number
  readonly evictionSweepSeconds: number
}

/**
 * Remembers to which endpoint a session's requests went, by an id that the client sends. A session is bound by its first
 * pick, and anew when its endpoint was not among the candidates; ids are kept as hashes only.
 */
export class SessionTable implements SessionAffinity {
  readonly #headers: readonly string[]
  readonly #chosen: Chosen
  readonly #clock: Clock
  readonly #sweepMs: number
  /** Endpoint ids by the hash of a session's id. */
  readonly #sessions: LRUCache<string, string>
  /** Requests whose session keeps its endpoint. */
  readonly #kept = new WeakSet<InferenceRequest>()
  #sweptMs: number

  constructor(config: SessionIdConfig, chosen: Chosen, clock: Clock) {
    this.#headers = config.sources.map(({ header }) => header.toLowerCase())
    this.#chosen = chosen
    this.#clock = clock
    this.#sweepMs = config.evictionSweepSeconds * 1000
    this.#sweptMs = clock.nowMs()
    this.#sessions = new LRUCache({
      max: MAX_SESSIONS,
      ttl: Math.ceil(config.evictionTtlSeconds * 1000),
      ttlResolution: 0,
      updateAgeOnGet: true,
      perf: { now: () => clock.nowMs() },
    })
  }

  /** Sessions in memory, those whose time is over and that were not swept included. */
  get size(): number {
    return this.#sessions.size
  }

  bound(request: InferenceRequest, endpoints: readonly Endpoint[]): Endpoint | undefined {
    const session = this.#sessionOf(request)
    const id = session && this.#sessions.get(session)
    const endpoint = id === undefined ? undefined : endpoints.find((each) => each.id === id)
    if (endpoint) this.#kept.add(request)
    return endpoint
  }

  picked(request: InferenceRequest, target: Endpoint, decision: Decision): void {
    this.#sweep()
    const session = this.#sessionOf(request)
    if (session === undefined || this.#kept.has(request)) return
    const endpoint = this.#chosen(target, decision)
    if (endpoint) this.#sessions.set(session, endpoint.id)
  }

  /** The client has its session's id already. */
  responseHeaders(): undefined {}

  #sessionOf({ headers }: InferenceRequest): string | undefined {
    for (const header of this.#headers) {
      const id = headers.get(header)
      if (id) return createHash('sha256').update(id).digest('base64')
    }
    return undefined
  }

  #sweep(): void {
    const nowMs = this.#clock.nowMs()
    if (nowMs - this.#sweptMs < this.#sweepMs) return
    this.#sweptMs = nowMs
    this.#sessions.purgeStale()
  }
}
