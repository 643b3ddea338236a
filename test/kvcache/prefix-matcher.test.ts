import assert from 'node:assert/strict'
import { PROMPT_TOKENS, type PromptTokens } from '../../src/framework/attributes.ts'
import type { Endpoint } from '../../src/framework/endpoint.ts'
import type { EndReason, Outcome } from '../../src/framework/plugin.ts'
import type { InferenceRequest } from '../../src/framework/request.ts'
import { PREFIX_FINDING, type PrefixMatch } from '../../src/framework/services.ts'
import { endpoint, request } from '../../src/framework/testing.ts'
import { KvPrefixMatcher } from '../../src/kvcache/prefix-matcher.ts'
import { KvRoutedPrefixIndex } from '../../src/kvcache/routed-prefix-index.ts'
import { createKvCache } from './fakes.ts'

const ended = (reason: EndReason): Outcome => ({
  reason,
  status: undefined,
  usage: undefined,
  responseBytes: 0,
  firstByteMs: undefined,
  durationMs: 0,
})

describe('KvPrefixMatcher', () => {
  const endpoints = Array.from({ length: 4 }, (_, slot) => endpoint({ slot, name: `e${slot}` }))

  /** Two indexes that answer as they are told, and count what they are asked. */
  function fakes(
    tracked: readonly number[],
    routed: readonly number[],
    covered: readonly number[],
  ) {
    const asked: string[] = []
    const answer = (blocks: readonly number[], of: readonly Endpoint[]): PrefixMatch => ({
      blocks: Int32Array.from(of, ({ slot }) => blocks[slot]!),
      weighted: Float64Array.from(of, ({ slot }) => blocks[slot]! / 2),
      blockTokens: new Int32Array(of.length).fill(16),
      usableBlocks: new Int32Array(of.length).fill(10),
    })
    const index = {
      match(_: InferenceRequest, __: PromptTokens, of: readonly Endpoint[]) {
        asked.push('tracked')
        return answer(tracked, of)
      },
      tracks: ({ slot }: Endpoint) => covered.includes(slot),
      speculate(_: InferenceRequest, __: PromptTokens, { slot }: Endpoint, ttlMs: number) {
        asked.push(`speculate ${slot} ${ttlMs}`)
        return { expireIn: (delayMs: number) => void asked.push(`expire ${delayMs}`) }
      },
      touch() {},
      configure() {},
    }
    const other = {
      match(_: InferenceRequest, __: PromptTokens, of: readonly Endpoint[]) {
        asked.push('routed')
        return answer(routed, of)
      },
      record: (_: InferenceRequest, __: PromptTokens, { slot }: Endpoint) =>
        void asked.push(`record ${slot}`),
      configure() {},
    }
    return { matcher: new KvPrefixMatcher(index, other), asked }
  }
  const some = () => request({ tokens: [1, 2, 3] })

  it('takes what events tell where they are complete, and the larger of both elsewhere', () => {
    const { matcher } = fakes([1, 5, 1, 0], [9, 9, 3, 0], [0, 1])
    const finding = matcher.find(some(), endpoints)!
    assert.deepEqual([...finding.match.blocks], [1, 5, 3, 0])
    assert.deepEqual([finding.source, finding.tracked], ['tracked', 2])
  })

  it('asks only the events where they cover all', () => {
    const { matcher, asked } = fakes([1, 5, 1, 0], [9, 9, 9, 9], [0, 1, 2, 3])
    assert.deepEqual([...matcher.find(some(), endpoints)!.match.blocks], [1, 5, 1, 0])
    assert.deepEqual(asked, ['tracked'])
  })

  it('believes no event where the token ids are a guess', () => {
    const { matcher } = fakes([0, 0, 0, 0], [9, 9, 3, 0], [0, 1, 2, 3])
    const guess = request()
    guess.attributes.set(PROMPT_TOKENS, { ...exact([1]), exact: false, reason: 'test' })
    const finding = matcher.find(guess, endpoints)!
    assert.deepEqual([...finding.match.blocks], [9, 9, 3, 0])
    assert.deepEqual([finding.source, finding.tracked], ['routed', 0])
  })

  it('says nothing without token data', () => {
    const { matcher, asked } = fakes([1, 1, 1, 1], [1, 1, 1, 1], [])
    assert.equal(matcher.find(request(), endpoints), undefined)
    assert.deepEqual(asked, [])
  })

  it('looks once in a pick, also for a part of the endpoints in another order', () => {
    const { matcher, asked } = fakes([1, 5, 2, 0], [0, 0, 0, 0], [1, 2])
    const each = some()
    const first = matcher.find(each, endpoints)
    assert.equal(matcher.find(each, endpoints), first)
    const part = matcher.find(each, [endpoints[2]!, endpoints[0]!])!
    assert.deepEqual([...part.match.blocks], [2, 1])
    assert.deepEqual([...part.match.weighted], [1, 0.5])
    assert.deepEqual([part.source, part.tracked], ['tracked', 1])
    assert.equal(matcher.find(each, [endpoints[3]!])!.source, 'routed')
    assert.deepEqual(asked, ['tracked', 'routed'])
    assert.equal(each.attributes.get(PREFIX_FINDING), first, 'the widest finding stays')
  })

  it('looks again for other endpoints, for another request, and after the pick', async () => {
    const { matcher, asked } = fakes([1, 5, 2, 0], [0, 0, 0, 0], [0, 1, 2, 3])
    const each = some()
    matcher.find(each, endpoints.slice(0, 2))
    matcher.find(each, endpoints)
    assert.equal(asked.length, 2)
    matcher.find(some(), endpoints)
    assert.equal(asked.length, 3)
    await Promise.resolve()
    matcher.find(each, endpoints)
    assert.equal(asked.length, 4)
  })

  it('learns of a pick for which it was asked, and of no other', () => {
    const { matcher, asked } = fakes([0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 2, 3])
    matcher.picked(some(), endpoints[1]!)
    assert.deepEqual(asked, [])
    const each = some()
    matcher.find(each, endpoints)
    asked.length = 0
    matcher.picked(each, endpoints[1]!)
    assert.deepEqual(asked, ['record 1', 'speculate 1 Infinity'])
  })

  for (const [what, tell, expected] of [
    ['the first byte', ['responded', 'completed'], ['expire 500']],
    ['an end without a byte', ['aborted'], ['expire 500']],
    ['nothing that is seen', ['not-watched'], ['expire 7000']],
  ] as const) {
    it(`ends what it speculated soon after ${what}`, () => {
      const { matcher, asked } = fakes([0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 2, 3])
      matcher.configure({ speculative: true, unseenMs: 7000 })
      const each = some()
      matcher.find(each, endpoints)
      matcher.picked(each, endpoints[1]!)
      asked.length = 0
      for (const step of tell) {
        if (step === 'responded') matcher.responded(each)
        else matcher.ended(each, endpoints[1]!, ended(step))
      }
      assert.deepEqual(asked, expected)
    })
  }

  it('does not speculate when told not to', () => {
    const { matcher, asked } = fakes([0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 2, 3])
    matcher.configure({ speculative: false, unseenMs: 1 })
    const each = some()
    matcher.find(each, endpoints)
    matcher.picked(each, endpoints[1]!)
    matcher.responded(each)
    assert.deepEqual(asked, ['tracked', 'record 1'])
  })

  it('over the real indexes: a prompt under way counts as present until half a second after its first byte', () => {
    const { cache, clock, metrics, endpoints: real } = createKvCache()
    try {
      const [a, b] = [real.add({ address: '10.0.0.1' }), real.add({ address: '10.0.0.2' })]
      const routed = new KvRoutedPrefixIndex({ endpoints: real, maxMemoryBytes: 1 << 22 })
      const matcher = new KvPrefixMatcher(cache.index, routed)
      const tokens = Array.from({ length: 129 }, (_, i) => i)
      const blocks = () => [...cache.index.match(request(), exact(tokens), [a!, b!]).blocks]
      const speculations = () => [...metrics.samples.get('epp_kv_speculations')!()][0]!.value
      const first = request({ tokens })
      matcher.find(first, [a!, b!])
      matcher.picked(first, b!)
      clock.ms += 3_600_000
      assert.deepEqual(blocks(), [0, 8])
      matcher.responded(first)
      clock.ms += 499
      assert.deepEqual(blocks(), [0, 8])
      clock.ms += 1
      assert.deepEqual(blocks(), [0, 0])
      assert.equal(speculations(), 0)
    } finally {
      cache.close()
    }
  })
})

function exact(tokens: readonly number[]): PromptTokens {
  return { prompts: [Int32Array.from(tokens)], exact: true }
}
