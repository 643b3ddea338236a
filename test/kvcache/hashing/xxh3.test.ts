import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { xxh3 } from '../../../src/kvcache/hashing/xxh3.ts'

/** Bytes that the reference was given for a length. */
const bytesOf = (length: number) =>
  Uint8Array.from({ length }, (_, i) => (i * 7 + length * 13 + (i >> 3)) & 255)
const hex = (length: number) => xxh3(bytesOf(length)).toString('hex')

// All digests are those of python-xxhash 3 (libxxhash 0.8), whose xxh3_128_hexdigest was given the same bytes.
describe('xxh3', () => {
  for (const [length, digest] of [
    [0, '99aa06d3014798d86001c324468d497f'],
    [3, 'a8c718fa615b2572a3fe531c8676a3ff'],
    [8, '7ff4234c477024d763f017e9525f0a34'],
    [16, '96a3b2f57a2caf9748d693987c228ba4'],
    [128, 'ed86e1044d58c8d7ed56a7bd72d2da33'],
    [240, 'a5ae7c7f4518e46ac25ed9be1e1e8da9'],
    [241, 'bfc93f75dd74a847ef9bb328408c74b2'],
    [2049, 'afea207e4b00f9f50102ba33b6c4b98a'],
  ] as const) {
    it(`hashes ${length} bytes`, () => assert.equal(hex(length), digest))
  }

  it('hashes every length up to 299 bytes, and those around stripes and blocks', () => {
    const edges = [511, 512, 513, 1023, 1024, 1025, 1087, 1088, 1089, 2047, 2048, 2049, 2112]
    const lengths = [...Array.from({ length: 300 }, (_, i) => i), ...edges, 3000, 5000]
    const all = createHash('sha256').update(lengths.map(hex).join('')).digest('hex')
    assert.equal(all, 'e264c5bac552e8aa4161bd8678d869fa6e0f3daefcb9ab7a8859721ce22cc021')
  })
})
