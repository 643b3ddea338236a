import assert from 'node:assert/strict'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Tokenizer } from '@huggingface/tokenizers'
import { seededRandom } from '../../src/framework/random.ts'
import { dropTables } from '../../src/tokenize/drop-tables.ts'
import { readTokenizerConfig } from '../../src/tokenize/tokenizer-file.ts'
import { WordEncoder } from '../../src/tokenize/word-encoder.ts'
import { tokenizersDir } from './fixtures.ts'

describe('dropTables', () => {
  const directory = tokenizersDir('m')
  const folder = join(directory, 'm')
  after(() => rmSync(directory, { recursive: true }))

  const read = () => {
    const file = JSON.parse(readFileSync(join(folder, 'tokenizer.json'), 'utf8'))
    return { file, tokenizer: new Tokenizer(file, readTokenizerConfig(folder)) }
  }
  const whole = read().tokenizer

  /** What the library looks pairs up in, and what of the file it holds. */
  const tablesOf = (tokenizer: Tokenizer) =>
    tokenizer.model as unknown as { bpe_ranks: unknown; merges: unknown; config: object }

  it('leaves a tokenizer that gives the same ids, of words too long for the table of pairs as well', () => {
    const { file, tokenizer } = read()
    const words = WordEncoder.of(file, tokenizer)!
    dropTables(file, tokenizer, words.pairs)
    const random = seededRandom(4)
    const letters = 'etaoinshrdlucmfwypvbgkéß你好'
    for (let i = 0; i < 20; i++) {
      const word = Array.from(
        { length: 200 + 20 * i },
        () => letters[Math.floor(random.next() * letters.length)],
      ).join('')
      const ids = whole.encode(word, { add_special_tokens: false }).ids
      assert.deepEqual(tokenizer.encode(word, { add_special_tokens: false }).ids, ids)
      assert.deepEqual(Array.from(words.encode(word)!), ids)
    }
    assert.equal(tokenizer.decode([785, 4024]), whole.decode([785, 4024]))
  })

  it('keeps nothing of the file that only the making of the tokenizer needed', () => {
    const { file, tokenizer } = read()
    assert.ok(tablesOf(tokenizer).bpe_ranks instanceof Map)
    dropTables(file, tokenizer, WordEncoder.of(file, tokenizer)!.pairs)
    const { bpe_ranks: ranks, merges, config } = tablesOf(tokenizer)
    assert.equal(ranks instanceof Map, false)
    assert.equal(merges, undefined)
    const kept = config as { readonly vocab?: unknown; readonly merges?: unknown }
    assert.deepEqual([kept.vocab, kept.merges], [undefined, undefined])
  })

  it('leaves the ranks where nothing else has them', () => {
    const { file, tokenizer } = read()
    dropTables(file, tokenizer, undefined)
    assert.ok(tablesOf(tokenizer).bpe_ranks instanceof Map)
    const ids = whole.encode('unbelievable', { add_special_tokens: false }).ids
    assert.deepEqual(tokenizer.encode('unbelievable', { add_special_tokens: false }).ids, ids)
  })
})
