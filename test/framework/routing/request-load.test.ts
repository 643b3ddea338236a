import assert from 'node:assert/strict'
import {
  answerTokensOf,
  cachedTokensAt,
  loadOf,
  promptTokensOf,
} from '../../../src/framework/routing/request-load.ts'
import { PREFIX_FINDING, type PrefixFinding } from '../../../src/framework/services.ts'
import { endpoint, request } from '../../../src/framework/testing.ts'

const PROMPT = { kind: 'text', texts: ['p'] } as const

describe('the load of a request', () => {
  const [held, other] = [endpoint(), endpoint()]
  const finding: PrefixFinding = {
    endpoints: [held],
    match: {
      blocks: Int32Array.of(3),
      weighted: Float64Array.of(3),
      blockTokens: Int32Array.of(16),
      usableBlocks: Int32Array.of(3),
    },
    source: 'tracked',
    tracked: 1,
  }
  const asked = (count: number) =>
    request({
      prompt: PROMPT,
      tokens: Array.from({ length: count }, (_, i) => i),
      attributes: [[PREFIX_FINDING, finding]],
    })

  it('is the prompt, what the target holds of it, and the mean answer in whole tokens', () => {
    assert.deepEqual(loadOf(asked(50), held, 120.4), {
      promptTokens: 50,
      cachedTokens: 48,
      answerTokens: 120,
    })
  })

  it('has nothing cached where nobody looked', () => {
    assert.equal(cachedTokensAt(asked(50), other), undefined)
    assert.equal(loadOf(asked(50), other, 1).cachedTokens, 0)
  })

  it('never has more cached than there is', () => {
    assert.equal(loadOf(asked(40), held, 1).cachedTokens, 40)
  })

  it('has no prompt tokens without token data, and no answer without a prompt', () => {
    assert.equal(promptTokensOf(request({ prompt: PROMPT })), 0)
    assert.equal(answerTokensOf(request({ prompt: PROMPT }), 300), 300)
    assert.equal(answerTokensOf(request(), 300), 0)
  })

  for (const [cap, expected] of [
    [undefined, 300],
    [1000, 300],
    [10, 10],
    [0, 0],
    [2.5, 2],
  ] as const) {
    it(`expects ${expected} tokens where the client allows ${cap}`, () => {
      const capped = cap === undefined ? {} : { maxOutputTokens: cap }
      assert.equal(answerTokensOf(request({ prompt: PROMPT, ...capped }), 300), expected)
    })
  }
})
