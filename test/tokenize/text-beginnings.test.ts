import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { seededRandom } from '../../src/framework/random.ts'
import { EncodePool } from '../../src/tokenize/encode-pool.ts'
import { type EncodedText, ModelTokenizer } from '../../src/tokenize/model-tokenizer.ts'
import { type Learned, TextBeginnings } from '../../src/tokenize/text-beginnings.ts'
import { byteTokenizersDir } from './fixtures.ts'

/** Cuts behind each full stop; the ids are the characters. */
function learnedOf(text: string, from = 0): readonly Learned[] {
  const learned: Learned[] = []
  let start = from
  for (let at = text.indexOf('.', from) + 1; at > 0; at = text.indexOf('.', at) + 1) {
    const ids = Int32Array.from([...text.slice(start, at)], (letter) => letter.charCodeAt(0))
    learned.push({ at, ids, pieces: 1 })
    start = at
  }
  return learned
}

describe('TextBeginnings', () => {
  const learn = (beginnings: TextBeginnings, text: string) => {
    const known = beginnings.find(text)
    beginnings.learn(text, known, learnedOf(text, known.end))
    return known.end
  }
  const read = (beginnings: TextBeginnings, text: string) => {
    const { end, ids, pieces } = beginnings.find(text)
    assert.equal(ids.map((part) => String.fromCharCode(...part)).join(''), text.slice(0, end))
    assert.equal(pieces, ids.length)
    return end
  }

  it('knows a text up to the last cut that it has in common with one before', () => {
    const beginnings = new TextBeginnings(1_000_000)
    const long = `${'b'.repeat(100)}.`
    assert.equal(learn(beginnings, `a.${long}c.d`), 0)
    assert.equal(read(beginnings, `a.${long}c.d`), 105)
    assert.equal(read(beginnings, `a.${long}e.`), 103)
    assert.equal(read(beginnings, `a.${long.slice(1)}c.`), 2)
    assert.equal(read(beginnings, 'a'), 0)
    assert.equal(read(beginnings, `${long}a.`), 0)
    assert.equal(learn(beginnings, `a.${long}e.f.`), 103)
    assert.equal(read(beginnings, `a.${long}e.f.g`), 107)
    assert.equal(read(beginnings, `a.${long}c.d`), 105)
  })

  it('forgets the least recently used first, and never takes more than it may', () => {
    const beginnings = new TextBeginnings(20_000)
    const conversation = (name: string, turns: number) =>
      Array.from({ length: turns }, (_, i) => `${name}${i} ${'x'.repeat(80)}.`).join('')
    learn(beginnings, `shared.${conversation('kept', 6)}`)
    for (let i = 0; i < 50; i++) {
      learn(beginnings, `shared.${conversation(`other${i}`, 3)}`)
      assert.ok(beginnings.bytes <= 20_000)
      const kept = `shared.${conversation('kept', 6)}`
      assert.equal(read(beginnings, kept), kept.length)
    }
    assert.ok(beginnings.bytes > 10_000)
    assert.equal(read(beginnings, `shared.${conversation('other0', 3)}`), 7)
  })

  it('does not remember what would take most of its memory', () => {
    const beginnings = new TextBeginnings(20_000)
    learn(beginnings, `a.${'x'.repeat(5000)}.b.`)
    assert.equal(read(beginnings, `a.${'x'.repeat(5000)}.b.`), 2)
  })

  it('learns nothing from a beginning that was forgotten meanwhile', () => {
    const beginnings = new TextBeginnings(3000)
    learn(beginnings, 'a.b.')
    const known = beginnings.find('a.b.c.')
    for (let i = 0; i < 20; i++) learn(beginnings, `${i}.`)
    beginnings.learn('a.b.c.', known, learnedOf('a.b.c.', known.end))
    assert.equal(read(beginnings, 'a.b.c.'), 0)
  })
})

describe('ModelTokenizer with texts that it has seen', () => {
  it('gives the ids that it would give without', () => {
    const directory = byteTokenizersDir('m')
    const pool = new EncodePool(1, 1000)
    const counts = { hit: () => {}, miss: () => {} }
    try {
      const make = (cacheBytes: number) =>
        new ModelTokenizer(join(directory, 'm'), cacheBytes, pool, counts)
      const small = make(100_000)
      const none = make(16)
      const random = seededRandom(5)
      const below = (count: number) => Math.floor(random.next() * count)
      const piece = () =>
        ['<s>', '</s>', '<', 's>', 'é', 'hello ', '\ud800', 'x'.repeat(40)][below(8)]!.repeat(
          1 + below(2),
        )
      const texts: string[] = ['']
      for (let i = 0; i < 2000; i++) {
        const known = texts[below(texts.length)]!
        const kept = below(3) === 0 ? known.slice(0, below(known.length + 1)) : known
        const text = `${kept}${piece()}${piece()}`.slice(0, 1500)
        if (texts.length < 100) texts.push(text)
        else texts[below(100)] = text
        const special = below(2) === 0
        const expected = none.encode(text, special) as EncodedText
        assert.deepEqual(small.encode(text, special), expected, JSON.stringify(text))
      }
      assert.ok(small.cacheBytes > 10_000 && small.cacheBytes <= 100_000)
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
})
