import assert from 'node:assert/strict'
import { FrameSplitter } from '../../../src/extproc/http2/frame-splitter.ts'
import { ConnectionError, ERROR, FLAG, FRAME, frame } from '../../../src/extproc/http2/protocol.ts'
import { below, seeded } from '../../kvcache/random.ts'
import { cut } from '../raw-call.ts'

const MAX_PAYLOAD_BYTES = 16_384

/** What a splitter tells of `pieces`, each frame in a line; data in one, however it was told. */
function framesOf(pieces: readonly Buffer[], skipped = 0): string[] {
  const told: string[] = []
  let bytes: Buffer[] | undefined
  const splitter = new FrameSplitter(
    {
      dataBegins: (streamId, payloadBytes, flags) => {
        assert.equal(bytes, undefined)
        bytes = []
        told.push(`data ${flags} ${streamId} ${payloadBytes}`)
      },
      data: (chunk, start, end) => {
        assert.ok(start < end)
        bytes!.push(Buffer.from(chunk.subarray(start, end)))
      },
      dataEnds: () => {
        told.push(`${told.pop()} ${Buffer.concat(bytes!).toString('hex')}`)
        bytes = undefined
      },
    },
    {
      frame: (type, flags, streamId, chunk, start, end) => {
        assert.equal(bytes, undefined)
        told.push(`${type} ${flags} ${streamId} ${chunk.toString('hex', start, end)}`)
      },
    },
    MAX_PAYLOAD_BYTES,
  )
  for (const piece of pieces) splitter.read(piece, piece === pieces[0] ? skipped : 0)
  return told
}

function textOf(type: number, flags: number, streamId: number, payload: Buffer): string {
  const isData = type === FRAME.data && (flags & FLAG.padded) === 0
  const hex = payload.toString('hex')
  return isData
    ? `data ${flags} ${streamId} ${payload.length} ${hex}`
    : `${type} ${flags} ${streamId} ${hex}`
}

/** Frames, and what is to be told of them. */
function randomFrames(random: (n: number) => number, most: number): [Buffer, string[]] {
  const frames: Buffer[] = []
  const wanted: string[] = []
  for (let left = 1 + random(12); left > 0; left--) {
    const type = random(2) === 0 ? FRAME.data : random(256)
    const flags = random(256)
    const streamId = random(4) === 0 ? 2 ** 31 - 1 - random(1000) : random(10)
    const payload = Buffer.alloc(random(3) === 0 ? 0 : random(most))
    for (let i = 0; i < payload.length; i++) payload[i] = random(256)
    frames.push(frame(type, flags, streamId, payload))
    wanted.push(textOf(type, flags, streamId, payload))
  }
  return [Buffer.concat(frames), wanted]
}

describe('FrameSplitter', () => {
  it('tells the same frames however they are cut', () => {
    const random = below(seeded(5))
    for (let run = 0; run < 300; run++) {
      const [bytes, wanted] = randomFrames(random, [10, 100, MAX_PAYLOAD_BYTES + 1][run % 3]!)
      const most = [1 + random(8), 1 + random(500), bytes.length][random(3)]!
      assert.deepEqual(
        framesOf(bytes.length > 20_000 && most < 9 ? [bytes] : cut(bytes, () => 1 + random(most))),
        wanted,
      )
    }
  })

  it('cut in two anywhere, in three anywhere, and byte by byte', () => {
    const [bytes, wanted] = randomFrames(below(seeded(23)), 20)
    assert.deepEqual(framesOf(cut(bytes, () => 1)), wanted)
    for (let at = 0; at <= bytes.length; at++) {
      const rest = bytes.subarray(at)
      assert.deepEqual(framesOf([bytes.subarray(0, at), rest]), wanted)
      for (const length of [1, 8, 9, 10]) {
        assert.deepEqual(
          framesOf([bytes.subarray(0, at), rest.subarray(0, length), rest.subarray(length)]),
          wanted,
        )
      }
    }
  })

  it('begins where it is told to', () => {
    const ping = frame(FRAME.ping, 0, 0, Buffer.from('abcdefgh'))
    const bytes = Buffer.concat([Buffer.from('preface'), ping])
    assert.deepEqual(framesOf([bytes], 7), [textOf(FRAME.ping, 0, 0, Buffer.from('abcdefgh'))])
  })

  it('ignores the reserved bit of a stream', () => {
    const bytes = frame(FRAME.headers, 0, 5, Buffer.alloc(0))
    bytes[5]! |= 0x80
    assert.deepEqual(framesOf([bytes]), ['1 0 5 '])
    bytes[3] = FRAME.data
    assert.deepEqual(framesOf([bytes]), ['data 0 5 0 '])
  })

  it('takes the longest frame, and none that is longer, by its head alone', () => {
    for (const type of [FRAME.data, FRAME.headers, 99]) {
      for (const flags of [0, FLAG.padded]) {
        const longest = frame(type, flags, 1, Buffer.alloc(MAX_PAYLOAD_BYTES))
        assert.equal(framesOf([longest]).length, 1)
        assert.equal(framesOf(cut(longest, () => 1000)).length, 1)
        const head = frame(type, flags, 1, Buffer.alloc(MAX_PAYLOAD_BYTES + 1)).subarray(0, 9)
        for (const pieces of [[head], cut(head, () => 4)]) {
          assert.throws(
            () => framesOf(pieces),
            (error) => error instanceof ConnectionError && error.code === ERROR.frameSize,
          )
        }
      }
    }
  })

  it('leaves data where it lies', () => {
    const bytes = Buffer.concat([
      frame(FRAME.data, 0, 1, Buffer.from('abc')),
      frame(FRAME.data, 0, 1, Buffer.from('de')),
    ])
    const told: [Buffer, number, number][] = []
    const splitter = new FrameSplitter(
      {
        dataBegins: () => {},
        data: (chunk, start, end) => void told.push([chunk, start, end]),
        dataEnds: () => {},
      },
      {
        frame: () => assert.fail(),
      },
      MAX_PAYLOAD_BYTES,
    )
    splitter.read(bytes, 0)
    assert.deepEqual(
      told.map(([chunk, start, end]) => [chunk === bytes, start, end]),
      [
        [true, 9, 12],
        [true, 21, 23],
      ],
    )
  })
})
