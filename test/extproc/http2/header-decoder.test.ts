import assert from 'node:assert/strict'
import { HeaderDecoder } from '../../../src/extproc/http2/header-decoder.ts'
import { ConnectionError, ERROR } from '../../../src/extproc/http2/protocol.ts'
import type { Header } from '../../../src/extproc/http2/static-table.ts'

const MAX = 64 * 1024

describe('HeaderDecoder', () => {
  let decoder: HeaderDecoder
  beforeEach(() => {
    decoder = new HeaderDecoder(MAX)
  })
  const decode = (hex: string): readonly Header[] => {
    const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex')
    const { headers, isTooLarge } = decoder.decode(bytes, 0, bytes.length)
    assert.equal(isTooLarge, false)
    return headers
  }
  const assertBroken = (hex: string, why: RegExp) =>
    assert.throws(
      () => decode(hex),
      (error) =>
        error instanceof ConnectionError &&
        error.code === ERROR.compression &&
        why.test(error.message),
      hex,
    )

  describe('the examples of RFC 7541, appendix C', () => {
    it('C.2: each kind of header', () => {
      const examples: [string, Header][] = [
        [
          '400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572',
          ['custom-key', 'custom-header'],
        ],
        ['040c 2f73 616d 706c 652f 7061 7468', [':path', '/sample/path']],
        ['1008 7061 7373 776f 7264 0673 6563 7265 74', ['password', 'secret']],
        ['82', [':method', 'GET']],
      ]
      for (const [hex, header] of examples) {
        decoder = new HeaderDecoder(MAX)
        assert.deepEqual(decode(hex), [header])
        const isKept = header[0] === 'custom-key'
        if (isKept) assert.deepEqual(decode('be'), [header])
        else assertBroken('be', /no header has the index 62/)
      }
    })

    const requests = [
      [
        [':method', 'GET'],
        [':scheme', 'http'],
        [':path', '/'],
        [':authority', 'www.example.com'],
      ],
      [
        [':method', 'GET'],
        [':scheme', 'http'],
        [':path', '/'],
        [':authority', 'www.example.com'],
        ['cache-control', 'no-cache'],
      ],
      [
        [':method', 'GET'],
        [':scheme', 'https'],
        [':path', '/index.html'],
        [':authority', 'www.example.com'],
        ['custom-key', 'custom-value'],
      ],
    ]
    it('C.3: requests', () => {
      const blocks = [
        '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
        '8286 84be 5808 6e6f 2d63 6163 6865',
        '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
      ]
      assert.deepEqual(blocks.map(decode), requests)
    })
    it('C.4: requests in Huffman code', () => {
      const blocks = [
        '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
        '8286 84be 5886 a8eb 1064 9cbf',
        '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
      ]
      assert.deepEqual(blocks.map(decode), requests)
    })

    /** The examples' table has 256 bytes. */
    const SMALL_TABLE = '3fe1 01'
    const private_ = ['cache-control', 'private']
    const date = (second: number) => ['date', `Mon, 21 Oct 2013 20:13:${second} GMT`]
    const location = ['location', 'https://www.example.com']
    const cookie = 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'
    const responses = [
      [[':status', '302'], private_, date(21), location],
      [[':status', '307'], private_, date(21), location],
      [
        [':status', '200'],
        private_,
        date(22),
        location,
        ['content-encoding', 'gzip'],
        ['set-cookie', cookie],
      ],
    ]
    it('C.5: responses, with a table that evicts', () => {
      const blocks = [
        `${SMALL_TABLE} 4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133
         2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d`,
        '4803 3330 37c1 c0bf',
        `88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a
         6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d
         6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31`,
      ]
      assert.deepEqual(
        blocks.map((hex) => decode(hex.replaceAll('\n', ''))),
        responses,
      )
      assert.deepEqual(decode('be bf c0'), [
        ['set-cookie', cookie],
        ['content-encoding', 'gzip'],
        date(22),
      ])
      assertBroken('c1', /no header has the index 65/)
    })
    it('C.6: responses in Huffman code', () => {
      const blocks = [
        `${SMALL_TABLE} 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6
         2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3`,
        '4883 640e ffc1 c0bf',
        `88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d
         d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106
         3d50 07`,
      ]
      assert.deepEqual(
        blocks.map((hex) => decode(hex.replaceAll('\n', ''))),
        responses,
      )
    })
  })

  describe('the table', () => {
    /** `a: <letter>`, to be kept: 34 bytes. */
    const kept = (letter: string) => `40 01 61 01 ${Buffer.from(letter).toString('hex')}`

    it('evicts the oldest, and all for a header that is larger than itself', () => {
      const update = '3f 26' // 69 bytes: two headers
      assert.equal(decode(`${update} ${kept('x')} ${kept('y')} ${kept('z')}`).length, 3)
      assert.deepEqual(decode('be bf'), [
        ['a', 'z'],
        ['a', 'y'],
      ])
      assertBroken('c0', /index 64/)
      const large = `40 01 61 25 ${'62'.repeat(37)}` // 70 bytes
      assert.deepEqual(decode(large), [['a', 'b'.repeat(37)]])
      assertBroken('be', /index 62/)
    })

    it('keeps a header whose name it evicts', () => {
      const update = '3f 03' // 34 bytes
      decode(`${update} ${kept('x')}`)
      assert.deepEqual(decode('7e 01 79'), [['a', 'y']])
      assert.deepEqual(decode('be'), [['a', 'y']])
    })

    it('changes its size at the beginning of a block alone, more than once, within what was offered', () => {
      decode(`${kept('x')} ${kept('y')}`)
      assert.deepEqual(decode('3f 03 3f e1 1f be'), [['a', 'y']])
      assert.deepEqual(decode(''), [])
      assert.deepEqual(decode('20'), [])
      assertBroken('be', /index 62/)
      assert.deepEqual(decode(`3fe11f ${kept('z')} be`), [
        ['a', 'z'],
        ['a', 'z'],
      ])
      assertBroken('82 20', /the size of the table changes within/)
      assertBroken('3f e2 1f', /a table of 4097 bytes was not offered/)
      assertBroken('3f ff ff ff ff 0f', /a number is too large/)
    })
  })

  it('a block that is cut anywhere is none', () => {
    const whole = Buffer.from(
      '820c0568656c6c6f' + '400a637573746f6d2d6b65790c637573746f6d2d76616c7565',
      'hex',
    )
    const ends = new Set([1, 8, whole.length])
    for (let end = 1; end <= whole.length; end++) {
      const hex = whole.toString('hex', 0, end)
      decoder = new HeaderDecoder(MAX)
      if (ends.has(end)) decode(hex)
      else assertBroken(hex, /ends within a header/)
    }
    const long = Buffer.from('3fe11f0f107f8101', 'hex')
    for (const end of [1, 2, 4, 5, 6, 7, 8]) {
      decoder = new HeaderDecoder(MAX)
      assertBroken(long.toString('hex', 0, end), /ends within a header/)
    }
  })

  it('what is no header ends the connection', () => {
    assertBroken('80', /no header has the index 0/)
    assertBroken('be', /no header has the index 62/)
    assertBroken('ff ff ff ff 3f', /no header has the index/)
    assertBroken('ff ff ff ff 7f', /a number is too large/)
    assertBroken('ff 80 80 80 80 80 80 80 80 80 80 80 80 01', /a number is too large/)
    assertBroken('ff ff ff ff ff ff ff ff ff ff ff 7f', /a number is too large/)
    assertBroken('0f 30 01 61', /no header has the index 63/)
    assertBroken('00 01 61 7f ff ff ff 3f', /ends within a header/)
    assertBroken('00 01 61 81 00', /no Huffman code/)
    assertBroken('00 01 61 84 ff ff ff ff', /no Huffman code/)
    assertBroken('00 01 61 82 1f ff', /no Huffman code/)
  })

  it('reads integers that begin with zeros, and the empty string in either code', () => {
    assert.deepEqual(decode('00 01 61 80'), [['a', '']])
    assert.deepEqual(decode('00 01 61 00'), [['a', '']])
    assert.deepEqual(decode(`00 01 61 7f 80 80 00 ${'62'.repeat(127)}`), [['a', 'b'.repeat(127)]])
  })

  it('keeps no more than it may, reads all the same, and goes on with the next', () => {
    decoder = new HeaderDecoder(100)
    const bytes = Buffer.from(
      '82 40 01 61 03 78 79 7a 40 01 62 01 63 82'.replaceAll(' ', ''),
      'hex',
    )
    const { headers, isTooLarge } = decoder.decode(bytes, 0, bytes.length)
    assert.deepEqual([headers.length, isTooLarge], [2, true])
    assert.deepEqual(decode('be bf'), [
      ['b', 'c'],
      ['a', 'xyz'],
    ])
    const bomb = Buffer.alloc(60_000, 0xbe)
    assert.equal(decoder.decode(bomb, 0, bomb.length).headers.length, 2)
  })
})
