import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** One request that a server saw. */
export interface Seen {
  readonly path: string
  readonly authorization: string | undefined
  readonly cookie: string | undefined
}

/** Answers of a hub by path; `undefined` breaks the connection off. */
export type Answers = (
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
) => readonly [status: number, body: string, headers?: Readonly<Record<string, string>>] | undefined

/** A server that answers like a hub, or like the storage behind it, on a loopback address of its own. */
export class HubServer {
  readonly url: string
  readonly seen: Seen[] = []
  answers: Answers
  readonly #server: Server

  private constructor(server: Server, address: string, answers: Answers) {
    this.#server = server
    this.url = `http://${address}:${(server.address() as AddressInfo).port}`
    this.answers = answers
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      const path = request.url!
      const { authorization, cookie } = request.headers
      this.seen.push({ path, authorization, cookie })
      const answer = this.answers(path, request, response)
      if (answer === undefined) return
      const [status, body, headers] = answer
      response.writeHead(status, { 'content-length': Buffer.byteLength(body), ...headers })
      response.end(body)
    })
  }

  static async start(address: string, answers: Answers): Promise<HubServer> {
    const server = createServer()
    await new Promise<void>((done) => server.listen(0, address, done))
    return new HubServer(server, address, answers)
  }

  get paths(): readonly string[] {
    return this.seen.map(({ path }) => path)
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((done) => this.#server.close(done))
  }
}
