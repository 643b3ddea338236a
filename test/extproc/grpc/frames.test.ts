import assert from 'node:assert/strict'
import { FrameReader, framed } from '../../../src/extproc/grpc/frames.ts'
import { percentEncoded, timeoutMs } from '../../../src/extproc/grpc/status.ts'
import { below, seeded } from '../../kvcache/random.ts'
import { cut } from '../raw-call.ts'

const MAX = 1_000_000

describe('FrameReader', () => {
  const read = (reader: FrameReader, chunk: Buffer) => {
    const messages: string[] = []
    reader.feed(chunk, 0, chunk.length)
    while (reader.next()) messages.push(reader.bytes.toString('latin1', reader.start, reader.end))
    return messages
  }

  it('leaves whole messages where they are', () => {
    const chunk = Buffer.concat([framed(Buffer.from('abc')), framed(Buffer.alloc(0))])
    const reader = new FrameReader(MAX)
    reader.feed(chunk, 0, chunk.length)
    assert.ok(reader.next())
    assert.deepEqual([reader.bytes === chunk, reader.start, reader.end], [true, 5, 8])
    assert.ok(reader.next())
    assert.deepEqual([reader.bytes === chunk, reader.start, reader.end], [true, 13, 13])
    assert.equal(reader.next(), false)
    assert.notEqual(reader.bytes, chunk, 'what has been read is not kept')
  })

  it('finds the same messages however they are cut', () => {
    const random = below(seeded(3))
    for (let run = 0; run < 300; run++) {
      const sizes = Array.from({ length: 1 + random(6) }, () =>
        random(4) === 0 ? random(300_000) : random(20),
      )
      const wanted = sizes.map((size, i) => String(i).repeat(size))
      const bytes = Buffer.concat(wanted.map((text) => framed(Buffer.from(text, 'latin1'))))
      const most = [1 + random(8), 1 + random(5000), bytes.length][run % 3]!
      const pieces =
        bytes.length > 20_000 && most < 9 ? [bytes] : cut(bytes, () => 1 + random(most))
      const reader = new FrameReader(MAX)
      assert.deepEqual(
        pieces.flatMap((piece) => read(reader, piece)),
        wanted,
      )
    }
  })

  it('tells one that is too long by its head, and reads nothing after it', () => {
    for (const size of [1, 5, 100]) {
      const reader = new FrameReader(10)
      const bytes = Buffer.concat([framed(Buffer.from('0123456789')), framed(Buffer.alloc(11))])
      const messages = cut(bytes, () => size).flatMap((piece) => read(reader, piece))
      assert.deepEqual([messages, reader.tooLong], [['0123456789'], 11])
      assert.deepEqual(read(reader, framed(Buffer.from('x'))), [])
    }
  })

  it('sets no more aside than has come, or 64 KiB', () => {
    const head = Buffer.from(framed(Buffer.alloc(0)))
    head.writeUInt32BE(MAX, 1)
    const before = process.memoryUsage().arrayBuffers
    const readers = Array.from({ length: 200 }, () => {
      const reader = new FrameReader(MAX)
      read(reader, head)
      return reader
    })
    const took = process.memoryUsage().arrayBuffers - before
    assert.ok(took < readers.length * 80 * 1024, `${took} bytes`)
  })
})

it('percentEncoded leaves the printable as it is', () => {
  assert.equal(percentEncoded('a "b" ~'), 'a "b" ~')
  assert.equal(percentEncoded('50% é\u0000\ud800'), '50%25 %C3%A9%00%EF%BF%BD')
})

it('timeoutMs reads every unit, and nothing else', () => {
  const wanted = { '1H': 3_600_000, '2M': 120_000, '3S': 3000, '4m': 4, '5u': 0.005, '6n': 6e-6 }
  for (const [header, ms] of Object.entries(wanted)) assert.equal(timeoutMs(header), ms)
  for (const header of ['', 'S', '1', '1s', '-1S', '123456789S', '1 S', '1Sx']) {
    assert.equal(timeoutMs(header), undefined, header)
  }
})
