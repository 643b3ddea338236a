import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { Epp } from '../epp.ts'
import { eventually } from '../process.ts'
import { Callers, type Got } from './caller.ts'
import { type Cell, DIMENSIONS, titleOf } from './cells.ts'
import { ScriptedEngine, type Sighting } from './engine.ts'
import { hostOf, type ListenerName, ModeGateway } from './gateway.ts'

/** Whoever waits longer for an answer waits for ever. */
const ANSWER_MS = 60_000

/** One Envoy, a picker for each value of `--responses`, one engine, and clients. */
export class Matrix {
  readonly engine: ScriptedEngine
  gateway: ModeGateway
  readonly callers = new Callers()
  readonly #pickers: ReadonlyMap<string, Epp>
  #requests = 0

  private constructor(
    engine: ScriptedEngine,
    gateway: ModeGateway,
    pickers: ReadonlyMap<string, Epp>,
  ) {
    this.engine = engine
    this.gateway = gateway
    this.#pickers = pickers
  }

  /** @param more lines to add to the shipped configuration */
  static async start(more = ''): Promise<Matrix> {
    const config = readFileSync('config/scheduler-profiles.yaml', 'utf8')
    const engine = await ScriptedEngine.start()
    const pickers = new Map<string, Epp>()
    try {
      for (const responses of DIMENSIONS.responses) {
        const epp = await Epp.start([
          ...['--endpoint', engine.hostPort, '--responses', responses],
          ...['--config-text', `${config}\n${more}`],
          ...['--kv-events-bind', 'tcp://127.0.0.1:*', '--request-log', 'off'],
          ...['--refresh-metrics-interval', '20ms', '--drain-timeout', '1s'],
        ])
        pickers.set(responses, epp)
      }
      return new Matrix(engine, await ModeGateway.start(grpcPorts(pickers)), pickers)
    } catch (error) {
      for (const epp of pickers.values()) await epp.stop()
      engine.stop()
      throw error
    }
  }

  async stop(): Promise<void> {
    this.callers.close()
    await this.gateway.stop()
    for (const epp of this.#pickers.values()) await epp.stop()
    this.engine.stop()
  }

  /** Ends Envoy without a word and starts another one. */
  async replaceGateway(): Promise<void> {
    await this.gateway.envoy.process.stop('SIGKILL')
    this.gateway = await ModeGateway.start(grpcPorts(this.#pickers))
  }

  picker(responses: Cell['responses']): Epp {
    return this.#pickers.get(responses)!
  }

  /** A request of the cell's with other headers, or another body; nothing is checked. */
  async ask(
    cell: Cell,
    listener: ListenerName,
    more: {
      readonly headers?: Readonly<Record<string, string>>
      readonly body?: string
    } = {},
  ): Promise<{ readonly got: Got; readonly sighting: Sighting; readonly answer: Buffer }> {
    const id = String(++this.#requests)
    const body = more.body === undefined ? bodyOf(cell) : Buffer.from(more.body)
    const answer = answerOf(cell)
    const contentType = cell.kind === 'json' ? 'application/json' : 'text/event-stream'
    const sighting = this.engine.expect(id, { answer, contentType, fault: cell.fault })
    const got = await this.callers.ask({
      host: hostOf(cell),
      port: this.gateway.port(listener),
      path: body.length === 0 ? '/v1/models' : '/v1/chat/completions',
      headers: {
        'x-cell': id,
        ...(body.length > 0 && { 'content-type': 'application/json' }),
        ...more.headers,
      },
      ...{ body, downstream: cell.downstream, fault: cell.fault, leave: sighting.reached },
    })
    this.engine.forget(id)
    return { got, sighting, answer }
  }

  /** Sends the cell's request and holds everybody to what must have come. */
  async run(cell: Cell, listener = listenerOf(cell)): Promise<Got> {
    let late: NodeJS.Timeout | undefined
    try {
      const { got, sighting, answer } = await Promise.race([
        this.ask(cell, listener),
        new Promise<never>((_, reject) => {
          late = setTimeout(() => reject(new Error(`nothing for ${ANSWER_MS} ms`)), ANSWER_MS)
        }),
      ])
      await check(cell, { got, sighting, body: bodyOf(cell), answer })
      return got
    } catch (cause) {
      throw new Error(`${titleOf(cell)}: ${(cause as Error).message}`, { cause })
    } finally {
      clearTimeout(late)
    }
  }

  /** Waits until a picker has no exchange, no byte of a body, and no load left. */
  async settled(responses: Cell['responses'], timeoutMs = 10_000): Promise<void> {
    let last = ''
    try {
      await eventually(
        'the picker is at rest',
        async () => {
          const page = await this.picker(responses).page('/metrics')
          last = page
            .split('\n')
            .filter((line) =>
              /^epp_(extproc_exchanges_active|extproc_buffered_bytes|requests_in_flight)\b/.test(
                line,
              ),
            )
            .join('; ')
          return /_active 0; .*_bytes 0/.test(last) && !/_in_flight\S* [1-9]/.test(last)
        },
        timeoutMs,
      )
    } catch (cause) {
      throw new Error(`the picker is not at rest: ${last}`, { cause })
    }
  }
}

function grpcPorts(pickers: ReadonlyMap<string, Epp>): ReadonlyMap<string, number> {
  return new Map([...pickers].map(([responses, { ports }]) => [responses, ports.grpc]))
}

/**
 * Of an answer that is buffered in part and larger than the buffer, Envoy 1.40 now and then never tells the client the end:
 * such answers go where all of them fit. Requests in that mode may be cut.
 */
function listenerOf({ requestMode, responseMode }: Cell): ListenerName {
  const isBuffered = responseMode === 'BUFFERED' || responseMode === 'BUFFERED_PARTIAL'
  return requestMode === 'BUFFERED' || isBuffered ? 'roomy' : 'shipped'
}

/** A chat whose prompt has the cell's size; empty for size 0, which is a GET. */
export function bodyOf({ bytes, kind }: Pick<Cell, 'bytes' | 'kind'>): Buffer {
  if (bytes === 0) return Buffer.alloc(0)
  const content = 'päyload '.repeat(Math.ceil(bytes / 9)).slice(0, bytes)
  return Buffer.from(
    `{"model":"m","n":1.0,"stream":${kind === 'sse'},"messages":[{"role":"user","content":"${content}"}]}`,
  )
}

function answerOf({ bytes, kind }: Cell): Buffer {
  if (bytes === 0) return Buffer.alloc(0)
  if (kind === 'json') return Buffer.from(`{"choices":["${'a'.repeat(bytes)}"]}`)
  const event = `data: {"choices":[{"delta":{"content":"${'b'.repeat(80)}"}}]}\n\n`
  return Buffer.from(`${event.repeat(Math.ceil(bytes / event.length))}data: [DONE]\n\n`)
}

async function check(
  { fault }: Cell,
  exchange: {
    readonly got: Got
    readonly sighting: Sighting
    readonly body: Buffer
    readonly answer: Buffer
  },
): Promise<void> {
  const { got, sighting, body, answer } = exchange
  const isSeen = () => sighting.isWhole || sighting.received.length > 0
  if (isSeen()) await eventually('the engine is rid of the request', () => sighting.isOver)
  const received = Buffer.concat(sighting.received)
  assert.ok(isPrefix(received, body), `the engine got other bytes: ${received.length}`)
  if (sighting.isWhole) assert.equal(received.length, body.length, 'bytes that the engine got')
  if (fault === 'none') {
    assert.equal(got.status, 200)
    assert.equal(received.length, body.length, 'bytes that the engine got')
    assert.equal(got.body.length, answer.length, 'bytes of the answer')
    assert.ok(got.body.equals(answer), 'the answer is another')
    assert.ok(got.isWhole, 'the answer did not end')
    return
  }
  const isOwnError = got.status !== undefined && got.status >= 500
  if (fault.startsWith('engine')) {
    assert.ok(sighting.isWhole, 'the engine was asked')
    assert.ok(got.status !== undefined, 'the client was answered')
  }
  if (isOwnError) {
    // A client that went needs no answer; it may have been given one by the gateway.
    assert.ok(fault.startsWith('engine'), `status ${got.status}`)
    return
  }
  assert.ok(isPrefix(got.body, answer), `other bytes of the answer: ${got.body.length}`)
  assert.ok(!got.isWhole, 'the answer ended as if it were whole')
}

function isPrefix(part: Buffer, whole: Buffer): boolean {
  return part.length <= whole.length && part.equals(whole.subarray(0, part.length))
}
