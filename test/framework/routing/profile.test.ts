import assert from 'node:assert/strict'
import { SchedulerError } from '../../../src/framework/errors.ts'
import type { Filter, Picker, Scorer } from '../../../src/framework/plugin.ts'
import { endpoint, request } from '../../../src/framework/testing.ts'
import { ProfileSetup } from './profile-setup.ts'

const endpoints = [endpoint({ name: 'a' }), endpoint({ name: 'b' }), endpoint({ name: 'c' })]
const throwing = (error: unknown): Scorer & Filter => {
  const fail = () => {
    throw error
  }
  return { score: fail, filter: fail }
}

describe('Profile', () => {
  let setup: ProfileSetup
  beforeEach(() => {
    setup = new ProfileSetup()
  })
  const names = (picked: readonly { readonly name: string }[]) => picked.map(({ name }) => name)

  it('adds weighted scores and hands the sums to the picker', () => {
    const profile = setup.profile(
      [],
      [setup.scorer('x', 3, [0, 0.5, 1]), setup.scorer('y', 2, [1, 1, 0])],
    )
    const { picked, trace } = profile.run(request(), endpoints, 0)
    assert.deepEqual([...trace.totals], [2, 3.5, 3])
    assert.deepEqual(names(picked), ['b'])
    assert.deepEqual(names(trace.scorers), ['x', 'y'])
  })

  it('clamps what is out of range, and NaN to 0', () => {
    const profile = setup.profile([], [setup.scorer('x', 1, [7, Number.NaN, -1])])
    assert.deepEqual([...profile.run(request(), endpoints, 0).trace.totals], [1, 0, 0])
  })

  it('names the filter that left none, which is no fault of its', () => {
    const profile = setup.profile([setup.filter('strict', { filter: () => [] })], [])
    assert.throws(() => profile.run(request(), endpoints, 0), {
      code: 'NO_ENDPOINTS',
      message: 'filter "strict" of profile "p" left none of 3 endpoints for this request',
    })
    assert.equal(setup.failures('filter', 'strict'), 0)
  })

  it('traces whom each filter dropped, ties, and the age of metrics', () => {
    const keep = [
      endpoint({ metrics: { scrapedAtMs: 40 } }),
      endpoint(),
      endpoint({ metrics: { scrapedAtMs: 90 } }),
    ]
    const profile = setup.profile(
      [setup.filter('first', { filter: (_request, all) => all.slice(1) })],
      [setup.scorer('x', 0.1, [1, 1]), setup.scorer('y', 0.2, [1, 1])],
    )
    const { trace } = profile.run(request(), keep, 100)
    assert.deepEqual(trace.filters, [{ name: 'first', dropped: [keep[0]!.hostPort] }])
    assert.equal(trace.ties, 2)
    assert.deepEqual([...trace.metricsAgeMs], [Number.NaN, 10])
  })

  it('lets a filter give the endpoints in another order', () => {
    const reversed: Filter = { filter: (_request, all) => all.toReversed() }
    const profile = setup.profile(
      [setup.filter('reversed', reversed)],
      [setup.scorer('x', 1, [1, 0, 0])],
    )
    assert.deepEqual(names(profile.run(request(), endpoints, 0).picked), ['c'])
  })

  describe('of a plugin that fails', () => {
    const boom = new Error('boom')
    const faults: readonly (readonly [string, Scorer, string])[] = [
      ['throws', throwing(boom), 'scorer "x" failed: boom'],
      [
        'gives too few scores',
        { score: () => [1] },
        'scorer "x" returned 1 scores for 3 endpoints',
      ],
      [
        'has terms that throw',
        { score: () => [1, 1, 1], terms: throwing(boom).score as never },
        'scorer "x" failed: boom',
      ],
    ]
    for (const [what, plugin, message] of faults) {
      it(`fails the request where a scorer ${what}, and keeps the cause`, () => {
        const profile = setup.profile([], [setup.scorer('x', 1, plugin)])
        assert.throws(
          () => profile.run(request(), endpoints, 0),
          (error: SchedulerError) => {
            assert.equal(error.message, message)
            assert.match(error.code, /^PLUGIN_(FAILED|CONTRACT)$/)
            if (error.code === 'PLUGIN_FAILED') assert.equal(error.cause, boom)
            return true
          },
        )
        assert.equal(setup.failures('scorer', 'x'), 1)
      })

      it(`goes on with 0.5 for all where a neutral scorer ${what}, and says so`, () => {
        const profile = setup.profile(
          [],
          [setup.scorer('x', 4, plugin, { onError: 'neutral' }), setup.scorer('y', 1, [0, 0, 1])],
        )
        const { trace, picked } = profile.run(request(), endpoints, 0)
        assert.deepEqual(names(picked), ['c'])
        assert.deepEqual([...trace.totals], [2, 2, 3])
        const { name, weight, scores, error } = trace.scorers[0]!
        assert.deepEqual(
          { name, weight, scores, error },
          {
            name: 'x',
            weight: 4,
            scores: new Float64Array([0.5, 0.5, 0.5]),
            error: message,
          },
        )
        assert.equal(setup.failures('scorer', 'x'), 1)
        const text = `${message}; requests go on without it (onError: neutral)`
        assert.deepEqual(setup.shown(), { 'plugin-failing:scorer "x"': text })
        assert.deepEqual(setup.influence('x'), { requests: 0, decided: 0, equal: 0 })
        assert.deepEqual(setup.influence('y'), { requests: 1, decided: 1, equal: 0 })
      })

      it(`leaves a scorer out that ${what} and may be skipped`, () => {
        const profile = setup.profile(
          [],
          [setup.scorer('x', 4, plugin, { onError: 'skip' }), setup.scorer('y', 1, [0, 0, 1])],
        )
        const { trace } = profile.run(request(), endpoints, 0)
        assert.deepEqual([...trace.totals], [0, 0, 1])
        assert.deepEqual(names(trace.scorers), ['y'])
        assert.equal(setup.failures('scorer', 'x'), 1)
        assert.deepEqual(setup.influence('y'), { requests: 1, decided: 1, equal: 0 })
      })
    }

    const wrong: readonly (readonly [string, Filter])[] = [
      ['throws', throwing(boom)],
      ['gives no list', { filter: () => undefined as never }],
      ['gives a stranger', { filter: () => [endpoint()] }],
      ['gives an endpoint twice', { filter: (_request, all) => [all[0]!, all[0]!] }],
    ]
    for (const [what, plugin] of wrong) {
      it(`fails the request where a filter ${what}`, () => {
        const profile = setup.profile([setup.filter('x', plugin)], [])
        assert.throws(() => profile.run(request(), endpoints, 0), {
          code: what === 'throws' ? 'PLUGIN_FAILED' : 'PLUGIN_CONTRACT',
          message: /^filter "x" /,
        })
        assert.equal(setup.failures('filter', 'x'), 1)
      })

      for (const onError of ['neutral', 'skip'] as const) {
        it(`lets all pass where a filter ${what} and its onError is ${onError}`, () => {
          const profile = setup.profile([setup.filter('x', plugin, { onError })], [])
          const { trace } = profile.run(request(), endpoints, 0)
          assert.equal(trace.endpoints.length, 3)
          assert.equal(setup.failures('filter', 'x'), 1)
          if (onError === 'skip') assert.deepEqual(trace.filters, [])
          else {
            assert.match(trace.filters[0]!.error!, /^filter "x" /)
            assert.deepEqual(trace.filters[0]!.dropped, [])
          }
        })
      }
    }

    it('logs it once, and shows it until 100 calls in a row succeed', () => {
      let isBroken = true
      const plugin: Scorer = {
        score() {
          if (isBroken) throw boom
          return [1, 0, 0]
        },
      }
      const profile = setup.profile([], [setup.scorer('x', 1, plugin, { onError: 'skip' })])
      const run = (times: number) => {
        for (let i = 0; i < times; i++) profile.run(request(), endpoints, 0)
      }
      run(3)
      isBroken = false
      run(99)
      assert.deepEqual(Object.keys(setup.shown()), ['plugin-failing:scorer "x"'])
      run(1)
      assert.deepEqual(setup.shown(), {})
      assert.equal(setup.failures('scorer', 'x'), 3)
      const warnings = setup.logger.lines.filter((line) => line.includes('boom'))
      assert.equal(warnings.length, 1)
    })

    it('takes an error that refuses the request for no fault, whatever onError says', () => {
      const refusal = new SchedulerError('BAD_REQUEST', 'no such tenant')
      const { filter, score } = throwing(refusal)
      for (const onError of ['fail', 'skip', 'neutral'] as const) {
        for (const profile of [
          setup.profile([setup.filter('x', { filter }, { onError })], []),
          setup.profile([], [setup.scorer('x', 1, { score }, { onError })]),
        ]) {
          assert.throws(() => profile.run(request(), endpoints, 0), refusal)
        }
      }
      assert.equal(setup.failures('filter', 'x'), 0)
      assert.equal(setup.failures('scorer', 'x'), 0)
      assert.deepEqual(setup.shown(), {})
    })

    it('refuses a picker that picks an endpoint it was not given', () => {
      const stranger: Picker = { pick: () => [endpoint()] }
      const profile = setup.profile([], [], stranger)
      assert.throws(() => profile.run(request(), endpoints, 0), { code: 'PLUGIN_CONTRACT' })
      assert.equal(setup.failures('picker', 'picker'), 1)
    })
  })
})
