import type { Endpoint, PrefixCacheCounters } from '../framework/endpoint.ts'
import type { Clock, Endpoints } from '../framework/services.ts'
import type { EventIntake } from './events/event-intake.ts'
import type { TrackedEndpoint, TrackedOwners } from './tracked-owners.ts'

/** How much newer than the last event a page must be to count it. */
const SETTLE_MS = 2_000
/** How long an engine may work without an event. */
const SILENT_MS = 10_000

/** What of the intake it needs. */
type SilenceIntake = Pick<EventIntake, 'lastEventMs' | 'fellSilent' | 'heard'>

const NOTHING: PrefixCacheCounters = { queriedTokens: 0, hitTokens: 0, finishedRequests: 0 }

/** Where an endpoint's counters stood when its silence began. */
interface Baseline {
  readonly lastEventMs: number
  /** `NOTHING` until a page is newer than the last event. */
  readonly counters: PrefixCacheCounters
  readonly sinceMs: number
}

/**
 * Notices engines whose events do not arrive any more, by what their metrics pages say meanwhile: a prompt of which more
 * than one block was computed anew has filled a block, and that is an event.
 */
export class SilenceCheck {
  readonly #owners: TrackedOwners
  readonly #intake: SilenceIntake
  readonly #endpoints: Endpoints
  readonly #clock: Clock
  readonly #baselines = new Map<TrackedEndpoint, Baseline>()

  constructor(services: {
    readonly owners: TrackedOwners
    readonly intake: SilenceIntake
    readonly endpoints: Endpoints
    readonly clock: Clock
  }) {
    this.#owners = services.owners
    this.#intake = services.intake
    this.#endpoints = services.endpoints
    this.#clock = services.clock
    services.owners.onRemoved((tracked) => this.#baselines.delete(tracked))
  }

  /** Looks at every endpoint once; to be called each second or so. */
  run(): void {
    for (const endpoint of this.#endpoints.list()) {
      const tracked = this.#owners.of(endpoint)
      if (tracked !== undefined) this.#look(endpoint, tracked)
    }
  }

  #look({ metrics }: Endpoint, tracked: TrackedEndpoint): void {
    const counters = metrics?.prefixCache
    const blockTokens = tracked.blockTokens ?? metrics?.blockTokens
    if (metrics === undefined || counters === undefined || blockTokens === undefined) return
    const lastEventMs = this.#intake.lastEventMs(tracked)
    const before = this.#baselines.get(tracked)
    if (before !== undefined && lastEventMs > before.lastEventMs) this.#intake.heard(tracked)
    const isNew =
      before === undefined ||
      before.lastEventMs !== lastEventMs ||
      counters.queriedTokens < before.counters.queriedTokens
    if (isNew) {
      const { scrapedAtMs } = metrics
      // Until the page is newer than the last event, nothing can be compared.
      const counted = scrapedAtMs < lastEventMs + SETTLE_MS ? NOTHING : counters
      this.#baselines.set(tracked, { lastEventMs, counters: counted, sinceMs: scrapedAtMs })
      return
    }
    if (before.counters === NOTHING) {
      if (metrics.scrapedAtMs < lastEventMs + SETTLE_MS) return
      this.#baselines.set(tracked, { lastEventMs, counters, sinceMs: metrics.scrapedAtMs })
      return
    }
    // Of one that has never sent anything nothing is known anyway, and that is said.
    if (lastEventMs === Number.NEGATIVE_INFINITY) return
    const silentMs = this.#clock.nowMs() - before.sinceMs
    const computedTokens = missed(counters) - missed(before.counters)
    // Those that have asked the cache since then, and maybe some that had before.
    const requests =
      counters.finishedRequests -
      before.counters.finishedRequests +
      metrics.running +
      metrics.waiting
    if (silentMs < SILENT_MS || computedTokens <= requests * blockTokens) return
    this.#intake.fellSilent(tracked, { silentMs, computedTokens })
    this.#baselines.set(tracked, {
      ...{ lastEventMs: this.#intake.lastEventMs(tracked), counters },
      sinceMs: this.#clock.nowMs(),
    })
  }
}

function missed({ queriedTokens, hitTokens }: PrefixCacheCounters): number {
  return queriedTokens - hitTokens
}
