import assert from 'node:assert/strict'
import { type AddedToken, SegmentSplitter } from '../../src/tokenize/segments.ts'

function token(id: number, content: string, more: Partial<AddedToken> = {}): AddedToken {
  return { id, content, lstrip: false, rstrip: false, normalized: false, ...more }
}

describe('SegmentSplitter', () => {
  it('cuts at added tokens', () => {
    const splitter = new SegmentSplitter([token(1, '<a>'), token(2, '[b]')])
    assert.deepEqual(splitter.split('x<a>y[b][b] z'), ['x', 1, 'y', 2, 2, ' z'])
    assert.deepEqual(splitter.split('<a>'), [1])
    assert.deepEqual(splitter.split(''), [])
    assert.deepEqual(splitter.split('no token'), ['no token'])
  })

  it('takes the longest of those that begin at one place', () => {
    const splitter = new SegmentSplitter([token(1, '<a'), token(2, '<ab>'), token(3, '<ab')])
    assert.deepEqual(splitter.split('<ab><abc<a'), [2, 3, 'c', 1])
  })

  it('gives the white space beside a token to a token that takes it', () => {
    const left = new SegmentSplitter([token(1, '<l>', { lstrip: true })])
    const right = new SegmentSplitter([token(1, '<r>', { rstrip: true })])
    assert.deepEqual(left.split('a \n<l> b'), ['a', 1, ' b'])
    assert.deepEqual(right.split('a <r> \n b '), ['a ', 1, 'b '])
    assert.deepEqual(right.split('<r> \n <r>'), [1, 1])
  })

  it('leaves tokens to be found after normalization in the text', () => {
    const splitter = new SegmentSplitter([token(1, '<n>', { normalized: true })])
    assert.deepEqual(splitter.split('a<n>b'), ['a<n>b'])
  })
})
