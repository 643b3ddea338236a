import assert from 'node:assert/strict'
import { ChainHasher } from '../../../src/kvcache/hashing/chain-hash.ts'
import { below, seeded } from '../random.ts'

const hasher = new ChainHasher(Buffer.from('chains!!'))

function keysOf(tokens: Int32Array, blockTokens: number, adapter?: string, salt?: string) {
  const blocks = Math.floor(tokens.length / blockTokens)
  const keys = new Int32Array(blocks * 2)
  hasher.root(blockTokens, adapter, salt)
  hasher.extend(tokens, 0, blocks, blockTokens, keys, 0)
  return keys
}

describe('ChainHasher', () => {
  const pick = below(seeded(5))
  const tokens = Int32Array.from({ length: 640 }, () => pick(150_000))

  for (const blockTokens of [1, 3, 16, 64]) {
    it(`does not depend on how a chain of ${blockTokens}-token blocks is cut`, () => {
      const whole = keysOf(tokens, blockTokens)
      const blocks = whole.length / 2
      const cut = new Int32Array(whole.length)
      hasher.root(blockTokens, undefined, undefined)
      for (let at = 0; at < blocks; ) {
        const count = Math.min(1 + pick(5), blocks - at)
        if (at > 0) {
          // As an event begins: from the key of its parent only.
          hasher.lo = cut[2 * at - 2]!
          hasher.hi = cut[2 * at - 1]!
        }
        hasher.extend(tokens, at * blockTokens, count, blockTokens, cut, at)
        at += count
      }
      assert.deepEqual(cut, whole)
    })
  }

  it('depends on adapter, salt, block size, extras and every token', () => {
    const firsts = [
      keysOf(tokens, 16),
      keysOf(tokens, 16, 'sql-lora'),
      keysOf(tokens, 16, 'sql-lorb'),
      keysOf(tokens, 16, undefined, 'sql-lora'),
      keysOf(tokens, 16, undefined, 'a'),
      keysOf(tokens, 16, 'sql-lora', 'a'),
      keysOf(tokens, 17),
    ].map((keys) => `${keys[0]} ${keys[1]}`)
    hasher.root(16, undefined, undefined)
    hasher.mixExtra(Buffer.from('image'), 0, 5)
    const mixed = new Int32Array(2)
    hasher.extend(tokens, 0, 1, 16, mixed, 0)
    firsts.push(`${mixed[0]} ${mixed[1]}`)
    for (let i = 0; i < 16; i++) {
      const changed = tokens.slice()
      changed[i]! ^= 1
      const keys = keysOf(changed, 16)
      firsts.push(`${keys[0]} ${keys[1]}`)
    }
    hasher.privateRoot(16, 1, 2)
    hasher.extend(tokens, 0, 1, 16, mixed, 0)
    firsts.push(`${mixed[0]} ${mixed[1]}`)
    assert.equal(new Set(firsts).size, firsts.length)
  })

  it('differs between processes unless seeded', () => {
    const one = new ChainHasher()
    const other = new ChainHasher()
    one.root(16, undefined, undefined)
    other.root(16, undefined, undefined)
    assert.notDeepEqual([one.lo, one.hi], [other.lo, other.hi])
  })

  it('spreads like chance over each half and over the low bits of both, for tokens that differ little', () => {
    const blocks = 1 << 17
    const low = new Set<number>()
    const high = new Set<number>()
    const both = new Set<number>()
    const key = new Int32Array(2)
    for (let i = 0; i < blocks; i++) {
      hasher.root(4, undefined, undefined)
      hasher.extend(Int32Array.of(i & 15, (i >> 4) & 15, (i >> 8) & 15, i >> 12), 0, 1, 4, key, 0)
      assert.ok((key[0]! | key[1]!) !== 0)
      low.add(key[0]!)
      high.add(key[1]!)
      both.add(((key[0]! & 0x3fff) << 14) | (key[1]! & 0x3fff))
    }
    // Collisions that chance gives: n^2 / 2^33 in 32 bits is 2, n^2 / 2^29 in 28 bits is 32.
    assert.ok(blocks - low.size < 12, `${blocks - low.size} equal low halves`)
    assert.ok(blocks - high.size < 12, `${blocks - high.size} equal high halves`)
    assert.ok(Math.abs(blocks - both.size - 32) < 25, `${blocks - both.size} equal low bits`)
  })
})
