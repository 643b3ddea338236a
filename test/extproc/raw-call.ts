import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2'
import {
  answersIn,
  type ProcessingRequest,
  type ProcessingResponse,
  processMethod,
} from './client.ts'

/** A message in its gRPC frame. */
export function frame(message: Uint8Array, isCompressed = false): Buffer {
  const head = Buffer.alloc(5)
  head[0] = Number(isCompressed)
  head.writeUInt32BE(message.length, 1)
  return Buffer.concat([head, message])
}

/** Requests as the bytes that a gateway writes. */
export function frames(...requests: readonly ProcessingRequest[]): Buffer {
  return Buffer.concat(requests.map((request) => frame(processMethod.requestSerialize(request))))
}

/** A connection by node:http2, once it stands. */
export async function connectRaw(
  port: number,
  settings: { readonly initialWindowSize?: number } = {},
): Promise<ClientHttp2Session> {
  const session = connect(`http://127.0.0.1:${port}`, { settings })
  session.on('error', () => {})
  await new Promise((resolve) => session.once('connect', resolve))
  return session
}

/** One call of which every byte and header is seen. */
export class RawCall {
  readonly stream: ClientHttp2Stream
  readonly #received: Buffer[] = []
  /** Response headers and trailers, each name once. */
  readonly headers: Record<string, string> = {}
  /** Resolves when the stream is closed. */
  readonly closed: Promise<void>

  constructor(
    session: ClientHttp2Session,
    headers: Readonly<Record<string, string>> = {},
    path = processMethod.path,
  ) {
    this.stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
    })
    const take = (got: object) => {
      for (const [name, value] of Object.entries(got)) this.headers[name] = String(value)
    }
    this.stream.on('response', take)
    this.stream.on('trailers', take)
    this.stream.on('data', (chunk: Buffer) => this.#received.push(chunk))
    this.stream.on('error', () => {})
    this.closed = new Promise((resolve) => this.stream.once('close', resolve))
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#received)
  }

  /** The answers that have come, whole. */
  get answers(): ProcessingResponse[] {
    return answersIn(this.#received)
  }

  /** The status once the server has said one. */
  get status(): string | undefined {
    return this.headers['grpc-status']
  }

  /** Writes pieces, each once the one before has been handed to the connection. */
  async write(...pieces: readonly Buffer[]): Promise<this> {
    for (const piece of pieces) {
      await new Promise<void>((resolve) => this.stream.write(piece, () => resolve()))
    }
    return this
  }
}

/** `bytes` in pieces of these sizes, again and again. */
export function cut(bytes: Buffer, size: () => number): Buffer[] {
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const end = Math.min(bytes.length, at + size())
    pieces.push(bytes.subarray(at, end))
    at = end
  }
  return pieces
}
