import { connect, createServer, type Server, type Socket } from 'node:net'
import { track } from './sockets.ts'

/** Passes bytes on between who connects to it and a port of this machine, until it is told otherwise. */
export class TcpProxy {
  readonly #server: Server
  readonly #pairs = new Set<readonly [client: Socket, target: Socket]>()
  #isStalled = false
  #isCut = false

  private constructor(server: Server) {
    this.#server = server
  }

  static async start(targetPort: number): Promise<TcpProxy> {
    const server = createServer()
    const proxy = new TcpProxy(server)
    server.on('connection', (client) => proxy.#join(client, targetPort))
    server.listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    return track(proxy)
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port
  }

  /** Connections that are open. */
  get open(): number {
    return this.#pairs.size
  }

  /** Reads nothing more from the engine, with the connection open. */
  stall(): void {
    this.#isStalled = true
    for (const [, target] of this.#pairs) target.pause()
  }

  flow(): void {
    this.#isStalled = false
    for (const [, target] of this.#pairs) target.resume()
  }

  /** Breaks all connections; new ones end at once until `mend`. */
  cut(): void {
    this.#isCut = true
    for (const [client, target] of this.#pairs) {
      client.destroy()
      target.destroy()
    }
  }

  mend(): void {
    this.#isCut = false
  }

  async close(): Promise<void> {
    this.cut()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #join(client: Socket, targetPort: number): void {
    if (this.#isCut) {
      client.destroy()
      return
    }
    const target = connect(targetPort, '127.0.0.1')
    const pair = [client, target] as const
    this.#pairs.add(pair)
    for (const socket of pair) {
      // A broken connection is what is wanted here.
      socket.on('error', () => {})
      socket.on('close', () => {
        this.#pairs.delete(pair)
        client.destroy()
        target.destroy()
      })
    }
    client.pipe(target)
    target.on('data', (bytes) => client.write(bytes))
    if (this.#isStalled) target.pause()
  }
}
