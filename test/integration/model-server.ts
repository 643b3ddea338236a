import type { RequestListener } from 'node:http'
import { Engine } from '../datalayer/engine.ts'

/** What a model server says of itself. */
export interface ServerState {
  readonly waiting: number
  /** Share of KV blocks in use. */
  readonly kvCacheUsage: number
}

/** An HTTP server that says what a vLLM server says at `/metrics` and `/v1/models`; both may change while it runs. */
export class ModelServer {
  state: ServerState = { waiting: 0, kvCacheUsage: 0 }
  /** Names at `/v1/models`; undefined leaves the question without an answer. */
  models: readonly string[] | undefined
  /** Questions for `/v1/models` so far. */
  modelQuestions = 0
  readonly #engine: Engine

  private constructor(engine: Engine, models: readonly string[] | undefined) {
    this.#engine = engine
    this.models = models
    engine.answer = this.#answer
  }

  static async start(address: string, models: readonly string[] | undefined): Promise<ModelServer> {
    return new ModelServer(await Engine.start(address, () => {}), models)
  }

  get address(): string {
    return this.#engine.address
  }

  get port(): number {
    return this.#engine.port
  }

  get hostPort(): string {
    return `${this.address}:${this.port}`
  }

  stop(): Promise<void> {
    return this.#engine.stop()
  }

  readonly #answer: RequestListener = (request, response) => {
    if (request.url === '/metrics') {
      response.end(
        `vllm:num_requests_running{engine="0",model_name="base"} 0.0\n` +
          `vllm:num_requests_waiting{engine="0",model_name="base"} ${this.state.waiting}\n` +
          `vllm:kv_cache_usage_perc{engine="0",model_name="base"} ${this.state.kvCacheUsage}\n`,
      )
    } else if (request.url === '/v1/models') {
      this.modelQuestions++
      if (this.models === undefined) return
      const data = this.models.map((id) => ({ id, object: 'model', parent: null }))
      response.end(JSON.stringify({ object: 'list', data }))
    } else response.writeHead(404).end()
  }
}
