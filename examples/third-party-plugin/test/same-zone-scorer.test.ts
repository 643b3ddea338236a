import assert from 'node:assert/strict'
import { checkPlugin, endpoint, paramsOf, request } from 'endpoint-picker/testing'
import sameZoneScorer from '../src/same-zone-scorer.ts'

describe('same-zone-scorer', () => {
  const scorer = sameZoneScorer.create(paramsOf(sameZoneScorer, { label: 'zone' }), {})
  const endpoints = [endpoint({ labels: { zone: 'a' } }), endpoint({ labels: { zone: 'b' } })]

  it('keeps the contract of a scorer', () => checkPlugin(sameZoneScorer))

  it("scores 1 in the caller's zone and 0 elsewhere", () => {
    assert.deepEqual(scorer.score(request({ headers: { 'x-zone': 'b' } }), endpoints), [0, 1])
  })

  it('scores every endpoint 1 when the caller names no zone', () => {
    assert.deepEqual(scorer.score(request(), endpoints), [1, 1])
  })
})
