import assert from 'node:assert/strict'
import type { CacheEvidence } from '../../../src/kvcache/truth/cache-witness.ts'
import { EndpointTruth } from '../../../src/kvcache/truth/endpoint-truth.ts'
import { DEFAULT_TRUTH } from '../../../src/kvcache/truth/truth-loop.ts'
import { judge, type TruthSample } from '../../../src/kvcache/truth/truth-sample.ts'
import { evidence, sample } from './facts.ts'

const OPTIONS = { ...DEFAULT_TRUTH, window: 8, maxWrong: 0.5, recoverAfter: 3 }
const WRONG: Partial<TruthSample> = { toldTokens: 0 }
const RIGHT: Partial<TruthSample> = {}
const NOTHING: Partial<TruthSample> = { toldTokens: 0, cachedTokens: 0 }

describe('EndpointTruth', () => {
  let truth: EndpointTruth
  beforeEach(() => {
    truth = new EndpointTruth()
  })

  /** What follows from each of these answers. */
  const add = (
    answers: readonly Partial<TruthSample>[],
    now: Partial<CacheEvidence> = {},
    pickedMs = 500,
  ) =>
    answers.map((fields) => {
      const each = sample(fields)
      return truth.add(each, judge(each, OPTIONS), pickedMs, evidence(now), OPTIONS)
    })
  const times = (count: number, fields: Partial<TruthSample>) =>
    Array.from({ length: count }, () => fields)

  it('distrusts at the share of the window, and not before', () => {
    assert.deepEqual(add(times(4, WRONG)), [undefined, undefined, undefined, 'lost'])
    assert.equal(truth.cause?.reason, 'unknown')
    assert.match(truth.cause!.seen, /0 told and 256 cached of 512/)
  })

  it('forgets what is behind the window', () => {
    const mixed = [...times(3, WRONG), ...times(8, RIGHT)]
    assert.ok([...add(mixed), ...add(mixed)].every((change) => change === undefined))
    assert.equal(truth.wrongCount, 0)
    assert.equal(truth.judged, 8)
  })

  it('takes no notice of answers that tell nothing', () => {
    add(times(3, WRONG))
    assert.deepEqual(add(times(20, NOTHING)).filter(Boolean), [])
    assert.deepEqual(add([WRONG]), ['lost'])
  })

  it('trusts again after so many right ones in a row', () => {
    add(times(4, WRONG))
    const changes = add([RIGHT, RIGHT, WRONG, RIGHT, NOTHING, RIGHT, RIGHT])
    assert.deepEqual(changes.slice(0, -1).filter(Boolean), [])
    assert.equal(changes.at(-1), 'regained')
    assert.equal(truth.cause, undefined)
    assert.equal(truth.judged, 0)
    assert.deepEqual(add(times(3, WRONG)).filter(Boolean), [], 'and begins anew')
  })

  it('is proved by that until something is forgotten', () => {
    assert.equal(truth.isProved, false)
    add(times(4, WRONG), { epoch: 1 })
    add(times(3, RIGHT), { epoch: 1 })
    assert.ok(truth.isProved && truth.isProvedAt(1))
    assert.equal(truth.isProvedAt(2), false)
    add(times(4, WRONG), { epoch: 1 })
    assert.equal(truth.isProved, false)
  })

  it('names the reason later when nothing proves it at first, once', () => {
    assert.deepEqual(add(times(4, WRONG)).at(-1), 'lost')
    assert.equal(truth.cause?.reason, 'unknown')
    const salted = { ...WRONG, beginning: 'other-salt' as const }
    const changes = add(times(8, salted))
    assert.deepEqual(changes.filter(Boolean), ['named'])
    assert.equal(truth.cause?.reason, 'salt')
  })

  it('renames a reason that gives way to another', () => {
    add(times(4, WRONG), { lastEventMs: Number.NEGATIVE_INFINITY })
    assert.equal(truth.cause?.reason, 'no-events')
    assert.deepEqual(add(times(4, WRONG), { gaps: 1 }), [undefined, undefined, 'named', undefined])
    assert.equal(truth.cause?.reason, 'gap')
  })

  it('counts against a reason only what came after the last right answer', () => {
    const old = {
      gaps: 1,
      unrecognized: 5,
      misfit: { count: 2, blockTokens: 64, tokensPerHash: 16 },
    }
    add(times(2, RIGHT), old)
    add(times(4, WRONG), old)
    assert.equal(truth.cause?.reason, 'unknown')
  })

  it('takes an event that comes after its answer for one that came', () => {
    add([NOTHING], { lastEventMs: 400 })
    // These need no new blocks.
    const cached = { ...WRONG, cachedTokens: 496 }
    add(times(4, cached), { lastEventMs: 600 }, 700)
    assert.equal(truth.cause?.reason, 'unknown')
    truth = new EndpointTruth()
    add([NOTHING], { lastEventMs: 400 })
    add(times(4, cached), { lastEventMs: 400 }, 700)
    assert.equal(truth.cause?.reason, 'no-events')
  })

  it('keeps few answers, however many there are', () => {
    const options = { ...OPTIONS, window: 1000 }
    for (let i = 0; i < 600; i++) {
      const each = sample({ ...WRONG, promptTokens: 512 + (i < 500 ? 1 : 0) })
      truth.add(each, 'wrong', 500, evidence(), options)
    }
    assert.equal(truth.judged, 600)
    assert.equal(truth.cause?.reason, 'tokenizer', 'named by those when it was lost')
  })
})
