import assert from 'node:assert/strict'
import { type AddedToken, SegmentSplitter } from '../../src/tokenize/segments.ts'

function token(id: number, content: string, more: Partial<AddedToken> = {}): AddedToken {
  return { id, content, lstrip: false, rstrip: false, normalized: false, ...more }
}

describe('SegmentSplitter', () => {
  it('cuts at added tokens', () => {
    const splitter = new SegmentSplitter([token(1, '<a>'), token(2, '[b]')])
    assert.deepEqual(splitter.split('x<a>y[b][b] z').pieces, ['x', 1, 'y', 2, 2, ' z'])
    assert.deepEqual(splitter.split('<a>').pieces, [1])
    assert.deepEqual(splitter.split('').pieces, [])
    assert.deepEqual(splitter.split('no token').pieces, ['no token'])
  })

  it('takes the longest of those that begin at one place', () => {
    const splitter = new SegmentSplitter([token(1, '<a'), token(2, '<ab>'), token(3, '<ab')])
    assert.deepEqual(splitter.split('<ab><abc<a').pieces, [2, 3, 'c', 1])
  })

  it('gives the white space beside a token to a token that takes it', () => {
    const left = new SegmentSplitter([token(1, '<l>', { lstrip: true })])
    const right = new SegmentSplitter([token(1, '<r>', { rstrip: true })])
    assert.deepEqual(left.split('a \n<l> b').pieces, ['a', 1, ' b'])
    assert.deepEqual(right.split('a <r> \n b ').pieces, ['a ', 1, 'b '])
    assert.deepEqual(right.split('<r> \n <r>').pieces, [1, 1])
  })

  it('tells where a text can be cut', () => {
    const splitter = new SegmentSplitter([
      token(1, '<a>'),
      token(2, '<r>', { rstrip: true }),
      token(3, '<b>'),
      token(4, 'x<b>y'),
      token(5, '<c'),
      token(6, '<cd'),
    ])
    // Behind `<r>` white space is dropped; `<b>` and `<c` may turn out to be in a longer token.
    const text = '1<a>2<r>3<b>4<c5<cd6'
    const { pieces, cuts } = splitter.split(text)
    assert.deepEqual(pieces, ['1', 1, '2', 2, '3', 3, '4', 5, '5', 6, '6'])
    assert.deepEqual(cuts, [
      { at: 4, pieces: 2 },
      { at: 19, pieces: 10 },
    ])
    for (const cut of cuts) {
      for (const rest of ['', ' 7', '<a>', 'y', 'd', text]) {
        const whole = splitter.split(text.slice(0, cut.at) + rest)
        const end = splitter.split(text.slice(0, cut.at) + rest, cut.at)
        assert.deepEqual(whole.pieces, [...pieces.slice(0, cut.pieces), ...end.pieces])
      }
    }
  })

  it('leaves tokens to be found after normalization in the text', () => {
    const splitter = new SegmentSplitter([token(1, '<n>', { normalized: true })])
    assert.deepEqual(splitter.split('a<n>b').pieces, ['a<n>b'])
  })
})
