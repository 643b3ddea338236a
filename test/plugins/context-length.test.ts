import assert from 'node:assert/strict'
import { PROMPT_TOKENS } from '../../src/framework/attributes.ts'
import { endpoint, paramsOf, request } from '../../src/framework/testing.ts'
import { contextLengthAware } from '../../src/plugins/context-length/context-length-aware.ts'
import { contextLengthAwareFilter } from '../../src/plugins/context-length/context-length-aware-filter.ts'

const LABEL = 'llm-d.ai/context-length-range'
const endpoints = (ranges: readonly (string | undefined)[], label = LABEL) =>
  ranges.map((range) => endpoint(range === undefined ? {} : { labels: { [label]: range } }))
const prompts = (...lengths: readonly number[]) =>
  request({
    attributes: [
      [
        PROMPT_TOKENS,
        { prompts: lengths.map((length) => new Int32Array(length)), exact: true },
      ] as const,
    ],
  })

describe('context-length-aware', () => {
  const scorer = contextLengthAware.create(paramsOf(contextLengthAware), {})
  const score = (range: string | undefined, ...lengths: readonly number[]) =>
    scorer.score(prompts(...lengths), endpoints([range]))[0]!

  for (const [range, length, expected] of [
    // 0.3 + 0.7 (0.7 / (1 + 10000 / 10000) + 0.3 x 7500 / 10000) = 0.3 + 0.7 (0.35 + 0.225)
    ['0-10000', 2500, 0.7025],
    // 0.3 + 0.7 (0.7 / (1 + 2500 / 10000) + 0.3 x 0) = 0.3 + 0.7 x 0.56
    ['0-2500', 2500, 0.692],
    // 0.3 + 0.7 (0.7 / (1 + 40000 / 10000) + 0.3 x 1) = 0.3 + 0.7 (0.14 + 0.3)
    ['2000-42000', 2000, 0.608],
    ['512-512', 512, 1],
    // 500 tokens too long, 2000 too short: 0.3 / 1.5, 0.3 / 3.
    ['0-1000', 1500, 0.2],
    ['5000-9000', 3000, 0.1],
    [undefined, 700, 0.5],
    ['9000-5000', 7000, 0],
    ['large', 7000, 0],
    ['-5-10', 7, 0],
    ['', 0, 0],
  ] as const) {
    it(`scores ${expected} for ${length} tokens where the label is ${range}`, () => {
      assert.ok(Math.abs(score(range, length) - expected) < 1e-12, `${score(range, length)}`)
    })
  }

  it('goes by the longest of several prompts', () => {
    assert.equal(score('0-1000', 200, 1500, 100), score('0-1000', 1500))
  })

  it('scores 0.5 for all without token data', () => {
    const asked = scorer.score(request(), endpoints(['0-10', undefined, 'large']))
    assert.deepEqual(Array.from(asked), [0.5, 0.5, 0.5])
  })

  it('prefers the narrow range, then the wide, then none, then the nearest', () => {
    const ranges = ['0-900', '0-100', '0-200000', '0-2000', undefined]
    const scores = Array.from(scorer.score(prompts(1500), endpoints(ranges)))
    const order = ranges.map((_, i) => i).sort((x, y) => scores[y]! - scores[x]!)
    assert.deepEqual(order, [3, 2, 4, 0, 1])
  })

  it('reads another label', () => {
    const other = contextLengthAware.create(paramsOf(contextLengthAware, { label: 'len' }), {})
    const among = [...endpoints(['5-5'], 'len'), ...endpoints(['5-5'])]
    assert.deepEqual(Array.from(other.score(prompts(5), among)), [1, 0.5])
  })
})

describe('context-length-aware-filter', () => {
  const filter = contextLengthAwareFilter.create(paramsOf(contextLengthAwareFilter), {})
  const kept = (ranges: readonly (string | undefined)[], ...lengths: readonly number[]) => {
    const among = endpoints(ranges)
    const left = filter.filter(lengths.length > 0 ? prompts(...lengths) : request(), among)
    return left.map((each) => ranges[among.indexOf(each)])
  }

  for (const [what, actual, expected] of [
    ['both ends of a range', kept(['10-20', '20-30', '21-30', '0-19'], 20), ['10-20', '20-30']],
    ['those without a range', kept([undefined, '0-5'], 9), [undefined]],
    ['no range that cannot be read', kept(['long', '7-3', '0-9'], 5), ['0-9']],
    ['none when none fits', kept(['0-5', '6-8'], 9), []],
    ['all without token data', kept(['0-5', 'long', undefined]), ['0-5', 'long', undefined]],
    ['one endpoint that fits', kept(['0-5'], 0), ['0-5']],
    ['what fits the longest prompt', kept(['0-5', '0-50'], 3, 40), ['0-50']],
  ] as const) {
    it(`keeps ${what}`, () => assert.deepEqual(actual, expected))
  }
})
