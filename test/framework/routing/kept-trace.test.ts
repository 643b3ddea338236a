import assert from 'node:assert/strict'
import { TraceKeeper } from '../../../src/framework/routing/kept-trace.ts'

describe('TraceKeeper', () => {
  it('keeps what a run said, whatever becomes of its arrays', () => {
    const keeper = new TraceKeeper()
    const traces = Array.from({ length: 2000 }, (_, n) => {
      // Nobody looks at the first arrays again, and some runs are larger than a chunk.
      const count = n === 1000 ? 20_000 : 1 + (n % 7)
      const numbers = (more: number) => Float64Array.from({ length: count }, (_, i) => n + i + more)
      const endpoints = Array.from({ length: count }, (_, i) => `e${i}`)
      const scorers = [
        { name: 'a', weight: 1, scores: numbers(0.1), terms: { x: numbers(0.2), y: numbers(0.3) } },
        { name: 'b', weight: 2, scores: numbers(0.4), error: 'broken' },
        ...(n % 2 === 0
          ? [{ name: 'c', weight: 3, scores: numbers(0.5), terms: { z: numbers(0.6) } }]
          : []),
      ]
      const run = {
        ...{ profile: 'p', filters: [], endpoints, scorers, ties: 1, picked: ['e0'] },
        ...{ totals: numbers(0.7), metricsAgeMs: numbers(0.8) },
      }
      const kept = keeper.trace(run)
      const said = structuredClone({ ...run, filters: [...run.filters] })
      for (const array of [run.totals, run.metricsAgeMs]) array.fill(-1)
      for (const { scores, terms } of run.scorers) {
        for (const array of [scores, ...Object.values(terms ?? {})]) array.fill(-1)
      }
      return { kept, said }
    })
    for (const { kept, said } of traces) {
      const { profile, filters, endpoints, ties, picked, totals, metricsAgeMs } = kept
      const scorers = kept.scorers.map(({ name, weight, scores, terms, error }) => ({
        ...{ name, weight, scores },
        ...(terms && { terms }),
        ...(error && { error }),
      }))
      assert.deepEqual(
        { profile, filters, endpoints, scorers, ties, picked, totals, metricsAgeMs },
        said,
      )
    }
  })

  it('keeps a match', () => {
    const match = { blocks: Int32Array.of(1, -1), weighted: [0.5, -1], blockTokens: [16, 64] }
    const { blocks, weighted, blockTokens } = new TraceKeeper().match(match)
    assert.deepEqual(
      [blocks, weighted, blockTokens].map((each) => Array.from(each)),
      [
        [1, -1],
        [0.5, -1],
        [16, 64],
      ],
    )
  })
})
