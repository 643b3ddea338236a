import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { partsOf, takesParts } from '../../src/tokenize/text-parts.ts'
import { TokenizerFile } from '../../src/tokenize/tokenizer-file.ts'
import { readFixture, tokenizersDir } from './fixtures.ts'

const QWEN =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

describe('partsOf', function () {
  this.timeout(60_000)

  it('leaves out nothing, and cuts texts that begin alike at the same places', () => {
    const text = 'Zwei Wörter, 中文。中文 and 1.5 or “x y” '.repeat(200)
    const parts = partsOf(text, 50)
    assert.equal(parts.join(''), text)
    assert.ok(parts.length > 100, `${parts.length} parts`)
    const longer = partsOf(`${text} and what follows`, 50)
    assert.deepEqual(longer.slice(0, parts.length - 1), parts.slice(0, -1))
    assert.deepEqual(partsOf('no cut at all'), ['no cut at all'])
    assert.deepEqual(partsOf('1 2 3 4 5 6', 3), ['1 2 3 4 5 6'])
    assert.deepEqual(partsOf('', 3), [''])
  })

  it('gives a text with another beginning mostly the same parts', () => {
    const lines = Array.from(
      { length: 2000 },
      (_, i) => `line ${i} of the text, and ${i % 37} more\n`,
    )
    const parts = partsOf(lines.join(''))
    const others = partsOf(`Today is another day.\n${lines.join('')}`)
    assert.equal(others.join(''), `Today is another day.\n${lines.join('')}`)
    const same = others.filter((part) => parts.includes(part)).join('').length
    assert.ok(same > parts.join('').length - 2000, `${same} characters are in the same parts`)
    assert.ok(parts[0]!.length < 1100 && parts.length > 5, `${parts.length} parts`)
  })

  it("gives Qwen3's tokenizer parts whose ids are those of the whole", () => {
    const directory = tokenizersDir('m')
    try {
      const file = new TokenizerFile(join(directory, 'm'))
      const random = readFixture<readonly [text: string, ids: readonly number[]][]>(
        'tokenizers',
        'random-texts.json.gz',
      )
      let cuts = 0
      const words =
        "don't I'll it's café 中文。中文，한국어 x y a.b c;d\u0301 e\n f\t, g\u00a0h 1 2 ab  cd"
      for (const text of [...random.map(([text]) => text), words, words.repeat(9)]) {
        for (const characters of [1, 7]) {
          const parts = partsOf(text, characters)
          cuts += parts.length - 1
          const joined = parts.flatMap((part) => [...file.encode(part, false)])
          assert.deepEqual(joined, [...file.encode(text, false)], JSON.stringify(text))
        }
      }
      assert.ok(cuts > 300, `${cuts} cuts`)
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
})

describe('takesParts', () => {
  const split = {
    ...{ type: 'Split', pattern: { Regex: QWEN }, behavior: 'Isolated', invert: false },
  }
  const bytes = { type: 'ByteLevel', add_prefix_space: false, use_regex: false }
  const parts = {
    normalizer: { type: 'NFC' },
    pre_tokenizer: { type: 'Sequence', pretokenizers: [split, bytes] },
    model: { type: 'BPE' },
    added_tokens: [{ normalized: false }],
  }

  it('is true for the tokenizers of Qwen and of Llama 3', () => {
    assert.equal(takesParts(parts), true)
    const digits = { ...split, pattern: { Regex: QWEN.replace('\\p{N}|', '\\p{N}{1,3}|') } }
    const llama = { type: 'Sequence', pretokenizers: [digits, bytes] }
    assert.equal(takesParts({ ...parts, normalizer: null, pre_tokenizer: llama }), true)
  })

  for (const [name, other] of [
    [
      'another pattern',
      {
        pre_tokenizer: {
          type: 'Sequence',
          pretokenizers: [{ ...split, pattern: { Regex: '.+' } }, bytes],
        },
      },
    ],
    [
      'another behavior',
      {
        pre_tokenizer: {
          type: 'Sequence',
          pretokenizers: [{ ...split, behavior: 'Removed' }, bytes],
        },
      },
    ],
    [
      'a further pre-tokenizer',
      { pre_tokenizer: { type: 'Sequence', pretokenizers: [split, split, bytes] } },
    ],
    [
      'spaces put before words',
      {
        pre_tokenizer: {
          type: 'Sequence',
          pretokenizers: [split, { ...bytes, add_prefix_space: true }],
        },
      },
    ],
    ['no pre-tokenizer', { pre_tokenizer: null }],
    ['another normalizer', { normalizer: { type: 'NFKC' } }],
    ['another model', { model: { type: 'Unigram' } }],
    ['tokens that are looked for in normalized text', { added_tokens: [{ normalized: true }] }],
  ] as const) {
    it(`is false with ${name}`, () => {
      assert.equal(takesParts({ ...parts, ...other }), false)
    })
  }
})
