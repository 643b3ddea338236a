import { networkAddress } from '../framework/endpoint.ts'
import type { Clock, Counter, Endpoints, Logger, Metrics, Notices } from '../framework/services.ts'

const NOTICE = 'endpoint-ejected'
/** Endpoints that the notice names; it tells the number of the others. */
const NAMED = 10
/** Shortest time between two probes of one endpoint that requests ask for. */
const HURRY_MS = 1000

/** A server that gets no requests for the time being. */
export interface EjectedEndpoint {
  /** `host:port`; a port that breaks is broken for all ranks behind it. */
  readonly endpoint: string
  /** When it is probed next. */
  readonly untilEpochMs: number
  readonly reason: string
}

/** What went wrong with a connection. */
export type EjectionReason = 'refused' | 'reset'

interface State {
  /** Ejections and failed probes since it last answered a request. */
  failures: number
  /** True while it gets no requests. */
  out: boolean
  untilEpochMs: number
  reason: string
  /** Monotonic milliseconds; of the ejection before the first probe. */
  probedMs: number
  probing: boolean
  timer: NodeJS.Timeout | undefined
}

export interface EjectionServices {
  readonly endpoints: Endpoints
  readonly clock: Clock
  readonly logger: Logger
  readonly metrics: Metrics
  readonly notices: Notices
  /** Asks an endpoint for its health; undefined when it is well, else what is wrong. Never rejects. */
  probe(endpoint: string): Promise<string | undefined>
}

/**
 * Which endpoints are left out since their connections broke.
 *
 * The first time is short; each failed probe, and each failure before the endpoint has answered a request again, doubles it.
 * An endpoint comes back by a probe alone. One that discovery removes is forgotten.
 */
export class Ejections {
  readonly #services: EjectionServices
  readonly #firstMs: number
  readonly #maxMs: number
  readonly #states = new Map<string, State>()
  readonly #ejections: Readonly<Record<EjectionReason, Counter>>
  readonly #probes: Readonly<Record<'ok' | 'failed', Counter>>
  readonly #stopListening: () => void
  #avoid: ReadonlySet<string> | undefined
  #stopped = false

  /**
   * @param firstMs time of the first ejection
   * @param maxMs longest time
   */
  constructor(services: EjectionServices, firstMs: number, maxMs: number) {
    this.#services = services
    this.#firstMs = firstMs
    this.#maxMs = maxMs
    const { metrics, endpoints } = services
    const ejections = (reason: EjectionReason) =>
      metrics.counter(
        'epp_proxy_ejections_total',
        'Endpoints left out since a connection broke before the response began.',
        { reason },
      )
    this.#ejections = { refused: ejections('refused'), reset: ejections('reset') }
    const probes = (result: string) =>
      metrics.counter('epp_proxy_probes_total', 'Probes of ejected endpoints by result.', {
        result,
      })
    this.#probes = { ok: probes('ok'), failed: probes('failed') }
    metrics.observed('epp_proxy_endpoints_ejected', 'Endpoints that get no requests now.', () => [
      { labels: {}, value: this.#avoid?.size ?? 0 },
    ])
    this.#stopListening = endpoints.listen({
      removed: ({ hostPort }) => {
        const address = networkAddress(hostPort)
        if (this.#states.has(address) && !this.#isThere(address)) this.#forget(address)
      },
    })
  }

  /** `host:port` of those that are out; undefined for none. The same set until something changes. */
  get avoid(): ReadonlySet<string> | undefined {
    return this.#avoid
  }

  /** The same, and these. */
  avoidAnd(more: ReadonlySet<string> | undefined): ReadonlySet<string> | undefined {
    const out = this.#avoid
    return out === undefined ? more : more === undefined ? out : new Set([...out, ...more])
  }

  list(): readonly EjectedEndpoint[] {
    return [...this.#states]
      .filter(([, { out }]) => out)
      .map(([endpoint, { untilEpochMs, reason }]) => ({ endpoint, untilEpochMs, reason }))
  }

  /**
   * Leaves an endpoint out; nothing happens where it is out already, or gone.
   *
   * @param detail what the system said, for people
   */
  eject(endpoint: string, reason: EjectionReason, detail: string): void {
    const { clock, logger } = this.#services
    const before = this.#states.get(endpoint)
    if (this.#stopped || before?.out) return
    if (!this.#isThere(endpoint)) return
    const state: State = before ?? {
      failures: 0,
      out: true,
      untilEpochMs: 0,
      reason: '',
      probedMs: 0,
      probing: false,
      timer: undefined,
    }
    this.#states.set(endpoint, state)
    state.out = true
    state.reason = `${reason === 'refused' ? 'it refuses connections' : 'its connections break'} (${detail})`
    state.probedMs = clock.nowMs()
    this.#ejections[reason].inc()
    if (state.failures === 0) logger.warn('Endpoint ejected', { endpoint, reason: state.reason })
    this.#fail(endpoint, state)
    this.#changed()
  }

  /** A request was answered: what went wrong earlier does not count any more. */
  answered(endpoint: string): void {
    if (this.#states.size === 0) return
    if (this.#states.get(endpoint)?.out === false) this.#states.delete(endpoint)
  }

  /** Probes those that are out at once, as no other endpoint is left for a request. */
  hurry(): void {
    const nowMs = this.#services.clock.nowMs()
    for (const [endpoint, state] of this.#states) {
      if (state.out && !state.probing && nowMs - state.probedMs >= HURRY_MS) {
        void this.#probe(endpoint, state)
      }
    }
  }

  stop(): void {
    this.#stopped = true
    this.#stopListening()
    for (const { timer } of this.#states.values()) clearTimeout(timer)
    this.#states.clear()
    this.#changed()
  }

  #isThere(address: string): boolean {
    const { endpoints } = this.#services
    return endpoints.list().some(({ hostPort }) => networkAddress(hostPort) === address)
  }

  #forget(endpoint: string): void {
    const state = this.#states.get(endpoint)
    if (state === undefined) return
    clearTimeout(state.timer)
    this.#states.delete(endpoint)
    this.#changed()
  }

  #fail(endpoint: string, state: State): void {
    const waitMs = Math.min(this.#maxMs, this.#firstMs * 2 ** Math.min(state.failures, 30))
    state.failures++
    state.untilEpochMs = this.#services.clock.epochMs() + waitMs
    clearTimeout(state.timer)
    state.timer = setTimeout(() => void this.#probe(endpoint, state), waitMs)
    state.timer.unref()
  }

  async #probe(endpoint: string, state: State): Promise<void> {
    const { clock, logger, probe } = this.#services
    state.probing = true
    state.probedMs = clock.nowMs()
    clearTimeout(state.timer)
    const problem = await probe(endpoint)
    state.probing = false
    // It may have gone meanwhile, and another have come in its place.
    if (this.#states.get(endpoint) !== state) return
    if (problem === undefined) {
      this.#probes.ok.inc()
      state.out = false
      logger.info('Endpoint is back', { endpoint })
    } else {
      this.#probes.failed.inc()
      state.reason = problem
      this.#fail(endpoint, state)
    }
    this.#changed()
  }

  #changed(): void {
    const out = this.list()
    this.#avoid = out.length === 0 ? undefined : new Set(out.map(({ endpoint }) => endpoint))
    this.#services.notices.set(NOTICE, out.length === 0 ? undefined : noticeText(out))
  }
}

function noticeText(out: readonly EjectedEndpoint[]): string {
  const named = out
    .slice(0, NAMED)
    .map(
      ({ endpoint, reason, untilEpochMs }) =>
        `${endpoint}: ${reason}, probed again at ${new Date(untilEpochMs).toISOString()}`,
    )
  const more = out.length > NAMED ? `; and ${out.length - NAMED} more` : ''
  return `the proxy sends nothing to ${named.join('; ')}${more}`
}
