import { once } from 'node:events'
import { createServer as createHttpServer, type Server } from 'node:http'
import {
  createServer as createHttp2Server,
  type Http2Server,
  type ServerHttp2Session,
} from 'node:http2'
import { createServer as createHttpsServer, type Server as HttpsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import type { KeyPair } from '../framework/certificate-files.ts'
import { SchedulerError } from '../framework/errors.ts'
import type { ClientRequest, ClientResponse } from './answer.ts'

export interface ListenerOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** Plain TCP when undefined. */
  readonly keyPair: KeyPair | undefined
  readonly maxConnections: number
  readonly maxHeaderBytes: number
  /** Longest time for a TLS handshake, and for the headers of a request. */
  readonly headersTimeoutMs: number
  /** A connection without a request is closed after this long. */
  readonly idleTimeoutMs: number
}

export interface ListenerEvents {
  requested(request: ClientRequest, response: ClientResponse): void
  /** A connection brought what is no request, or not in time; it is to be answered and closed. */
  misunderstood(error: NodeJS.ErrnoException, socket: Duplex): void
  /** A connection was closed at once, since there were as many as are allowed. */
  dropped(): void
}

/** What an HTTP/2 client says first (RFC 9113, 3.4); no method of HTTP/1.1 begins so. */
const PREFACE = Buffer.from('PRI')
const MAX_STREAMS = 1000
/** With the protocol's 64 KiB a long prompt waits for a round trip each 64 KiB. */
const STREAM_WINDOW_BYTES = 1024 * 1024
const CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024

/** One port that speaks HTTP/1.1 and HTTP/2, by prior knowledge or, over TLS, by ALPN. */
export class Listener {
  readonly port: number
  readonly #server: Server
  readonly #sessions: ReadonlySet<ServerHttp2Session>
  /** All connections, those included that have not said yet what they speak. */
  readonly #sockets: ReadonlySet<Duplex>

  private constructor(
    server: Server,
    sessions: ReadonlySet<ServerHttp2Session>,
    sockets: ReadonlySet<Duplex>,
  ) {
    this.port = (server.address() as AddressInfo).port
    this.#server = server
    this.#sessions = sessions
    this.#sockets = sockets
  }

  /** @throws {SchedulerError} PORT_IN_USE, or START_FAILED when the address cannot be bound */
  static async open(options: ListenerOptions, events: ListenerEvents): Promise<Listener> {
    const { host, port } = options
    const sessions = new Set<ServerHttp2Session>()
    const server = frontServer(options, http2Server(options, events, sessions))
    const sockets = new Set<Duplex>()
    server.prependListener('connection', (socket: Duplex) => {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
    })
    server.on('request', events.requested)
    server.on('checkContinue', events.requested)
    server.on('connect', (_request, socket) => events.misunderstood(new Error('CONNECT'), socket))
    server.on('clientError', events.misunderstood)
    server.on('drop', events.dropped)
    server.listen(port, host)
    try {
      await once(server, 'listening')
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException
      throw code === 'EADDRINUSE'
        ? new SchedulerError(
            'PORT_IN_USE',
            `port ${port} on ${host} is in use; end the process that has it or choose another with --listen`,
            { cause },
          )
        : new SchedulerError(
            'START_FAILED',
            `cannot listen on ${host} port ${port} (--listen): ${message}`,
            { cause },
          )
    }
    return new Listener(server, sessions, sockets)
  }

  /** Connections there are now. */
  get connections(): number {
    return this.#sockets.size
  }

  setKeyPair(pair: KeyPair): void {
    if ('setSecureContext' in this.#server) {
      const server = this.#server as unknown as Pick<HttpsServer, 'setSecureContext'>
      server.setSecureContext(secureContextOf(pair))
    }
  }

  /** Asks clients for other connections; requests that are under way go on. */
  drain(): void {
    for (const session of this.#sessions) session.close()
    this.#server.closeIdleConnections()
  }

  /** Closes the port and everything on it. */
  async close(): Promise<void> {
    const closed = once(this.#server, 'close')
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }
}

const secureContextOf = ({ certificate, privateKey }: KeyPair) => ({
  cert: certificate,
  key: privateKey,
})

/** The server that listens: HTTP/1.1, but for connections that turn out to be HTTP/2. */
function frontServer(options: ListenerOptions, http2: Http2Server): Server {
  const { keyPair, maxHeaderBytes, headersTimeoutMs, idleTimeoutMs } = options
  const http = {
    maxHeaderSize: maxHeaderBytes,
    headersTimeout: headersTimeoutMs,
    // A body's pauses are watched instead: a long one may take its time.
    requestTimeout: 0,
    connectionsCheckingInterval: Math.max(10, Math.min(1000, headersTimeoutMs / 4)),
    keepAliveTimeout: idleTimeoutMs,
    noDelay: true,
  }
  const server =
    keyPair === undefined
      ? createHttpServer(http)
      : (createHttpsServer({
          ...http,
          ...secureContextOf(keyPair),
          ALPNProtocols: ['h2', 'http/1.1'],
          handshakeTimeout: headersTimeoutMs,
        }) as unknown as Server)
  server.maxConnections = options.maxConnections
  const event = keyPair === undefined ? 'connection' : 'secureConnection'
  const takeHttp1 = server.listeners(event).at(-1) as (socket: Socket) => void
  server.removeListener(event, takeHttp1)
  const take = { http1: takeHttp1.bind(server), http2: (each: Socket) => http2.emit(event, each) }
  server.on(event, (socket: Socket) => {
    if (keyPair === undefined) sniff(socket, headersTimeoutMs, take)
    else if ((socket as TLSSocket).alpnProtocol === 'h2') http2.emit('connection', socket)
    else take.http1(socket)
  })
  return server
}

/** Waits for the first bytes of a connection, which tell the version. */
function sniff(
  socket: Socket,
  timeoutMs: number,
  take: { http1(socket: Socket): void; http2(socket: Socket): void },
): void {
  let first: Buffer = Buffer.alloc(0)
  const giveUp = () => socket.destroy()
  const look = (chunk: Buffer) => {
    first = first.length === 0 ? chunk : Buffer.concat([first, chunk])
    const seen = Math.min(first.length, PREFACE.length)
    const isHttp2 = first.subarray(0, seen).equals(PREFACE.subarray(0, seen))
    if (isHttp2 && seen < PREFACE.length) return
    socket.removeListener('data', look)
    socket.removeListener('timeout', giveUp)
    socket.removeListener('error', giveUp)
    socket.removeListener('end', giveUp)
    socket.setTimeout(0)
    socket.pause()
    socket.unshift(first)
    if (isHttp2) take.http2(socket)
    else {
      take.http1(socket)
      socket.resume()
    }
  }
  socket.setTimeout(timeoutMs)
  socket.on('data', look)
  socket.on('timeout', giveUp)
  socket.on('error', giveUp)
  socket.on('end', giveUp)
}

function http2Server(
  { maxHeaderBytes, idleTimeoutMs }: ListenerOptions,
  events: ListenerEvents,
  sessions: Set<ServerHttp2Session>,
): Http2Server {
  const server = createHttp2Server({
    settings: {
      maxConcurrentStreams: MAX_STREAMS,
      initialWindowSize: STREAM_WINDOW_BYTES,
      maxHeaderListSize: maxHeaderBytes,
    },
  })
  server.on('request', events.requested)
  server.on('checkContinue', events.requested)
  server.on('session', (session) => {
    let streams = 0
    sessions.add(session)
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES)
    session.on('stream', (stream) => {
      streams++
      stream.once('close', () => streams--)
    })
    session.setTimeout(idleTimeoutMs, () => {
      if (streams === 0) session.close()
    })
    session.on('close', () => sessions.delete(session))
    // What breaks a session is told to each of its streams.
    session.on('error', () => session.destroy())
  })
  return server
}
