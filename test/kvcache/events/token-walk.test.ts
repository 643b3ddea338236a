import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { encode } from '@msgpack/msgpack'
import { EventDecoder } from '../../../src/kvcache/events/event-decoder.ts'
import { tokenWalk } from '../../../src/kvcache/events/token-walk.ts'
import { SOURCE_SHA256 } from '../../../src/kvcache/events/token-walk-wasm.ts'
import { below, seeded } from '../random.ts'

const WIDTHS = [0x80, 0x100, 0x1_0000, 2 ** 32]
/** First bytes of values that are no tokens. */
const OTHERS = [0x80, 0x90, 0xa0, 0xc0, 0xc1, 0xc3, 0xca, 0xcb, 0xcf, 0xd0, 0xd1, 0xd2, 0xdc, 0xff]

/** Random tokens, and their bytes from `bytes[from]` on, with others around them. */
function written(random: () => number, count: number) {
  const pick = below(random)
  // Of one width, of some, of all.
  const widths = WIDTHS.slice(pick(4), 1 + pick(4))
  const mixed = widths.length === 0 ? WIDTHS : widths
  const tokens = Array.from({ length: count }, () => pick(mixed[pick(mixed.length)]!))
  const before = 1 + pick(40)
  const parts = tokens.map((token) => encode(token))
  const bytes = Buffer.concat([
    Buffer.alloc(before, pick(256)),
    ...parts,
    Buffer.from(Array.from({ length: pick(60) }, () => pick(256))),
  ])
  const ends = [before]
  for (const part of parts) ends.push(ends.at(-1)! + part.length)
  return { tokens, bytes, from: before, ends }
}

describe('TokenWalk', () => {
  it('is compiled from the source that there is', () => {
    assert.equal(
      SOURCE_SHA256,
      createHash('sha256').update(readFileSync('wasm/token-walk.ts')).digest('hex'),
      'wasm/token-walk.ts has changed; npm run build:wasm',
    )
  })

  it('reads tokens of all widths, whatever comes before and after them', () => {
    const random = seeded(3)
    const pick = below(random)
    const walk = tokenWalk()!
    const room = new Int32Array(40_000)
    for (let round = 0; round < 1500; round++) {
      // Some are longer than what the compiled code takes at once.
      const { tokens, bytes, from, ends } = written(random, pick(round % 50 === 0 ? 20_000 : 300))
      room.fill(-7)
      const first = pick(100)
      assert.equal(walk.read(bytes, from, tokens.length, room, first), ends.at(-1), `${round}`)
      assert.deepEqual(
        room.slice(first, first + tokens.length),
        Int32Array.from(tokens, (token) => token | 0),
      )
      assert.equal(room[first + tokens.length], -7)
    }
  })

  it('refuses tokens that are not all there, and what is no token, wherever it is', () => {
    const random = seeded(4)
    const pick = below(random)
    const walk = tokenWalk()!
    const room = new Int32Array(20_000)
    for (let round = 0; round < 4000; round++) {
      const count = 1 + pick(round % 100 === 0 ? 8000 : 120)
      const { bytes, from, ends } = written(random, count)
      const cut = bytes.subarray(0, from + pick(ends.at(-1)! - from))
      assert.equal(walk.read(cut, from, count, room, 0), -1, `${round}`)
      bytes[ends[pick(count)]!] = OTHERS[pick(OTHERS.length)]!
      assert.equal(walk.read(bytes, from, count, room, 0), -1, `${round}`)
    }
  })

  it('gives the decoder the same tokens as its own reading', () => {
    const pick = below(seeded(5))
    const decoder = new EventDecoder()
    for (let round = 0; round < 300; round++) {
      const lists = Array.from({ length: 1 + pick(3) }, () => {
        const isOdd = pick(8) === 0
        return Array.from({ length: pick(400) }, (_, i) => {
          if (isOdd && i % 97 === 5) return pick(2) === 0 ? -1 - pick(200) : 2n ** 40n + 7n
          return pick(WIDTHS[pick(4)]!)
        })
      })
      const events = lists.map((tokens) => ({
        type: 'BlockStored',
        block_hashes: [1],
        block_size: 1,
        token_ids: tokens,
      }))
      const bytes = encode([1, events], { useBigInt64: true })
      assert.ok(decoder.open(bytes))
      const read: number[][] = []
      const refuse = () => assert.fail()
      decoder.forEach({
        stored: ({ tokens, tokenCount }) => void read.push([...tokens.subarray(0, tokenCount)]),
        removed: refuse,
        cleared: refuse,
        malformed: refuse,
      })
      const expected = lists.map((list) =>
        list.map((token) => Number(BigInt.asIntN(32, BigInt(token)))),
      )
      assert.deepEqual(read, expected)
      for (let end = bytes.length - 1 - pick(70); end > 0; end -= 1 + pick(400)) {
        assert.equal(decoder.open(bytes.slice(0, end)), false)
      }
    }
  })
})
