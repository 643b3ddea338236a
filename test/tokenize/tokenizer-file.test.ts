import assert from 'node:assert/strict'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { TokenizerFile, tokenizerFolder } from '../../src/tokenize/tokenizer-file.ts'
import { byteTokenizersDir } from './fixtures.ts'

describe('TokenizerFile', () => {
  const directory = byteTokenizersDir('m')
  const folder = join(directory, 'm')
  const path = join(folder, 'tokenizer.json')
  const original = readFileSync(path, 'utf8')
  after(() => rmSync(directory, { recursive: true }))

  const withChanges = (changes: object): TokenizerFile => {
    writeFileSync(path, JSON.stringify({ ...JSON.parse(original), ...changes }))
    return new TokenizerFile(folder)
  }

  it('is one for all who use a folder, until its files change', () => {
    withChanges({})
    const file = TokenizerFile.of(tokenizerFolder(folder))
    assert.equal(TokenizerFile.of(tokenizerFolder(folder)), file)
    withChanges({ normalizer: { type: 'Lowercase' } })
    const changed = TokenizerFile.of(tokenizerFolder(folder))
    assert.notEqual(changed, file)
    assert.deepEqual([...changed.encode('AB', true)], [97, 98])
  })

  it('adds nothing around a text where the tokenizer adds nothing', () => {
    const file = withChanges({})
    assert.deepEqual([...file.before, ...file.after], [])
    assert.deepEqual([...file.encode('é!', true)], [...Buffer.from('é!')])
  })

  it('knows what add_special_tokens puts around a text', () => {
    const file = withChanges({
      post_processor: {
        type: 'TemplateProcessing',
        single: [
          { SpecialToken: { id: '<s>', type_id: 0 } },
          { Sequence: { id: 'A', type_id: 0 } },
          { SpecialToken: { id: '</s>', type_id: 0 } },
        ],
        pair: [],
        special_tokens: {
          '<s>': { id: '<s>', ids: [256], tokens: ['<s>'] },
          '</s>': { id: '</s>', ids: [257], tokens: ['</s>'] },
        },
      },
    })
    assert.deepEqual([...file.before], [256])
    assert.deepEqual([...file.after], [257])
    assert.deepEqual([...file.encode('ab', true)], [97, 98])
  })

  it('tells the first piece from later ones where the tokenizer does', () => {
    const vocab = { '▁': 0, a: 1, b: 2, '▁a': 3 }
    const file = withChanges({
      pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false },
      post_processor: null,
      decoder: null,
      model: { type: 'BPE', vocab, merges: [['▁', 'a']], unk_token: null },
    })
    assert.equal(file.firstDiffers, true)
    assert.deepEqual([...file.encode('a', true)], [3])
    assert.deepEqual([...file.encode('a', false)], [1])
  })

  it('is not sure of added tokens that match whole words only', () => {
    const { added_tokens: added } = JSON.parse(original)
    const file = withChanges({ added_tokens: [{ ...added[0], single_word: true }] })
    assert.equal(file.doubt?.code, 'tokenizer-feature')
  })

  it('decodes without special tokens', () => {
    assert.equal(withChanges({}).decode([256, 104, 105, 257]), 'hi')
    assert.equal(withChanges({}).decode([]), '')
  })
})
