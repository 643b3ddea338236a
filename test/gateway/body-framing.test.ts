import assert from 'node:assert/strict'
import { chunkOf, chunkPrefixBytes } from '../../src/gateway/body-framing.ts'

function framed(lengths: readonly number[], isLast: boolean): string {
  const pieces = lengths.map((length, i) => Buffer.alloc(length, 'abc'[i % 3]))
  const bytes = lengths.reduce((sum, length) => sum + length, 0)
  return chunkOf(pieces, bytes, chunkPrefixBytes(bytes), isLast).toString('latin1')
}

describe('chunkOf', () => {
  it('writes how many bytes follow, in as many digits as it takes', () => {
    for (const bytes of [1, 9, 15, 16, 255, 256, 4095, 4096, 65_535, 65_536, 1_048_577]) {
      const size = bytes.toString(16)
      assert.equal(chunkPrefixBytes(bytes), size.length + 2)
      assert.equal(framed([bytes], false), `${size}\r\n${'a'.repeat(bytes)}\r\n`)
    }
  })

  it('makes one chunk of several pieces', () => {
    assert.equal(framed([3, 2, 11], false), `10\r\naaabb${'c'.repeat(11)}\r\n`)
  })

  it("adds the body's end", () => {
    assert.equal(framed([3, 2], true), '5\r\naaabb\r\n0\r\n\r\n')
  })
})
