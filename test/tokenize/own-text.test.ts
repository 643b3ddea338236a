import assert from 'node:assert/strict'
import { ownText } from '../../src/tokenize/own-text.ts'

describe('ownText', () => {
  for (const [name, text] of [
    ['nothing', ''],
    ['ASCII', 'plain'],
    ['Latin letters', 'été'],
    ['other letters', '你好 \ud83d\ude00'],
    ['half of a surrogate pair', 'a\ud800b'],
    ['a long text', 'word '.repeat(50_000)],
    ['a text longer than the room that is kept', 'wörd '.repeat(300_000)],
  ] as const) {
    it(`copies ${name}`, () => assert.equal(ownText(text), text))
  }
})
