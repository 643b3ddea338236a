import assert from 'node:assert/strict'
import { PartBeginnings } from '../../src/tokenize/part-beginnings.ts'
import type { Learned } from '../../src/tokenize/text-beginnings.ts'

/** Cuts behind each full stop; the ids are the characters. */
function learnedOf(text: string): readonly Learned[] {
  const learned: Learned[] = []
  let start = 0
  for (let at = text.indexOf('.') + 1; at > 0; at = text.indexOf('.', at) + 1) {
    const ids = Int32Array.from([...text.slice(start, at)], (letter) => letter.charCodeAt(0))
    learned.push({ at, ids, pieces: 1 })
    start = at
  }
  return learned
}

function learn(beginnings: PartBeginnings, ...parts: readonly string[]): void {
  const known = beginnings.find(parts)
  beginnings.learn(parts, known, learnedOf(known.rest))
}

/** How much of a text is known, after a look at whether what is known is right. */
function read(beginnings: PartBeginnings, ...parts: readonly string[]): string {
  const { ids, pieces, rest, isWhole } = beginnings.find(parts)
  const begun = ids.map((part) => String.fromCharCode(...part)).join('')
  assert.equal(begun + rest, parts.join(''))
  assert.equal(pieces, begun.split('.').length - 1)
  assert.equal(isWhole, begun === '')
  return begun
}

describe('PartBeginnings', () => {
  it('knows a text up to the last cut in the parts that it has in common with one before', () => {
    const beginnings = new PartBeginnings(1_000_000)
    assert.equal(read(beginnings, 'a.b', 'c'), '')
    learn(beginnings, 'a.b', 'c', 'd.e.f', 'g')
    assert.equal(read(beginnings, 'a.b', 'c', 'd.e.f', 'g', 'h.'), 'a.bcd.e.')
    assert.equal(read(beginnings, 'a.b', 'c', 'd.e.'), 'a.')
    assert.equal(read(beginnings, 'a.b', 'x'), 'a.')
    assert.equal(read(beginnings, 'a.bc', 'd.e.f'), '')
    assert.equal(read(beginnings), '')
  })

  it('tells long texts apart that are alike at both ends and in the middle', () => {
    const beginnings = new PartBeginnings(1_000_000)
    const texts = ['x', 'y', 'z'].map((odd) => `${'a'.repeat(99)}${odd}${'a'.repeat(199)}.`)
    for (const text of texts) learn(beginnings, text, `${text}b`)
    for (const text of texts) assert.equal(read(beginnings, text, `${text}b`), text + text)
    assert.equal(read(beginnings, `${'a'.repeat(299)}.`), '')
  })

  it('forgets the least recently used first, and never takes more than it may', () => {
    const beginnings = new PartBeginnings(20_000)
    const conversation = (name: string) =>
      ['shared.', ...Array.from({ length: 6 }, (_, i) => `${name}${i} ${'x'.repeat(80)}.`)] as const
    learn(beginnings, ...conversation('kept'))
    for (let i = 0; i < 50; i++) {
      learn(beginnings, ...conversation(`other${i}`))
      assert.ok(beginnings.bytes <= 20_000)
      assert.equal(read(beginnings, ...conversation('kept')), conversation('kept').join(''))
    }
    assert.ok(beginnings.bytes > 10_000)
    assert.equal(read(beginnings, ...conversation('other0')), 'shared.')
    learn(beginnings, 'a.', `${'x'.repeat(5000)}.`, 'b.')
    assert.equal(read(beginnings, 'a.', `${'x'.repeat(5000)}.`, 'b.'), 'a.')
  })

  it('learns nothing from a beginning that was forgotten meanwhile', () => {
    const beginnings = new PartBeginnings(3000)
    learn(beginnings, 'a.', 'b.')
    const parts = ['a.', 'b.', 'c.']
    const known = beginnings.find(parts)
    for (let i = 0; i < 20; i++) learn(beginnings, `${i}.`)
    beginnings.learn(parts, known, learnedOf(known.rest))
    assert.equal(read(beginnings, ...parts), '')
  })
})
