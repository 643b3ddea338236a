import assert from 'node:assert/strict'
import { type ClientHttp2Session, constants } from 'node:http2'
import { connect, type Socket } from 'node:net'
import type { CallHandler, GrpcCall } from '../../../src/extproc/grpc/call.ts'
import { GrpcServer, type GrpcServerOptions } from '../../../src/extproc/grpc/grpc-server.ts'
import { STATUS } from '../../../src/extproc/grpc/status.ts'
import { until } from '../fakes.ts'
import { connectRaw, frame, RawCall } from '../raw-call.ts'

const MIB = 1024 * 1024

describe('GrpcServer', () => {
  let server: GrpcServer
  let session: ClientHttp2Session | undefined
  /** What calls were told, in order. */
  let told: string[]
  let call: GrpcCall | undefined

  const start = async (
    handler: Partial<CallHandler> = {},
    more: Partial<GrpcServerOptions> = {},
  ) => {
    told = []
    call = undefined
    const tell = (what: string) => void told.push(what)
    server = new GrpcServer({
      methods: new Map([
        [
          '/a.B/C',
          (one) => {
            call = one
            return {
              message: (bytes, from, to) => tell(bytes.toString('utf8', from, to)),
              pause: () => tell('pause'),
              halfClosed: () => tell('half-close'),
              closed: () => tell('closed'),
              ...handler,
            }
          },
        ],
      ]),
      certificate: undefined,
      maxMessageBytes: MIB,
      maxConnections: 10,
      refused: () => {},
      failed: assert.ifError,
      ...more,
    })
    return server.listen('127.0.0.1', 0)
  }
  afterEach(async () => {
    session?.destroy()
    session = undefined
    await server.close(0)
  })
  const open = async (port: number, headers?: Record<string, string>) => {
    session ??= await connectRaw(port)
    return new RawCall(session, headers, '/a.B/C')
  }

  /** The call, once it has begun. */
  const begun = async (): Promise<GrpcCall> => {
    await until(() => call !== undefined, 'it has begun')
    return call!
  }

  it('tells messages, the end of those that came together, the half-close and the end, each once', async () => {
    const one = await open(await start())
    await one.write(Buffer.concat(['a', 'b', ''].map((text) => frame(Buffer.from(text)))))
    await until(() => told.length === 4, 'they are told')
    one.stream.end()
    await until(() => told.includes('half-close'), 'the half-close')
    call?.end()
    call?.end(STATUS.internal)
    await until(() => told.includes('closed') && one.status !== undefined, 'the end')
    assert.deepEqual(told, ['a', 'b', '', 'pause', 'half-close', 'closed'])
    assert.equal(one.status, '0')
  })

  it('tells the authority and the first value of a header', async () => {
    const port = await start()
    await open(port, { ':authority': 'epp.test:9002', 'x-epp-pool': 'one , two' })
    const { authority } = await begun()
    const metadata = ['x-epp-pool', 'x-other'].map((name) => call!.metadata(name))
    assert.deepEqual([authority, ...metadata], ['epp.test:9002', 'one', undefined])
  })

  it('sends what is sent while messages are told with one write', async () => {
    const port = await start({
      message: (bytes, from, to) => call?.send([frame(bytes.subarray(from, to))]),
    })
    const one = await open(port)
    const sent = Buffer.concat(Array.from({ length: 50 }, (_, i) => frame(Buffer.from(`${i}`))))
    let chunks = 0
    one.stream.on('data', () => chunks++)
    await one.write(sent)
    await until(() => one.bytes.length === sent.length, 'all is back')
    assert.deepEqual([one.bytes, chunks], [sent, 1])
  })

  it('says when what was sent is written, in order, and not where the stream breaks', async () => {
    const one = await open(await start())
    const other = await begun()
    const written: string[] = []
    other.send([frame(Buffer.from('a'))], () => written.push('a'))
    await until(() => written.length === 1, 'a is written')
    one.stream.pause()
    other.send([frame(Buffer.alloc(MIB))], () => written.push('b'))
    one.stream.close(constants.NGHTTP2_CANCEL)
    await until(() => told.includes('closed'), 'the end')
    other.send([frame(Buffer.from('c'))], () => written.push('c'))
    assert.deepEqual(written, ['a'])
  })

  it('ends with a status whose words may be any', async () => {
    const one = await open(await start())
    const other = await begun()
    other.end(STATUS.notFound, '100 % “ü”\n')
    one.stream.end()
    await one.closed
    assert.deepEqual(
      [one.status, one.headers['grpc-message'], decodeURIComponent(one.headers['grpc-message']!)],
      ['5', '100 %25 %E2%80%9C%C3%BC%E2%80%9D%0A', '100 % “ü”\n'],
    )
  })

  it('cuts off a connection that gives no sign of life, and no other', async () => {
    const port = await start({}, { keepaliveMs: 50 })
    await open(port)
    const dead = await deadConnection(port)
    let cut = false
    dead.once('close', () => {
      cut = true
    })
    await until(() => cut, 'the dead one is cut off')
    assert.equal(session!.closed, false)
  })

  it('cuts off none whose answer it could not read, having stood still itself', async () => {
    const keepaliveMs = 50
    const port = await start({}, { keepaliveMs })
    await open(port)
    for (let times = 0; times < 10; times++) {
      const untilMs = performance.now() + 3 * keepaliveMs
      while (performance.now() < untilMs);
      await new Promise(setImmediate)
    }
    assert.equal(session!.closed, false)
  })

  it('close: open calls may end, then the connection goes; what does not end is cut off', async () => {
    const one = await open(await start())
    const other = await begun()
    let closed = false
    const closing = server.close(60_000).then(() => {
      closed = true
    })
    await until(() => session!.closed, 'the client is told to go')
    assert.equal(closed, false)
    other.send([frame(Buffer.from('last'))])
    other.end()
    one.stream.end()
    await closing
    assert.deepEqual([one.bytes, one.status], [frame(Buffer.from('last')), '0'])

    session = undefined
    const port = await start()
    const stuck = await open(port)
    const idle = await deadConnection(port)
    await stuck.write(frame(Buffer.from('x')))
    await until(() => told.includes('x'), 'it has begun')
    await server.close(20)
    assert.ok(told.includes('closed'))
    await until(() => idle.destroyed, 'the idle one is cut off')
  })
})

/** A connection that greets and then says nothing more, not even to a ping. */
async function deadConnection(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1').on('error', () => {})
  socket.resume()
  await new Promise((resolve) => socket.once('connect', resolve))
  const emptySettings = Buffer.of(0, 0, 0, 4, 0, 0, 0, 0, 0)
  socket.write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), emptySettings]))
  return socket
}
