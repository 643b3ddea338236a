import assert from 'node:assert/strict'
import { LiveSet } from '../../src/framework/live-set.ts'

class Request {
  slot = -1
  readonly id: number
  constructor(id: number) {
    this.id = id
  }
}

describe('LiveSet', () => {
  it('has what was added and not deleted, as a Set does', () => {
    let state = 7
    const random = (below: number) => (state = (Math.imul(state, 48271) >>> 0) % 2147483647) % below
    const requests = Array.from({ length: 50 }, (_, id) => new Request(id))
    const live = new LiveSet<Request>()
    const expected = new Set<Request>()
    for (let i = 0; i < 5000; i++) {
      const request = requests[random(requests.length)]!
      if (random(2) === 0) {
        live.add(request)
        expected.add(request)
      } else {
        assert.equal(live.delete(request), expected.delete(request))
      }
      assert.equal(live.size, expected.size)
      const ids = (all: Iterable<Request>) => [...all].map(({ id }) => id).sort((a, b) => a - b)
      assert.deepEqual(ids(live.all()), ids(expected))
    }
  })

  it('leaves a member of another set there', () => {
    const mine = new LiveSet<Request>()
    const other = new LiveSet<Request>()
    const member = new Request(1)
    mine.add(new Request(0))
    other.add(member)
    assert.equal(mine.delete(member), false)
    assert.equal(mine.size, 1)
    assert.equal(other.delete(member), true)
  })

  it('may change while what was in it is gone through', () => {
    const live = new LiveSet<Request>()
    for (let id = 0; id < 10; id++) live.add(new Request(id))
    const seen: number[] = []
    for (const request of live.all()) {
      seen.push(request.id)
      live.delete(request)
    }
    assert.equal(seen.length, 10)
    assert.equal(live.size, 0)
  })
})
