import assert from 'node:assert/strict'
import { type TokenizerParts, unfollowedFeature } from '../../src/tokenize/tokenizer-features.ts'

const split = (pattern: string): TokenizerParts => ({
  pre_tokenizer: { type: 'Split', pattern: { Regex: pattern } },
})

describe('unfollowedFeature', () => {
  for (const [parts, feature] of [
    [{ model: { type: 'BPE' } }, undefined],
    [{ normalizer: { type: 'NFC' }, model: { type: 'BPE', byte_fallback: true } }, undefined],
    [{ normalizer: { type: 'Precompiled' } }, 'the normalizer Precompiled'],
    [
      { normalizer: { type: 'Sequence', normalizers: [{ type: 'NFC' }, { type: 'Strip' }] } },
      'the normalizer Strip',
    ],
    [{ pre_tokenizer: { type: 'Punctuation' } }, 'the pre-tokenizer Punctuation'],
    [{ model: { type: 'WordPiece' } }, 'the model WordPiece'],
    [{ model: { type: 'Unigram', byte_fallback: true } }, 'Unigram with byte_fallback'],
    [{ model: { type: 'BPE', dropout: 0.1 } }, 'dropout'],
    [{ added_tokens: [{ single_word: true }] }, 'added tokens that match whole words only'],
    [split('\\s++$|\\s+'), 'the pattern of the pre-tokenizer Split'],
    [split('(?>a+)b'), 'the pattern of the pre-tokenizer Split'],
    [split('\\p{L}++|[^\\s\\p{L}\\p{N}]++[\\r\\n]*|[+*]+'), undefined],
  ] as const) {
    it(`is ${feature ?? 'none'} for ${JSON.stringify(parts)}`, () => {
      assert.equal(unfollowedFeature(parts as TokenizerParts), feature)
    })
  }
})
