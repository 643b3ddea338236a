import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { Http2Connection } from '../../../src/extproc/http2/connection.ts'
import { headerBlock } from '../../../src/extproc/http2/header-block.ts'
import type { Http2Stream } from '../../../src/extproc/http2/stream.ts'

export const HEAD = headerBlock([[':status', '200']])
export const TRAILERS = headerBlock([['grpc-status', '0']])

/** A server that keeps what its connections told it; it sends back what comes, unless it is told not to. */
export class EchoServer {
  readonly #server: Server
  readonly sockets: Socket[] = []
  readonly connections: Http2Connection[] = []
  readonly streams = new Map<number, Http2Stream>()
  /** What was told of each stream: bytes, then `end`, then `closed`. */
  readonly told = new Map<number, string[]>()
  readonly #received = new Map<number, Buffer[]>()
  /** False to forget what comes. */
  keepsBodies = true
  /** What is done with data, in place of sending it back. */
  data: ((stream: Http2Stream, bytes: Buffer) => void) | undefined
  /** What is done when the client has sent all, in place of ending the answer. */
  halfClosed: ((stream: Http2Stream) => void) | undefined

  private constructor() {
    this.#server = createServer((socket) => {
      this.sockets.push(socket)
      this.connections.push(new Http2Connection(socket, (stream) => this.#opened(stream)))
    })
  }

  static async start(): Promise<EchoServer> {
    const server = new EchoServer()
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve))
    return server
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  received(streamId: number): Buffer {
    return Buffer.concat(this.#received.get(streamId) ?? [])
  }

  /** Begins, sends and ends an answer. */
  answer(streamId: number, ...parts: readonly Uint8Array[]): void {
    const stream = this.streams.get(streamId)!
    stream.begin(HEAD)
    if (parts.length > 0) stream.send(parts)
    stream.end(TRAILERS)
  }

  async stop(): Promise<void> {
    for (const connection of this.connections) connection.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #opened(stream: Http2Stream): void {
    const told: string[] = []
    const received: Buffer[] = []
    this.streams.set(stream.id, stream)
    this.told.set(stream.id, told)
    this.#received.set(stream.id, received)
    if (this.data === undefined) stream.begin(HEAD)
    stream.receive({
      data: (bytes, start, end) => {
        const part = bytes.subarray(start, end)
        if (this.keepsBodies) received.push(part)
        if (this.data === undefined) stream.send([part])
        else this.data(stream, part)
      },
      halfClosed: () => {
        told.push('end')
        if (this.halfClosed === undefined) stream.end(TRAILERS)
        else this.halfClosed(stream)
      },
      closed: () => void told.push('closed'),
    })
  }
}
