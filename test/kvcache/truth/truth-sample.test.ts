import assert from 'node:assert/strict'
import { DEFAULT_TRUTH } from '../../../src/kvcache/truth/truth-loop.ts'
import { judge, type TruthSample, type Verdict } from '../../../src/kvcache/truth/truth-sample.ts'
import { sample } from './facts.ts'

describe('judge', () => {
  const rows: readonly (readonly [string, Verdict, Partial<TruthSample>])[] = [
    ['what was expected', 'right', {}],
    ['a block more', 'right', { cachedTokens: 272 }],
    ['a tenth of the prompt less', 'right', { cachedTokens: 256 - 51 }],
    ['more than a tenth less', 'wrong', { cachedTokens: 256 - 52 }],
    ['more than a tenth more', 'wrong', { cachedTokens: 256 + 52 }],
    ['nothing, as expected', 'silent', { toldTokens: 0, cachedTokens: 0 }],
    ['hardly anything, and nothing expected', 'silent', { toldTokens: 0, cachedTokens: 48 }],
    ['much, and nothing expected', 'wrong', { toldTokens: 0 }],
    ['nothing, and much expected', 'wrong', { cachedTokens: 0 }],
    ['what the events told after the pick', 'silent', { toldTokens: 0, toldLaterTokens: 256 }],
    ['what may have been evicted after the pick', 'silent', { cachedTokens: 0, removedBlocks: 16 }],
    ['more than was evicted', 'wrong', { cachedTokens: 0, removedBlocks: 15 }],
    ['more, though others were evicted', 'wrong', { toldTokens: 0, removedBlocks: 99 }],
    ['more than they told after it', 'wrong', { toldTokens: 0, toldLaterTokens: 128 }],
    [
      'two blocks more of a short prompt',
      'wrong',
      { engineTokens: 100, toldTokens: 16, cachedTokens: 48 },
    ],
    [
      'one block of two in large blocks',
      'right',
      { blockTokens: 256, toldTokens: 512, cachedTokens: 256, engineTokens: 520 },
    ],
  ]
  for (const [what, verdict, fields] of rows) {
    it(`${what}: ${verdict}`, () => assert.equal(judge(sample(fields), DEFAULT_TRUTH), verdict))
  }

  it('leaves out prompts that are too short', () => {
    const options = { ...DEFAULT_TRUTH, minTokens: 513 }
    assert.equal(judge(sample({ cachedTokens: 0 }), options), 'silent')
    assert.equal(judge(sample({ cachedTokens: 0 }), { ...options, minTokens: 512 }), 'wrong')
  })
})
