import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { generateTrace } from './generate.ts'
import { type Figures, measure } from './measure.ts'

// Agreed on by three independent indexes: the answers of a right one (owners-entries: q113, q2000, q113 after removes).
const EXPECTED: Readonly<Record<string, readonly [number, number, number]>> = {
  '8-1000000': [38667143, 3946687, 36829508],
  '64-1000000': [1536681885, 30033369, 1442612536],
  '256-1000000': [285311896, 93293239, 3239326066],
  '64-4000000': [1662783631, 25098802, 1579035699],
}

const { values } = parseArgs({
  options: {
    traces: { type: 'string', default: '8-1000000,64-1000000,256-1000000' },
    subjects: { type: 'string', default: 'baseline,segment-index' },
    child: { type: 'string' },
  },
})

const out = fileURLToPath(new URL('../out/index/', import.meta.url))

if (values.child !== undefined) {
  const [subject, trace] = values.child.split(':') as [string, string]
  process.stdout.write(JSON.stringify(await measure(subject, trace, join(out, trace))))
} else {
  main()
}

function main(): void {
  const all: (Figures & { checksumsRight: boolean | undefined })[] = []
  for (const trace of values.traces.split(',')) {
    const folder = join(out, trace)
    if (!existsSync(join(folder, 'meta.json'))) {
      const [owners, entries] = trace.split('-').map(Number) as [number, number]
      mkdirSync(folder, { recursive: true })
      generateTrace(owners, entries, folder)
    }
    for (const subject of values.subjects.split(',')) {
      const answer = execFileSync(
        process.execPath,
        [
          '--expose-gc',
          '--import',
          'tsx',
          fileURLToPath(import.meta.url),
          '--child',
          `${subject}:${trace}`,
        ],
        { encoding: 'utf8', maxBuffer: 1 << 20 },
      )
      const figures = JSON.parse(answer) as Figures
      const expected = EXPECTED[trace]
      const { q113, q2000, afterRemove } = figures.checksums
      const checksumsRight =
        expected && q113 === expected[0] && q2000 === expected[1] && afterRemove === expected[2]
      all.push({ ...figures, checksumsRight })
      print(all.length === 1, figures, checksumsRight)
    }
  }
  mkdirSync(out, { recursive: true })
  writeFileSync(join(out, 'index.json'), `${JSON.stringify(all, undefined, 2)}\n`)
  if (all.some((f) => f.checksumsRight === false)) {
    console.error('an answer is wrong: see the column "answers"')
    process.exitCode = 1
  }
}

function print(first: boolean, f: Figures, right: boolean | undefined): void {
  const millions = (n: number) => `${(n / 1e6).toFixed(2)}M`
  const row = (cells: readonly string[]) =>
    console.log(cells.map((cell, i) => (i < 2 ? cell.padEnd(14) : cell.padStart(10))).join(' '))
  if (first) {
    row(
      'trace,index,store32/s,store1/s,remove/s,113 us,2000 us,miss us,owners,RSS B/e,own B/e,pause ms,answers'.split(
        ',',
      ),
    )
  }
  row([
    f.trace,
    f.subject,
    millions(f.store32PerS),
    millions(f.store1PerS),
    millions(f.removePerS),
    f.lookup113Us.toFixed(3),
    f.lookup2000Us.toFixed(3),
    f.missUs.toFixed(3),
    f.ownersFound.toFixed(1),
    f.rssBytesPerEntry.toFixed(1),
    f.ownBytesPerEntry.toFixed(1),
    f.worstPauseMs.toFixed(2),
    right === undefined ? '-' : right ? 'right' : 'WRONG',
  ])
}
