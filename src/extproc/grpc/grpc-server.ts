import {
  constants,
  createSecureServer,
  createServer,
  type Http2SecureServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import type { AddressInfo, Socket } from 'node:net'
import type { CertificateSource } from '../../framework/certificate-files.ts'
import { type CallHandler, GrpcCall } from './call.ts'
import { countReset, RESET_LIMIT } from './connections.ts'
import { STATUS, statusTrailers } from './status.ts'

/** Begins a call of one method. */
export type Method = (call: GrpcCall) => CallHandler

export interface GrpcServerOptions {
  /** By path: `/package.Service/Method`. */
  readonly methods: ReadonlyMap<string, Method>
  /** Undefined serves plaintext. */
  readonly certificate: CertificateSource | undefined
  /** Bytes of one message from a client. */
  readonly maxMessageBytes: number
  /** Connections at once; what comes beyond is closed. */
  readonly maxConnections: number
  /** Told of each connection that was one too many. */
  readonly refused: () => void
  /** Told of an error of the open port that ends nothing, such as too many open files. */
  readonly failed: (error: Error) => void
  /** How often a connection is asked whether it lives, and how long it may take to answer; 10 s when absent. */
  readonly keepaliveMs?: number
}

/** With the protocol's 64 KiB a long prompt waits for a round trip each 64 KiB. */
const RECEIVE_WINDOW_BYTES = 16 * 1024 * 1024
const CONNECTION_WINDOW_BYTES = 64 * 1024 * 1024
const KEEPALIVE_MS = 10_000
/** In times of its interval: a timer that is called so late was held up with all else in this process. */
const LATE = 1.5

const SERVER_OPTIONS = {
  ...RESET_LIMIT,
  settings: {
    maxConcurrentStreams: 100_000,
    initialWindowSize: RECEIVE_WINDOW_BYTES,
    maxFrameSize: 1024 * 1024,
  },
  // Streams wait for the router together; what they may hold is limited by the exchanges, not by the connection.
  maxSessionMemory: Number.MAX_SAFE_INTEGER,
}

/** A gRPC server on node:http2. Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md */
export class GrpcServer {
  readonly #options: GrpcServerOptions
  readonly #server: Http2Server | Http2SecureServer
  readonly #sockets = new Set<Socket>()
  /** Each connection, and whether it has been asked for a sign of life and gave none. */
  readonly #sessions = new Map<ServerHttp2Session, { isAsked: boolean }>()
  #keepalive: NodeJS.Timeout | undefined
  #askedMs = 0
  #stopCertificate: (() => void) | undefined

  constructor(options: GrpcServerOptions) {
    this.#options = options
    const { certificate } = options
    this.#server =
      certificate === undefined ? createServer(SERVER_OPTIONS) : this.#secure(certificate)
    this.#server.maxConnections = options.maxConnections
    this.#server.on('drop', () => options.refused())
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
    })
    this.#server.on('session', (session: ServerHttp2Session) => this.#opened(session))
    this.#server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) =>
      this.#called(stream, headers),
    )
  }

  /**
   * Opens the port.
   *
   * @returns its number
   * @throws the system's error
   */
  listen(host: string, port: number): Promise<number> {
    const server = this.#server
    return new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host, port }, () => {
        server.off('error', reject).on('error', this.#options.failed)
        this.#watchCertificate()
        const { keepaliveMs = KEEPALIVE_MS } = this.#options
        this.#askedMs = performance.now()
        this.#keepalive = setInterval(() => this.#askForLife(keepaliveMs), keepaliveMs).unref()
        resolve((server.address() as AddressInfo).port)
      })
    })
  }

  /** Takes no connection any more, and no call; those that are open have `graceMs` to end. Resolves when all have. */
  async close(graceMs: number): Promise<void> {
    clearInterval(this.#keepalive)
    this.#stopCertificate?.()
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const session of this.#sessions.keys()) session.close()
    const cut = setTimeout(() => this.#cut(), graceMs)
    await closed
    clearTimeout(cut)
  }

  #cut(): void {
    for (const session of this.#sessions.keys())
      session.destroy(undefined, constants.NGHTTP2_CANCEL)
    for (const socket of this.#sockets) socket.destroy()
  }

  #secure(certificate: CertificateSource): Http2SecureServer {
    const { pair } = certificate
    const server = createSecureServer({
      ...SERVER_OPTIONS,
      cert: pair.certificate,
      key: pair.privateKey,
    })
    // Of a connection that breaks within TLS nobody else hears.
    server.on('secureConnection', (socket) => socket.on('error', ignore))
    return server
  }

  /** New connections get a changed certificate, open ones keep theirs. */
  #watchCertificate(): void {
    const server = this.#server
    if (!('setSecureContext' in server)) return
    this.#stopCertificate = this.#options.certificate?.listen(({ certificate, privateKey }) =>
      server.setSecureContext({ cert: certificate, key: privateKey }),
    )
  }

  #opened(session: ServerHttp2Session): void {
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES)
    this.#sessions.set(session, { isAsked: false })
    session.once('close', () => this.#sessions.delete(session))
    // It is closed with it.
    session.on('error', ignore)
  }

  #called(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    // A stream that breaks is closed, which its call is told of.
    stream.on('error', ignore)
    if (stream.destroyed || stream.closed) return
    countReset(stream)
    if (!headers['content-type']?.startsWith('application/grpc')) {
      stream.respond({ ':status': 415 }, { endStream: true })
      stream.resume()
      return
    }
    const path = headers[':path'] ?? ''
    const method = this.#options.methods.get(path)
    if (method === undefined) {
      const details = `The server does not implement the method ${path}`
      const head = { ':status': 200, 'content-type': 'application/grpc' }
      const trailers = statusTrailers(STATUS.unimplemented, details)
      stream.respond({ ...head, ...trailers }, { endStream: true })
      stream.resume()
      return
    }
    const call = new GrpcCall(stream, headers, this.#options.maxMessageBytes)
    call.start(method(call))
  }

  /** The only end that a connection sees whose gateway died while it was written to: Node's TLS then reads no more. */
  #askForLife(everyMs: number): void {
    const nowMs = performance.now()
    const isLate = nowMs - this.#askedMs > LATE * everyMs
    this.#askedMs = nowMs
    // Answers that came while this process stood still have not been read.
    if (isLate) return
    for (const [session, life] of this.#sessions) {
      if (session.destroyed) continue
      if (life.isAsked) {
        session.destroy()
        continue
      }
      life.isAsked = true
      session.ping((error) => {
        if (!error) life.isAsked = false
      })
    }
  }
}

function ignore(): void {}
