import type { Endpoint } from '../endpoint.ts'
import { SchedulerError } from '../errors.ts'
import type { PluginProbe } from '../instrument.ts'
import type { Filter, Picker, Scored, Scorer } from '../plugin.ts'
import type { InferenceRequest } from '../request.ts'
import type { FilterTrace, ProfileTrace, ScorerTrace } from './decision.ts'

/** A configured plugin: the name that the YAML gives it, what it does, what it is measured with. */
export interface Configured<T> {
  readonly name: string
  readonly plugin: T
  readonly probe: PluginProbe
}

export interface ConfiguredScorer extends Configured<Scorer> {
  readonly weight: number
}

/** What a profile picked, and why. */
export interface ProfileRun {
  /** The target first, fallbacks after it. */
  readonly picked: readonly Endpoint[]
  /** The endpoints that were scored, in the trace's order. */
  readonly scored: readonly Endpoint[]
  readonly trace: ProfileTrace
}

/** Totals closer than this count as equal: sums of the same scores differ by rounding when scorers are reordered. */
const TIE = 1e-9

/** Filters, then scores, then picks; synchronous, and without state of its own. */
export class Profile {
  readonly name: string
  readonly scorers: readonly ConfiguredScorer[]
  readonly #filters: readonly Configured<Filter>[]
  readonly #picker: Configured<Picker>

  constructor(
    name: string,
    filters: readonly Configured<Filter>[],
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
   * @throws {SchedulerError} NO_ENDPOINTS when the filters leave none, PLUGIN_CONTRACT and PLUGIN_FAILED for a plugin
   */
  run(request: InferenceRequest, candidates: readonly Endpoint[], nowMs: number): ProfileRun {
    const filters: FilterTrace[] = []
    let endpoints = candidates
    for (const { name, plugin, probe } of this.#filters) {
      const left = probe.call(() => plugin.filter(request, endpoints))
      filters.push({ name, dropped: droppedFrom(endpoints, left) })
      endpoints = left
      if (endpoints.length === 0) {
        throw new SchedulerError(
          'NO_ENDPOINTS',
          `filter "${name}" of profile "${this.name}" left none of ${candidates.length} endpoints for this request`,
        )
      }
    }

    const totals = new Float64Array(endpoints.length)
    const scorers: ScorerTrace[] = this.scorers.map(({ name, plugin, weight, probe }) => {
      const [given, terms] = probe.call(() => [plugin.score(request, endpoints), plugin.terms?.()])
      const scores = probe.clamp(given, endpoints.length)
      for (let i = 0; i < totals.length; i++) totals[i]! += weight * scores[i]!
      return { name, weight, scores, ...(terms && { terms }) }
    })

    const scored: Scored[] = endpoints.map((endpoint, i) => ({ endpoint, score: totals[i]! }))
    const { name, plugin, probe } = this.#picker
    const picked = probe.call(() => plugin.pick(request, scored))
    if (picked.length === 0 || !picked.every((endpoint) => endpoints.includes(endpoint))) {
      throw new SchedulerError(
        'PLUGIN_CONTRACT',
        `picker "${name}" must return at least one of the ${endpoints.length} endpoints it was given`,
      )
    }
    const best = totals.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
    return {
      picked,
      scored: endpoints,
      trace: {
        profile: this.name,
        filters,
        endpoints: endpoints.map((endpoint) => endpoint.hostPort),
        scorers,
        totals,
        ties: totals.reduce((count, total) => count + Number(isTied(total, best)), 0),
        picked: picked.map((endpoint) => endpoint.hostPort),
        metricsAgeMs: Float64Array.from(endpoints, ({ metrics }) =>
          metrics ? nowMs - metrics.scrapedAtMs : Number.NaN,
        ),
      },
    }
  }
}

/** True when two totals differ by no more than rounding. */
export function isTied(a: number, b: number): boolean {
  return Math.abs(a - b) <= TIE
}

function droppedFrom(before: readonly Endpoint[], after: readonly Endpoint[]): readonly string[] {
  if (after.length === before.length) return []
  const kept = new Set(after)
  return before.filter((endpoint) => !kept.has(endpoint)).map((endpoint) => endpoint.hostPort)
}
