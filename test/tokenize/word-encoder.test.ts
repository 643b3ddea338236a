import assert from 'node:assert/strict'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Tokenizer } from '@huggingface/tokenizers'
import { seededRandom } from '../../src/framework/random.ts'
import type { TokenizerParts } from '../../src/tokenize/tokenizer-features.ts'
import { readTokenizerConfig } from '../../src/tokenize/tokenizer-file.ts'
import { WordEncoder } from '../../src/tokenize/word-encoder.ts'
import { byteTokenizersDir, tokenizersDir } from './fixtures.ts'

interface Made {
  readonly file: TokenizerParts
  readonly tokenizer: Tokenizer
}

function read(folder: string): Made {
  const file = JSON.parse(readFileSync(join(folder, 'tokenizer.json'), 'utf8'))
  return { file, tokenizer: new Tokenizer(file, readTokenizerConfig(folder)) }
}

describe('WordEncoder', () => {
  const directory = tokenizersDir('m')
  const bytes = byteTokenizersDir('m')
  const { file, tokenizer } = read(join(directory, 'm'))
  after(() => {
    rmSync(directory, { recursive: true })
    rmSync(bytes, { recursive: true })
  })
  const idsOf = (text: string) => tokenizer.encode(text, { add_special_tokens: false }).ids

  it('gives the ids of the library, whether words are new or known', () => {
    const encoder = WordEncoder.of(file, tokenizer)!
    const random = seededRandom(8)
    const below = (count: number) => Math.floor(random.next() * count)
    const pieces = [
      ' the',
      'é',
      'e\u0301',
      '你好',
      '\ud83d\ude00',
      '\ud800',
      "'s",
      ' \n',
      '\t',
      '12',
      '_x',
    ]
    const piece = () =>
      below(3) === 0 ? String.fromCodePoint(below(0xd800)) : pieces[below(pieces.length)]!
    for (let i = 0; i < 500; i++) {
      const text = Array.from({ length: below(30) }, piece)
        .join('')
        .repeat(1 + below(2))
      assert.deepEqual(Array.from(encoder.encode(text)!), idsOf(text), JSON.stringify(text))
    }
    const long = 'x'.repeat(1000)
    assert.deepEqual(Array.from(encoder.encode(long)!), idsOf(long))
  })

  it('gives up where more of a text is new than may be, having learnt what it came to', () => {
    const encoder = WordEncoder.of(file, tokenizer)!
    const text = 'zebras quietly graze'
    assert.equal(encoder.encode(text, 10), undefined)
    assert.equal(encoder.encode('zebras', 0)?.length, idsOf('zebras').length)
    assert.equal(encoder.encode(' quietly', 0), undefined)
    assert.deepEqual(Array.from(encoder.encode(text, 14)!), idsOf(text))
    assert.deepEqual(Array.from(encoder.encode(text, 0)!), idsOf(text))
  })

  it('goes on to be right when more words came than it remembers', () => {
    const encoder = WordEncoder.of(file, tokenizer)!
    const words = Array.from(
      { length: 100_000 },
      (_, i) => ` ${i.toString(26).replace(/\d/g, 'z')}`,
    )
    const text = words.join('')
    encoder.encode(text)
    assert.equal(encoder.encode(words.at(-1)!, 0)?.length, idsOf(words.at(-1)!).length)
    const late = `${words[1]}${words[99_999]}`
    assert.deepEqual(Array.from(encoder.encode(late)!), idsOf(late))
  })

  it('is not for tokenizers whose words depend on one another', () => {
    const { file: plain, tokenizer: other } = read(join(bytes, 'm'))
    assert.equal(WordEncoder.of(plain, other), undefined)
    const split = (file.pre_tokenizer!.pretokenizers as readonly object[])[0]!
    for (const change of [
      { added_tokens: [{ normalized: true }] },
      { model: { type: 'Unigram' } },
      { model: { type: 'BPE', fuse_unk: true } },
      { pre_tokenizer: null },
      { pre_tokenizer: { type: 'Sequence', pretokenizers: [split, { type: 'Metaspace' }] } },
      { pre_tokenizer: { ...split, behavior: 'Removed' } },
    ]) {
      const changed = { ...file, ...change } as unknown as TokenizerParts
      assert.equal(WordEncoder.of(changed, tokenizer), undefined, JSON.stringify(change))
    }
  })
})
