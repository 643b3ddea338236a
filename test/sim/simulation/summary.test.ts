import assert from 'node:assert/strict'
import { shortNames } from '../../../src/cli/simulate-table.ts'
import { Draw } from '../../../src/sim/simulation/draw.ts'
import { spreadOf } from '../../../src/sim/simulation/measures.ts'
import { bandOf, combinedRatio, type Summary } from '../../../src/sim/simulation/summary.ts'

describe('spreadOf', () => {
  it('tells mean and percentiles of values in any order', () => {
    const values = Array.from({ length: 100 }, (_, i) => (i * 37) % 100)
    assert.deepEqual(spreadOf(values), { mean: 49.5, p50: 50, p90: 90, p99: 99 })
  })

  it('tells of nothing that it is nothing, never 0', () => {
    assert.deepEqual(spreadOf([]), { mean: NaN, p50: NaN, p90: NaN, p99: NaN })
  })
})

describe('bandOf', () => {
  it('tells the middle, the least and the most', () => {
    assert.deepEqual(bandOf([3, 1, 10]), { median: 3, least: 1, most: 10 })
    assert.deepEqual(bandOf([4, 1]), { median: 2.5, least: 1, most: 4 })
  })
})

describe('combinedRatio', () => {
  const summary = (mean: number, p90: number, whole: number) =>
    ({
      ttftMeanS: bandOf([mean]),
      ttftP90S: bandOf([p90]),
      wholeMeanS: bandOf([whole]),
    }) as Summary

  it('is the geometric mean of the ratios to the best of each', () => {
    const all = [summary(1, 8, 3), summary(2, 1, 3)]
    assert.ok(Math.abs(combinedRatio(all[0]!, all) - 2) < 1e-12)
    assert.ok(Math.abs(combinedRatio(all[1]!, all) - Math.cbrt(2)) < 1e-12)
  })
})

describe('shortNames', () => {
  it('takes as much of a path as tells it from the others', () => {
    assert.deepEqual(
      [...shortNames(['a/x.yaml', 'b/x.yaml', 'b/y.yaml', 'b/y.yaml']).values()],
      ['a/x.yaml', 'b/x.yaml', 'y.yaml'],
    )
  })
})

describe('Draw', () => {
  it('says the same for the same seed and stream, something else for any other', () => {
    const first = (seed: number, stream: number) => Draw.of(seed, stream).tokens(64).join()
    assert.equal(first(1, 2), first(1, 2))
    const all = new Set<string>()
    for (let seed = 1; seed <= 20; seed++) {
      for (let stream = 0; stream < 50; stream++) all.add(first(seed, stream))
    }
    assert.equal(all.size, 1000)
  })

  it('draws lengths of the mean that is asked, within their range', () => {
    const draw = Draw.of(3, 1)
    const lengths = Array.from({ length: 20_000 }, () =>
      draw.length({ mean: 4000, variation: 0.5, least: 500, most: 60_000 }),
    )
    assert.ok(lengths.every((each) => each >= 500 && each <= 60_000 && Number.isInteger(each)))
    const mean = lengths.reduce((a, b) => a + b, 0) / lengths.length
    assert.ok(Math.abs(mean - 4000) < 80, `${mean}`)
  })
})
