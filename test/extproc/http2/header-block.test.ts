import assert from 'node:assert/strict'
import { connect, type IncomingHttpHeaders } from 'node:http2'
import { type AddressInfo, createServer } from 'node:net'
import { headerBlock } from '../../../src/extproc/http2/header-block.ts'
import { HeaderDecoder } from '../../../src/extproc/http2/header-decoder.ts'
import { FLAG, FRAME, frame } from '../../../src/extproc/http2/protocol.ts'
import { settingsFrame } from '../../../src/extproc/http2/settings.ts'
import type { Header } from '../../../src/extproc/http2/static-table.ts'

const LENGTHS = [0, 1, 126, 127, 128, 254, 255, 256, 16_000]

describe('headerBlock', () => {
  it('is read by nghttp2, values of any length', async () => {
    const server = createServer((socket) => {
      socket.write(settingsFrame(new Map()))
      socket.once('data', () => {
        for (const [i, length] of LENGTHS.entries()) {
          const block = headerBlock([
            [':status', '200'],
            ['x-value', 'v'.repeat(length)],
            ['x-last', 'ü'],
          ])
          socket.write(frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, 2 * i + 1, block))
        }
      })
      socket.on('error', () => {})
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const session = connect(`http://127.0.0.1:${port}`)
    try {
      const answers = await Promise.all(
        LENGTHS.map(
          () =>
            new Promise<IncomingHttpHeaders>((resolve, reject) =>
              session.request().once('response', resolve).once('error', reject),
            ),
        ),
      )
      assert.deepEqual(
        answers.map((headers) => [String(headers['x-value']).length, headers['x-last']]),
        LENGTHS.map((length) => [length, 'ü']),
      )
    } finally {
      session.destroy()
      server.close()
    }
  })

  it('holds names and values of up to 16,383 characters, and no table', () => {
    const lengths = [...LENGTHS, 16_382, 16_383]
    const headers = lengths.map((length): Header => ['n'.repeat(length), 'v'.repeat(length)])
    const block = headerBlock(headers)
    const decoder = new HeaderDecoder(10_000_000)
    for (let times = 0; times < 2; times++) {
      assert.deepEqual(decoder.decode(block, 0, block.length).headers, headers)
    }
    assert.throws(() => decoder.decode(Buffer.of(0xbe), 0, 1), /no header has the index 62/)
  })
})
