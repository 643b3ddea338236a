// What a benchmark found, beside what it found last time.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'
import { plainTable } from '../src/cli/plain-table.ts'

/** One figure; lower is better unless it says otherwise. */
export interface Figure {
  /** What was measured, and in which case. */
  readonly name: string
  /** Such as `us`; `x` for a ratio to something measured in the same run. */
  readonly unit: string
  readonly value: number
  readonly isMoreBetter?: boolean
  /** What it should be at most, or at least where more is better; absent where nothing is promised. */
  readonly limit?: number
}

/** What is saved of one run, in `bench/out/NAME.figures.json`. */
export interface SavedRun {
  readonly at: string
  readonly machine: string
  readonly node: string
  readonly figures: readonly Figure[]
}

const OUT = fileURLToPath(new URL('./out/', import.meta.url))

/** Prints the figures with those of the run that was saved last, and saves these in their place. */
export function report(part: string, figures: readonly Figure[]): void {
  const file = `${OUT}${part}.figures.json`
  const last = savedRun(file)
  const run: SavedRun = {
    at: new Date().toISOString(),
    machine: machine(),
    node: process.version,
    figures,
  }
  const rows = figures.map((figure) => {
    const { name, unit, value, limit, isMoreBetter } = figure
    const before = last?.figures.find((each) => each.name === name)?.value
    const change = before
      ? `${value >= before ? '+' : ''}${Math.round((value / before - 1) * 100)} %`
      : ''
    const bound =
      limit === undefined
        ? ''
        : `${isMoreBetter ? '≥' : '≤'} ${limit}${isMet(figure) ? '' : ' missed'}`
    return [name, shown(value), unit, bound, before === undefined ? '' : shown(before), change]
  })
  console.log(`\n${part}: ${run.machine}, Node ${run.node}, load ${loadavg()[0]!.toFixed(1)}`)
  console.log(plainTable(['figure', 'now', 'unit', 'limit', 'last', 'change'], rows))
  if (last) console.log(`last: ${last.at.slice(0, 16)}, ${last.machine}, Node ${last.node}`)
  mkdirSync(OUT, { recursive: true })
  writeFileSync(file, `${JSON.stringify(run, undefined, 2)}\n`)
}

function isMet({ value, limit, isMoreBetter }: Figure): boolean {
  if (limit === undefined) return true
  return isMoreBetter ? value >= limit : value <= limit
}

function savedRun(file: string): SavedRun | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as SavedRun
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

function machine(): string {
  const gibibytes = Math.round(totalmem() / 1024 ** 3)
  return `${availableParallelism()} cores (${cpus()[0]?.model.trim() ?? 'unknown'}), ${gibibytes} GiB`
}

function shown(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3)
}
