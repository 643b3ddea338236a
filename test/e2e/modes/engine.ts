import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Fault } from './cells.ts'

/** What an engine is to answer to one request, known by its header `x-cell`. */
export interface Script {
  readonly answer: Buffer
  readonly contentType: string
  readonly fault: Fault
}

/** What it has seen of that request. */
export interface Sighting {
  readonly received: Buffer[]
  headers: IncomingHttpHeaders
  /** True when the request has come whole. */
  isWhole: boolean
  /** True when its connection is no more, or the answer is out. */
  isOver: boolean
  /** Resolves when the fault's place is reached, where it is the client that goes. */
  readonly reached: Promise<void>
  reach(): void
}

/** What it says to serve. */
const MODELS = ['m', 'other', 'a "new" one']
const PIECE_BYTES = 16 * 1024

/** A model server that does what each cell wants of it; everything else it answers as an idle vLLM does. */
export class ScriptedEngine {
  readonly #server: Server
  readonly #scripts = new Map<string, Script>()
  readonly #sightings = new Map<string, Sighting>()

  private constructor(server: Server) {
    this.#server = server
  }

  static async start(): Promise<ScriptedEngine> {
    const server = createServer()
    const engine = new ScriptedEngine(server)
    server.on('request', (request, response) => void engine.#answer(request, response))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return engine
  }

  get hostPort(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  expect(id: string, script: Script): Sighting {
    let reach = () => {}
    const reached = new Promise<void>((resolve) => {
      reach = resolve
    })
    const sighting: Sighting = {
      ...{ received: [], headers: {}, isWhole: false, isOver: false },
      ...{ reached, reach },
    }
    this.#scripts.set(id, script)
    this.#sightings.set(id, sighting)
    return sighting
  }

  forget(id: string): void {
    this.#scripts.delete(id)
    this.#sightings.delete(id)
  }

  stop(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }

  async #answer(request: IncomingMessage, response: ServerResponse) {
    const id = String(request.headers['x-cell'])
    const script = this.#scripts.get(id)
    if (script === undefined) return answerAsIdle(request, response)
    const sighting = this.#sightings.get(id)!
    sighting.headers = request.headers
    response.once('close', () => {
      sighting.isOver = true
    })
    try {
      for await (const piece of request) sighting.received.push(piece as Buffer)
    } catch {
      return // The client went within its body.
    }
    sighting.isWhole = true
    await respond(script, sighting, response)
  }
}

async function respond(
  { answer, contentType, fault }: Script,
  sighting: Sighting,
  response: ServerResponse,
): Promise<void> {
  if (fault === 'client goes before the answer') return sighting.reach()
  if (fault === 'engine goes before its headers') return void response.socket?.destroy()
  response.writeHead(200, {
    'content-type': contentType,
    // One of length 0 would be over with its headers.
    ...(contentType === 'application/json' &&
      answer.length > 0 && { 'content-length': answer.length }),
  })
  response.flushHeaders()
  const half = Math.floor(answer.length / 2)
  await write(response, answer.subarray(0, half))
  if (fault === 'client goes within the answer') return sighting.reach()
  if (fault === 'engine goes within its body') return void response.socket?.destroy()
  const isWithheld = fault !== 'none'
  // An answer of known length ends with its last byte: that byte is kept back.
  await write(
    response,
    answer.subarray(half, isWithheld ? Math.max(half, answer.length - 1) : undefined),
  )
  if (fault === 'client goes before the end of the answer') return sighting.reach()
  if (fault === 'engine goes before its end') return void response.socket?.destroy()
  response.end()
}

async function write(response: ServerResponse, bytes: Buffer): Promise<void> {
  const closed = new Promise<void>((resolve) => response.once('close', resolve))
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    if (response.destroyed) return
    if (response.write(bytes.subarray(at, at + PIECE_BYTES))) continue
    await Promise.race([closed, new Promise<void>((resolve) => response.once('drain', resolve))])
  }
}

function answerAsIdle(request: IncomingMessage, response: ServerResponse): void {
  if (request.url === '/metrics') {
    response.end(
      'vllm:num_requests_running{engine="0",model_name="m"} 0.0\n' +
        'vllm:num_requests_waiting{engine="0",model_name="m"} 0.0\n' +
        'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.0\n',
    )
  } else if (request.url === '/v1/models') {
    response.end(
      JSON.stringify({ object: 'list', data: MODELS.map((id) => ({ id, object: 'model' })) }),
    )
  } else response.writeHead(404).end()
}
