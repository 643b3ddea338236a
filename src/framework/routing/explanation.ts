import type { Decision, ProfileTrace, ScorerTrace } from './decision.ts'
import { isTied } from './tie.ts'

/** What one scorer said of one endpoint. */
export interface ExplainedScore {
  /** In [0, 1]. */
  readonly score: number
  readonly weighted: number
  /** What the score is made of, in the scorer's own unit. */
  readonly terms?: Readonly<Record<string, number>>
}

/** One endpoint as one profile saw it. */
export interface ExplainedEndpoint {
  /** As discovery calls it; `host:port` where it is gone. */
  readonly name: string
  /** `host:port`. */
  readonly endpoint: string
  /** The filter that dropped it; what follows is then absent. */
  readonly droppedBy?: string
  /** 1 for the highest total; endpoints that are tied share the better rank. */
  readonly rank?: number
  readonly total?: number
  /** How much lower its total is than the winner's; below 0 where the picker took one with a lower total. */
  readonly behind?: number
  /** By scorer, in the order of the file. */
  readonly scores?: Readonly<Record<string, ExplainedScore>>
  /** Absent when no prefix scorer looked at it. */
  readonly matched?: {
    readonly blocks: number
    readonly tokens: number
    /** Blocks by medium; one that lies on two is counted on both. Only where the index was asked for it. */
    readonly byMedium?: Readonly<Record<string, number>>
  }
  /** Milliseconds; null without metrics. */
  readonly metricsAgeMs?: number | null
}

/** A weight with which another endpoint would have won. */
export interface WeightChange {
  readonly scorer: string
  readonly from: number
  readonly to: number
  /** Name of the endpoint. */
  readonly winner: string
}

export interface ExplainedProfile {
  readonly profile: string
  /** Those that were scored by rank, then those that were dropped. */
  readonly endpoints: readonly ExplainedEndpoint[]
  /** Filters and scorers that failed, and how. */
  readonly failed: Readonly<Record<string, string>>
  /** Why the profile picked nobody. */
  readonly error?: string
}

/** Why a request goes, or went, where it does. */
export interface Explanation {
  /** Name and `host:port`; null when nobody could be picked. */
  readonly winner: { readonly name: string; readonly endpoint: string } | null
  /** One sentence. */
  readonly reason: string
  /** How much higher the winner's total is than the best other one; null when there was no other. */
  readonly margin: number | null
  /** The nearest changes of one weight that change the winner; those that no weight up to 100 changes are left out. */
  readonly wouldChange: readonly WeightChange[]
  /** The one that counts first. */
  readonly profiles: readonly ExplainedProfile[]
}

/** What stands beside a decision's own account. */
export interface ExplanationContext {
  /** As discovery calls the endpoint; `host:port` for one that it does not know. */
  nameOf(hostPort: string): string
  /** Blocks by medium, in the order of the primary profile's `endpoints`. */
  readonly byMedium?: Readonly<Record<string, ArrayLike<number>>>
}

const MAX_WEIGHT = 100
/** Terms of a scorer that a reason names. */
const MAX_SHOWN_TERMS = 2
/** One that differs by less than this share of the most that one does is not named. */
const LEAST_SHOWN_SHARE = 0.1

/** Explains a decision out of what it keeps. */
export function explanationOf(decision: Decision, context: ExplanationContext): Explanation {
  const { nameOf } = context
  const primary = primaryOf(decision)
  const others = decision.profiles.filter((trace) => trace !== primary)
  const winner = primary.endpoints.indexOf(primary.picked[0]!)
  const rival = best(primary.totals, winner)
  return {
    winner: { name: nameOf(primary.picked[0]!), endpoint: primary.picked[0]! },
    reason: reasonOf(primary, winner, rival, nameOf),
    margin: rival < 0 ? null : primary.totals[winner]! - primary.totals[rival]!,
    wouldChange: primary.scorers.flatMap((scorer) => changesOf(primary, scorer, winner, nameOf)),
    profiles: [
      profileOf(primary, context, decision.match),
      ...others.map((trace) => profileOf(trace, { nameOf }, undefined)),
    ],
  }
}

/** `Explanation.reason` alone. */
export function reasonFor(decision: Decision, nameOf: ExplanationContext['nameOf']): string {
  const primary = primaryOf(decision)
  const winner = primary.endpoints.indexOf(primary.picked[0]!)
  return reasonOf(primary, winner, best(primary.totals, winner), nameOf)
}

function primaryOf({ profiles, primary }: Decision): ProfileTrace {
  return profiles.find(({ profile }) => profile === primary)!
}

function profileOf(
  trace: ProfileTrace,
  { nameOf, byMedium }: ExplanationContext,
  match: Decision['match'],
): ExplainedProfile {
  const { endpoints, scorers, totals, metricsAgeMs } = trace
  const winner = totals[endpoints.indexOf(trace.picked[0]!)]!
  const scored = endpoints.map((endpoint, i): ExplainedEndpoint => {
    const blocks = match?.blocks[i] ?? -1
    return {
      ...{ name: nameOf(endpoint), endpoint, rank: rankOf(totals, i), total: totals[i]! },
      behind: winner - totals[i]!,
      scores: Object.fromEntries(scorers.map((scorer) => [scorer.name, scoreOf(scorer, i)])),
      ...(match &&
        blocks >= 0 && {
          matched: {
            blocks,
            tokens: blocks * match.blockTokens[i]!,
            ...(byMedium && { byMedium: at(byMedium, i) }),
          },
        }),
      metricsAgeMs: Number.isNaN(metricsAgeMs[i]) ? null : Math.round(metricsAgeMs[i]!),
    }
  })
  return {
    profile: trace.profile,
    endpoints: [...scored.sort((a, b) => a.rank! - b.rank!), ...droppedOf(trace.filters, nameOf)],
    failed: Object.fromEntries(
      [...trace.filters, ...scorers].flatMap(({ name, error }) =>
        error === undefined ? [] : [[name, error]],
      ),
    ),
  }
}

/** The endpoints that filters dropped, by the filter that did. */
export function droppedOf(
  filters: ProfileTrace['filters'],
  nameOf: ExplanationContext['nameOf'],
): readonly ExplainedEndpoint[] {
  return filters.flatMap(({ name, dropped }) =>
    dropped.map((endpoint) => ({ name: nameOf(endpoint), endpoint, droppedBy: name })),
  )
}

function scoreOf({ weight, scores, terms }: ScorerTrace, i: number): ExplainedScore {
  const score = scores[i]!
  return { score, weighted: score * weight, ...(terms && { terms: at(terms, i) }) }
}

function at(
  values: Readonly<Record<string, ArrayLike<number>>>,
  i: number,
): Readonly<Record<string, number>> {
  return Object.fromEntries(Object.entries(values).map(([name, each]) => [name, each[i]!]))
}

function rankOf(totals: Float64Array, i: number): number {
  return (
    1 + totals.reduce((n, total) => n + Number(total > totals[i]! && !isTied(total, totals[i]!)), 0)
  )
}

/** Position of the highest total but that of `except`; -1 when there is no other. */
function best(totals: Float64Array, except: number): number {
  let found = -1
  for (let i = 0; i < totals.length; i++) {
    if (i !== except && (found < 0 || totals[i]! > totals[found]!)) found = i
  }
  return found
}

function reasonOf(
  { endpoints, scorers, totals, ties }: ProfileTrace,
  winner: number,
  rival: number,
  nameOf: ExplanationContext['nameOf'],
): string {
  const name = nameOf(endpoints[winner]!)
  if (rival < 0) return `${name} was the only endpoint left`
  const other = nameOf(endpoints[rival]!)
  if (scorers.length === 0) return `no scorer is configured: the picker took ${name}`
  const leads = scorers
    .map(({ name: scorer, weight, scores, terms }) => ({
      scorer,
      lead: weight * (scores[winner]! - scores[rival]!),
      why: terms === undefined ? '' : termsText(terms, winner, rival),
    }))
    .filter(({ lead }) => !isTied(lead, 0))
    .sort((a, b) => b.lead - a.lead)
  const shown = leads.map(({ scorer, lead, why }) => `${scorer} ${signed(lead)}${why}`).join(', ')
  if (isTied(totals[winner]!, totals[rival]!)) {
    const balance = shown === '' ? 'every scorer gave both the same' : shown
    return `${name} ties with ${ties - 1} other${ties > 2 ? 's' : ''} (${balance}); the picker broke the tie`
  }
  if (totals[winner]! < totals[rival]!) {
    return `the picker took ${name}, though ${other} has a higher total (${shown})`
  }
  return `${name} leads ${other} by ${amount(totals[winner]! - totals[rival]!)} (${shown})`
}

/** The terms in which two endpoints differ most, as `: prefill 0.01 against 0.02`. */
function termsText(
  terms: Readonly<Record<string, ArrayLike<number>>>,
  winner: number,
  rival: number,
): string {
  const differences = Object.entries(terms)
    .map(([term, of]) => ({ term, of, by: Math.abs(of[winner]! - of[rival]!) }))
    .filter(({ by }) => by > 0)
    .sort((a, b) => b.by - a.by)
  const most = differences[0]?.by ?? 0
  const shown = differences
    .slice(0, MAX_SHOWN_TERMS)
    .filter(({ by }) => by >= most * LEAST_SHOWN_SHARE)
    .map(({ term, of }) => `${term} ${amount(of[winner]!)} against ${amount(of[rival]!)}`)
  return shown.length === 0 ? '' : `: ${shown.join(' and ')}`
}

/** The nearest whole weights above and below a scorer's own at which another endpoint has the highest total. */
function changesOf(
  { endpoints, totals, scorers }: ProfileTrace,
  { name, weight, scores }: ScorerTrace,
  winner: number,
  nameOf: ExplanationContext['nameOf'],
): readonly WeightChange[] {
  if (totals.length < 2 || scorers.length === 0) return []
  const rest = totals.map((total, i) => total - weight * scores[i]!)
  const winnerAt = (to: number) => {
    let first = 0
    const totalOf = (i: number) => rest[i]! + to * scores[i]!
    for (let i = 1; i < rest.length; i++) if (totalOf(i) > totalOf(first)) first = i
    return isTied(totalOf(first), totalOf(winner)) ? winner : first
  }
  let above = Number.POSITIVE_INFINITY
  let below = Number.NEGATIVE_INFINITY
  for (let i = 0; i < rest.length; i++) {
    const slope = scores[i]! - scores[winner]!
    if (i === winner || isTied(slope, 0)) continue
    const crossing = (rest[winner]! - rest[i]!) / slope
    if (slope > 0) above = Math.min(above, Math.max(crossing, weight))
    else below = Math.max(below, Math.min(crossing, weight))
  }
  const changes: WeightChange[] = []
  // Whole weights, as people write them.
  for (const to of [Math.floor(above) + 1, Math.ceil(below) - 1]) {
    const first = to >= 0 && to <= MAX_WEIGHT ? winnerAt(to) : winner
    if (first === winner) continue
    changes.push({ scorer: name, from: weight, to, winner: nameOf(endpoints[first]!) })
  }
  return changes
}

function signed(value: number): string {
  return `${value < 0 ? '-' : '+'}${amount(Math.abs(value))}`
}

function amount(value: number): string {
  return String(Number(value.toPrecision(3)))
}
