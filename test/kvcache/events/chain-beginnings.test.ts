import assert from 'node:assert/strict'
import { ChainBeginnings } from '../../../src/kvcache/events/chain-beginnings.ts'
import { ChainHasher } from '../../../src/kvcache/hashing/chain-hash.ts'

const BLOCK = 16

describe('ChainBeginnings', () => {
  const hasher = new ChainHasher(Buffer.alloc(8, 1))
  const tokens = (from: number) => Int32Array.from({ length: BLOCK * 2 }, (_, i) => from + i)
  let beginnings: ChainBeginnings
  beforeEach(() => {
    beginnings = new ChainBeginnings(hasher)
  })

  /** As a publisher enters a first block. */
  const store = (from: number, adapter?: string, salt?: string) => {
    const keys = new Int32Array(2)
    hasher.root(BLOCK, adapter, salt)
    hasher.extend(tokens(from), 0, 1, BLOCK, keys, 0)
    const space = { salted: salt !== undefined, adapter: adapter !== undefined }
    beginnings.saw(tokens(from), BLOCK, keys[0]!, keys[1]!, space)
  }
  const find = (from: number, adapter?: string, salt?: string) =>
    beginnings.find(tokens(from), BLOCK, adapter, salt)

  it('tells for whom a first block is stored', () => {
    store(1)
    store(2, undefined, 'a')
    store(3, 'x')
    store(4, 'x', 'a')
    const found = [
      ...[find(1), find(1, undefined, 'a'), find(1, 'x')],
      ...[find(2), find(2, undefined, 'a'), find(2, undefined, 'b')],
      ...[find(3), find(3, 'x'), find(3, 'y'), find(3, 'x', 'a')],
      ...[find(4, 'x'), find(4), find(5)],
    ]
    assert.deepEqual(found, [
      ...['same', 'other-salt', 'other-adapter'],
      ...['other-salt', 'same', 'other-salt'],
      ...['other-adapter', 'same', 'other-adapter', 'other-salt'],
      ...['other-salt', 'other-adapter', 'absent'],
    ])
  })

  it('prefers what fits among several of the same tokens', () => {
    store(1)
    store(1, undefined, 'a')
    assert.deepEqual([find(1), find(1, undefined, 'a')], ['same', 'same'])
  })

  it('does not know what is not among the last 128', () => {
    for (let i = 0; i < 128; i++) store(i)
    assert.deepEqual([find(0), find(500)], ['same', 'absent'])
    store(200)
    assert.deepEqual(
      [find(0), find(1), find(200), find(500)],
      ['unknown', 'same', 'same', 'unknown'],
    )
    assert.equal(beginnings.count, 129)
  })
})
