import { Agent, type ClientRequest, type IncomingMessage, request } from 'node:http'
import { type ClientHttp2Session, connect, constants } from 'node:http2'
import type { Duplex, Readable } from 'node:stream'
import type { Cell } from './cells.ts'

/** What a client got. */
export interface Got {
  /** Undefined when no headers came. */
  readonly status: number | undefined
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: Buffer
  /** True when the answer ended in order. */
  readonly isWhole: boolean
}

/** What a client asks, and when it goes away. */
export interface Ask {
  readonly host: string
  readonly port: number
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
  readonly downstream: Cell['downstream']
  readonly fault: Cell['fault']
  /** Resolves when it is time to go. */
  readonly leave: Promise<void>
}

/** Clients of a gateway: HTTP/1.1 and HTTP/2 without TLS, their connections kept. */
export class Callers {
  readonly #agent = new Agent({ keepAlive: true })
  readonly #sessions = new Map<number, ClientHttp2Session>()

  close(): void {
    this.#agent.destroy()
    for (const session of this.#sessions.values()) session.destroy()
  }

  ask(ask: Ask): Promise<Got> {
    return ask.downstream === 'HTTP/2' ? this.#ask2(ask) : this.#ask1(ask)
  }

  #ask1(ask: Ask): Promise<Got> {
    const { host, port, path, headers, body, leave } = ask
    return new Promise((resolve) => {
      let answer: IncomingMessage | undefined
      const pieces: Buffer[] = []
      const done = (isWhole: boolean) =>
        resolve({
          status: answer?.statusCode,
          headers: answer?.headers ?? {},
          body: Buffer.concat(pieces),
          isWhole,
        })
      const client: ClientRequest = request({
        ...{ host: '127.0.0.1', port, path, method: methodOf(body), agent: this.#agent },
        headers: { ...headers, host, ...(body.length > 0 && { 'content-length': body.length }) },
      })
      client.once('error', () => done(false))
      client.once('response', (incoming) => {
        answer = incoming
        collect(incoming, pieces, () => done(incoming.complete))
      })
      // A client that says its length and waits may get its answer before it has sent all: that is no error.
      send(client as unknown as Duplex, ask, () => client.destroy())
      void leave.then(() => client.destroy())
    })
  }

  #ask2(ask: Ask): Promise<Got> {
    const { host, port, path, headers, body, leave } = ask
    return new Promise((resolve) => {
      const stream = this.#session(port).request(
        {
          ...{ ':method': methodOf(body), ':path': path, ':authority': host, ...headers },
          ...(body.length > 0 && { 'content-length': body.length }),
        },
        { endStream: false },
      )
      let status: number | undefined
      let told: Got['headers'] = {}
      const pieces: Buffer[] = []
      let isWhole = false
      stream.once('response', (incoming) => {
        status = incoming[':status']
        told = incoming as Got['headers']
      })
      stream.on('data', (piece: Buffer) => pieces.push(piece))
      stream.once('end', () => {
        isWhole = true
      })
      stream.on('error', () => {})
      stream.once('close', () =>
        resolve({
          ...{ status, headers: told, body: Buffer.concat(pieces) },
          isWhole: isWhole && status !== undefined && stream.rstCode === constants.NGHTTP2_NO_ERROR,
        }),
      )
      const go = () => stream.close(constants.NGHTTP2_CANCEL)
      send(stream, ask, go)
      void leave.then(go)
    })
  }

  #session(port: number): ClientHttp2Session {
    const known = this.#sessions.get(port)
    if (known !== undefined && !known.closed && !known.destroyed) return known
    const session = connect(`http://127.0.0.1:${port}`)
    session.on('error', () => {})
    this.#sessions.set(port, session)
    return session
  }
}

function methodOf(body: Buffer): string {
  return body.length === 0 ? 'GET' : 'POST'
}

/** Sends the body, or as much of it as the client sends before it goes. */
function send(to: Duplex, { body, fault }: Ask, go: () => void): void {
  const isMidBody = fault === 'client goes within its body'
  if (fault === 'client goes after its headers' || (isMidBody && body.length === 0)) {
    if ('flushHeaders' in to) (to as unknown as ClientRequest).flushHeaders()
    setImmediate(go)
  } else if (isMidBody) {
    to.write(body.subarray(0, Math.ceil(body.length / 2)), () => go())
  } else to.end(body)
}

function collect(from: Readable, pieces: Buffer[], done: () => void): void {
  from.on('data', (piece: Buffer) => pieces.push(piece))
  from.on('error', () => {})
  from.once('close', done)
}
