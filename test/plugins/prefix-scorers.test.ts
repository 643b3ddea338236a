import assert from 'node:assert/strict'
import { PREFIX_FINDING, type PrefixMatch } from '../../src/framework/services.ts'
import { endpoint, paramsOf, request } from '../../src/framework/testing.ts'
import { precisePrefixCacheScorer } from '../../src/plugins/scorers/precise-prefix-cache-scorer.ts'
import { prefixCacheScorer } from '../../src/plugins/scorers/prefix-cache-scorer.ts'

interface Known {
  readonly blocks: readonly number[]
  /** Blocks that could match; per endpoint, or the same for all. */
  readonly usable: number | readonly number[]
  /** Blocks by the weight of their medium; `blocks` when absent. */
  readonly weighted?: readonly number[]
  readonly blockTokens?: number
}

function matchOf({ blocks, usable, weighted = blocks, blockTokens = 16 }: Known): PrefixMatch {
  return {
    blocks: Int32Array.from(blocks),
    weighted: Float64Array.from(weighted),
    blockTokens: new Int32Array(blocks.length).fill(blockTokens),
    usableBlocks: Int32Array.from(blocks, (_, i) =>
      typeof usable === 'number' ? usable : usable[i]!,
    ),
  }
}

const TOKENS = Array.from({ length: 161 }, (_, i) => i)
const endpointsOf = ({ blocks }: Known) => blocks.map((_, slot) => endpoint({ slot }))
const assertScores = (actual: readonly number[], expected: readonly number[]) => {
  assert.equal(actual.length, expected.length)
  for (const [i, score] of actual.entries()) {
    assert.ok(Math.abs(score - expected[i]!) < 1e-12, `${actual}, not ${expected}`)
  }
}

describe('prefix-cache-scorer', () => {
  const make = (known: Known, params: Readonly<Record<string, unknown>> = {}) => {
    const match = matchOf(known)
    const recorded: string[] = []
    const scorer = prefixCacheScorer.create(paramsOf(prefixCacheScorer, params), {
      index: {
        match: () => match,
        record: (_request, _tokens, { name }) => recorded.push(name),
        configure() {},
      },
      matcher: { find: () => undefined, configure() {} },
    })
    return { scorer, recorded }
  }
  const scores = (
    known: Known,
    params: Readonly<Record<string, unknown>> = {},
    asked = request({ tokens: TOKENS }),
  ) => Array.from(make(known, params).scorer.score(asked, endpointsOf(known)))

  for (const [what, actual, expected] of [
    ['the share of blocks that match', scores({ blocks: [5, 0, 10], usable: 10 }), [0.5, 0, 1]],
    ['each by its own block size', scores({ blocks: [4, 2], usable: [8, 2] }), [0.5, 1]],
    ['equal endpoints the same', scores({ blocks: [3, 3], usable: 4 }), [0.75, 0.75]],
    ['one endpoint', scores({ blocks: [1], usable: 8 }), [0.125]],
    ['0 where nothing matches', scores({ blocks: [0, 0], usable: 9 }), [0, 0]],
    ['0 where no block could match', scores({ blocks: [0, 0], usable: 0 }), [0, 0]],
    [
      '0 for all without token data',
      scores({ blocks: [5, 10], usable: 10 }, {}, request()),
      [0, 0],
    ],
    // 0.75 x 5/10 + 0.25 x (5 x 16 / 160)^2 = 0.375 + 0.0625; 0.75 x 1 + 0.25 x 1.
    [
      'the share and the square of the length, weighed',
      scores(
        { blocks: [5, 10], usable: 10 },
        { matchLengthWeight: 0.25, matchLengthScaleTokens: 160 },
      ),
      [0.4375, 1],
    ],
    // (4 x 64 / 1024)^2 = 0.0625, (12 x 64 / 1024)^2 = 0.5625.
    [
      'the length alone with a weight of 1',
      scores(
        { blocks: [4, 12], usable: 12, blockTokens: 64 },
        { matchLengthWeight: 1, matchLengthScaleTokens: 1024 },
      ),
      [0.0625, 0.5625],
    ],
    [
      'no length above the scale',
      scores(
        { blocks: [100, 1000], usable: 1000 },
        { matchLengthWeight: 1, matchLengthScaleTokens: 16 },
      ),
      [1, 1],
    ],
    // 8192 by default: (128 x 16 / 8192)^2 = 0.0625.
    [
      'the length against 8192 tokens by default',
      scores({ blocks: [128], usable: 512 }, { matchLengthWeight: 1 }),
      [0.0625],
    ],
  ] as const) {
    it(`scores ${what}`, () => assertScores(actual, expected))
  }

  it('learns where each request went', () => {
    const known = { blocks: [0, 0], usable: 3 }
    const { scorer, recorded } = make(known)
    const [first, second] = endpointsOf(known)
    const asked = request({ tokens: TOKENS })
    scorer.score(asked, [first!, second!])
    scorer.picked?.(asked, second!, undefined as never)
    assert.deepEqual(recorded, [second!.name])
    assert.equal(asked.attributes.get(PREFIX_FINDING)?.source, 'routed')
  })
})

describe('precise-prefix-cache-scorer', () => {
  const scores = (known: Known | undefined, count = known?.blocks.length ?? 0) => {
    const endpoints = Array.from({ length: count }, (_, slot) => endpoint({ slot }))
    const scorer = precisePrefixCacheScorer.create(paramsOf(precisePrefixCacheScorer), {
      index: {
        match: () => assert.fail('the matcher is asked, not the index'),
        tracks: () => true,
        touch() {},
        speculate: () => ({ expireIn() {} }),
        configure() {},
      },
      matcher: {
        find: () =>
          known && { endpoints, match: matchOf(known), source: 'tracked', tracked: count },
        configure() {},
      },
    })
    return Array.from(scorer.score(request({ tokens: TOKENS }), endpoints))
  }

  for (const [what, actual, expected] of [
    ['the share of blocks that match', scores({ blocks: [5, 0, 10], usable: 10 }), [0.5, 0, 1]],
    // 4 blocks in GPU memory and 5 in CPU memory at 0.8 make 8 of 10: nothing is rounded.
    [
      'blocks by the weight of their medium',
      scores({ blocks: [9, 1], usable: 10, weighted: [8, 0.8] }),
      [0.8, 0.08],
    ],
    ['each by its own block size', scores({ blocks: [4, 2], usable: [8, 2] }), [0.5, 1]],
    ['equal endpoints the same', scores({ blocks: [7, 7], usable: 7 }), [1, 1]],
    ['one endpoint', scores({ blocks: [1], usable: 4 }), [0.25]],
    ['0 where nothing matches', scores({ blocks: [0, 0], usable: 9 }), [0, 0]],
    ['0 where no block could match', scores({ blocks: [0, 0], usable: 0 }), [0, 0]],
    ['0 for all without token data', scores(undefined, 3), [0, 0, 0]],
  ] as const) {
    it(`scores ${what}`, () => assertScores(actual, expected))
  }
})
