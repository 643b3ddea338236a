import assert from 'node:assert/strict'
import { seededRandom } from '../../../src/framework/random.ts'
import { endpoint, request } from '../../../src/framework/testing.ts'
import { ProfileSetup } from './profile-setup.ts'

const endpoints = Array.from({ length: 3 }, () => endpoint())

describe('Influence', () => {
  const cases: readonly {
    readonly what: string
    readonly scorers: readonly (readonly [number, readonly number[]])[]
    /** Per scorer, whether it decided and whether its scores were equal. */
    readonly expected: readonly (readonly [number, number])[]
  }[] = [
    {
      what: 'the one that outweighs the others decides, and they do not',
      scorers: [
        [3, [1, 0, 0]],
        [1, [0, 1, 0]],
      ],
      // 3, 1, 0: without the first 0, 1, 0; without the second 3, 0, 0.
      expected: [
        [1, 0],
        [0, 0],
      ],
    },
    {
      what: 'two of the same opinion decide nothing alone',
      scorers: [
        [1, [0, 1, 0]],
        [1, [0, 1, 0]],
      ],
      expected: [
        [0, 0],
        [0, 0],
      ],
    },
    {
      what: 'two that only win together both decide',
      scorers: [
        [1, [1, 0, 0.9]],
        [1, [0, 1, 0.9]],
      ],
      // 1, 1, 1.8: the third wins; without either another one would.
      expected: [
        [1, 0],
        [1, 0],
      ],
    },
    {
      what: 'equal scores are counted and decide nothing',
      scorers: [
        [5, [0.3, 0.3, 0.3]],
        [1, [0, 0, 1]],
      ],
      expected: [
        [0, 1],
        [1, 0],
      ],
    },
    {
      what: 'a weight of 0 decides nothing',
      scorers: [
        [0, [0, 1, 0]],
        [1, [1, 0, 0]],
      ],
      expected: [
        [0, 0],
        [1, 0],
      ],
    },
    {
      what: 'the one that breaks a tie decides, the other does not',
      scorers: [
        [1, [0.2, 0, 0]],
        [1, [1, 1, 0]],
      ],
      // 1.2, 1, 0: without the first a tie of two; without the second the first alone wins as before.
      expected: [
        [1, 0],
        [0, 0],
      ],
    },
    {
      what: 'a tie that stays one is decided by nobody',
      scorers: [
        [1, [1, 1, 0.4]],
        [1, [0.5, 0.5, 0.2]],
      ],
      expected: [
        [0, 0],
        [0, 0],
      ],
    },
    {
      what: 'rounding makes no difference',
      scorers: [
        [0.1, [1, 1, 1]],
        [0.2, [0.1 + 0.2, 0.3, 0.3]],
      ],
      expected: [
        [0, 1],
        [0, 1],
      ],
    },
  ]
  for (const { what, scorers, expected } of cases) {
    it(what, () => {
      const setup = new ProfileSetup()
      const configured = scorers.map(([weight, scores], i) => setup.scorer(`s${i}`, weight, scores))
      setup.profile([], configured).run(request(), endpoints, 0)
      assert.deepEqual(
        scorers.map((_, i) => setup.influence(`s${i}`)),
        expected.map(([decided, equal]) => ({ requests: 1, decided, equal })),
      )
    })
  }

  it('asks nothing of a request with one endpoint', () => {
    const setup = new ProfileSetup()
    setup.profile([], [setup.scorer('x', 1, [1])]).run(request(), [endpoints[0]!], 0)
    assert.deepEqual(setup.influence('x'), { requests: 0, decided: 0, equal: 0 })
  })

  it('compares with the highest total where the picker picks another endpoint', () => {
    const setup = new ProfileSetup()
    const last = {
      pick: (_: unknown, scored: readonly { endpoint: never }[]) => [scored[2]!.endpoint],
    }
    const profile = setup.profile(
      [],
      [setup.scorer('x', 3, [1, 0, 0]), setup.scorer('y', 1, [0, 1, 0])],
      last as never,
    )
    profile.run(request(), endpoints, 0)
    assert.equal(setup.influence('x').decided, 1)
    assert.equal(setup.influence('y').decided, 0)
  })

  it('agrees on 5,000 random requests with picking again without the scorer', () => {
    const random = seededRandom(11)
    const weights = [3, 2, 2, 1]
    const setup = new ProfileSetup()
    let said: number[][] = []
    const scorers = weights.map((weight, i) =>
      setup.scorer(`s${i}`, weight, { score: () => said[i]! }),
    )
    const profile = setup.profile([], scorers)
    const eight = Array.from({ length: 8 }, () => endpoint())
    const decided = weights.map(() => 0)
    const equal = weights.map(() => 0)
    for (let n = 0; n < 5000; n++) {
      said = weights.map(() => {
        const same = random.next() < 0.2
        const value = random.next()
        return eight.map(() => (same ? value : random.next()))
      })
      const { picked } = profile.run(request(), eight, 0)
      const winner = eight.indexOf(picked[0]!)
      /** Who has the highest total when a scorer is left out. */
      const winners = (left: number) => {
        const totals = eight.map((_, e) =>
          weights.reduce((sum, weight, i) => (i === left ? sum : sum + weight * said[i]![e]!), 0),
        )
        const best = Math.max(...totals)
        return totals.flatMap((total, e) => (best - total < 1e-9 ? e : []))
      }
      const all = winners(-1)
      for (const left of weights.keys()) {
        const others = winners(left)
        if (!others.includes(winner) || others.some((e) => !all.includes(e))) decided[left]!++
        if (new Set(said[left]!).size === 1) equal[left]!++
      }
    }
    assert.deepEqual(
      weights.map((_, i) => setup.influence(`s${i}`)),
      weights.map((_, i) => ({ requests: 5000, decided: decided[i], equal: equal[i] })),
    )
    assert.ok(
      decided.every((count) => count > 100),
      `${decided}`,
    )
  })

  describe('of a scorer that always says the same', () => {
    const run = (setup: ProfileSetup, weight: number, differsWhen?: string) => {
      let scores = [1, 1, 1]
      const scorer = setup.scorer('x', weight, { score: () => scores }, {}, differsWhen)
      const profile = setup.profile([], [scorer, setup.scorer('y', 1, [0, 1, 0])])
      return (next: readonly number[], times: number) => {
        scores = [...next]
        for (let i = 0; i < times; i++) profile.run(request(), endpoints, 0)
      }
    }

    it('is shown after 1,000 requests, with what it needs, until it says something', () => {
      const setup = new ProfileSetup()
      const ask = run(setup, 2, 'engines report waiting requests')
      ask([1, 1, 1], 999)
      assert.deepEqual(setup.shown(), {})
      ask([0, 0, 0], 1)
      assert.deepEqual(setup.shown(), {
        'scorer-equal:p/x':
          'scorer "x" of profile "p" has given all endpoints the same score for 1000 requests and more: it decides nothing; its scores differ when engines report waiting requests',
      })
      ask([0, 0, 0], 10)
      ask([0, 0.5, 0], 1)
      assert.deepEqual(setup.shown(), {})
      ask([0, 0, 0], 999)
      assert.deepEqual(setup.shown(), {})
    })

    it('is shown without what it needs where it does not say', () => {
      const setup = new ProfileSetup()
      run(setup, 1)([1, 1, 1], 1000)
      assert.match(setup.shown()['scorer-equal:p/x']!, /: it decides nothing$/)
    })

    it('is not shown with a weight of 0', () => {
      const setup = new ProfileSetup()
      run(setup, 0)([1, 1, 1], 1500)
      assert.deepEqual(setup.shown(), {})
      assert.equal(setup.influence('x').equal, 1500)
    })
  })
})
