import type { Endpoint } from '../endpoint.ts'
import { SchedulerError } from '../errors.ts'
import type { PluginProbe } from '../instrument.ts'
import { NEUTRAL_SCORE, type OnError } from '../on-error.ts'
import type { Filter, Picker, Scored, Scorer } from '../plugin.ts'
import type { InferenceRequest } from '../request.ts'
import type { FilterTrace, ProfileTrace } from './decision.ts'
import { highestOf, type Influence, winnerOf } from './influence.ts'
import { type ScorerRun, TraceKeeper } from './kept-trace.ts'
import { isTied } from './tie.ts'

/** A configured plugin: the name that the YAML gives it, what it does, what it is measured with. */
export interface Configured<T> {
  readonly name: string
  readonly plugin: T
  readonly probe: PluginProbe
}

export interface ConfiguredFilter extends Configured<Filter> {
  readonly onError: OnError
}

export interface ConfiguredScorer extends Configured<Scorer> {
  readonly weight: number
  readonly onError: OnError
  readonly influence: Influence
}

/** What a profile picked, and why. */
export interface ProfileRun {
  /** The target first, fallbacks after it. */
  readonly picked: readonly Endpoint[]
  /** The endpoints that were scored, in the trace's order. */
  readonly scored: readonly Endpoint[]
  readonly trace: ProfileTrace
}

/** A run from which nothing follows: nothing is counted, and what filters did is kept though they left nobody. */
export interface ProfileTrial {
  readonly filters: FilterTrace[]
}

/** Characters of a plugin's error that a decision keeps. */
const MAX_ERROR_CHARACTERS = 300

/** Filters, then scores, then picks; synchronous, and nothing of one request is kept for the next. */
export class Profile {
  readonly name: string
  readonly scorers: readonly ConfiguredScorer[]
  readonly #filters: readonly ConfiguredFilter[]
  readonly #picker: Configured<Picker>
  readonly #keeper = new TraceKeeper()
  /** Of the run at hand. */
  #totals = new Float64Array(0)
  #metricsAgeMs = new Float64Array(0)
  #named: { readonly endpoints: readonly Endpoint[]; readonly names: readonly string[] } | undefined

  constructor(
    name: string,
    filters: readonly ConfiguredFilter[],
    scorers: readonly ConfiguredScorer[],
    picker: Configured<Picker>,
  ) {
    this.name = name
    this.scorers = scorers
    this.#filters = filters
    this.#picker = picker
  }

  /**
   * @param candidates not empty
   * @param nowMs the clock's time, for the age of the data
   * @throws {SchedulerError} NO_ENDPOINTS when the filters leave none; PLUGIN_CONTRACT and PLUGIN_FAILED for a plugin whose
   *   `onError` is `fail`; what a plugin refuses the request with
   */
  run(
    request: InferenceRequest,
    candidates: readonly Endpoint[],
    nowMs: number,
    trial?: ProfileTrial,
  ): ProfileRun {
    const filters: FilterTrace[] = trial?.filters ?? []
    let endpoints = candidates
    for (const filter of this.#filters) {
      endpoints = narrow(filter, request, endpoints, filters)
      if (endpoints.length === 0) {
        throw new SchedulerError(
          'NO_ENDPOINTS',
          `filter "${filter.name}" of profile "${this.name}" left none of ${candidates.length} endpoints for this request`,
        )
      }
    }

    if (this.#totals.length !== endpoints.length) {
      this.#totals = new Float64Array(endpoints.length)
      this.#metricsAgeMs = new Float64Array(endpoints.length)
    }
    const totals = this.#totals.fill(0)
    const scorers: ScorerRun[] = []
    for (const scorer of this.scorers) {
      const run = score(scorer, request, endpoints)
      if (run === undefined) continue
      const { weight, scores } = run
      for (let i = 0; i < totals.length; i++) totals[i]! += weight * scores[i]!
      scorers.push(run)
    }

    const scored: Scored[] = []
    const metricsAgeMs = this.#metricsAgeMs
    for (let i = 0; i < endpoints.length; i++) {
      const endpoint = endpoints[i]!
      scored.push({ endpoint, score: totals[i]! })
      metricsAgeMs[i] = endpoint.metrics ? nowMs - endpoint.metrics.scrapedAtMs : Number.NaN
    }
    const { name, plugin, probe } = this.#picker
    const picked = probe.call(() => {
      const found = plugin.pick(request, scored)
      if (found.length > 0 && found.every((endpoint) => endpoints.includes(endpoint))) return found
      throw new SchedulerError(
        'PLUGIN_CONTRACT',
        `picker "${name}" must return at least one of the ${endpoints.length} endpoints it was given`,
      )
    })
    if (!trial) {
      this.#countInfluence(scorers, totals, winnerOf(totals, endpoints.indexOf(picked[0]!)))
    }
    return {
      picked,
      scored: endpoints,
      trace: this.#keeper.trace({
        profile: this.name,
        filters,
        endpoints: this.#namesOf(endpoints),
        scorers,
        totals,
        ties: tiesOf(totals),
        picked: picked.map((endpoint) => endpoint.hostPort),
        metricsAgeMs,
      }),
    }
  }

  /** `hostPort` of each; most requests have the same endpoints as the one before. */
  #namesOf(endpoints: readonly Endpoint[]): readonly string[] {
    if (this.#named?.endpoints !== endpoints) {
      this.#named = { endpoints, names: endpoints.map(({ hostPort }) => hostPort) }
    }
    return this.#named.names
  }

  /** Of the scorers that did not fail: those that did have no run, or one with an error. */
  #countInfluence(runs: readonly ScorerRun[], totals: Float64Array, winner: number): void {
    let next = 0
    for (const { name, influence } of this.scorers) {
      const run = runs[next]
      if (run?.name !== name) continue
      next++
      if (run.error === undefined) influence.count(run, totals, winner)
    }
  }
}

/** How many have the highest total. */
function tiesOf(totals: Float64Array): number {
  const best = highestOf(totals)
  let ties = 0
  for (let i = 0; i < totals.length; i++) if (isTied(totals[i]!, best)) ties++
  return ties
}

/** The endpoints that the filter left, with its trace added; all of them when it failed and may. */
function narrow(
  { name, plugin, probe, onError }: ConfiguredFilter,
  request: InferenceRequest,
  endpoints: readonly Endpoint[],
  traces: FilterTrace[],
): readonly Endpoint[] {
  const passed = probe.attempt(onError, () => {
    const left = plugin.filter(request, endpoints)
    return { left, dropped: droppedFrom(endpoints, left, name) }
  })
  if (!(passed instanceof SchedulerError)) {
    traces.push({ name, dropped: passed.dropped })
    return passed.left
  }
  if (onError === 'neutral') traces.push({ name, dropped: [], error: errorText(passed) })
  return endpoints
}

/** What the scorer said; undefined when it failed and is left out for that. */
function score(
  { name, plugin, weight, probe, onError }: ConfiguredScorer,
  request: InferenceRequest,
  endpoints: readonly Endpoint[],
): ScorerRun | undefined {
  const said = probe.attempt(onError, () => {
    const scores = probe.clamp(plugin.score(request, endpoints), endpoints.length)
    const terms = plugin.terms?.()
    return terms ? { name, weight, scores, terms } : { name, weight, scores }
  })
  if (!(said instanceof SchedulerError)) return said
  if (onError !== 'neutral') return undefined
  const scores = new Float64Array(endpoints.length).fill(NEUTRAL_SCORE)
  return { name, weight, scores, error: errorText(said) }
}

/** @throws {SchedulerError} PLUGIN_CONTRACT when `after` is not a part of `before` */
function droppedFrom(
  before: readonly Endpoint[],
  after: readonly Endpoint[],
  filter: string,
): readonly string[] {
  if (after === before) return []
  if (Array.isArray(after)) {
    const kept = new Set(after)
    const dropped = before.filter((endpoint) => !kept.has(endpoint))
    if (after.length === kept.size && before.length - dropped.length === kept.size) {
      return dropped.map((endpoint) => endpoint.hostPort)
    }
  }
  throw new SchedulerError(
    'PLUGIN_CONTRACT',
    `filter "${filter}" must return a list of endpoints among the ${before.length} it was given, none of them twice`,
  )
}

function errorText({ message }: SchedulerError): string {
  return message.slice(0, MAX_ERROR_CHARACTERS)
}
