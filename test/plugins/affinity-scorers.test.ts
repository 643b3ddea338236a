import assert from 'node:assert/strict'
import type { AdapterLoad } from '../../src/framework/endpoint.ts'
import { endpoint, paramsOf, request } from '../../src/framework/testing.ts'
import { headerLabelAffinityScorer } from '../../src/plugins/scorers/affinity/header-label-affinity-scorer.ts'
import { loraAffinityScorer } from '../../src/plugins/scorers/affinity/lora-affinity-scorer.ts'
import { noHitLruScorer } from '../../src/plugins/scorers/no-hit-lru-scorer.ts'
import { withBlocks } from './known-load.ts'

describe('lora-affinity-scorer', () => {
  const scorer = loraAffinityScorer.create({}, {})
  const scores = (...adapters: readonly (AdapterLoad | undefined)[]) =>
    Array.from(
      scorer.score(
        request({ model: 'base', targetModel: 'mine' }),
        adapters.map((each) => endpoint({ metrics: { adapters: each } })),
      ),
    )
  const load = (running: readonly string[], waiting: readonly string[], max: number) => ({
    running,
    waiting,
    max,
  })

  for (const [what, actual, expected] of [
    ['1 where it runs', scores(load(['a', 'mine'], [], 2)), [1]],
    ['1 where it runs, though others wait', scores(load(['mine'], ['a', 'b'], 1)), [1]],
    ['0.8 where there is room', scores(load(['a'], [], 2)), [0.8]],
    ['0.8 where there is room, though it waits', scores(load(['a'], ['mine'], 3)), [0.8]],
    ['0.6 where it waits and there is no room', scores(load(['a'], ['mine'], 2)), [0.6]],
    ['0 where there is no room', scores(load(['a'], ['b'], 2)), [0]],
    ['0 for an engine without adapters', scores(load([], [], 0)), [0]],
    ['0 where nothing is said of adapters', scores(undefined, load(['mine'], [], 4)), [0, 1]],
  ] as const) {
    it(`scores ${what}`, () => assert.deepEqual(actual, expected))
  }

  it('scores 0 for an endpoint without metrics', () => {
    assert.deepEqual(Array.from(scorer.score(request(), [endpoint()])), [0])
  })
})

describe('header-label-affinity-scorer', () => {
  const scorer = headerLabelAffinityScorer.create(
    paramsOf(headerLabelAffinityScorer, { headerName: 'X-Zone', labelKey: 'zone' }),
    {},
  )
  const a = endpoint({ labels: { zone: 'a' } })
  const b = endpoint({ labels: { zone: 'b', other: 'a' } })
  const none = endpoint({ labels: { other: 'a' } })
  const empty = endpoint({ labels: { zone: '' } })
  const scores = (headers: Readonly<Record<string, string>>, endpoints = [a, b, none]) =>
    Array.from(scorer.score(request({ headers }), endpoints))

  for (const [what, actual, expected] of [
    ['1 where the label equals the header', scores({ 'x-zone': 'a' }), [1, 0, 0]],
    ['0 for a value that none has', scores({ 'x-zone': 'c' }), [0, 0, 0]],
    ['0 for all without the header', scores({ 'x-zones': 'a' }), [0, 0, 0]],
    ['1 for all that have the value', scores({ 'x-zone': 'b' }, [b, b]), [1, 1]],
    ['by exact equality', scores({ 'x-zone': 'A' }), [0, 0, 0]],
    ['an empty header like a label', scores({ 'x-zone': '' }, [empty, none]), [1, 0]],
    ['one endpoint', scores({ 'x-zone': 'a' }, [a]), [1]],
  ] as const) {
    it(`scores ${what}`, () => assert.deepEqual(actual, expected))
  }
})

describe('no-hit-lru-scorer', () => {
  const endpoints = ['a', 'b', 'c'].map((name) => endpoint({ name }))
  const [a, b, c] = endpoints
  const make = (blocks: readonly number[] | undefined = [0, 0, 0], params: object = {}) =>
    noHitLruScorer.create(paramsOf(noHitLruScorer, { ...params }), {
      prefixes: withBlocks(blocks, 9),
    })
  type Instance = ReturnType<typeof make>
  /** Scores for a new request, which then goes to `target`. */
  const send = (scorer: Instance, target: typeof a, among = endpoints) => {
    const asked = request()
    const scores = Array.from(scorer.score(asked, among))
    if (target) scorer.picked?.(asked, target, undefined as never)
    return scores
  }

  it('scores those never used in their order', () => {
    assert.deepEqual(send(make(), undefined), [1, 0.5, 0])
  })

  it('scores a used one last', () => {
    const scorer = make()
    send(scorer, a)
    assert.deepEqual(send(scorer, undefined), [0, 1, 0.5])
  })

  it('scores used ones by their last use', () => {
    const scorer = make()
    for (const target of [a, c, b, a]) send(scorer, target)
    assert.deepEqual(send(scorer, undefined), [0, 0.5, 1])
  })

  it('goes round when the best is always picked', () => {
    const scorer = make()
    const picked = Array.from({ length: 7 }, () => {
      const asked = request()
      const scores = Array.from(scorer.score(asked, endpoints))
      const target = endpoints[scores.indexOf(1)]!
      scorer.picked?.(asked, target, undefined as never)
      return target.name
    })
    assert.deepEqual(picked, ['a', 'b', 'c', 'a', 'b', 'c', 'a'])
  })

  it('scores 0.5 for all when some candidate has a beginning, and does not count that pick', () => {
    const warm = make([0, 3, 0])
    assert.deepEqual(send(warm, a), [0.5, 0.5, 0.5])
    assert.deepEqual(send(warm, a, [a!]), [0.5])
    const scorer = make()
    const asked = request()
    scorer.picked?.(asked, a!, undefined as never)
    assert.deepEqual(send(scorer, undefined), [1, 0.5, 0])
  })

  it('takes a prompt of which nothing is known for one without a hit', () => {
    assert.deepEqual(send(make(undefined), undefined), [1, 0.5, 0])
  })

  it('scores 1 for one endpoint, used or not', () => {
    const scorer = make()
    assert.deepEqual(send(scorer, b, [b!]), [1])
    assert.deepEqual(send(scorer, b, [b!]), [1])
  })

  it('remembers lruSize endpoints', () => {
    for (const [lruSize, expected] of [
      [3, [0, 0.5, 1]],
      [1, [0, 1, 0.5]],
    ] as const) {
      const scorer = make([0, 0, 0], { lruSize })
      for (const target of [c, b, a]) send(scorer, target)
      assert.deepEqual(send(scorer, undefined), expected)
    }
  })
})
