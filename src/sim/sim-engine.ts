import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Attributes } from '../framework/attributes.ts'
import { Cancellation } from '../framework/cancellation.ts'
import { SchedulerError } from '../framework/errors.ts'
import type { InferenceRequest, Prompt } from '../framework/request.ts'
import { DATA_PARALLEL_RANK } from '../framework/routing/headers.ts'
import type {
  Clock,
  EngineBlockHasher,
  KvEventPublisher,
  Logger,
  OpenAiApi,
  Tokenizer,
} from '../framework/services.ts'
import { AnswerText } from './answer-text.ts'
import {
  type AnswerHead,
  type AnswerUsage,
  DONE,
  errorBody,
  roleChunk,
  tokenChunk,
  usageChunk,
  wholeAnswer,
} from './engine-answers.ts'
import { EngineCore } from './engine-core.ts'
import {
  badRequest,
  checkLength,
  EngineProblem,
  type EngineRequest,
  findModel,
  readBody,
  readEngineRequest,
} from './engine-request.ts'
import { MetricsPage } from './metrics-page.ts'
import type { SimEngineOptions } from './options.ts'
import type { FinishReason, Sequence } from './sequence.ts'

/** Bytes of a request body that are read. */
const MAX_BODY_BYTES = 64 * 1024 * 1024

/** Numbers of an embedding. */
const EMBEDDING_SIZE = 16

/** What a simulated engine is made from. */
export interface SimEngineParts {
  readonly options: SimEngineOptions
  readonly tokenizer: Tokenizer
  /** For `options.hashAlgorithm` and `options.hashSeed`. */
  readonly hasher: EngineBlockHasher
  /** One per rank, or none when the engine publishes no events. Closed by who made them. */
  readonly publishers: readonly KvEventPublisher[]
  readonly openAi: OpenAiApi
  readonly clock: Clock
  readonly logger: Logger
}

/**
 * A model server that behaves like `vllm serve` seen from outside: its HTTP API, metrics, KV cache, KV events and
 * timing, without a model. Answers are words without meaning.
 */
export class SimEngine {
  readonly #parts: SimEngineParts
  readonly #options: SimEngineOptions
  readonly #logger: Logger
  readonly #server: Server
  /** One per rank. */
  readonly #cores: readonly EngineCore[]
  readonly #metrics: MetricsPage
  #answers: AnswerText | undefined
  /** The rank that is looked at first for the next prompt. */
  #turn = 0

  constructor(parts: SimEngineParts) {
    this.#parts = parts
    this.#options = parts.options
    this.#logger = parts.logger.named('sim-engine')
    const metrics = new MetricsPage(parts.options, parts.clock.epochMs() / 1000)
    this.#metrics = metrics
    this.#cores = Array.from(
      { length: parts.options.dataParallelSize },
      (_, rank) =>
        new EngineCore(
          parts.options,
          parts.hasher,
          parts.publishers[rank],
          parts.clock,
          (seconds) => metrics.firstToken(rank, seconds),
        ),
    )
    this.#server = createServer((request, response) => {
      this.#handle(request, response).catch((error: unknown) => this.#failed(response, error))
    })
  }

  /** The block table of its first rank, for who checks what others know of it. */
  get cache(): Pick<EngineCore, 'cachedBlocks' | 'findCached'> {
    return this.#cores[0]!
  }

  /**
   * Binds the port.
   *
   * @throws {SchedulerError} PORT_IN_USE, or START_FAILED when the address cannot be bound
   */
  async start(): Promise<{ readonly port: number }> {
    const { host, port, hashSeed, servedModelName } = this.#options
    this.#answers = new AnswerText(this.#parts.tokenizer, servedModelName, hashSeed)
    this.#server.listen(port, host)
    try {
      await once(this.#server, 'listening')
    } catch (error) {
      const inUse = (error as NodeJS.ErrnoException).code === 'EADDRINUSE'
      throw new SchedulerError(
        inUse ? 'PORT_IN_USE' : 'START_FAILED',
        inUse
          ? `port ${port} of ${host} is in use; choose another with --port`
          : `${host}:${port} cannot be bound: ${(error as Error).message}`,
        { cause: error },
      )
    }
    const bound = (this.#server.address() as AddressInfo).port
    this.#logger.info('simulated engine listens', { host, port: bound, model: servedModelName })
    return { port: bound }
  }

  /** Ends all requests and closes the port. */
  async close(): Promise<void> {
    for (const core of this.#cores) core.close()
    if (!this.#server.listening) return
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.#server.closeAllConnections()
    await closed
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.setHeader('server', 'uvicorn')
    const path = (request.url ?? '/').split('?')[0]!
    const methods = METHODS.get(path)
    if (methods === undefined) return sendJson(response, 404, { detail: 'Not Found' })
    if (!methods.includes(request.method ?? '')) {
      response.setHeader('allow', methods.join(', '))
      return sendJson(response, 405, { detail: 'Method Not Allowed' })
    }
    switch (path) {
      case '/health':
      case '/ping':
        return sendText(response, 'text/plain', '')
      case '/version':
        return sendJson(response, 200, { version: this.#options.version })
      case '/metrics': {
        const page = this.#metrics.write(this.#cores, this.#parts.clock.epochMs() / 1000)
        return sendText(response, 'text/plain; version=0.0.4; charset=utf-8', page)
      }
      case '/v1/models':
        return sendJson(response, 200, this.#models())
      case '/reset_prefix_cache':
        return sendJson(response, 200, {
          success: this.#cores.filter((core) => !core.resetCache()).length === 0,
        })
    }
    const bytes = await readBytes(request)
    if (bytes === undefined) {
      return this.#refuse(
        response,
        new EngineProblem(413, 'BadRequestError', 'Request body is too large', null),
      )
    }
    if (path === '/tokenize') return this.#tokenize(bytes, response)
    return this.#infer(path, request, bytes, response)
  }

  async #infer(
    path: string,
    request: IncomingMessage,
    bytes: Buffer,
    response: ServerResponse,
  ): Promise<void> {
    const headers = new Map<string, string>()
    for (const [name, value] of Object.entries(request.headers)) {
      if (value !== undefined) headers.set(name, String(value))
    }
    const accepted = readEngineRequest(path, headers, bytes, this.#parts.openAi, this.#options)
    if (accepted instanceof EngineProblem) return this.#refuse(response, accepted)
    const rank = this.#rankOf(headers)
    if (rank instanceof EngineProblem) return this.#refuse(response, rank)
    const prompts = await this.#ids(accepted.prompt)
    for (const ids of prompts) {
      const problem = checkLength(ids.length, accepted.maxTokens, this.#options)
      if (problem !== undefined) return this.#refuse(response, problem)
    }
    if (response.destroyed) return
    if (path === '/v1/embeddings') return this.#embed(accepted, rank, prompts, response)
    const chat = path === '/v1/chat/completions'
    const id = headers.get('x-request-id') ?? randomBytes(16).toString('hex')
    const head: AnswerHead = {
      id: `${chat ? 'chatcmpl' : 'cmpl'}-${id}`,
      model: accepted.model,
      created: this.#nowSeconds(),
      chat,
      version: this.#options.version,
    }
    if (accepted.stream) return this.#stream(head, accepted, rank, prompts, response)
    const done = await this.#generate(accepted, rank, prompts, response, () => {})
    if (done === undefined) return
    const choices = done.map(({ text, finishReason }) => ({ text, finishReason }))
    sendJson(response, 200, wholeAnswer(head, choices, this.#usage(done)))
  }

  async #stream(
    head: AnswerHead,
    accepted: EngineRequest,
    rank: number | undefined,
    prompts: readonly Int32Array[],
    response: ServerResponse,
  ): Promise<void> {
    response.setHeader('content-type', 'text/event-stream; charset=utf-8')
    const done = await this.#generate(
      accepted,
      rank,
      prompts,
      response,
      (index, text, finished, first) => {
        const role = first && head.chat ? roleChunk(head) : ''
        response.write(role + tokenChunk(head, index, text, finished, accepted.includeUsage))
      },
    )
    if (done === undefined) return
    response.end((accepted.includeUsage ? usageChunk(head, this.#usage(done)) : '') + DONE)
  }

  async #embed(
    accepted: EngineRequest,
    rank: number | undefined,
    prompts: readonly Int32Array[],
    response: ServerResponse,
  ): Promise<void> {
    const one = { ...accepted, maxTokens: 1 }
    const done = await this.#generate(one, rank, prompts, response, () => {})
    if (done === undefined) return
    const promptTokens = prompts.reduce((sum, ids) => sum + ids.length, 0)
    sendJson(response, 200, {
      id: `embd-${randomBytes(16).toString('hex')}`,
      object: 'list',
      created: this.#nowSeconds(),
      model: accepted.model,
      data: prompts.map((ids, index) => ({
        index,
        object: 'embedding',
        embedding: embedding(ids),
      })),
      usage: {
        prompt_tokens: promptTokens,
        total_tokens: promptTokens,
        completion_tokens: 0,
        prompt_tokens_details: null,
      },
    })
  }

  /**
   * Runs a request's prompts to their ends. Undefined when the client has gone: then all of them are aborted at once.
   *
   * @param rank where they run; each where least is going on when undefined
   * @param told of each token: the prompt's index, the text, why it ended, whether it is the first one
   */
  #generate(
    accepted: EngineRequest,
    rank: number | undefined,
    prompts: readonly Int32Array[],
    response: ServerResponse,
    told: (index: number, text: string, finished: FinishReason | undefined, first: boolean) => void,
  ): Promise<readonly Generated[] | undefined> {
    return new Promise((resolve) => {
      const generated: Generated[] = []
      let left = prompts.length
      const gone = (): void => {
        if (left === 0) return
        for (const { core, sequence } of generated) core.abort(sequence)
        resolve(undefined)
      }
      response.once('close', gone)
      for (const [index, promptIds] of prompts.entries()) {
        const room = this.#options.maxModelTokens - promptIds.length
        const core = this.#cores[rank ?? this.#leastLoaded()]!
        const sequence = core.submit({
          promptIds,
          maxTokens: Math.min(accepted.maxTokens ?? room, room),
          lora: accepted.lora,
          loraNumber: accepted.loraNumber,
          cacheSalt: accepted.cacheSalt,
          next: this.#answers!.answer(promptIds, accepted.ignoreEos),
          sampled: (id, finished) => {
            const one = generated[index]!
            const text = this.#answers!.text(id)
            one.text += text
            told(index, text, finished, one.sequence.generated === 1)
            if (finished === undefined) return
            one.finishReason = finished
            if (--left === 0) {
              response.off('close', gone)
              resolve(generated)
            }
          },
        })
        generated.push({ core, sequence, text: '', finishReason: 'length' })
      }
    })
  }

  /** The rank that a router asks for, as vLLM reads it: what is no number is as if it were not there. */
  #rankOf(headers: ReadonlyMap<string, string>): number | undefined | EngineProblem {
    const text = headers.get(DATA_PARALLEL_RANK)
    if (text === undefined || !/^\s*[+-]?\d+\s*$/.test(text)) return undefined
    const rank = Number(text)
    const { length } = this.#cores
    if (rank >= 0 && rank < length) return rank
    return badRequest(`data_parallel_rank ${rank} is out of range [0, ${length}).`)
  }

  /** As vLLM balances among its ranks: one that waits counts as four that run. */
  #leastLoaded(): number {
    const { length } = this.#cores
    const first = this.#turn++
    let best = first % length
    for (let i = 1; i < length; i++) {
      const next = (first + i) % length
      if (loadOf(this.#cores[next]!) < loadOf(this.#cores[best]!)) best = next
    }
    return best
  }

  #usage(generated: readonly Generated[]): AnswerUsage {
    const { blockTokens } = this.#options
    let promptTokens = 0
    let completionTokens = 0
    let cachedTokens = 0
    let storedTokens = 0
    for (const { sequence } of generated) {
      const prompt = sequence.input.promptIds.length
      const cached = sequence.cachedTokens ?? 0
      promptTokens += prompt
      completionTokens += sequence.generated
      cachedTokens += cached
      storedTokens += Math.floor(prompt / blockTokens) * blockTokens - cached
    }
    return { promptTokens, completionTokens, cachedTokens, storedTokens }
  }

  async #tokenize(bytes: Buffer, response: ServerResponse): Promise<void> {
    const body = readBody(bytes)
    if (body instanceof EngineProblem) return this.#refuse(response, body)
    const found = findModel(body.model, this.#options)
    if (found instanceof EngineProblem) return this.#refuse(response, found)
    const prompt = tokenizePrompt(body, bytes)
    if (prompt === undefined)
      return this.#refuse(response, badRequest('messages or prompt is required'))
    const [ids = new Int32Array(0)] = await this.#ids(prompt)
    sendJson(response, 200, {
      count: ids.length,
      max_model_len: this.#options.maxModelTokens,
      tokens: Array.from(ids),
      token_strs: null,
    })
  }

  async #ids(prompt: Prompt): Promise<readonly Int32Array[]> {
    const request = tokenizerRequest(this.#options.servedModelName, prompt)
    const { prompts, exact, reason } = await this.#parts.tokenizer.tokenize(
      request,
      new Cancellation(),
    )
    if (!exact) {
      this.#logger.warnOnce(`ids:${reason}`, 'the simulated engine tokenizes as best it can', {
        reason,
      })
    }
    return prompts
  }

  #models(): unknown {
    const { servedModelName, loraModules, maxModelTokens } = this.#options
    const created = this.#nowSeconds()
    const model = (
      id: string,
      root: string,
      parent: string | null,
      length: number | null,
    ): object => ({
      id,
      object: 'model',
      created,
      owned_by: 'vllm',
      root,
      parent,
      max_model_len: length,
      permission: [],
    })
    return {
      object: 'list',
      data: [
        model(servedModelName, servedModelName, null, maxModelTokens),
        ...loraModules.map(({ name, path }) => model(name, path, servedModelName, null)),
      ],
    }
  }

  #refuse(response: ServerResponse, problem: EngineProblem): void {
    const { status, type, message, param } = problem
    sendJson(response, status, errorBody(this.#options.version, status, type, message, param))
  }

  #failed(response: ServerResponse, error: unknown): void {
    if (response.destroyed) return
    this.#logger.error('request failed', { error: String(error) })
    if (response.headersSent) response.destroy()
    else {
      this.#refuse(response, new EngineProblem(500, 'InternalServerError', 'internal error', null))
    }
  }

  #nowSeconds(): number {
    return Math.floor(this.#parts.clock.epochMs() / 1000)
  }
}

/** The paths and their methods. */
const METHODS: ReadonlyMap<string, readonly string[]> = new Map([
  ['/health', ['GET']],
  ['/ping', ['GET', 'POST']],
  ['/version', ['GET']],
  ['/metrics', ['GET']],
  ['/v1/models', ['GET']],
  ['/reset_prefix_cache', ['POST']],
  ['/tokenize', ['POST']],
  ['/v1/chat/completions', ['POST']],
  ['/v1/completions', ['POST']],
  ['/v1/embeddings', ['POST']],
])

interface Generated {
  readonly core: EngineCore
  readonly sequence: Sequence
  text: string
  finishReason: FinishReason
}

function loadOf({ waiting, running }: EngineCore): number {
  return 4 * waiting.length + running.length
}

function tokenizePrompt(
  body: Readonly<Record<string, unknown>>,
  bytes: Buffer,
): Prompt | undefined {
  if (Array.isArray(body.messages)) return { kind: 'chat', body, text: () => bytes.toString() }
  return typeof body.prompt === 'string' ? { kind: 'text', texts: [body.prompt] } : undefined
}

/** What a tokenizer reads of a request; the rest is empty. */
function tokenizerRequest(model: string, prompt: Prompt): InferenceRequest {
  return {
    id: '',
    path: prompt.kind === 'chat' ? '/v1/chat/completions' : '/v1/completions',
    headers: new Map(),
    model,
    targetModel: model,
    criticality: 'Standard',
    priority: 0,
    prompt,
    cacheSalt: undefined,
    maxOutputTokens: undefined,
    stream: false,
    bodyBytes: 0,
    attributes: new Attributes(),
  }
}

/** A direction that depends on the ids only, of length 1. */
function embedding(ids: Int32Array): number[] {
  const values = new Array<number>(EMBEDDING_SIZE).fill(0)
  for (const [i, id] of ids.entries()) values[(id + i) % EMBEDDING_SIZE]! += Math.sin(id + 1)
  const length = Math.hypot(...values) || 1
  return values.map((value) => value / length)
}

/** The whole body; undefined when it is too large. */
async function readBytes(request: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes <= MAX_BODY_BYTES) chunks.push(chunk)
    else chunks.length = 0
  }
  return bytes <= MAX_BODY_BYTES ? Buffer.concat(chunks) : undefined
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body)
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  })
  response.end(text)
}

function sendText(response: ServerResponse, type: string, text: string): void {
  response.writeHead(200, { 'content-type': type, 'content-length': Buffer.byteLength(text) })
  response.end(text)
}
