import assert from 'node:assert/strict'
import { PickRandom, SeededRandom, seededRandom } from '../../src/framework/random.ts'

const PICKS = 200_000

/** Chi-squared over equally likely cells, less its mean, in standard deviations. */
function deviation(counts: readonly number[]): number {
  const expected = counts.reduce((a, b) => a + b, 0) / counts.length
  const chi = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)
  const freedom = counts.length - 1
  return (chi - freedom) / Math.sqrt(2 * freedom)
}

describe('the chance of picks', () => {
  it('is told by the seed of each pick, whatever was drawn before', () => {
    const random = new PickRandom(7)
    const other = new SeededRandom(0)
    for (let pick = 0; pick < 100; pick++) {
      const seed = random.nextPick()
      const drawn = Array.from({ length: pick % 7 }, () => random.next())
      other.restart(seed)
      const again = Array.from({ length: pick % 7 }, () => other.next())
      assert.deepEqual(again, drawn)
      assert.equal(seededRandom(seed).next(), new SeededRandom(seed).next())
    }
  })

  it('gives every pick another seed', () => {
    for (const start of [0, 1, 2 ** 31, 2 ** 32 - 1]) {
      const random = new PickRandom(start)
      const seeds = new Set(Array.from({ length: PICKS }, () => random.nextPick()))
      assert.equal(seeds.size, PICKS)
    }
  })

  for (const [what, nth] of [
    ['first', 0],
    ['second', 1],
    ['eighth', 7],
  ] as const) {
    it(`is even in the ${what} draws of picks that follow each other, and in pairs of them`, () => {
      for (const start of [0, 1, 20_261_121]) {
        const random = new PickRandom(start)
        const cells = new Array<number>(1000).fill(0)
        const pairs = new Array<number>(1024).fill(0)
        let before = 0
        for (let pick = 0; pick < PICKS; pick++) {
          random.nextPick()
          let draw = 0
          for (let i = 0; i <= nth; i++) draw = random.next()
          cells[Math.floor(draw * 1000)]!++
          pairs[Math.floor(before * 32) * 32 + Math.floor(draw * 32)]!++
          before = draw
        }
        assert.ok(Math.abs(deviation(cells)) < 5, `cells: ${deviation(cells)}`)
        assert.ok(Math.abs(deviation(pairs)) < 5, `pairs: ${deviation(pairs)}`)
      }
    })
  }

  it('of a generator that counts up would be found uneven', () => {
    const cells = new Array<number>(1000).fill(0)
    for (let pick = 0; pick < PICKS; pick++) cells[pick % 900]!++
    assert.ok(Math.abs(deviation(cells)) > 5)
  })
})
