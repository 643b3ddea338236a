import type { Measures } from './measures.ts'

/** A quantity over the seeds of one cell. */
export interface Band {
  readonly median: number
  readonly least: number
  readonly most: number
}

/** What one configuration came to under one load, over all seeds. */
export interface Summary {
  readonly ttftMeanS: Band
  readonly ttftP50S: Band
  readonly ttftP90S: Band
  readonly ttftP99S: Band
  readonly itlMeanMs: Band
  readonly itlP90Ms: Band
  readonly wholeMeanS: Band
  readonly outputTokensPerSecond: Band
  readonly hitRate: Band
  readonly hitCeiling: Band
  readonly waiting: Band
  readonly skew: Band
  readonly unfinished: Band
  readonly refused: Band
  readonly requests: Band
}

/** @param runs one per seed, at least one */
export function summarize(runs: readonly Measures[]): Summary {
  const over = (value: (run: Measures) => number) => bandOf(runs.map(value))
  return {
    ttftMeanS: over(({ ttftS }) => ttftS.mean),
    ttftP50S: over(({ ttftS }) => ttftS.p50),
    ttftP90S: over(({ ttftS }) => ttftS.p90),
    ttftP99S: over(({ ttftS }) => ttftS.p99),
    itlMeanMs: over(({ itlMs }) => itlMs.mean),
    itlP90Ms: over(({ itlMs }) => itlMs.p90),
    wholeMeanS: over(({ wholeS }) => wholeS.mean),
    outputTokensPerSecond: over((run) => run.outputTokensPerSecond),
    hitRate: over((run) => run.hitRate),
    hitCeiling: over((run) => run.hitCeiling),
    waiting: over((run) => run.waiting),
    skew: over((run) => run.skew),
    unfinished: over((run) => run.unfinished),
    refused: over((run) => run.refused),
    requests: over((run) => run.requests),
  }
}

/** The middle of the values, the mean of the two middle ones of an even number; NaN where one is. */
export function bandOf(values: readonly number[]): Band {
  const sorted = Float64Array.from(values).sort()
  const middle = (sorted.length - 1) / 2
  return {
    median: (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2,
    least: sorted[0]!,
    most: sorted.at(-1)!,
  }
}

/** How much worse a cell is than the best: the geometric mean of the ratios of TTFT mean, TTFT p90 and whole answers. */
export function combinedRatio(cell: Summary, best: readonly Summary[]): number {
  const ratio = (value: (summary: Summary) => number) => value(cell) / Math.min(...best.map(value))
  return Math.cbrt(
    ratio(({ ttftMeanS }) => ttftMeanS.median) *
      ratio(({ ttftP90S }) => ttftP90S.median) *
      ratio(({ wholeMeanS }) => wholeMeanS.median),
  )
}
