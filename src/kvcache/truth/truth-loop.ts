import { PROMPT_TOKENS, type PromptTokens } from '../../framework/attributes.ts'
import type { Endpoint } from '../../framework/endpoint.ts'
import type { Observer, Outcome } from '../../framework/plugin.ts'
import type { InferenceRequest } from '../../framework/request.ts'
import {
  type Clock,
  type Endpoints,
  type Logger,
  type Metrics,
  type Notices,
  PREFIX_FINDING,
  type TruthOptions,
  type TruthReason,
} from '../../framework/services.ts'
import { sideTable } from '../../framework/side-table.ts'
import type { CacheEvidence, CacheWitness } from './cache-witness.ts'
import { EndpointTruth, type TrustChange } from './endpoint-truth.ts'
import { judge, type TruthSample } from './truth-sample.ts'

/** As the schema of `truth` has it, for a profile that follows events without saying. */
export const DEFAULT_TRUTH: TruthOptions = {
  window: 16,
  maxWrong: 0.5,
  tolerance: 0.1,
  minTokens: 0,
  recoverAfter: 8,
}

/** Whether an endpoint's events are believed, for `/endpoints`. */
export interface Trust {
  readonly state: 'trusted' | 'distrusted'
  readonly reason?: TruthReason
  /** ISO 8601. */
  readonly since?: string
  /** What was seen, and what to do. */
  readonly text?: string
}

interface Picked {
  readonly tokens: PromptTokens
  readonly toldTokens: number
  readonly atMs: number
  /** What the events had shown by then. */
  readonly evidence: CacheEvidence
}

interface Judged {
  readonly endpoint: Endpoint
  truth: EndpointTruth
  restarts: number
  sinceEpochMs: number
}

const DEFAULT_BLOCK_TOKENS = 16
const NO_REPORTS_NOTICE = 'prefix-truth-unreported'
/** Answers without a count after which that is said. */
const NO_REPORTS_ANSWERS = 20

/**
 * Compares what the events tell of a prompt with what its engine took from its cache, endpoint by endpoint. Where they are
 * wrong for long it says why, and they are not believed until they are right again.
 */
export class TruthLoop implements Observer {
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #metrics: Metrics
  readonly #notices: Notices
  readonly #witness: CacheWitness
  readonly #picked = sideTable<InferenceRequest, Picked | undefined>()
  readonly #judged = new Map<string, Judged>()
  readonly #stop: () => void
  #options: TruthOptions | undefined
  #distrusted = 0
  #unreported = 0

  constructor(services: {
    readonly clock: Clock
    readonly logger: Logger
    readonly metrics: Metrics
    readonly notices: Notices
    readonly endpoints: Endpoints
    readonly witness: CacheWitness
  }) {
    this.#clock = services.clock
    this.#logger = services.logger.named('truth-loop')
    this.#metrics = services.metrics
    this.#notices = services.notices
    this.#witness = services.witness
    this.#stop = services.endpoints.listen({ removed: (endpoint) => this.#forget(endpoint.id) })
    services.metrics.observed(
      'epp_prefix_fallback',
      "1 for an endpoint whose events have proved wrong, so that this picker's own picks are asked.",
      () => this.#fallbacks(),
    )
  }

  /** Undefined believes all events from now on. What was judged stays where only figures change. */
  configure(options: TruthOptions | undefined): void {
    this.#options = options
    if (options !== undefined) return
    for (const id of [...this.#judged.keys()]) this.#forget(id)
    this.#notices.set(NO_REPORTS_NOTICE, undefined)
    this.#unreported = 0
  }

  /** True when the events of some endpoint are not believed. */
  get distrustsAny(): boolean {
    return this.#distrusted > 0
  }

  /** Why the endpoint's events are not believed; undefined when they are. */
  reasonOf(endpoint: Endpoint): TruthReason | undefined {
    return this.#judged.get(endpoint.id)?.truth.cause?.reason
  }

  /** True where answers have proved the events right again, though some are known to be missing. */
  isProved(endpoint: Endpoint): boolean {
    const truth = this.#judged.get(endpoint.id)?.truth
    if (truth?.isProved !== true) return false
    const evidence = this.#witness.evidenceOf(endpoint)
    return evidence !== undefined && truth.isProvedAt(evidence.epoch)
  }

  /** Undefined when nothing is judged. */
  trustOf(endpoint: Endpoint): Trust | undefined {
    if (this.#options === undefined) return undefined
    const judged = this.#judged.get(endpoint.id)
    const cause = judged?.truth.cause
    if (judged === undefined || cause === undefined) return { state: 'trusted' }
    return {
      state: 'distrusted',
      reason: cause.reason,
      since: new Date(judged.sinceEpochMs).toISOString(),
      text: `${cause.seen}: ${cause.remedy}`,
    }
  }

  picked(request: InferenceRequest, endpoint: Endpoint): void {
    if (this.#options === undefined) return
    // Only the events' own words can be judged: not guesses, and of several prompts engines report the last one alone.
    const isTold = request.attributes.get(PREFIX_FINDING)?.told !== undefined
    const tokens = request.attributes.get(PROMPT_TOKENS)
    if (!isTold || tokens?.exact !== true || tokens.prompts.length !== 1) return
    const evidence = this.#witness.evidenceOf(endpoint)
    if (evidence === undefined) return
    const toldTokens = this.#witness.toldTokens(request, tokens, endpoint)
    this.#picked.set(request, { tokens, toldTokens, atMs: this.#clock.nowMs(), evidence })
  }

  ended(request: InferenceRequest, endpoint: Endpoint, { usage, reason }: Outcome): void {
    const picked = this.#picked.get(request)
    const options = this.#options
    if (picked === undefined || options === undefined) return
    this.#picked.set(request, undefined)
    const now = this.#witness.evidenceOf(endpoint)
    if (usage === undefined || reason !== 'completed' || now === undefined) return
    // What it held at the pick may have been forgotten since: by a gap, a restart, a cache that was cleared.
    if (now.epoch !== picked.evidence.epoch) return
    const judged = this.#of(endpoint, now)
    const { truth } = judged
    if (usage.cachedTokens !== undefined) truth.reports = true
    // vLLM before 0.32 leaves the count out where nothing was cached.
    const cachedTokens = usage.cachedTokens ?? (truth.reports ? 0 : undefined)
    if (cachedTokens === undefined) {
      this.#sayUnreported(picked)
      return
    }
    if (usage.cachedTokens !== undefined) this.#reported()
    const prompt = picked.tokens.prompts[0]!
    const sample: TruthSample = {
      promptTokens: prompt.length,
      engineTokens: usage.promptTokens,
      toldTokens: picked.toldTokens,
      toldLaterTokens:
        picked.toldTokens < cachedTokens
          ? this.#witness.toldTokens(request, picked.tokens, endpoint)
          : picked.toldTokens,
      removedBlocks: now.removedBlocks - picked.evidence.removedBlocks,
      cachedTokens,
      blockTokens: now.blockTokens ?? DEFAULT_BLOCK_TOKENS,
      isSalted: request.cacheSalt !== undefined,
      beginning: this.#witness.beginningOf(request, prompt, endpoint),
    }
    const change = truth.add(sample, judge(sample, options), picked.atMs, now, options)
    if (change !== undefined) this.#say(judged, change, options)
  }

  close(): void {
    this.#stop()
    for (const id of [...this.#judged.keys()]) this.#forget(id)
    this.#notices.set(NO_REPORTS_NOTICE, undefined)
  }

  /** An engine that began anew is judged anew. */
  #of(endpoint: Endpoint, { restarts }: CacheEvidence): Judged {
    const known = this.#judged.get(endpoint.id)
    if (known?.restarts === restarts) return known
    if (known?.truth.cause !== undefined) {
      this.#logger.info('KV events are believed again, since the engine began anew', {
        endpoint: endpoint.hostPort,
      })
      this.#changed('regained')
    }
    this.#forget(endpoint.id)
    const judged = { endpoint, truth: new EndpointTruth(), restarts, sinceEpochMs: 0 }
    this.#judged.set(endpoint.id, judged)
    return judged
  }

  #forget(id: string): void {
    const judged = this.#judged.get(id)
    if (judged === undefined) return
    this.#judged.delete(id)
    if (judged.truth.cause === undefined) return
    this.#distrusted--
    this.#notices.set(noticeOf(judged.endpoint), undefined)
  }

  #say(judged: Judged, change: TrustChange, options: TruthOptions): void {
    const { endpoint, truth } = judged
    const { cause } = truth
    const fields = { endpoint: endpoint.hostPort }
    if (cause === undefined) {
      this.#distrusted--
      this.#changed('regained')
      this.#notices.set(noticeOf(endpoint), undefined)
      this.#logger.info('KV events predict right again and are believed', {
        ...fields,
        rightInRow: options.recoverAfter,
      })
      return
    }
    if (change === 'lost') {
      this.#distrusted++
      judged.sinceEpochMs = this.#clock.epochMs()
      this.#changed('lost')
    }
    const { toldTokens, cachedTokens } = truth.lastWrong!
    const { reason, seen, remedy } = cause
    const counts = { wrong: truth.wrongCount, judged: truth.judged }
    this.#notices.set(
      noticeOf(endpoint),
      `${endpoint.hostPort}: its KV events do not predict what it has cached (${reason}) since ${new Date(judged.sinceEpochMs).toISOString()}: ${counts.wrong} of the last ${counts.judged} answers that tell, ${toldTokens} tokens expected and ${cachedTokens} cached in the last one; ${seen}: ${remedy}. Until ${options.recoverAfter} in a row are right, its matches are estimated from this picker's own picks`,
    )
    this.#logger.warn('KV events predict wrong and are not believed', {
      ...fields,
      reason,
      ...counts,
      expectedTokens: toldTokens,
      cachedTokens,
      seen,
      remedy,
    })
  }

  #changed(change: 'lost' | 'regained'): void {
    this.#metrics
      .counter(
        'epp_prefix_trust_changes_total',
        "Times that an endpoint's events lost or regained belief, by what was seen.",
        { change },
      )
      .inc()
  }

  #sayUnreported({ toldTokens }: Picked): void {
    if (toldTokens === 0 || this.#unreported === NO_REPORTS_ANSWERS) return
    if (++this.#unreported < NO_REPORTS_ANSWERS) return
    const text =
      'the engines do not say how many prompt tokens were cached, so that predictions cannot be checked: start vLLM with --enable-prompt-tokens-details'
    this.#notices.set(NO_REPORTS_NOTICE, text)
    this.#logger.warnOnce(NO_REPORTS_NOTICE, text)
  }

  #reported(): void {
    if (this.#unreported === NO_REPORTS_ANSWERS) this.#notices.set(NO_REPORTS_NOTICE, undefined)
    this.#unreported = 0
  }

  *#fallbacks() {
    for (const { endpoint, truth } of this.#judged.values()) {
      if (truth.cause === undefined) continue
      yield { labels: { endpoint: endpoint.hostPort, reason: truth.cause.reason }, value: 1 }
    }
  }
}

function noticeOf({ hostPort }: Endpoint): string {
  return `prefix-truth:${hostPort}`
}
