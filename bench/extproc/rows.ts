// What is made of the load tool's rows.
import type { Measure, Row } from './load-tool.ts'

/** All but the first run of each picker in each case, in which code is still being compiled, where there are others. */
export function warm(rows: readonly Row[]): Row[] {
  const isSame = (a: Row) => (b: Row) => a.case === b.case && a.epp === b.epp
  return rows.filter(
    (row, i) => rows.slice(0, i).some(isSame(row)) || rows.filter(isSame(row)).length === 1,
  )
}

/** The median of the runs of one picker in one case; NaN where there is none. */
export function medianOf(rows: readonly Row[], name: string, epp: string, measure: Measure) {
  const own = rows.filter((row) => row.case === name && row.epp === epp && row.requests > 0)
  return median(own.map((row) => row[measure]))
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const [high = Number.NaN, low = high] = [sorted[middle], sorted[middle - 1]]
  return sorted.length % 2 === 1 ? high : (low + high) / 2
}

/** CPU microseconds of the picker per response chunk: what a case with `chunks` takes more than `base`, which has none. */
export function chunkUs(
  rows: readonly Row[],
  epp: string,
  { name, base, chunks }: { readonly name: string; readonly base: string; readonly chunks: number },
): number {
  const cpuMs = (each: string) => medianOf(rows, each, epp, 'eppCpuMsPerReq')
  return ((cpuMs(name) - cpuMs(base)) * 1000) / chunks
}

/** Names in the order in which they come first. */
export function namesOf(rows: readonly Row[], key: 'case' | 'epp'): string[] {
  return [...new Set(rows.map((row) => row[key]))]
}

/** How many requests failed and why, or `0`. */
export function errorsOf(rows: readonly Row[]): string {
  const count = rows.reduce((sum, row) => sum + row.errors, 0)
  return `${count} ${rows.find((row) => row.firstError)?.firstError ?? ''}`.trim()
}
