import assert from 'node:assert/strict'
import { connect, type OutgoingHttpHeaders, sensitiveHeaders } from 'node:http2'
import { type AddressInfo, createServer } from 'node:net'
import { FrameSplitter } from '../../../src/extproc/http2/frame-splitter.ts'
import { HeaderBlocks } from '../../../src/extproc/http2/header-blocks.ts'
import { FRAME, PREFACE } from '../../../src/extproc/http2/protocol.ts'
import { settingsFrame } from '../../../src/extproc/http2/settings.ts'
import type { Header } from '../../../src/extproc/http2/static-table.ts'
import { below, seeded } from '../../kvcache/random.ts'
import { until } from '../fakes.ts'

const MAX = 64 * 1024

describe('HeaderBlocks', () => {
  it('reads what nghttp2 writes: any headers, of many requests on one connection', async () => {
    const random = below(seeded(7))
    const sent: OutgoingHttpHeaders[] = [...everyByte(), ...randomHeaders(random, 300)]
    const received: (readonly Header[])[] = []
    const server = createServer((socket) => {
      const blocks = new HeaderBlocks(MAX)
      const splitter = new FrameSplitter(
        {
          dataBegins: () => {},
          data: () => {},
          dataEnds: () => {},
        },
        {
          frame: (type, flags, streamId, bytes, start, end) => {
            if (type !== FRAME.headers && type !== FRAME.continuation) return
            const priorityBytes = (flags & 32) === 0 ? 0 : 5
            const from = type === FRAME.headers ? start + priorityBytes : start
            const decoded = blocks.add(type, flags, streamId, bytes, from, end)
            if (decoded !== undefined) received.push(decoded.headers)
          },
        },
        16_384,
      )
      let prefaceBytes = 0
      socket.write(settingsFrame(new Map([[3, 10_000]])))
      socket.on('data', (chunk) => {
        const at = Math.min(chunk.length, PREFACE.length - prefaceBytes)
        prefaceBytes += at
        splitter.read(chunk, at)
      })
      socket.on('error', () => {})
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    session.on('error', () => {})
    try {
      for (const headers of sent) session.request(headers).on('error', () => {})
      await until(() => received.length === sent.length, 'all have come')
      for (const [i, headers] of sent.entries()) {
        const wanted = Object.entries(headers).flatMap(([name, value]) =>
          [value].flat().map((one) => [name, String(one)]),
        )
        const got = received[i]!.filter(([name]) => name.startsWith('x-'))
        assert.deepEqual(got, wanted)
      }
    } finally {
      session.destroy()
      server.close()
    }
  })
})

/** Each byte that a client sends, among so many digits that it is sent in Huffman code. */
function everyByte(): OutgoingHttpHeaders[] {
  const bytes = Array.from({ length: 256 }, (_, byte) => byte).filter(
    (byte) => byte > 31 || byte === 9,
  )
  return bytes.map((byte) => ({ 'x-byte': `${'0'.repeat(40)}${String.fromCharCode(byte)}0` }))
}

function randomHeaders(random: (n: number) => number, requests: number): OutgoingHttpHeaders[] {
  const text = (length: number, characters: number) =>
    Array.from({ length }, () => String.fromCharCode(33 + random(characters))).join('')
  const words = Array.from({ length: 20 }, (_, i) => text(1 + i * 7, [94, 223][i % 2]!))
  return Array.from({ length: requests }, (_, request) => {
    const headers: OutgoingHttpHeaders = {}
    for (let i = random(8); i >= 0; i--) {
      const value =
        random(3) === 0 ? text(1 + random(400), [30, 94, 223][i % 3]!) : words[random(20)]
      headers[`x-${random(30)}`] = random(10) === 0 ? [value!, words[i]!] : value
    }
    if (request % 50 === 0) headers['x-large'] = text(30_000, 94)
    if (request % 7 === 0) headers[sensitiveHeaders as unknown as string] = ['x-1', 'x-2']
    return headers
  })
}
