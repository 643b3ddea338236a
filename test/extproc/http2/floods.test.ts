import assert from 'node:assert/strict'
import { GrpcServer } from '../../../src/extproc/grpc/grpc-server.ts'
import { ERROR, FLAG, FRAME, frame, SETTING } from '../../../src/extproc/http2/protocol.ts'
import { settingsFrame } from '../../../src/extproc/http2/settings.ts'
import { until } from '../fakes.ts'
import { heldBytes } from './held-bytes.ts'
import { data, ping, RawClient, request, reset, windowUpdate } from './raw-client.ts'

const MIB = 1024 * 1024

describe('GrpcServer, against a client that means harm', () => {
  let server: GrpcServer
  let port: number
  let open: number
  beforeEach(async () => {
    open = 0
    server = new GrpcServer({
      methods: new Map([
        [
          '/a.B/C',
          (call) => {
            open++
            return {
              message: () => {},
              halfClosed: () => call.end(),
              closed: () => void open--,
            }
          },
        ],
      ]),
      certificate: undefined,
      maxMessageBytes: MIB,
      maxConnections: 10,
      refused: () => {},
      failed: assert.ifError,
      keepaliveMs: 1000,
    })
    port = await server.listen('127.0.0.1', 0)
  })
  afterEach(() => server.close(0))

  /** A client that answers when it is asked whether it lives. */
  const greet = async (...settings: [number, number][]) => {
    const client = await RawClient.greet(port, ...settings)
    client.answersPings = true
    return client
  }
  const assertServes = async (client: RawClient, streamId: number) => {
    client.write(request(streamId, FLAG.endStream))
    await until(() => client.hasEnded(streamId), 'it is answered')
  }

  it('streams that are opened and reset at once leave nothing, and others are served', async () => {
    const client = await greet()
    await assertServes(client, 1)
    const before = await heldBytes()
    let streamId = 3
    for (let turn = 0; turn < 20; turn++) {
      const frames: Buffer[] = []
      for (let i = 0; i < 1000; i++, streamId += 2) frames.push(request(streamId), reset(streamId))
      client.write(...frames)
      await client.caughtUp()
    }
    assert.equal(open, 0)
    const took = (await heldBytes()) - before
    assert.ok(took < 8 * MIB, `${took / MIB} MiB`)
    await assertServes(client, streamId)
  })

  it('streams that are answered and reset leave nothing', async () => {
    const client = await greet()
    await assertServes(client, 1)
    const before = await heldBytes()
    let streamId = 3
    for (let turn = 0; turn < 10; turn++) {
      for (let i = 0; i < 1000; i++, streamId += 2) client.write(request(streamId, FLAG.endStream))
      await until(() => client.hasEnded(streamId - 2), 'they are answered')
      client.write(reset(streamId - 2))
      client.frames.length = 0
    }
    assert.equal(open, 0)
    const took = (await heldBytes()) - before
    assert.ok(took < 8 * MIB, `${took / MIB} MiB`)
  })

  for (const [what, flood] of [
    ['pings', ping()],
    ['settings', settingsFrame(new Map([[SETTING.initialWindowSize, 1000]]))],
    ['data of a stream that has ended', data(1, Buffer.of(1))],
  ] as const) {
    it(`${what} of a client that reads nothing end its connection`, async () => {
      const client = await greet()
      await assertServes(client, 1)
      const before = await heldBytes()
      client.socket.pause()
      const many = Buffer.concat(new Array(2000).fill(flood))
      let isDestroyed = false
      client.socket.once('close', () => {
        isDestroyed = true
      })
      let most = 0
      for (let turn = 0; !isDestroyed && turn < 3000; turn++) {
        const isTaken = client.socket.write(many)
        if (!isTaken) await drained(client)
        if (turn % 100 === 99) most = Math.max(most, (await heldBytes()) - before)
      }
      assert.ok(isDestroyed)
      assert.ok(most < 32 * MIB, `${most / MIB} MiB`)
      await assertServes(await greet(), 1)
    })
  }

  it('frames without end of a client that reads the answers are answered', async () => {
    const client = await greet()
    const settings = settingsFrame(new Map([[SETTING.initialWindowSize, 1000]]))
    for (let turn = 0; turn < 10; turn++) {
      client.write(...new Array(1000).fill(ping()), ...new Array(1000).fill(settings))
      await client.caughtUp()
    }
    const acks = client.of(FRAME.settings).filter(({ flags }) => flags === FLAG.ack)
    assert.equal(acks.length, 10_001)
    client.write(request(1), ...new Array(10_000).fill(data(1, Buffer.alloc(0))))
    client.write(...new Array(10_000).fill(windowUpdate(1, 1)))
    client.write(data(1, Buffer.alloc(0), FLAG.endStream))
    await until(() => client.hasEnded(1), 'it is answered')
  })

  it('a client that has broken a rule is told, and cut off', async () => {
    const client = await greet()
    client.write(request(1), frame(FRAME.pushPromise, 0, 1, Buffer.alloc(4)), ping(), request(3))
    await client.closed()
    assert.equal(client.errorOf(0), ERROR.protocol)
    assert.equal(client.of(FRAME.goAway)[0]!.payload.readUInt32BE(0), 1)
    await until(() => open === 0, 'its calls end')
  })

  it('a connection that says nothing, or half a preface, is cut off', async () => {
    const silent = await RawClient.connect(port)
    const half = (await RawClient.connect(port)).write(Buffer.from('PRI * HTTP'))
    await silent.closed()
    await half.closed()
  })

  it('a connection that breaks off anywhere leaves nothing', async () => {
    const bytes = Buffer.concat([
      request(1),
      data(1, Buffer.alloc(50)),
      frame(FRAME.headers, 0, 3, Buffer.alloc(20, 0x82)),
      frame(FRAME.continuation, 0, 3, Buffer.alloc(20, 0x82)),
    ])
    for (let at = 0; at < bytes.length; at += 3) {
      const client = await greet()
      client.write(bytes.subarray(0, at))
      await new Promise(setImmediate)
      if (at % 2 === 0) client.socket.resetAndDestroy()
      else client.socket.end()
      await client.closed()
    }
    await until(() => open === 0, 'all calls end')
  })
})

/** Resolves when the client may write again, or never can. */
function drained(client: RawClient): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      client.socket.off('drain', done).off('close', done)
      resolve()
    }
    client.socket.on('drain', done).on('close', done)
  })
}
