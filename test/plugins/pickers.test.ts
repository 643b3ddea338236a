import assert from 'node:assert/strict'
import { seededRandom } from '../../src/framework/random.ts'
import { InFlightLedger } from '../../src/framework/routing/in-flight.ts'
import { endpoint, paramsOf, request } from '../../src/framework/testing.ts'
import { maxScorePicker } from '../../src/plugins/pickers/max-score-picker.ts'
import { randomPicker } from '../../src/plugins/pickers/random-picker.ts'

const endpoints = Array.from({ length: 4 }, (_, slot) => endpoint({ slot, name: `e${slot}` }))
const scoredBy = (scores: readonly number[]) =>
  scores.map((score, i) => ({ endpoint: endpoints[i]!, score }))

describe('max-score-picker', () => {
  /** @param picked endpoints in the order in which they were picked before */
  const pick = (
    scores: readonly number[],
    picked: readonly number[],
    maxNumOfEndpoints?: number,
  ) => {
    const inFlight = new InFlightLedger()
    for (const i of picked) inFlight.reserve(endpoints[i]!)
    const params = maxNumOfEndpoints === undefined ? {} : { maxNumOfEndpoints }
    return maxScorePicker
      .create(paramsOf(maxScorePicker, params), { inFlight, random: seededRandom(7) })
      .pick(request(), scoredBy(scores))
      .map(({ name }) => name)
      .join(' ')
  }

  for (const [what, actual, expected] of [
    ['the highest score, one endpoint by default', pick([1, 3, 2, 0], []), 'e1'],
    ['the highest score, however often it was picked', pick([1, 3, 2, 0], [1, 1, 1]), 'e1'],
    ['the highest by the least difference', pick([1, 1.000001], [1]), 'e1'],
    ['the least recently picked of a tie', pick([2, 2, 2, 1], [1, 2, 0]), 'e1'],
    ['one that was never picked before one that was', pick([2, 2, 2, 1], [0, 2]), 'e1'],
    ['fallbacks in the order of their scores', pick([1, 3, 2, 0], [], 3), 'e1 e2 e0'],
    ['tied fallbacks by their last pick', pick([5, 1, 1, 1], [1, 3, 2], 4), 'e0 e1 e3 e2'],
    ['no more than there are', pick([1, 2], [], 9), 'e1 e0'],
    ['one endpoint, whatever it scores', pick([0], []), 'e0'],
    ['by last pick when all score 0', pick([0, 0, 0], [2, 0, 1]), 'e2'],
  ] as const) {
    it(`picks ${what}`, () => assert.equal(actual, expected))
  }

  it('breaks the remaining ties by the seed, equally often', () => {
    const picker = maxScorePicker.create(paramsOf(maxScorePicker), {
      inFlight: new InFlightLedger(),
      random: seededRandom(3),
    })
    const scored = scoredBy([1, 1, 1, 1])
    const picked = Array.from({ length: 400 }, () => picker.pick(request(), scored)[0]!.name)
    for (const { name } of endpoints) {
      const share = picked.filter((each) => each === name).length
      assert.ok(share > 60 && share < 140, `${name} was picked ${share} times of 400`)
    }
  })
})

describe('random-picker', () => {
  const PICKS = 4800
  /** Shares of the orders in which endpoints are named. */
  const shares = (scores: readonly number[], maxNumOfEndpoints?: number) => {
    const params = maxNumOfEndpoints === undefined ? {} : { maxNumOfEndpoints }
    const picker = randomPicker.create(paramsOf(randomPicker, params), { random: seededRandom(11) })
    const counts: Record<string, number> = {}
    for (let n = 0; n < PICKS; n++) {
      const names = picker
        .pick(request(), scoredBy(scores))
        .map(({ name }) => name)
        .join(' ')
      counts[names] = (counts[names] ?? 0) + 1 / PICKS
    }
    return counts
  }

  for (const [what, actual, names] of [
    ['one endpoint', shares([0]), ['e0']],
    ['each of two, whatever the scores', shares([0, 1]), ['e0', 'e1']],
    ['each of four that score the same', shares([1, 1, 1, 1]), ['e0', 'e1', 'e2', 'e3']],
    [
      'each order of two of three',
      shares([9, 0, 1], 2),
      ['e0 e1', 'e0 e2', 'e1 e0', 'e1 e2', 'e2 e0', 'e2 e1'],
    ],
    ['no more than there are', shares([1, 0], 5), ['e0 e1', 'e1 e0']],
    ['scores that are no numbers like others', shares([Number.NaN, 1]), ['e0', 'e1']],
  ] as const) {
    it(`picks ${what}, equally often`, () => {
      assert.deepEqual(Object.keys(actual).sort(), names)
      // Four standard deviations of a share are below 0.03.
      for (const name of names) assert.ok(Math.abs(actual[name]! - 1 / names.length) < 0.03)
    })
  }

  it('leaves the list that it is given as it is', () => {
    const picker = randomPicker.create(paramsOf(randomPicker), { random: seededRandom(1) })
    const scored = Object.freeze(scoredBy([1, 2, 3, 4]))
    picker.pick(request(), scored)
    assert.deepEqual(
      scored.map(({ endpoint }) => endpoint),
      endpoints,
    )
  })
})
