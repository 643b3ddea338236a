import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http'

/** Answers one GET, well or badly. */
export type Answer = (response: ServerResponse) => void

const GOOD_METRICS = `# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="m"} 0.0
vllm:num_requests_waiting{model_name="m"} 0.0
vllm:kv_cache_usage_perc{model_name="m"} 0.0
`

export const goodMetrics: Answer = (response) => void response.end(GOOD_METRICS)
export const goodModels: Answer = (response) =>
  void response.end(JSON.stringify({ data: [{ id: 'm' }] }))

/** Writes pieces as fast as they are taken, until the other side has had enough. */
export const endless =
  (piece: Buffer): Answer =>
  (response) => {
    const write = () => {
      while (!response.destroyed && response.write(piece)) {}
    }
    response.on('drain', write)
    write()
  }

export const never: Answer = () => {}

/** An HTTP server in the place of an engine, whose pages can be made wrong. */
export class RogueEngine {
  metrics: Answer = goodMetrics
  models: Answer = goodModels
  readonly #server: Server

  private constructor() {
    const answer: RequestListener = (request, response) => {
      if (request.url === '/metrics') this.metrics(response)
      else if (request.url === '/v1/models') this.models(response)
      else response.writeHead(404).end()
    }
    this.#server = createServer(answer)
  }

  static async start(host = '127.0.0.1'): Promise<RogueEngine> {
    const engine = new RogueEngine()
    await new Promise<void>((resolve) => engine.#server.listen(0, host, resolve))
    return engine
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    this.#server.closeAllConnections()
    await closed
  }
}
