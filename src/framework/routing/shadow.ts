import { Attributes } from '../attributes.ts'
import type { Endpoint } from '../endpoint.ts'
import { PHASE_BUCKETS_SECONDS } from '../instrument.ts'
import type { Observer } from '../plugin.ts'
import type { SeededRandom } from '../random.ts'
import type { InferenceRequest } from '../request.ts'
import type { Counter, Histogram, Logger, Metrics, Notices } from '../services.ts'
import type { ProfileTrace } from './decision.ts'
import type { Configured, Profile } from './profile.ts'
import { cachedTokensAt } from './request-load.ts'

/** What a shadow profile is run with where the configuration says nothing else, in milliseconds for each request. */
export const SHADOW_BUDGET_MS = 1
/** Requests whose budget may be spent at once. */
const SAVED_REQUESTS = 100
/** Characters of an error that a decision keeps. */
const MAX_ERROR_CHARACTERS = 300

const RESULTS = ['same', 'different', 'failed', 'skipped'] as const
export type ShadowResult = (typeof RESULTS)[number]

/** What a shadow profile would have picked. */
export interface ShadowTrace {
  readonly profile: string
  /** Whether its target is the one that was picked; `skipped` where its time was spent. */
  readonly result: ShadowResult
  /** Absent when it failed or was skipped. */
  readonly trace?: ProfileTrace
  /** Prompt tokens that it expected in its target's cache; absent when no prefix scorer of it looked there. */
  readonly predictedCachedTokens?: number
  /** Why it failed. */
  readonly error?: string
}

/** One run, and who is to be told what becomes of the request: the shadow's plugins, of the pick that was really made. */
export interface ShadowRun {
  readonly said: ShadowTrace
  readonly observers: readonly Configured<Observer>[]
}

export interface ShadowServices {
  readonly metrics: Metrics
  readonly notices: Notices
  readonly logger: Logger
}

/** What a pick gives to shadows besides the request. */
export interface ShadowedPick {
  /** Its own, of `shadowRequest`. */
  readonly request: InferenceRequest
  readonly candidates: readonly Endpoint[]
  readonly nowMs: number
  readonly acting: {
    readonly target: Endpoint
    /** Prompt tokens expected in its cache; undefined when no prefix scorer looked there. */
    readonly matchedTokens: number | undefined
  }
  readonly random: SeededRandom
  /** Of the draws of the pick. */
  readonly seed: number
}

/**
 * A profile that is run for each request beside the one that acts, and of which nothing follows.
 *
 * It has plugins of its own and sees a copy of the request, with the data made for it: what it finds does not reach the
 * decision. Over the requests it takes no more than its budget: when it has spent that it is skipped until it has time again.
 */
export class Shadow {
  readonly profile: Profile
  /** Plugins that are told of a request's life. */
  readonly observers: readonly Configured<Observer>[]
  readonly #budgetMs: number
  readonly #services: ShadowServices
  readonly #decisions: Readonly<Record<ShadowResult, Counter>>
  readonly #matched: Readonly<Record<'acting' | 'shadow', Counter>>
  readonly #seconds: Histogram
  /** Time left. */
  #leftMs: number
  #isShort = false

  /** @param budgetMs above 0, for each request */
  constructor(
    profile: Profile,
    observers: readonly Configured<Observer>[],
    budgetMs: number,
    services: ShadowServices,
  ) {
    this.profile = profile
    this.observers = observers
    this.#budgetMs = budgetMs
    this.#services = services
    this.#leftMs = budgetMs * SAVED_REQUESTS
    const { metrics } = services
    const of = { profile: profile.name }
    this.#decisions = Object.fromEntries(
      RESULTS.map((result) => [
        result,
        metrics.counter(
          'epp_shadow_decisions_total',
          'Requests by whether a shadow profile would have picked the endpoint that was picked.',
          { ...of, result },
        ),
      ]),
    ) as Record<ShadowResult, Counter>
    const matched = (pick: string) =>
      metrics.counter(
        'epp_shadow_matched_tokens_total',
        "Prompt tokens expected in the cache of the shadow profile's pick, and of the real one, where both are known.",
        { ...of, pick },
      )
    this.#matched = { acting: matched('acting'), shadow: matched('shadow') }
    this.#seconds = metrics.histogram(
      'epp_shadow_duration_seconds',
      'Time that a shadow profile took for one request.',
      PHASE_BUCKETS_SECONDS,
      of,
    )
  }

  /** Never throws. Draws what the acting profile drew. */
  run(pick: ShadowedPick): ShadowRun {
    const { request } = pick
    const said = this.#said(request, pick)
    this.#decisions[said.result].inc()
    return { said, observers: this.observers.map((observer) => toldOf(request, observer)) }
  }

  #said(request: InferenceRequest, pick: ShadowedPick): ShadowTrace {
    const profile = this.profile.name
    const savedMs = this.#budgetMs * SAVED_REQUESTS
    this.#leftMs = Math.min(savedMs, this.#leftMs + this.#budgetMs)
    if (this.#leftMs === savedMs) this.#show(false)
    if (this.#leftMs <= 0) {
      this.#show(true)
      return { profile, result: 'skipped' }
    }
    const startMs = performance.now()
    pick.random.restart(pick.seed)
    try {
      const { picked, trace } = this.profile.run(request, pick.candidates, pick.nowMs)
      const target = picked[0]!
      const expected = cachedTokensAt(request, target)
      this.#count(expected, pick.acting.matchedTokens)
      return {
        profile,
        result: target === pick.acting.target ? 'same' : 'different',
        trace,
        ...(expected !== undefined && { predictedCachedTokens: expected }),
      }
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error)
      this.#services.logger.warnOnce(
        `shadow ${profile} ${text}`,
        'A shadow profile failed; the request is not touched',
        { profile, problem: text },
      )
      return { profile, result: 'failed', error: text.slice(0, MAX_ERROR_CHARACTERS) }
    } finally {
      const spentMs = performance.now() - startMs
      this.#leftMs -= spentMs
      this.#seconds.observe(spentMs / 1000)
    }
  }

  #count(shadow: number | undefined, acting: number | undefined): void {
    if (shadow === undefined || acting === undefined) return
    this.#matched.shadow.inc(shadow)
    this.#matched.acting.inc(acting)
  }

  #show(isShort: boolean): void {
    if (isShort === this.#isShort) return
    this.#isShort = isShort
    const { name } = this.profile
    this.#services.notices.set(
      `shadow-slow:${name}`,
      isShort
        ? `the shadow profile "${name}" takes more than its ${this.#budgetMs} ms for each request, so that it is skipped for a part of them; raise its timeBudgetMs, or take its slowest plugin out (epp_plugin_duration_seconds)`
        : undefined,
    )
  }
}

/** The request with the data made for it so far, and room of its own for what a shadow's plugins find. */
export function shadowRequest(request: InferenceRequest): InferenceRequest {
  return { ...request, attributes: new Attributes(request.attributes) }
}

function toldOf(
  request: InferenceRequest,
  { name, probe, plugin }: Configured<Observer>,
): Configured<Observer> {
  return {
    name,
    probe,
    plugin: {
      picked: (_, endpoint, decision) => plugin.picked?.(request, endpoint, decision),
      responded: (_, endpoint) => plugin.responded?.(request, endpoint),
      ended: (_, endpoint, outcome) => plugin.ended?.(request, endpoint, outcome),
    },
  }
}
