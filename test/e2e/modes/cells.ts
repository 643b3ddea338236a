import type { Random } from '../../../src/framework/services.ts'

/** What one cell of the matrix is about: every dimension with all its values. */
export const DIMENSIONS = {
  requestMode: ['FULL_DUPLEX_STREAMED', 'BUFFERED', 'BUFFERED_PARTIAL', 'STREAMED', 'NONE'],
  /** `HIDDEN`: neither headers nor body nor trailers of the response are sent. */
  responseMode: [
    ...['FULL_DUPLEX_STREAMED', 'STREAMED', 'BUFFERED', 'BUFFERED_PARTIAL', 'NONE', 'HIDDEN'],
  ],
  responses: ['full', 'sampled=3', 'none'],
  /** Of the prompt, and of the answer. */
  bytes: [0, 512, 24 * 1024, 400 * 1024, 3_000_000],
  kind: ['json', 'sse'],
  fault: [
    'none',
    'client goes after its headers',
    'client goes within its body',
    'client goes before the answer',
    'client goes within the answer',
    'client goes before the end of the answer',
    'engine goes before its headers',
    'engine goes within its body',
    'engine goes before its end',
  ],
  downstream: ['HTTP/1.1', 'HTTP/2'],
} as const satisfies Readonly<Record<string, readonly (string | number)[]>>

type Dimensions = typeof DIMENSIONS
export type Cell = { readonly [D in keyof Dimensions]: Dimensions[D][number] }
export type Fault = Cell['fault']

const NAMES = Object.keys(DIMENSIONS) as (keyof Dimensions)[]

/** Every cell that there is. */
export function* allCells(): Generator<Cell> {
  const counts = NAMES.map((name) => DIMENSIONS[name].length)
  const total = counts.reduce((product, count) => product * count, 1)
  for (let number = 0; number < total; number++) {
    let rest = number
    yield cellOf(
      counts.map((count) => {
        const index = rest % count
        rest = Math.floor(rest / count)
        return index
      }),
    )
  }
}

/** Few cells in which every value of every dimension stands once at least beside every value of every other. */
export function pairwiseCells(random: Random): readonly Cell[] {
  const counts = NAMES.map((name) => DIMENSIONS[name].length)
  const open = new Set<string>()
  for (const [a, countA] of counts.entries()) {
    for (const [b, countB] of counts.entries()) {
      if (b <= a) continue
      for (let i = 0; i < countA; i++) {
        for (let j = 0; j < countB; j++) open.add(pairKey(a, i, b, j))
      }
    }
  }
  const cells: Cell[] = []
  while (open.size > 0) {
    const [first] = open
    let best: readonly string[] = []
    let chosen: readonly number[] = []
    for (let attempt = 0; attempt < 40; attempt++) {
      const indices = counts.map((count) => Math.floor(random.next() * count))
      const [a, i, b, j] = first!.split(' ').map(Number) as [number, number, number, number]
      indices[a] = i
      indices[b] = j
      const covered = pairsOf(indices).filter((key) => open.has(key))
      if (covered.length <= best.length) continue
      best = covered
      chosen = indices
    }
    for (const key of best) open.delete(key)
    cells.push(cellOf(chosen))
  }
  return cells
}

/** The cell in words. */
export function titleOf({ requestMode, responseMode, responses, ...cell }: Cell): string {
  return `${requestMode} ${responseMode} ${responses}: ${cell.bytes} bytes, ${cell.kind}, ${cell.downstream}, ${cell.fault === 'none' ? 'no fault' : cell.fault}`
}

function cellOf(indices: readonly number[]): Cell {
  return Object.fromEntries(
    NAMES.map((name, i) => [name, DIMENSIONS[name][indices[i]!]]),
  ) as unknown as Cell
}

function pairsOf(indices: readonly number[]): readonly string[] {
  return indices.flatMap((i, a) =>
    indices.slice(a + 1).map((j, offset) => pairKey(a, i, a + 1 + offset, j)),
  )
}

function pairKey(a: number, i: number, b: number, j: number): string {
  return `${a} ${i} ${b} ${j}`
}
