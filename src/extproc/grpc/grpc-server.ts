import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:tls'
import type { CertificateSource } from '../../framework/certificate-files.ts'
import { Http2Connection } from '../http2/connection.ts'
import { headerBlock } from '../http2/header-block.ts'
import type { Http2Stream } from '../http2/stream.ts'
import { type CallHandler, GrpcCall } from './call.ts'
import { STATUS } from './status.ts'

/** Begins a call of one method. */
export type Method = (call: GrpcCall) => CallHandler

/** What clients speak that will not be understood; `handshake` is TLS that failed for another reason, `reason`. */
export interface Misspoken {
  readonly what: 'tls' | 'plaintext' | 'no-http2' | 'handshake'
  readonly reason?: string
  /** Address of the client. */
  readonly from: string | undefined
}

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
  /** Told of each connection that ended before it began, since its client speaks something else. */
  readonly misspoken?: (said: Misspoken) => void
  /** Told of an error of the open port that ends nothing, such as too many open files. */
  readonly failed: (error: Error) => void
  /** How often a connection is asked whether it lives, and how long it may take to answer; 10 s when absent. */
  readonly keepaliveMs?: number
}

const KEEPALIVE_MS = 10_000
/** In times of its interval: a timer that is called so late was held up with all else in this process. */
const LATE = 1.5

/** The first byte of a client that begins with TLS: RFC 8446, section 5.1. */
const TLS_HANDSHAKE = 0x16
/** What OpenSSL says of a client that begins with text. */
const PLAINTEXT_CODES: ReadonlySet<string> = new Set([
  'ERR_SSL_HTTP_REQUEST',
  'ERR_SSL_WRONG_VERSION_NUMBER',
])

const NOT_GRPC = headerBlock([[':status', '415']])

/** A gRPC server. Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md */
export class GrpcServer {
  readonly #options: GrpcServerOptions
  readonly #server: Server | TlsServer
  /** What has been accepted, a TLS handshake that goes on included. */
  readonly #sockets = new Set<Socket>()
  readonly #connections = new Set<Http2Connection>()
  #keepalive: NodeJS.Timeout | undefined
  #askedMs = 0
  #isClosing = false
  #stopCertificate: (() => void) | undefined

  constructor(options: GrpcServerOptions) {
    this.#options = options
    const { certificate } = options
    const server =
      certificate === undefined
        ? createServer((socket) => this.#connected(socket))
        : this.#secureServer(certificate)
    server.maxConnections = options.maxConnections
    server.on('drop', () => options.refused())
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
    })
    this.#server = server
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
    this.#isClosing = true
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const connection of this.#connections) connection.close()
    const cut = setTimeout(() => this.#cut(), graceMs)
    await closed
    clearTimeout(cut)
  }

  #cut(): void {
    for (const connection of this.#connections) connection.destroy()
    for (const socket of this.#sockets) socket.destroy()
  }

  #secureServer({ pair }: CertificateSource): TlsServer {
    const options = { cert: pair.certificate, key: pair.privateKey, ALPNProtocols: ['h2'] }
    const server = createTlsServer(options, (socket) => this.#connected(socket))
    server.on('tlsClientError', ({ code }: NodeJS.ErrnoException, { remoteAddress: from }) => {
      // A probe that connects and goes away says nothing in TLS.
      if (code === undefined || !code.startsWith('ERR_SSL_')) return
      this.#options.misspoken?.(
        PLAINTEXT_CODES.has(code)
          ? { what: 'plaintext', from }
          : { what: 'handshake', reason: code, from },
      )
    })
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

  #connected(socket: Socket): void {
    const connection = new Http2Connection(
      socket,
      (stream) => this.#called(stream),
      (first) =>
        this.#options.misspoken?.({
          what: first[0] === TLS_HANDSHAKE ? 'tls' : 'no-http2',
          from: socket.remoteAddress,
        }),
    )
    this.#connections.add(connection)
    socket.once('close', () => this.#connections.delete(connection))
    if (this.#isClosing) connection.close()
  }

  #called(stream: Http2Stream): void {
    const { headers } = stream
    if (!headers.get('content-type')?.startsWith('application/grpc')) {
      stream.end(NOT_GRPC)
      return
    }
    const path = headers.get(':path') ?? ''
    const call = new GrpcCall(stream, this.#options.maxMessageBytes)
    const method = this.#options.methods.get(path)
    if (method === undefined) {
      call.end(STATUS.unimplemented, `The server does not implement the method ${path}`)
    } else call.start(method(call))
  }

  /** The only end that a connection sees whose gateway died while it was written to: Node's TLS then reads no more. */
  #askForLife(everyMs: number): void {
    const nowMs = performance.now()
    const isLate = nowMs - this.#askedMs > LATE * everyMs
    this.#askedMs = nowMs
    // Answers that came while this process stood still have not been read.
    if (isLate) return
    for (const connection of this.#connections) if (!connection.askForLife()) connection.destroy()
  }
}
