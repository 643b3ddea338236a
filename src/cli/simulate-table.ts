import Table from 'cli-table3'
import type { Measures } from '../sim/simulation/measures.ts'
import type { Band, Summary } from '../sim/simulation/summary.ts'

/** One configuration under one load. */
export interface SimulatedRow {
  readonly config: string
  readonly workload: string
  readonly rate: number
  readonly summary: Summary
  /** One per seed. */
  readonly runs: readonly Measures[]
}

const SHOWN_WARNINGS = 4
/** Lines alone: no boxes. */
const PLAIN = Object.fromEntries(
  [
    ...['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left'],
    ...['bottom-right', 'left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid', 'middle'],
  ].map((place) => [place, '']),
)

/** What people read: a line per configuration and rate, then what the pickers warned of. */
export function simulatedTable(rows: readonly SimulatedRow[]): string {
  const { workload, runs } = rows[0]!
  const names = shortNames(rows.map(({ config }) => config))
  const table = new Table({
    head: [
      ...['rate', 'config', 'TTFT mean s', 'p50', 'p90', 'p99', 'ITL ms', 'tok/s'],
      ...['hit of ceiling', 'waiting', 'skew', ...(anyLost(rows) ? ['lost'] : [])],
    ],
    chars: PLAIN,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
  })
  for (const { rate, config, summary: s } of rows) {
    table.push([
      String(rate),
      names.get(config)!,
      band(s.ttftMeanS),
      band(s.ttftP50S),
      band(s.ttftP90S),
      band(s.ttftP99S),
      band(s.itlMeanMs),
      band(s.outputTokensPerSecond),
      `${share(s.hitRate.median)} of ${share(s.hitCeiling.median)}`,
      band(s.waiting),
      band(s.skew),
      ...(anyLost(rows) ? [band({ ...sum(s.unfinished, s.refused) })] : []),
    ])
  }
  const lines = table
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
  const seeds = runs.length
  const title = `${workload}: ${seeds === 1 ? 'one seed' : `medians of ${seeds} seeds [least..most]`}`
  return [title, '', ...lines, ...remarks(rows, names), ''].join('\n')
}

/** What a table cannot show. */
function remarks(rows: readonly SimulatedRow[], names: ReadonlyMap<string, string>): string[] {
  const said = new Map<string, Set<string>>()
  for (const { config, runs } of rows) {
    for (const warning of runs.flatMap((run) => run.warnings)) {
      const by = said.get(warning) ?? new Set()
      said.set(warning, by.add(names.get(config)!))
    }
  }
  const lines = [...said]
    .slice(0, SHOWN_WARNINGS)
    .map(([warning, by]) => `${[...by].join(', ')} warned: ${warning}`)
  if (said.size > SHOWN_WARNINGS) {
    lines.push(`and ${said.size - SHOWN_WARNINGS} more warnings, which --json has`)
  }
  if (anyLost(rows)) {
    lines.unshift('lost: requests that were refused, or not answered when the simulation ended')
  }
  return lines.length === 0 ? [] : ['', ...lines]
}

function anyLost(rows: readonly SimulatedRow[]): boolean {
  return rows.some(({ summary: { unfinished, refused } }) => unfinished.most + refused.most > 0)
}

function sum(a: Band, b: Band): Band {
  return { median: a.median + b.median, least: a.least + b.least, most: a.most + b.most }
}

/** Paths by the shortest ends that tell them apart. */
export function shortNames(paths: readonly string[]): ReadonlyMap<string, string> {
  const all = [...new Set(paths)]
  const end = (path: string, parts: number) => path.split('/').slice(-parts).join('/')
  return new Map(
    all.map((path) => {
      let parts = 1
      while (
        end(path, parts) !== path &&
        all.some((other) => other !== path && end(other, parts) === end(path, parts))
      ) {
        parts++
      }
      return [path, end(path, parts)]
    }),
  )
}

function band({ median, least, most }: Band): string {
  if (!Number.isFinite(median)) return '-'
  const [low, high] = [figure(least), figure(most)]
  return low === high ? figure(median) : `${figure(median)} [${low}..${high}]`
}

/** Two figures, or whole where that is more. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '-'
  return value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(2)))
}

function share(value: number): string {
  return Number.isFinite(value) ? `${Math.round(value * 100)}%` : '-'
}
