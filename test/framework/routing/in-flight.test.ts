import assert from 'node:assert/strict'
import { InFlightLedger } from '../../../src/framework/routing/in-flight.ts'
import { endpoint } from '../../../src/framework/testing.ts'

describe('InFlightLedger', () => {
  it('counts a reservation until it is released, once', () => {
    const ledger = new InFlightLedger()
    const one = endpoint()
    const first = ledger.reserve(one)
    ledger.reserve(one)
    assert.equal(ledger.requests(one), 2)
    first.release()
    first.release()
    assert.equal(ledger.requests(one), 1)
  })

  it('starts at zero when a slot serves a new endpoint, whatever is released for the old one', () => {
    const ledger = new InFlightLedger()
    const old = endpoint({ slot: 5, name: 'old' })
    const fresh = endpoint({ slot: 5, name: 'fresh' })
    const late = ledger.reserve(old)
    ledger.forget(old)
    ledger.reserve(fresh)
    late.release()
    assert.equal(ledger.requests(old), 0)
    assert.equal(ledger.requests(fresh), 1)
  })

  it('tells which endpoint was picked last', () => {
    const ledger = new InFlightLedger()
    const [a, b] = [endpoint(), endpoint()]
    ledger.reserve(a)
    ledger.reserve(b)
    assert.ok(ledger.lastPick(b) > ledger.lastPick(a))
    assert.equal(ledger.lastPick(endpoint()), 0)
  })
})
