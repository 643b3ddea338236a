import type { ReplayReport } from '../app/replay.ts'
import type { MovedRequest, Picks } from '../replay/comparison.ts'
import type { ScorerInfluence } from '../replay/scorer-influence.ts'
import { plainTable } from './plain-table.ts'

const SHOWN_ENDPOINTS = 20

/** A replay for people: what moves, what it is worth, why, and what the answer does not cover. */
export function reportText(report: ReplayReport): string {
  const { before, after, decisions, moved, ceiling, engines } = report
  const lines = [
    `${decisions} decisions, ${time(report.fromMs)} to ${time(report.toMs)}`,
    `${report.config} against ${report.against}`,
    '',
    `${share(moved, decisions)} of the decisions move (${moved} of ${decisions})`,
    ...refusedLines(report),
    '',
    figures(before, after),
  ]
  if (!Number.isNaN(ceiling)) {
    lines.push(`endless caches would hold ${percent(ceiling)} of the prompt tokens`)
  }
  if (engines) {
    lines.push(
      `of the recorded picks the engines counted ${share(engines.cachedTokens, engines.promptTokens)} as cached (${engines.answers} answers)`,
    )
  }
  lines.push('', 'scorers', scorers(before.scorers, after.scorers), '', 'endpoints')
  lines.push(endpoints(report))
  if (report.mostDifferent.length > 0) {
    lines.push('', 'most different, by matched tokens lost', requests(report.mostDifferent))
  }
  lines.push('', ...notes(report))
  return `${lines.join('\n')}\n`
}

function refusedLines({ refused }: ReplayReport): readonly string[] {
  const lines: string[] = []
  if (refused.after > 0) lines.push(`${refused.after} of them find no endpoint any more`)
  if (refused.before > 0) lines.push(`${refused.before} of them found no endpoint before`)
  return lines
}

function figures(before: Picks, after: Picks): string {
  const rows: readonly (readonly [string, (picks: Picks) => string])[] = [
    ['expected hit rate', ({ hitRate }) => percent(hitRate)],
    ['matched tokens', ({ matchedTokens }) => String(matchedTokens)],
    ['picks, busiest / mean', ({ pickSkew }) => ratio(pickSkew)],
    ['tokens to compute, busiest / mean', ({ uncachedSkew }) => ratio(uncachedSkew)],
    ['in-flight tokens found, picked / mean', ({ inFlightRatio }) => ratio(inFlightRatio)],
  ]
  return plainTable(
    ['', 'before', 'after'],
    rows.map(([name, text]) => [name, text(before), text(after)]),
  )
}

function scorers(before: readonly ScorerInfluence[], after: readonly ScorerInfluence[]): string {
  const rows = [
    ...before.map((each) => ['before', ...scorerRow(each)]),
    ...after.map((each) => ['after', ...scorerRow(each)]),
  ]
  return plainTable(['', 'profile', 'scorer', 'weight', 'decided', 'all equal', 'decisions'], rows)
}

function scorerRow({ profile, scorer, weight, decisions, decided, equal }: ScorerInfluence) {
  return [
    ...[profile, scorer, String(weight), share(decided, decisions)],
    ...[share(equal, decisions), String(decisions)],
  ]
}

function endpoints({ endpoints: all, before, after }: ReplayReport): string {
  const rows = [...all]
    .sort((a, b) => b.after - a.after)
    .slice(0, SHOWN_ENDPOINTS)
    .map((each) => [
      ...[each.name || each.endpoint, each.endpoint],
      ...[share(each.before, before.picked), share(each.after, after.picked)],
    ])
  const text = plainTable(['name', 'endpoint', 'before', 'after'], rows)
  const more = all.length - SHOWN_ENDPOINTS
  return more > 0 ? `${text}\n(${more} more; --json shows all)` : text
}

function requests(moved: readonly MovedRequest[]): string {
  return plainTable(
    ['request', 'at', 'prompt', 'matched', 'from', 'to', 'total lost', 'where'],
    moved.map((each) => [
      ...[each.requestHash, time(each.atMs), String(each.promptTokens ?? '')],
      `${each.matchedFrom ?? '?'} -> ${each.matchedTo ?? '?'}`,
      ...[each.from ?? 'nobody', each.to ?? 'nobody'],
      each.totalLost === undefined ? '' : String(Number(each.totalLost.toFixed(3))),
      `${each.file}:${each.line}`,
    ]),
  )
}

/** What to know before the figures are believed. */
function notes({ reproduced, lacks, warnings, cut }: ReplayReport): readonly string[] {
  const { decisions, same, problems } = reproduced
  const lines = [
    'Open-loop: recorded states do not change with other picks. This tells which decisions a change moves, not how load and',
    'caches would be after it.',
  ]
  if (decisions > 0) {
    lines.push(
      `The recorded configuration picks again what it picked in ${share(same, decisions)} of the decisions (${same} of ${decisions}).`,
    )
  }
  return [
    ...lines,
    ...problems.map((text) => `Not tried again: ${text}`),
    ...lacks.map((text) => `Not in the recording: ${text}`),
    ...warnings.map((text) => `Plugins: ${text}`),
    ...cut.map((text) => `Cut off: ${text}; what is before it was used.`),
  ]
}

function time(epochMs: number): string {
  return new Date(epochMs).toISOString()
}

function share(part: number, whole: number): string {
  return percent(part / whole)
}

function percent(value: number): string {
  return Number.isFinite(value) ? `${(value * 100).toFixed(2)} %` : 'not known'
}

function ratio(value: number): string {
  return Number.isFinite(value) ? value.toFixed(3) : 'not known'
}
