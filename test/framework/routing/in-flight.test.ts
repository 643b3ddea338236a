import assert from 'node:assert/strict'
import type { Endpoint } from '../../../src/framework/endpoint.ts'
import { seededRandom } from '../../../src/framework/random.ts'
import { InFlightLedger, type Reservation } from '../../../src/framework/routing/in-flight.ts'
import { UnseenLoads } from '../../../src/framework/routing/unseen-loads.ts'
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

  describe('tokens', () => {
    const load = (promptTokens: number, cachedTokens: number, answerTokens: number) => ({
      promptTokens,
      cachedTokens,
      answerTokens,
    })
    const counts = (ledger: InFlightLedger, of: Endpoint) => ({
      requests: ledger.requests(of),
      tokens: ledger.tokens(of),
      queued: ledger.queuedTokens(of),
      context: ledger.contextTokens(of),
      kv: ledger.pendingKvTokens(of),
    })
    const scraped = (scrapedAtMs: number) =>
      endpoint({ slot: 3, name: 'e', metrics: { scrapedAtMs } })
    const NOTHING = { requests: 0, tokens: 0, queued: 0, context: 0, kv: 0 }

    it('the queued part goes with the first byte, the rest with the end', () => {
      const ledger = new InFlightLedger()
      const before = scraped(1)
      const one = ledger.reserve(before, load(1000, 300, 101))
      ledger.reserve(before, load(10, 0, 20))
      assert.deepEqual(counts(ledger, before), {
        requests: 2,
        tokens: 710,
        queued: 710,
        context: 1000 + 50.5 + 10 + 10,
        kv: 801 + 30,
      })
      one.firstByte()
      one.firstByte()
      const after = scraped(2)
      assert.deepEqual(counts(ledger, after), {
        requests: 2,
        tokens: 710,
        queued: 10,
        context: 1000 + 50.5 + 10 + 10,
        kv: 30,
      })
      one.release()
      one.release()
      one.firstByte()
      assert.deepEqual(counts(ledger, after), {
        requests: 1,
        tokens: 10,
        queued: 10,
        context: 20,
        kv: 30,
      })
    })

    it('KV that a scrape has not seen counts, first byte or not, until the next scrape', () => {
      const ledger = new InFlightLedger()
      ledger.reserve(scraped(1), load(100, 0, 50)).firstByte()
      assert.equal(ledger.pendingKvTokens(scraped(1)), 150)
      assert.equal(ledger.pendingKvTokens(scraped(2)), 0)
      ledger.reserve(scraped(2), load(10, 0, 5)).firstByte()
      assert.equal(ledger.pendingKvTokens(scraped(2)), 15)
    })

    it('an end takes unseen KV off, but not from what came after a scrape', () => {
      const ledger = new InFlightLedger()
      const early = ledger.reserve(scraped(1), load(100, 0, 50))
      early.firstByte()
      const late = ledger.reserve(scraped(2), load(10, 0, 5))
      late.firstByte()
      early.release()
      assert.equal(ledger.pendingKvTokens(scraped(2)), 15)
      late.release()
      assert.deepEqual(counts(ledger, scraped(2)), NOTHING)
    })

    it('never scraped: what has ended is gone', () => {
      const ledger = new InFlightLedger()
      const each = endpoint({ slot: 4 })
      for (let i = 0; i < 10; i++) ledger.reserve(each, load(100, 0, 50)).release()
      assert.deepEqual(counts(ledger, each), NOTHING)
    })

    it('an endpoint that goes takes its load along, and late ends harm nobody', () => {
      const ledger = new InFlightLedger()
      const old = endpoint({ slot: 5, name: 'old' })
      const late = ledger.reserve(old, load(100, 0, 50))
      ledger.forget(old)
      const fresh = endpoint({ slot: 5, name: 'fresh' })
      assert.deepEqual(counts(ledger, fresh), NOTHING)
      ledger.reserve(fresh, load(7, 0, 2))
      late.firstByte()
      late.release()
      assert.deepEqual(counts(ledger, fresh), {
        requests: 1,
        tokens: 7,
        queued: 7,
        context: 8,
        kv: 9,
      })
    })

    it('returns to exactly zero after any order of first bytes and ends', () => {
      const ledger = new InFlightLedger()
      const random = seededRandom(5)
      const below = (limit: number) => Math.floor(random.next() * limit)
      const held: Reservation[] = []
      let scrapedAtMs = 0
      for (let i = 0; i < 20_000; i++) {
        if (below(50) === 0) scrapedAtMs++
        if (below(2) === 0) {
          const promptTokens = below(10_000)
          held.push(
            ledger.reserve(
              scraped(scrapedAtMs),
              load(promptTokens, below(promptTokens + 1), below(999)),
            ),
          )
        } else if (held.length > 0) {
          const at = below(held.length)
          if (below(2) === 0) held[at]!.firstByte()
          else held.splice(at, 1)[0]!.release()
        }
        assert.ok(Object.values(counts(ledger, scraped(scrapedAtMs))).every((value) => value >= 0))
      }
      for (const each of held) each.release()
      assert.deepEqual(counts(ledger, scraped(scrapedAtMs)), NOTHING)
    })

    it('the expected answer follows those that ended, 2 % each', () => {
      const ledger = new InFlightLedger()
      assert.equal(ledger.meanOutputTokens, 300)
      ledger.answered(400)
      assert.equal(ledger.meanOutputTokens, 302)
      ledger.answered(0)
      assert.equal(ledger.meanOutputTokens, 302)
      for (let i = 0; i < 500; i++) ledger.answered(40)
      assert.ok(Math.abs(ledger.meanOutputTokens - 40) < 0.02)
    })
  })
})

describe('UnseenLoads', () => {
  const load = { promptTokens: 100, cachedTokens: 0, answerTokens: 20 }
  let nowMs: number
  let ledger: InFlightLedger
  let unseen: UnseenLoads
  beforeEach(() => {
    nowMs = 0
    ledger = new InFlightLedger()
    unseen = new UnseenLoads({ nowMs: () => nowMs, epochMs: () => 0 })
  })
  const pick = (each: Endpoint) => unseen.add(each, ledger.reserve(each, load), nowMs)
  const counts = (each: Endpoint) => [ledger.requests(each), ledger.queuedTokens(each)]

  it('keeps load without scrapes for a while, the queued part for less', () => {
    const each = endpoint()
    for (let i = 0; i < 3; i++) {
      pick(each)
      nowMs += 600
      unseen.expire([each])
    }
    assert.deepEqual(counts(each), [3, 100])
    nowMs = 10_000
    unseen.expire([each])
    assert.deepEqual(counts(each), [2, 0])
    nowMs = 11_200
    unseen.expire([each])
    assert.deepEqual(counts(each), [0, 0])
    assert.equal(ledger.contextTokens(each), 0)
  })

  it('lets go what a scrape has in it, of that endpoint alone', () => {
    const scraped = (slot: number, scrapedAtMs: number) =>
      endpoint({ slot, metrics: { scrapedAtMs } })
    const [a, b] = [scraped(1, 0), scraped(2, 0)]
    for (nowMs = 0; nowMs < 500; nowMs += 100) for (const each of [a, b]) pick(each)
    unseen.expire([scraped(1, 300), scraped(2, 0)])
    assert.deepEqual(
      [counts(a), counts(b)],
      [
        [2, 200],
        [5, 500],
      ],
    )
    nowMs = 2000
    unseen.expire([scraped(1, 300), scraped(2, 0)])
    assert.deepEqual(
      [counts(a), counts(b)],
      [
        [2, 0],
        [5, 0],
      ],
    )
    unseen.expire([scraped(1, 2000), scraped(2, 2000)])
    assert.deepEqual(
      [counts(a), counts(b)],
      [
        [0, 0],
        [0, 0],
      ],
    )
  })

  it('forgets an endpoint that is gone', () => {
    const [a, b] = [endpoint({ slot: 1 }), endpoint({ slot: 2 })]
    pick(a)
    pick(b)
    ledger.forget(a)
    unseen.forget(a)
    nowMs = 10_000
    unseen.expire([a, b])
    assert.deepEqual(
      [counts(a), counts(b)],
      [
        [0, 0],
        [0, 0],
      ],
    )
  })

  it('returns to zero after any interleaving of picks, scrapes and time', () => {
    const random = seededRandom(7)
    const last = [0, 0, 0]
    const now = () => last.map((scrapedAtMs, slot) => endpoint({ slot, metrics: { scrapedAtMs } }))
    for (let i = 0; i < 10_000; i++) {
      const slot = Math.floor(random.next() * 3)
      const what = random.next()
      if (what < 0.5) pick(now()[slot]!)
      else if (what < 0.8) nowMs += Math.floor(random.next() * 300)
      else if (what < 0.9) last[slot] = nowMs
      else unseen.expire(now())
    }
    assert.ok(now().some((each) => ledger.requests(each) > 0))
    nowMs += 10_000
    unseen.expire(now())
    for (const each of now()) assert.deepEqual(counts(each), [0, 0])
  })
})
