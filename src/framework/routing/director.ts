import type { Generation } from '../build.ts'
import type { Cancellation } from '../cancellation.ts'
import { type Endpoint, networkAddress } from '../endpoint.ts'
import { type ErrorCode, SchedulerError } from '../errors.ts'
import { PHASE_BUCKETS_SECONDS } from '../instrument.ts'
import { LiveSet } from '../live-set.ts'
import type { Observer } from '../plugin.ts'
import type { PickRandom } from '../random.ts'
import type { InferenceRequest } from '../request.ts'
import type {
  Clock,
  Endpoints,
  Histogram,
  IncomingRequest,
  Metrics,
  Models,
  Notices,
  OpenAiApi,
  RequestRules,
  Routed,
  Router,
} from '../services.ts'
import type { Decided, DecisionRecorder } from './decided.ts'
import type { DecisionLog } from './decision.ts'
import { decisionText } from './decision-header.ts'
import { decisionOf } from './describe-pick.ts'
import { Exchange } from './exchange.ts'
import { forgetPrompt } from './forget-prompt.ts'
import { requestId } from './headers.ts'
import type { InFlightLedger } from './in-flight.ts'
import { Observers } from './observers.ts'
import { headerChanges, namedEndpoints, outgoingBody } from './outgoing.ts'
import { Preparation, remarkOf } from './preparation.ts'
import type { Configured, ProfileRun } from './profile.ts'
import { cachedTokensAt, loadOf } from './request-load.ts'
import type { NamedReport, RequestLog } from './request-log.ts'
import { type ResponsesMode, responsesText } from './request-policy.ts'
import { runProfiles } from './scheduler.ts'
import { type ShadowRun, shadowRequest } from './shadow.ts'
import { type Trial, tryOut } from './trial.ts'
import { UnseenLoads } from './unseen-loads.ts'

/** How often loads are looked at whose end nothing else tells. */
const SWEEP_MS = 1000

export interface DirectorServices {
  readonly clock: Clock
  /** The plugins' own, which draw from it in picks; the rules of models draw between them. */
  readonly random: PickRandom
  readonly metrics: Metrics
  readonly notices: Notices
  readonly endpoints: Endpoints
  readonly models: Models
  readonly openAi: OpenAiApi
  readonly inFlight: InFlightLedger
  readonly decisions: DecisionLog
  readonly requestLog: RequestLog
  /** Told of every pick before anything follows from it; absent where nothing is recorded. */
  readonly recorder?: DecisionRecorder
  /** Told of every request, whatever the configuration. */
  readonly observers: readonly Configured<Observer>[]
  /** Told of every request that was not routed. */
  refused(code: ErrorCode): void
}

export interface DirectorOptions {
  /** Load of a request whose end is never seen is taken off after this long. */
  readonly requestTimeoutMs: number
  /** Which responses transports pass; the configuration says when absent. */
  readonly responses?: ResponsesMode
  /** Endpoints to name after the target, for gateways that try them; those that the picker picks when absent. */
  readonly fallbackEndpoints?: number
  /** True where all responses pass through this process anyway: `auto` then looks at them. */
  readonly passesResponses?: boolean
  /** Whether responses say what was decided; the configuration says when absent. */
  readonly decisionHeader?: boolean
  /** `namespace/name` of the pool, for decisions; undefined where it has none. */
  readonly pool?: string
  /** False leaves the gateway's subset of endpoints unread; true when absent. */
  readonly subsetHints?: boolean
}

/**
 * Takes a request from its bytes to a pick, and keeps account of it until it has ended.
 *
 * From the snapshot of endpoints to the reservation of load everything happens in one synchronous step, so that the
 * next pick sees this one.
 */
export class Director implements Router, Disposable {
  readonly #services: DirectorServices
  readonly #options: DirectorOptions
  readonly #exchanges = new Map<string, LiveSet<Exchange>>()
  readonly #phases: Readonly<Record<'parse' | 'produce' | 'schedule' | 'whole', Histogram>>
  readonly #stopListening: () => void
  readonly #sweep: NodeJS.Timeout
  readonly #unseenLoads: UnseenLoads
  readonly #preparation: Preparation
  /** Requests that are being routed by a generation, or that its plugins are still to be told of. */
  readonly #uses = new Map<Generation, number>()
  readonly #drained = new Map<Generation, () => void>()
  #observers: { readonly generation: Generation; readonly all: Observers } | undefined
  #routed = 0
  #generation: Generation

  constructor(services: DirectorServices, options: DirectorOptions, generation: Generation) {
    this.#services = services
    this.#options = options
    this.#generation = generation
    this.#unseenLoads = new UnseenLoads(services.clock)
    this.#preparation = new Preparation(services, options)
    this.#tellOfUnseen(generation)
    const { metrics, endpoints, inFlight } = services
    const phase = (name: string) =>
      metrics.histogram(
        'epp_phase_duration_seconds',
        'Time from the complete request to the pick, by phase.',
        PHASE_BUCKETS_SECONDS,
        { phase: name },
      )
    this.#phases = {
      parse: phase('parse'),
      produce: phase('produce'),
      schedule: phase('schedule'),
      whole: phase('whole'),
    }
    metrics.observed('epp_requests_in_flight', 'Requests picked and not ended.', () =>
      endpoints.list().map((endpoint) => ({
        labels: { endpoint: endpoint.hostPort },
        value: inFlight.requests(endpoint),
      })),
    )
    this.#stopListening = endpoints.listen({
      removed: (endpoint) => {
        for (const open of this.#exchanges.get(endpoint.id)?.all() ?? []) open.end('endpoint-gone')
        this.#exchanges.delete(endpoint.id)
        this.#unseenLoads.forget(endpoint)
        inFlight.forget(endpoint)
      },
    })
    this.#sweep = setInterval(
      () => this.#endOverdue(),
      Math.min(options.requestTimeoutMs, SWEEP_MS),
    )
    this.#sweep.unref()
    activate(generation)
  }

  get generation(): Generation {
    return this.#generation
  }

  /** What objects say of models and priorities, from the next request on. */
  setRules(rules: RequestRules): void {
    this.#preparation.rules = rules
  }

  /**
   * Puts a new configuration to work for the next request.
   *
   * @returns the old one, once no request uses it any more
   */
  swap(generation: Generation): Promise<Generation> {
    const old = this.#generation
    this.#generation = generation
    old.retire()
    activate(generation)
    this.#tellOfUnseen(generation)
    return new Promise((resolve) => {
      if ((this.#uses.get(old) ?? 0) === 0) resolve(old)
      else this.#drained.set(old, () => resolve(old))
    })
  }

  async route(incoming: IncomingRequest, cancellation: Cancellation): Promise<Routed> {
    const id = requestId(incoming.headers)
    const generation = this.#generation
    this.#use(generation)
    try {
      return await this.#route(id, generation, incoming, cancellation)
    } catch (error) {
      this.#release(generation)
      const code = error instanceof SchedulerError ? error.code : 'PLUGIN_FAILED'
      this.#services.requestLog.failed(id, code, error)
      this.#services.refused(code)
      throw error
    }
  }

  /**
   * What would be picked for a request now; nothing follows from it.
   *
   * @throws {SchedulerError} as `route`, for what is wrong before the profiles run
   */
  async explain(incoming: IncomingRequest, cancellation: Cancellation): Promise<Trial> {
    const generation = this.#generation
    this.#use(generation)
    try {
      return await tryOut(generation, this.#preparation, incoming, cancellation, {
        ...this.#services,
        pool: this.#options.pool,
      })
    } finally {
      this.#release(generation)
    }
  }

  mayWatchResponse(): boolean {
    const mode = this.#responsesOf(this.#generation)
    return mode === 'auto' ? this.#wantsResponses(this.#generation) : mode !== 'none'
  }

  [Symbol.dispose](): void {
    clearInterval(this.#sweep)
    this.#stopListening()
  }

  /** The generation is released when the exchange has ended. */
  async #route(
    id: string,
    generation: Generation,
    incoming: IncomingRequest,
    cancellation: Cancellation,
  ): Promise<Routed> {
    const { openAi, endpoints, clock, inFlight } = this.#services
    const { saltHeader } = generation.requests
    const startMs = performance.now()
    const read = this.#preparation.read(id, incoming, saltHeader)
    const { request } = read
    const parsedMs = performance.now()
    this.#phases.parse.observe((parsedMs - startMs) / 1000)

    await this.#preparation.complete(generation, read, incoming, cancellation)
    const body = outgoingBody(incoming, read, openAi, saltHeader)
    const producedMs = performance.now()
    this.#phases.produce.observe((producedMs - parsedMs) / 1000)

    // From here to the reservation nothing waits.
    const candidates = this.#preparation.candidates(incoming)
    this.#unseenLoads.expire(endpoints.list())
    const shadowed = generation.shadows.map(() => shadowRequest(request))
    const made = this.#pick(generation, request, candidates)
    if ('error' in made.outcome) throw made.outcome.error
    const runs = made.outcome
    const target = runs.primary.picked[0]!
    const { nowMs, seed, atMs } = made
    const shadows = generation.shadows.map((shadow, i) =>
      shadow.run({
        ...{ request: shadowed[i]!, candidates, nowMs, random: this.#services.random, seed },
        acting: { target, matchedTokens: cachedTokensAt(request, target) },
      }),
    )
    const load = loadOf(request, target, inFlight.meanOutputTokens)
    const reservation = inFlight.reserve(target, load)
    const destinations = namedEndpoints(runs.primary, this.#options.fallbackEndpoints)
    const scheduledMs = performance.now()
    const decision = decisionOf({
      atMs,
      pool: this.#options.pool,
      generation: generation.id,
      read,
      runs,
      poolSize: endpoints.list().length,
      candidates: candidates.length,
      destinations,
      remark: remarkOf(incoming, read),
      ...(shadows.length > 0 && { shadows: shadows.map(({ said }) => said) }),
      phasesUs: {
        parse: Math.round((parsedMs - startMs) * 1000),
        produce: Math.round((producedMs - parsedMs) * 1000),
        schedule: Math.round((scheduledMs - producedMs) * 1000),
      },
    })
    const observers = this.#observersOf(generation, shadows)
    observers.picked(request, target, decision)
    this.#phases.schedule.observe((scheduledMs - producedMs) / 1000)
    this.#phases.whole.observe((scheduledMs - startMs) / 1000)
    this.#services.decisions.add(decision)
    this.#services.requestLog.handled(
      request,
      decision,
      target,
      this.#reports(generation, runs.primary, request),
    )
    for (const each of [request, ...shadowed]) forgetPrompt(each)

    const watchResponse = this.#watchesNext(generation)
    const exchange = new Exchange({
      request,
      decision,
      target,
      observers,
      reservation,
      fade: (held, pickedMs) => this.#unseenLoads.add(target, held, pickedMs),
      usageScanner: openAi.usageScanner(),
      clock,
      destination: destinations.map(networkAddress).join(','),
      watchResponse,
      decisionHeader: this.#setsDecision(generation) ? decisionText(decision) : undefined,
      body,
      changes: headerChanges(id, incoming, target, generation.requests),
      onEnd: (ended) => {
        this.#exchanges.get(target.id)?.delete(ended)
        if (decision.ended === 'completed') inFlight.answered(decision.usage?.completionTokens ?? 0)
        this.#release(generation)
        this.#services.requestLog.ended(request, decision, target)
      },
    })
    if (watchResponse) this.#open(target, exchange)
    else exchange.end('not-watched')
    return exchange
  }

  /** Runs the profiles with draws of the pick's own, and has it recorded. */
  #pick(
    generation: Generation,
    request: InferenceRequest,
    candidates: readonly Endpoint[],
  ): Decided {
    const { clock, random, endpoints, recorder } = this.#services
    const nowMs = clock.nowMs()
    const atMs = clock.epochMs()
    const seed = random.nextPick()
    let outcome: Decided['outcome']
    try {
      outcome = runProfiles(generation, request, candidates, nowMs)
    } catch (error) {
      outcome = { error }
    }
    const decided: Decided = {
      request,
      candidates,
      nowMs,
      atMs,
      seed,
      endpoints: endpoints.list(),
      generation: generation.id,
      outcome,
    }
    recorder?.decided(decided)
    return decided
  }

  /** Everybody who is told of a request; those of shadows are its own. */
  #observersOf(generation: Generation, shadows: readonly ShadowRun[]): Observers {
    if (shadows.length > 0) {
      const ofShadows = shadows.flatMap(({ observers }) => observers)
      return new Observers([...generation.observers, ...this.#services.observers, ...ofShadows])
    }
    if (this.#observers?.generation !== generation) {
      const all = new Observers([...generation.observers, ...this.#services.observers])
      this.#observers = { generation, all }
    }
    return this.#observers.all
  }

  /** Whether responses are to say what was decided. */
  #setsDecision({ requests }: Generation): boolean {
    return this.#options.decisionHeader ?? requests.decisionHeader ?? false
  }

  #wantsResponses(generation: Generation): boolean {
    const { passesResponses = false } = this.#options
    return passesResponses || generation.watchesResponses || this.#setsDecision(generation)
  }

  /** Whether the response of the next request is looked at. */
  #watchesNext(generation: Generation): boolean {
    const mode = this.#responsesOf(generation)
    if (mode === 'auto') return this.#wantsResponses(generation)
    if (typeof mode === 'string') return mode === 'full'
    return this.#routed++ % mode.sampled === 0
  }

  #responsesOf(generation: Generation): ResponsesMode {
    return this.#options.responses ?? generation.requests.responses ?? 'auto'
  }

  #tellOfUnseen(generation: Generation): void {
    const mode = this.#responsesOf(generation)
    const isWanted = generation.watchesResponses || this.#setsDecision(generation)
    const isUnseen = isWanted && mode !== 'auto' && mode !== 'full'
    const why = generation.watchesResponses
      ? 'plugins want to be told of them'
      : 'x-epp-decision is to be put into them'
    this.#services.notices.set(
      'responses-unseen',
      isUnseen
        ? `responses are ${responsesText(mode)}, though ${why}: load that they count goes with the next scrape; say auto or full where that matters`
        : undefined,
    )
  }

  /** What the primary profile's scorers want in the log; empty when nobody would read it. */
  #reports(generation: Generation, run: ProfileRun, request: InferenceRequest) {
    if (!this.#services.requestLog.enabled) return []
    const profile = generation.profiles.get(run.trace.profile)
    const reports: NamedReport[] = []
    for (const { name, plugin, probe } of profile?.scorers ?? []) {
      const trace = run.trace.scorers.find((each) => each.name === name)
      if (trace === undefined || trace.error !== undefined) continue
      probe.notify(() => {
        const report = plugin.report?.(request, run.scored)
        if (report) reports.push({ name, report })
      })
    }
    return reports
  }

  #use(generation: Generation): void {
    this.#uses.set(generation, (this.#uses.get(generation) ?? 0) + 1)
  }

  #release(generation: Generation): void {
    const uses = this.#uses.get(generation)! - 1
    if (uses > 0) this.#uses.set(generation, uses)
    else {
      this.#uses.delete(generation)
      this.#drained.get(generation)?.()
      this.#drained.delete(generation)
    }
  }

  #open(target: Endpoint, exchange: Exchange): void {
    let open = this.#exchanges.get(target.id)
    if (open === undefined) {
      open = new LiveSet()
      this.#exchanges.set(target.id, open)
    }
    open.add(exchange)
  }

  #endOverdue(): void {
    this.#unseenLoads.expire(this.#services.endpoints.list())
    const oldestMs = this.#services.clock.nowMs() - this.#options.requestTimeoutMs
    for (const open of this.#exchanges.values()) {
      for (const each of open.all()) if (each.startedMs < oldestMs) each.end('timeout')
    }
  }
}

function activate(generation: Generation): void {
  // A service has the configuration of the plugin that speaks last: shadows speak for those that nobody else configures.
  const shadows = generation.shadows.flatMap(({ observers }) => observers)
  for (const { plugin, probe } of [...shadows, ...generation.observers]) {
    probe.notify(() => plugin.activated?.())
  }
}
