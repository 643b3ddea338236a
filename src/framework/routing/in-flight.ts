import type { Endpoint } from '../endpoint.ts'
import type { InFlight } from '../services.ts'
import type { RequestLoad } from './request-load.ts'

/** One request's load on one endpoint, taken off once. */
export interface Reservation {
  /** Its prompt has been computed: takes the queued part off; calls after the first do nothing. */
  firstByte(): void
  /** Takes what is left off; calls after the first do nothing. */
  release(): void
}

/** What one endpoint carries. */
interface Load {
  readonly id: string
  requests: number
  lastPick: number
  tokens: number
  queuedTokens: number
  contextTokens: number
  /** KV tokens that requests without a first byte will need. */
  queuedKvTokens: number
  /** KV tokens that requests picked since the scrape of `scrapedAtMs`, and not ended, will need. */
  unscrapedKvTokens: number
  scrapedAtMs: number | undefined
}

/** Answers before any has been seen, in tokens. */
const FIRST_MEAN_OUTPUT_TOKENS = 300
/** Weight of the newest answer in the average. */
const NEWEST_ANSWER = 0.02
const NO_LOAD: RequestLoad = { promptTokens: 0, cachedTokens: 0, answerTokens: 0 }

/**
 * Counts the requests that were picked and have not ended, and their tokens, per endpoint.
 *
 * Kept by slot; a slot that serves a new endpoint starts at zero, and what is released late for the old one is ignored.
 */
export class InFlightLedger implements InFlight {
  readonly #loads: (Load | undefined)[] = []
  #picks = 0
  #meanOutputTokens = FIRST_MEAN_OUTPUT_TOKENS

  get meanOutputTokens(): number {
    return this.#meanOutputTokens
  }

  requests(endpoint: Endpoint): number {
    return this.#of(endpoint)?.requests ?? 0
  }

  lastPick(endpoint: Endpoint): number {
    return this.#of(endpoint)?.lastPick ?? 0
  }

  tokens(endpoint: Endpoint): number {
    return this.#of(endpoint)?.tokens ?? 0
  }

  queuedTokens(endpoint: Endpoint): number {
    return this.#of(endpoint)?.queuedTokens ?? 0
  }

  contextTokens(endpoint: Endpoint): number {
    return this.#of(endpoint)?.contextTokens ?? 0
  }

  /** The larger of what the queued need and what was picked since the last scrape: each is blind to some of the other. */
  pendingKvTokens(endpoint: Endpoint): number {
    const load = this.#of(endpoint)
    if (load === undefined) return 0
    const isScraped = load.scrapedAtMs !== endpoint.metrics?.scrapedAtMs
    return Math.max(load.queuedKvTokens, isScraped ? 0 : load.unscrapedKvTokens)
  }

  /** Adds one request to the endpoint's load, at once. */
  reserve(endpoint: Endpoint, request: RequestLoad = NO_LOAD): Reservation {
    const load = this.#of(endpoint) ?? this.#start(endpoint)
    const scrapedAtMs = endpoint.metrics?.scrapedAtMs
    if (load.scrapedAtMs !== scrapedAtMs) {
      load.scrapedAtMs = scrapedAtMs
      load.unscrapedKvTokens = 0
    }
    // Whole and half tokens: sums of them are exact, and return to zero.
    const uncached = request.promptTokens - request.cachedTokens
    const context = request.promptTokens + request.answerTokens / 2
    const kvTokens = uncached + request.answerTokens
    load.requests += 1
    load.lastPick = ++this.#picks
    load.tokens += uncached
    load.queuedTokens += uncached
    load.contextTokens += context
    load.queuedKvTokens += kvTokens
    load.unscrapedKvTokens += kvTokens
    let isQueued = true
    let isHeld = true
    const firstByte = () => {
      if (!isQueued) return
      isQueued = false
      load.queuedTokens -= uncached
      load.queuedKvTokens -= kvTokens
    }
    return {
      firstByte,
      release: () => {
        if (!isHeld) return
        isHeld = false
        firstByte()
        load.requests -= 1
        load.tokens -= uncached
        load.contextTokens -= context
        if (load.scrapedAtMs === scrapedAtMs) load.unscrapedKvTokens -= kvTokens
      },
    }
  }

  /** Learns from an answer that has ended; one without a token teaches nothing. */
  answered(outputTokens: number): void {
    if (outputTokens <= 0) return
    this.#meanOutputTokens += NEWEST_ANSWER * (outputTokens - this.#meanOutputTokens)
  }

  /** Forgets a removed endpoint. */
  forget(endpoint: Endpoint): void {
    if (this.#of(endpoint)) this.#loads[endpoint.slot] = undefined
  }

  #of({ id, slot }: Endpoint): Load | undefined {
    const load = this.#loads[slot]
    return load?.id === id ? load : undefined
  }

  #start({ id, slot }: Endpoint): Load {
    const load: Load = {
      id,
      requests: 0,
      lastPick: 0,
      tokens: 0,
      queuedTokens: 0,
      contextTokens: 0,
      queuedKvTokens: 0,
      unscrapedKvTokens: 0,
      scrapedAtMs: undefined,
    }
    this.#loads[slot] = load
    return load
  }
}
