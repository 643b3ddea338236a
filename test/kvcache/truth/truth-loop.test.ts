import assert from 'node:assert/strict'
import type { Endpoint } from '../../../src/framework/endpoint.ts'
import type { EndReason, Outcome, Usage } from '../../../src/framework/plugin.ts'
import { PREFIX_FINDING } from '../../../src/framework/services.ts'
import { request } from '../../../src/framework/testing.ts'
import { KvPrefixMatcher } from '../../../src/kvcache/prefix-matcher.ts'
import { KvRoutedPrefixIndex } from '../../../src/kvcache/routed-prefix-index.ts'
import { DEFAULT_TRUTH, TruthLoop } from '../../../src/kvcache/truth/truth-loop.ts'
import { message, type StoredGiven, stored, tokensOf } from '../events.ts'
import { createKvCache } from '../fakes.ts'

const OPTIONS = { ...DEFAULT_TRUTH, window: 4, recoverAfter: 2 }
const BLOCKS = 16
const TOKENS = BLOCKS * 16

describe('TruthLoop', () => {
  let world: ReturnType<typeof createKvCache>
  let routed: KvRoutedPrefixIndex
  let loop: TruthLoop
  let matcher: KvPrefixMatcher
  let one: Endpoint
  let sequence: number

  beforeEach(() => {
    world = createKvCache()
    one = world.endpoints.add()
    const { clock, logger, metrics, notices, endpoints, cache } = world
    routed = new KvRoutedPrefixIndex({ endpoints, maxMemoryBytes: 1 << 22 })
    const { witness } = cache
    loop = new TruthLoop({ clock, logger, metrics, notices, endpoints, witness })
    matcher = new KvPrefixMatcher(cache.index, routed, loop)
    matcher.configure({ speculative: false, unseenMs: 1, truth: OPTIONS })
    sequence = 0
  })
  afterEach(() => {
    loop.close()
    routed.close()
    world.cache.close()
  })

  const say = (given: StoredGiven, number = sequence++) => {
    world.clock.ms++
    const frames = message('kv@10.0.0.1@m', number, [stored(given)])
    world.cache.intake.receive({ kind: 'bound' }, frames)
  }
  const outcome = (usage: Usage | undefined, reason: EndReason = 'completed'): Outcome => ({
    ...{ reason, usage, status: 200, responseBytes: 1, firstByteMs: 1, durationMs: 1 },
  })
  const usage = (cachedTokens: number | undefined): Usage => ({
    ...{ promptTokens: TOKENS + 1, completionTokens: 1, cachedTokens },
  })

  /** One request for a chain, of which the engine says that so much was cached. */
  const ask = (chain: string, cachedTokens: number | undefined, reason?: EndReason) => {
    world.clock.ms++
    const asked = request({ model: 'm', tokens: [...tokensOf(chain, 0, BLOCKS, 16), 7] })
    const finding = matcher.find(asked, [one])!
    matcher.picked(asked, one)
    loop.picked(asked, one)
    world.clock.ms++
    loop.ended(asked, one, outcome(usage(cachedTokens), reason))
    return finding
  }
  const notice = () => world.notices.get(`prefix-truth:${one.hostPort}`)
  const fallbacks = () => [...world.metrics.samples.get('epp_prefix_fallback')!()]
  const said = () =>
    world.logger.lines.map(({ message: text }) => text).filter((text) => /beli/.test(text))

  /** The events tell of `a`, and the engine caches `b`. */
  const distrust = () => {
    say({ chain: 'a', blocks: BLOCKS })
    ask('b', 0)
    for (let i = 0; i < 2; i++) ask('b', TOKENS)
  }

  it('says whom it distrusts, why and since when, once', () => {
    distrust()
    assert.equal(loop.reasonOf(one), 'no-events')
    assert.deepEqual(fallbacks(), [
      { labels: { endpoint: one.hostPort, reason: 'no-events' }, value: 1 },
    ])
    assert.match(
      notice()!,
      /^10\.0\.0\.1:8000: its KV events do not predict what it has cached \(no-events\) since 2023-.*: 2 of the last 2 answers that tell, 0 tokens expected and 256 cached in the last one; .*Until 2 in a row are right/,
    )
    const trust = loop.trustOf(one)!
    assert.deepEqual([trust.state, trust.reason], ['distrusted', 'no-events'])
    assert.match(trust.since!, /^2023-11-14T/)
    for (let i = 0; i < 10; i++) ask('b', TOKENS)
    assert.deepEqual(said(), ['KV events predict wrong and are not believed'])
    assert.equal(world.metrics.sum('epp_prefix_trust_changes_total{lost}'), 1)
  })

  it('asks our own picks about it meanwhile, even where events tell more', () => {
    distrust()
    const estimated = ask('b', TOKENS)
    assert.deepEqual([...estimated.match.blocks], [TOKENS / 64])
    assert.deepEqual([estimated.source, estimated.tracked], ['routed', 0])
    assert.deepEqual([estimated.told, estimated.distrusted], [[false], ['no-events']])
    assert.deepEqual([...ask('a', 0).match.blocks], [0], 'it was never sent there')
  })

  it('believes it again after so many right ones, and says so', () => {
    distrust()
    ask('a', TOKENS)
    assert.ok(notice() !== undefined)
    ask('a', TOKENS)
    assert.equal(notice(), undefined)
    assert.deepEqual(fallbacks(), [])
    assert.deepEqual(loop.trustOf(one), { state: 'trusted' })
    assert.equal(said().at(-1), 'KV events predict right again and are believed')
    assert.equal(world.metrics.sum('epp_prefix_trust_changes_total{regained}'), 1)
    const finding = ask('a', TOKENS)
    assert.deepEqual([[...finding.match.blocks], finding.told], [[BLOCKS], [true]])
    assert.equal(finding.distrusted, undefined)
  })

  it('believes what right answers prove though events are missing, until more is forgotten', () => {
    say({ chain: 'x', blocks: BLOCKS }, 0)
    say({ chain: 'a', blocks: BLOCKS }, 5)
    assert.deepEqual(ask('a', TOKENS).told, [false], 'a gap')
    for (let i = 0; i < 2; i++) ask('x', TOKENS)
    assert.equal(loop.reasonOf(one), 'gap')
    for (let i = 0; i < 2; i++) ask('a', TOKENS)
    assert.deepEqual(ask('a', TOKENS).told, [true])
    say({ chain: 'a', blocks: BLOCKS }, 9)
    assert.deepEqual(ask('a', TOKENS).told, [false], 'another gap')
  })

  it('begins anew with an engine that begins anew, and forgets one that goes', () => {
    say({ chain: 'z' })
    distrust()
    say({ chain: 'c', blocks: BLOCKS }, 0)
    ask('c', TOKENS)
    assert.equal(notice(), undefined)
    assert.equal(loop.distrustsAny, false)
    assert.equal(said().at(-1), 'KV events are believed again, since the engine began anew')
    sequence = 1
    for (let i = 0; i < 2; i++) ask('b', TOKENS)
    assert.ok(notice() !== undefined)
    world.endpoints.remove(one)
    assert.equal(notice(), undefined)
    assert.equal(loop.distrustsAny, false)
    ask('b', TOKENS)
    assert.deepEqual(fallbacks(), [], 'an answer that comes later changes nothing')
  })

  it('judges no request that did not complete, no guess and no routed finding', () => {
    say({ chain: 'a', blocks: BLOCKS })
    for (let i = 0; i < 8; i++) ask('b', TOKENS, 'aborted')
    const routedOnly = request({ model: 'm', tokens: tokensOf('b', 0, BLOCKS, 16) })
    const match = routed.match(routedOnly, { prompts: [], exact: true }, [one])
    routedOnly.attributes.set(PREFIX_FINDING, {
      ...{ endpoints: [one], match, source: 'routed', tracked: 0 },
    })
    for (let i = 0; i < 8; i++) {
      loop.picked(routedOnly, one)
      loop.ended(routedOnly, one, outcome(usage(TOKENS)))
    }
    assert.equal(loop.distrustsAny, false)
  })

  it('takes a count that is left out for 0 once the engine has told one', () => {
    say({ chain: 'a', blocks: BLOCKS })
    for (let i = 0; i < 4; i++) ask('a', undefined)
    assert.equal(loop.distrustsAny, false)
    ask('a', TOKENS)
    for (let i = 0; i < 2; i++) ask('a', undefined)
    assert.equal(loop.reasonOf(one), 'no-events')
  })

  it('says when engines never tell what was cached, until one does', () => {
    const text = () => world.notices.get('prefix-truth-unreported')
    say({ chain: 'a', blocks: BLOCKS })
    for (let i = 0; i < 19; i++) ask('a', undefined)
    assert.equal(text(), undefined)
    ask('a', undefined)
    assert.match(text()!, /--enable-prompt-tokens-details/)
    ask('a', TOKENS)
    assert.equal(text(), undefined)
  })

  it('believes everything when it is turned off, and begins anew when it is turned on', () => {
    distrust()
    matcher.configure({ speculative: false, unseenMs: 1 })
    assert.equal(notice(), undefined)
    assert.equal(loop.trustOf(one), undefined)
    for (let i = 0; i < 8; i++) ask('b', TOKENS)
    assert.equal(loop.distrustsAny, false)
    matcher.configure({ speculative: false, unseenMs: 1, truth: OPTIONS })
    ask('b', TOKENS)
    assert.equal(loop.distrustsAny, false)
    ask('b', TOKENS)
    assert.equal(loop.distrustsAny, true)
  })

  it('does not take what is only expected for what the events say', () => {
    matcher.configure({ speculative: true, unseenMs: 1, truth: OPTIONS })
    say({ chain: 'a', blocks: BLOCKS })
    ask('b', 0)
    assert.deepEqual([...ask('b', TOKENS).match.blocks], [BLOCKS], 'expected')
    ask('b', TOKENS)
    assert.equal(loop.distrustsAny, true)
  })
})
