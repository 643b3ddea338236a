import assert from 'node:assert/strict'
import type { Decision, ProfileTrace } from '../../../src/framework/routing/decision.ts'
import { explanationOf } from '../../../src/framework/routing/explanation.ts'

const NAMES: Readonly<Record<string, string>> = {
  '10.0.0.1:8000': 'qwen-0',
  '10.0.0.2:8000': 'qwen-1',
  '10.0.0.3:8000': 'qwen-2',
}
const context = { nameOf: (hostPort: string) => NAMES[hostPort] ?? hostPort }

type Scores = Readonly<Record<string, readonly [weight: number, ...scores: number[]]>>

/** A run over the first endpoints, as many as there are scores; the first of the highest totals is picked. */
function trace(scores: Scores, more: Partial<ProfileTrace> = {}): ProfileTrace {
  const count = Object.values(scores)[0]!.length - 1
  const endpoints = Object.keys(NAMES).slice(0, count)
  const scorers = Object.entries(scores).map(([name, [weight, ...each]]) => ({
    ...{ name, weight, scores: Float64Array.from(each) },
  }))
  const totals = Float64Array.from(endpoints, (_, i) =>
    scorers.reduce((sum, { weight, scores: each }) => sum + weight * each[i]!, 0),
  )
  const best = Math.max(...totals)
  return {
    ...{ profile: 'default', filters: [], endpoints, scorers, totals },
    ties: totals.filter((total) => total === best).length,
    picked: [endpoints[totals.indexOf(best)]!],
    metricsAgeMs: new Float64Array(count).fill(12.4),
    ...more,
  }
}

function decision(profile: ProfileTrace, more: Partial<Decision> = {}): Decision {
  return {
    ...{ requestId: 'r', atMs: 0, pool: undefined, generation: 1, model: 'm', targetModel: 'm' },
    ...{ modelRule: undefined, criticality: 'Standard', priority: 0, poolSize: 3, candidates: 3 },
    ...{ profiles: [profile], primary: 'default', endpoints: profile.picked },
    ...{ promptTokens: undefined, predictedCachedTokens: undefined, indexCoverage: undefined },
    ...{ match: undefined, remark: undefined, phasesUs: {} },
    ...{ status: undefined, usage: undefined, ended: undefined },
    ...{ firstByteMs: undefined, durationMs: undefined, ...more },
  }
}

const explained = (profile: ProfileTrace, more: Partial<Decision> = {}) =>
  explanationOf(decision(profile, more), context)

describe('explanationOf', () => {
  it('names the winner, its lead, and where the lead comes from', () => {
    const { winner, reason, margin } = explained(
      trace({ precise: [3, 1, 0.5, 0], queue: [2, 0.5, 1, 1] }),
    )
    assert.deepEqual(winner, { name: 'qwen-0', endpoint: '10.0.0.1:8000' })
    // 3 + 1 = 4; 1.5 + 2 = 3.5; 0 + 2 = 2.
    assert.equal(margin, 0.5)
    assert.equal(reason, 'qwen-0 leads qwen-1 by 0.5 (precise +1.5, queue -1)')
  })

  it('names the terms in which the two differ most, of a scorer that has terms', () => {
    const profile = trace({ cost: [1, 1, 0.9, 0.8] })
    const terms = {
      queue: Float64Array.of(0.02, 0.05, 0.1),
      prefill: Float64Array.of(0.1, 0.18, 0.3),
      decode: Float64Array.of(0.001, 0.0015, 0.1),
      copy: Float64Array.of(0, 0, 1),
    }
    const scorers = [{ ...profile.scorers[0]!, terms }]
    assert.equal(
      explained({ ...profile, scorers }).reason,
      'qwen-0 leads qwen-1 by 0.1 (cost +0.1: prefill 0.1 against 0.18 and queue 0.02 against 0.05)',
    )
    const alike = { ...profile, scorers: [{ ...profile.scorers[0]!, terms: { queue: [1, 1, 1] } }] }
    assert.match(explained(alike as never).reason, /\(cost \+0\.1\)$/)
  })

  it('ranks endpoints, shows scores raw and weighted, then those that filters dropped', () => {
    const [profile] = explained(
      trace(
        { precise: [3, 0, 0.5], queue: [2, 1, 1] },
        { filters: [{ name: 'healthy', dropped: ['10.0.0.3:8000'] }] },
      ),
    ).profiles
    assert.deepEqual(profile!.endpoints, [
      {
        ...{ name: 'qwen-1', endpoint: '10.0.0.2:8000', rank: 1, total: 3.5, behind: 0 },
        scores: {
          precise: { score: 0.5, weighted: 1.5 },
          queue: { score: 1, weighted: 2 },
        },
        metricsAgeMs: 12,
      },
      {
        ...{ name: 'qwen-0', endpoint: '10.0.0.1:8000', rank: 2, total: 2, behind: 1.5 },
        scores: {
          precise: { score: 0, weighted: 0 },
          queue: { score: 1, weighted: 2 },
        },
        metricsAgeMs: 12,
      },
      { name: 'qwen-2', endpoint: '10.0.0.3:8000', droppedBy: 'healthy' },
    ])
  })

  it('shows matched blocks, by medium where the index was asked', () => {
    const match = {
      blocks: Int32Array.of(7, -1),
      weighted: Float64Array.of(6.6, -1),
      blockTokens: Int32Array.of(64, -1),
    }
    const profile = trace({ precise: [1, 1, 0] })
    const byMedium = { gpu: Int32Array.of(5, 0), cpu: Int32Array.of(2, 0) }
    const plain = explanationOf(decision(profile, { match }), context).profiles[0]!.endpoints
    assert.deepEqual(plain[0]!.matched, { blocks: 7, tokens: 448 })
    assert.equal(plain[1]!.matched, undefined)
    const asked = explanationOf(decision(profile, { match }), { ...context, byMedium })
    assert.deepEqual(asked.profiles[0]!.endpoints[0]!.matched!.byMedium, { gpu: 5, cpu: 2 })
  })

  it('finds the nearest weights that change the winner', () => {
    const { wouldChange } = explained(trace({ precise: [3, 1, 0.5, 0], queue: [2, 0.5, 1, 1] }))
    // queue at w: 3 + w/2 against 1.5 + w: equal at 3. precise at w: w + 1 against w/2 + 2: equal at 2.
    assert.deepEqual(wouldChange, [
      { scorer: 'precise', from: 3, to: 1, winner: 'qwen-1' },
      { scorer: 'queue', from: 2, to: 4, winner: 'qwen-1' },
    ])
    for (const { scorer, to, winner } of wouldChange) {
      const weight = (name: string, given: number) => (name === scorer ? to : given)
      const again = explained(
        trace({
          precise: [weight('precise', 3), 1, 0.5, 0],
          queue: [weight('queue', 2), 0.5, 1, 1],
        }),
      )
      assert.equal(again.winner!.name, winner)
    }
  })

  it('says what a scorer switched off would change, and nothing where no weight does', () => {
    assert.deepEqual(explained(trace({ a: [1, 1, 0], b: [1, 0, 0.5] })).wouldChange, [
      { scorer: 'a', from: 1, to: 0, winner: 'qwen-1' },
      { scorer: 'b', from: 1, to: 3, winner: 'qwen-1' },
    ])
    assert.deepEqual(explained(trace({ a: [1, 1, 0], b: [1, 0.5, 0.5] })).wouldChange, [])
    // Equal at 1000, which nobody writes.
    assert.deepEqual(explained(trace({ a: [1, 1, 0], b: [1, 0, 0.001] })).wouldChange, [
      { scorer: 'a', from: 1, to: 0, winner: 'qwen-1' },
    ])
  })

  it('finds the winner of any weights that random scores have', () => {
    let state = 7
    const random = () => (state = (state * 48271) % 2147483647) / 2147483647
    let seen = 0
    for (let i = 0; i < 300; i++) {
      const scores = () => [random(), random(), random()] as const
      const [a, b] = [scores(), scores()]
      const of = (wa: number, wb: number) => explained(trace({ a: [wa, ...a], b: [wb, ...b] }))
      const [wa, wb] = [Math.ceil(random() * 5), Math.ceil(random() * 5)]
      const first = of(wa, wb)
      for (const { scorer, from, to, winner } of first.wouldChange) {
        seen++
        assert.equal((scorer === 'a' ? of(to, wb) : of(wa, to)).winner!.name, winner)
        // No whole weight on the way there has another winner.
        const step = Math.sign(to - from)
        for (let w = from + step; w !== to; w += step) {
          assert.deepEqual((scorer === 'a' ? of(w, wb) : of(wa, w)).winner, first.winner)
        }
      }
    }
    assert.ok(seen > 100, `${seen} changes`)
  })

  it('tells a tie, an endpoint alone, a profile without scorers, and a picker that goes its own way', () => {
    assert.equal(
      explained(trace({ a: [1, 0.5, 0.5, 0.5] })).reason,
      'qwen-0 ties with 2 others (every scorer gave both the same); the picker broke the tie',
    )
    const alone = explained(trace({ a: [1, 0.5] }))
    assert.deepEqual([alone.reason, alone.margin], ['qwen-0 was the only endpoint left', null])
    const unscored = trace({ a: [1, 0, 0] }, { scorers: [] })
    assert.equal(explained(unscored).reason, 'no scorer is configured: the picker took qwen-0')
    const odd = explained(trace({ a: [1, 0.2, 0.9] }, { picked: ['10.0.0.1:8000'] }))
    assert.equal(odd.reason, 'the picker took qwen-0, though qwen-1 has a higher total (a -0.7)')
    assert.ok(odd.margin! < 0)
  })

  it('puts the profile that counts first, and names what failed', () => {
    const other = trace({ a: [1, 1, 0] }, { profile: 'prefill' })
    const primary = trace(
      { a: [1, 0, 1] },
      { filters: [{ name: 'f', dropped: [], error: 'boom' }] },
    )
    const { profiles } = explained(primary, { profiles: [other, primary] })
    assert.deepEqual(
      profiles.map(({ profile }) => profile),
      ['default', 'prefill'],
    )
    assert.deepEqual(profiles[0]!.failed, { f: 'boom' })
  })
})
