import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { paramsOf } from '../../src/framework/testing.ts'
import { costScorer } from '../../src/plugins/scorers/cost-scorer.ts'
import {
  COST_TERMS,
  type CostInputs,
  type CostParams,
  type CostTerm,
  costTerms,
  scoresOf,
  totalCosts,
} from '../../src/plugins/scorers/cost-terms.ts'
import { costStates } from './cost-states.ts'

const ROUND: CostParams = {
  prefillTokensPerSecond: 1000,
  decodeSecondsPerSequence: 0.001,
  decodeSecondsPerContextToken: 1e-6,
  stepSeconds: 0.01,
  othersWeight: 0.5,
  kvWeight: 2,
  kvRent: 8,
  homeWeight: 1,
}

/** A busy endpoint that holds 400 of 1,000 prompt tokens, and an idle one that was once sent 800 of them. */
const TWO: Readonly<Record<Exclude<keyof CostInputs, 'promptTokens' | 'answerTokens'>, number[]>> =
  {
    matched: [400, 0],
    owned: [600, 800],
    queued: [2000, 0],
    requests: [4, 0],
    context: [10_000, 0],
    kvUsed: [8000, 5000],
    kvPending: [1000, 0],
    kvCapacity: [10_000, 10_000],
  }

function inputs(changes: Partial<typeof TWO> = {}): CostInputs {
  const arrays = Object.entries({ ...TWO, ...changes }).map(([name, values]) => [
    name,
    Float64Array.from(values),
  ])
  return { promptTokens: 1000, answerTokens: 100, ...Object.fromEntries(arrays) }
}

function assertTerm(
  term: CostTerm,
  given: CostInputs,
  expected: readonly number[],
  params = ROUND,
) {
  const seconds = costTerms(given, params)[term]
  for (const [i, value] of expected.entries()) {
    assert.ok(Math.abs(seconds[i]! - value) < 1e-12, `${term}[${i}]: ${seconds[i]}, not ${value}`)
  }
}

describe('cost terms', () => {
  for (const [term, what, expected] of [
    ['queue', 'what was dispatched before, at the prefill rate', [2, 0]],
    ['prefill', 'what is not cached, at the prefill rate', [0.6, 1]],
    ['stall', 'the prefill once for each request there, weighted', [0.5 * 4 * 0.6, 0]],
    [
      'decode',
      'what this request adds to the steps of its answer',
      [0.5 * 100 * (0.001 * 5 + 1e-6 * 11_000), 0.5 * 100 * (0.001 + 1e-6 * 1000)],
    ],
    ['kv', 'nothing as long as the memory lasts', [0, 0]],
    [
      'rent',
      'the share of the free memory for as long as it is held, priced by the emptiest',
      [8 * 0.5 ** 4 * 2.4 * (700 / 1000), 8 * 0.5 ** 4 * 1 * (1100 / 5000)],
    ],
    ['copy', 'what more of the prompt lives elsewhere', [0.2, 0]],
  ] as const) {
    it(`${term}: ${what}`, () => assertTerm(term, inputs(), expected))
  }

  it('kv: missing memory, at the rate at which what is used is released', () => {
    // 200 are what the 4 in flight have yet to write.
    const missing = 8000 + 1500 + 200 + 700 - 10_000
    assertTerm('kv', inputs({ kvPending: [1500, 0] }), [(2 * 2.4 * missing) / 8000, 0])
  })

  it('kv and rent: memory that those in flight will write is held', () => {
    const given = inputs({ requests: [4, 84], context: [10_000, 0] })
    assertTerm('kv', given, [0, (2 * 100 * (0.01 + 0.084) * 300) / 5000])
    assertTerm('rent', given, [8 * 0.5 ** 4 * 2.4 * 0.7, 8 * 0.5 ** 4 * 9.4 * 1.1])
  })

  it('kv: a quarter of the memory at least is released in the life of a request', () => {
    const given = inputs({ kvUsed: [1000, 5000], kvPending: [9500, 0] })
    assertTerm('kv', given, [(2 * 2.4 * 1400) / 2500, 0])
  })

  it('rent: stops rising when a tenth is left', () => {
    const expected = [8 * 0.5 ** 4 * 2.4 * (700 / 1000)]
    assertTerm('rent', inputs({ kvPending: [1500, 0] }), expected)
    assertTerm('rent', inputs({ kvPending: [9000, 0] }), expected)
  })

  it('rent: an empty endpoint makes memory free of charge everywhere', () => {
    assertTerm('rent', inputs({ kvUsed: [8000, 0] }), [0, 0])
  })

  it('kv and rent are 0 where the capacity is unknown, and the others go on', () => {
    const given = inputs({ kvCapacity: [0, 10_000], kvUsed: [0, 5000], kvPending: [90_000, 0] })
    assertTerm('kv', given, [0, 0])
    assertTerm('rent', given, [0, 8 * 0.5 ** 4 * (1100 / 5000)])
    assertTerm('queue', given, [2, 0])
  })

  it('kv and rent are 0 when no capacity is known', () => {
    const given = inputs({ kvCapacity: [0, 0], kvUsed: [0, 0] })
    assertTerm('kv', given, [0, 0])
    assertTerm('rent', given, [0, 0])
  })

  it('copy: nothing when one endpoint is all there is', () => {
    const one = Object.fromEntries(Object.entries(TWO).map(([name, [first]]) => [name, [first!]]))
    assertTerm('copy', inputs(one), [0])
  })

  it('a request without a prompt costs what its place costs', () => {
    const given = { ...inputs(), promptTokens: 0, answerTokens: 0, matched: new Float64Array(2) }
    assertTerm('prefill', given, [0, 0])
    assertTerm('decode', given, [0, 0])
    assertTerm('queue', given, [2, 0])
  })

  it('scores 1 for the least cost and 0.5 for what costs scaleSeconds more', () => {
    assert.deepEqual([...scoresOf(Float64Array.of(3, 2, 4, 2), 1)], [0.5, 1, 1 / 3, 1])
    assert.deepEqual([...scoresOf(Float64Array.of(3, 2), 3)], [0.75, 1])
  })
})

describe('picks of the cost formula', () => {
  const reference = readFileSync('test/fixtures/cost/picks.txt', 'utf8').replaceAll('\n', '')
  const params: CostParams = paramsOf(costScorer)
  const picksWithout = (term?: CostTerm) => {
    let picks = ''
    for (const state of costStates(10_000, 20261121)) {
      const terms = costTerms(state, params)
      const totals = totalCosts(term ? { ...terms, [term]: terms[term].map(() => 0) } : terms)
      picks += totals.indexOf(Math.min(...totals)).toString(16)
    }
    return picks
  }

  it('are those of an independent implementation in 10,000 random states', () => {
    assert.equal(reference.length, 10_000)
    assert.equal(picksWithout(), reference)
  })

  for (const term of COST_TERMS) {
    it(`need the term ${term}`, () => {
      const picks = picksWithout(term)
      let different = 0
      for (let i = 0; i < picks.length; i++) different += Number(picks[i] !== reference[i])
      assert.ok(different >= 100, `${different} picks of 10,000 differ without ${term}`)
    })
  }
})
