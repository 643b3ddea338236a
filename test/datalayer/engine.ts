import { createServer, type RequestListener, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'

/** A real HTTP server on a loopback address; `answer` may be exchanged while it runs. */
export class Engine {
  readonly address: string
  readonly port: number
  readonly #server: Server
  answer: RequestListener
  requests = 0
  connections = 0

  private constructor(server: Server, address: string, answer: RequestListener) {
    this.#server = server
    this.address = address
    this.port = (server.address() as AddressInfo).port
    this.answer = answer
    server.on('connection', () => this.connections++)
    server.on('request', (request, response) => {
      this.requests++
      this.answer(request, response)
    })
  }

  /** @param tls certificate and key in PEM; plain HTTP when absent */
  static async start(
    address: string,
    answer: RequestListener,
    port = 0,
    tls?: { readonly cert: string; readonly key: string },
  ): Promise<Engine> {
    const server = tls === undefined ? createServer() : createTlsServer(tls)
    await new Promise<void>((done, failed) => {
      server.once('error', failed)
      server.listen(port, address, done)
    })
    return new Engine(server, address, answer)
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((done) => this.#server.close(done))
  }
}

/** Answers every request with this text. */
export const text =
  (body: string | Buffer, status = 200): RequestListener =>
  (_request, response) => {
    response.writeHead(status)
    response.end(body)
  }

/** A page with vLLM's load gauges. */
export const load = (waiting: number, running: number) =>
  text(
    `vllm:num_requests_running{engine="0"} ${running}\n` +
      `vllm:num_requests_waiting{engine="0"} ${waiting}\n` +
      'vllm:kv_cache_usage_perc{engine="0"} 0.5\n',
  )
