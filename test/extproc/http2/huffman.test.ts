import assert from 'node:assert/strict'
import { decodeHuffman } from '../../../src/extproc/http2/huffman.ts'

/** What the bits, `0`, `1` and blanks, stand for when ones fill the last byte; undefined where they are no code. */
function decoded(bits: string): string | undefined {
  const digits = bits.replaceAll(' ', '')
  const filled = digits.padEnd(Math.ceil(digits.length / 8) * 8, '1')
  // Others' bytes around it change nothing.
  const bytes = Buffer.from([
    0xff,
    ...(filled.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2)),
    0,
  ])
  const target = Buffer.alloc(Math.ceil((bytes.length * 8) / 5))
  const length = decodeHuffman(bytes, 1, bytes.length - 1, target)
  return length === -1 ? undefined : target.toString('latin1', 0, length)
}

const ones = (count: number) => '1'.repeat(count)

/** Codes of RFC 7541, appendix B; those of all printable characters are shown by what nghttp2 sends. */
describe('decodeHuffman', () => {
  it('reads short and long codes, wherever they begin', () => {
    const codes: [string, string][] = [
      ['00000', '0'],
      ['010100', ' '],
      ['1011100', ':'],
      ['11111000', '&'],
      [`${ones(6)}1000`, '!'],
      [`${ones(8)}010`, "'"],
      [`${ones(8)}1010`, '#'],
      [`${ones(10)}000`, '\0'],
      [`${ones(12)}00`, '^'],
      [`${ones(13)}00`, '<'],
      [`${ones(15)}0000`, '\\'],
      [`${ones(15)}00110`, '\x80'],
      [`${ones(17)}011000`, '\x01'],
      [`${ones(19)}01010`, '\t'],
      [`${ones(21)}00000`, '\xc0'],
      [`${ones(27)}0`, '\xf9'],
      [`${ones(28)}00`, '\n'],
      [`${ones(28)}01`, '\r'],
      [`${ones(28)}10`, '\x16'],
    ]
    for (const [bits, character] of codes) {
      assert.equal(decoded(bits), character, bits)
      for (const offset of [1, 2, 3, 4, 5, 6, 7]) {
        const zeros = '0'.repeat(offset)
        const whole = `${'00000'.repeat(offset)}${bits}00000${bits}`
        assert.equal(decoded(whole), `${zeros}${character}0${character}`, whole)
      }
    }
  })

  it('takes up to seven ones at the end, and nothing else', () => {
    assert.equal(decoded(''), '')
    for (let count = 1; count < 8; count++) {
      assert.equal(decoded(`${'00000'.repeat(8 - count)}${ones((count * 5) % 8)}`)?.[0], '0')
    }
    assert.equal(decoded(ones(8)), undefined)
    assert.equal(decoded(`00000 ${ones(11)}`), undefined, 'a byte of ones')
    assert.equal(decoded('00000 110'), undefined, 'a zero')
    assert.equal(decoded('00000 000'), undefined, 'the beginning of a code')
    assert.equal(decoded(`00000 ${ones(27)}`), undefined)
  })

  it('takes no end of a string within it', () => {
    assert.equal(decoded(ones(30)), undefined)
    assert.equal(decoded(`00000 ${ones(30)}`), undefined)
    assert.equal(decoded(`${ones(30)} 00000`), undefined)
    assert.equal(decoded(ones(64)), undefined)
  })
})
