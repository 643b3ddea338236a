import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import fc from 'fast-check'
import { EncodePool } from '../../../src/tokenize/encode-pool.ts'
import { ModelTokenizer } from '../../../src/tokenize/model-tokenizer.ts'
import { Reference, referenceAvailable } from './reference.ts'

const QWEN3 = join(import.meta.dirname, '..', '..', 'fixtures', 'tokenizers', 'qwen3')
const SEED = Number(process.env.EPP_SEED ?? 33)

/** Texts for each tokenizer. */
const TEXTS = Number(process.env.EPP_TEXTS ?? 300)

/** A folder with folders of further tokenizers to compare. */
const MORE = process.env.EPP_TOKENIZERS ?? ''

/** Families that are declared not exact. */
const NOT_EXACT = [
  ...[
    'gpt2-prefix',
    't5',
    'xlm',
    'possessive',
    'punctuation',
    'strip',
    'bert',
    'bert-cased',
    'accents',
    'whitespace',
  ],
  ...['qwen-words', 'llama2-normalized', 't5-added', 'bert-added'],
]

const PIECES = [
  ...[
    'the',
    'The model',
    'HELLO',
    'token',
    "don't",
    "WE'LL",
    'größe',
    'café',
    'cafe\u0301',
    'naïve',
    'İstanbul',
    'ǅ',
    'ß',
    'ſ',
  ],
  ...[
    'привет',
    'Σίσυφος',
    'שָׁלוֹם',
    'مَرْحَبًا',
    'नमस्ते',
    'ไทยคำ',
    '你好世界',
    'こんにちは',
    '한국어',
    '\u1112\u1161\u11ab',
    'ﬁ',
    '①',
    '½',
    '²',
  ],
  ...[
    '👩‍👩‍👧',
    '🇫🇷',
    '😀',
    '👍🏽',
    '\u{1f468}\u200d',
    '\u{10ffff}',
    '\u{e0041}',
    '\u0301',
    'a\u0327\u0301',
    '\u0300\u0316',
  ],
  ...[
    ' ',
    '  ',
    '   ',
    '\n',
    '\n\n',
    '\r\n',
    '\t',
    '\u00a0',
    '\u0085',
    '\u2028',
    '\u3000',
    '\u200b',
    '\ufeff',
    '\u001f',
    '\u0000',
    '\u00ad',
    '\u202e',
  ],
  ...[
    '1',
    '12',
    '2026',
    '1234567',
    '٣٤',
    '１２',
    'Ⅻ',
    '.',
    '!!',
    '...',
    '=>',
    '{}',
    '<b>',
    '//',
    '_',
    '-',
    "'",
    '"',
    '▁',
    '<0x0A>',
    '##a',
    '\ufffd',
    '、。',
    '～',
  ],
  ...[
    '<s>',
    '</s>',
    '<unk>',
    '<|im_start|>',
    '<|tool|>',
    '<|im_start',
    'models',
    'remodel',
    '<|im_end|>',
    '<think>',
    '</think>',
  ],
]

const text = fc
  .array(fc.constantFrom(...PIECES), { maxLength: 12 })
  .map((pieces) => pieces.join(''))
const anyText = fc.oneof(
  { weight: 4, arbitrary: text },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 30 }) },
)

/** Texts of ids are for people: that a byte order mark is lost from them does not matter. */
function withoutMark(decoded: string): string {
  return decoded.replaceAll('\ufeff', '')
}

describe('tokenizers of every family', () => {
  const directory = mkdtempSync(join(tmpdir(), 'families-'))
  const pool = new EncodePool(1, 60_000)
  let reference: Reference
  before(function () {
    if (!referenceAvailable()) return this.skip()
    mkdirSync(join(directory, 'qwen3'))
    const file = gunzipSync(readFileSync(join(QWEN3, 'tokenizer.json.gz')))
    writeFileSync(join(directory, 'qwen3', 'tokenizer.json'), file)
    reference = new Reference('encode.py', directory)
  })
  after(async () => {
    reference?.close()
    await pool.close()
    rmSync(directory, { recursive: true })
  })

  it('gives the ids and the text that Python gives, or says that it may not', async function () {
    this.timeout(200_000)
    const { names } = await reference.ask<{ names: string[] }>({ names: true })
    const wrong: string[] = []
    let total = 0
    const doubted: string[] = []
    const folders = new Map([...names, 'qwen3'].map((name) => [name, join(directory, name)]))
    for (const name of MORE === '' ? [] : readdirSync(MORE)) folders.set(name, join(MORE, name))
    for (const [name, folder] of folders) {
      await reference.ask({ load: name, path: join(folder, 'tokenizer.json') })
      const tokenizer = new ModelTokenizer(folder, 1 << 20, pool, {
        hit: () => undefined,
        miss: () => undefined,
      })
      let equal = 0
      let inexact = 0
      let first: string | undefined
      for (const [i, one] of fc.sample(anyText, { seed: SEED, numRuns: TEXTS }).entries()) {
        const special = i % 2 === 0
        const asked = reference.ask<{ ids: number[] }>({ encode: name, text: one, special })
        const encoded = await tokenizer.encode(one, special)
        const { ids } = await asked
        assert.ok('ids' in encoded)
        if (encoded.doubt !== undefined) {
          inexact++
          continue
        }
        const { text: theirs } = await reference.ask<{ text: string }>({ decode: name, ids })
        const ours = tokenizer.decode(ids)
        if (String([...encoded.ids]) === String(ids) && withoutMark(ours) === withoutMark(theirs))
          equal++
        else if (first === undefined) {
          first = `${JSON.stringify(one)}: ${[...encoded.ids]} for ${ids}, ${JSON.stringify(ours)} for ${JSON.stringify(theirs)}`
        }
      }
      total += equal
      if (inexact === TEXTS) doubted.push(name)
      else if (equal + inexact < TEXTS)
        wrong.push(`${name}: ${TEXTS - equal - inexact} of ${TEXTS}, as ${first}`)
    }
    console.log(
      `      ${total} texts of ${names.length + 1} tokenizers; not exact: ${doubted.join(', ') || 'none'}`,
    )
    assert.deepEqual(wrong, [])
    assert.deepEqual(doubted, NOT_EXACT)
  })
})
