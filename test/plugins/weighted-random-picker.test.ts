import assert from 'node:assert/strict'
import { seededRandom } from '../../src/framework/random.ts'
import { endpoint, paramsOf, request } from '../../src/framework/testing.ts'
import { weightedRandomPicker } from '../../src/plugins/pickers/weighted-random-picker.ts'

describe('weighted-random-picker', () => {
  const PICKS = 4000
  /** Shares of first picks, and of orders of two. */
  const shares = (scores: readonly number[], maxNumOfEndpoints = 1) => {
    const picker = weightedRandomPicker.create(
      paramsOf(weightedRandomPicker, { maxNumOfEndpoints }),
      { random: seededRandom(17) },
    )
    const scored = scores.map((score, i) => ({ endpoint: endpoint({ name: `${i}` }), score }))
    const counts = new Map<string, number>()
    for (let n = 0; n < PICKS; n++) {
      const names = picker.pick(request(), scored).map(({ name }) => name)
      counts.set(names.join(' '), (counts.get(names.join(' ')) ?? 0) + 1 / PICKS)
    }
    return counts
  }
  /** Four standard deviations of a share are below 0.032. */
  const assertShares = (counts: ReadonlyMap<string, number>, expected: Record<string, number>) => {
    assert.deepEqual([...counts.keys()].sort(), Object.keys(expected).sort())
    for (const [names, share] of Object.entries(expected)) {
      assert.ok(Math.abs(counts.get(names)! - share) < 0.032, `${names}: ${counts.get(names)}`)
    }
  }

  for (const [what, scores, expected] of [
    ['in proportion to the scores', [3, 1], { 0: 0.75, 1: 0.25 }],
    ['whatever their scale', [0.0003, 0.0001], { 0: 0.75, 1: 0.25 }],
    ['equal ones equally', [2, 2, 2, 2], { 0: 0.25, 1: 0.25, 2: 0.25, 3: 0.25 }],
    ['never one that scores 0 beside another', [0, 1e-9, 0], { 1: 1 }],
    ['each alike when all score 0', [0, 0], { 0: 0.5, 1: 0.5 }],
    ['one endpoint', [0], { 0: 1 }],
    ['a negative score like 0', [-3, 1], { 1: 1 }],
  ] as const) {
    it(`picks ${what}`, () => assertShares(shares(scores), expected))
  }

  it('draws fallbacks the same way from what is left', () => {
    // Of 5, 3, 2: first 0.5, 0.3, 0.2; second from the other two.
    assertShares(shares([5, 3, 2], 2), {
      '0 1': 0.5 * (3 / 5),
      '0 2': 0.5 * (2 / 5),
      '1 0': 0.3 * (5 / 7),
      '1 2': 0.3 * (2 / 7),
      '2 0': 0.2 * (5 / 8),
      '2 1': 0.2 * (3 / 8),
    })
  })

  it('names those that score 0 last, and each once', () => {
    assertShares(shares([0, 4, 0], 5), { '1 0 2': 0.5, '1 2 0': 0.5 })
  })

  it('survives the ends of the generator', () => {
    for (const value of [0, 1 - 2 ** -53]) {
      const picker = weightedRandomPicker.create(paramsOf(weightedRandomPicker), {
        random: { next: () => value },
      })
      const scored = [2, 0, 1].map((score) => ({ endpoint: endpoint(), score }))
      assert.equal(picker.pick(request(), scored).length, 1)
    }
  })
})
