import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage, type RequestListener } from 'node:http'
import { connect, type Socket } from 'node:net'
import { EndpointStore } from '../../src/datalayer/endpoint-store.ts'
import { buildGeneration, type GenerationSpec } from '../../src/framework/build.ts'
import { Container } from '../../src/framework/container.ts'
import type { SchedulerError } from '../../src/framework/errors.ts'
import type { AnyPlugin } from '../../src/framework/plugin.ts'
import { PickRandom } from '../../src/framework/random.ts'
import { DecisionLog } from '../../src/framework/routing/decision.ts'
import { Director } from '../../src/framework/routing/director.ts'
import { InFlightLedger } from '../../src/framework/routing/in-flight.ts'
import { RequestLog } from '../../src/framework/routing/request-log.ts'
import {
  type Clock,
  IN_FLIGHT,
  LOGGER,
  METRICS,
  NOTICES,
  RANDOM,
} from '../../src/framework/services.ts'
import { paramsOf } from '../../src/framework/testing.ts'
import { type Gateway, type GatewayOptions, startGateway } from '../../src/gateway/gateway.ts'
import { openAiApi } from '../../src/openai/openai-api.ts'
import { singleProfileHandler } from '../../src/plugins/handlers/single-profile-handler.ts'
import { maxScorePicker } from '../../src/plugins/pickers/max-score-picker.ts'
import { activeRequestScorer } from '../../src/plugins/scorers/active-request-scorer.ts'
import { Engine } from '../datalayer/engine.ts'
import { telemetry } from '../datalayer/telemetry.ts'

const clock: Clock = { nowMs: () => performance.now(), epochMs: () => Date.now() }

/** A proxy before real engines, with a real director between. */
export class TestProxy {
  readonly engines: readonly Engine[]
  readonly gateway: Gateway
  readonly endpoints: EndpointStore
  readonly inFlight: InFlightLedger
  readonly decisions: DecisionLog
  readonly telemetry: ReturnType<typeof telemetry>
  readonly #director: Director

  private constructor(
    parts: Pick<
      TestProxy,
      'engines' | 'gateway' | 'endpoints' | 'inFlight' | 'decisions' | 'telemetry'
    >,
    director: Director,
  ) {
    this.engines = parts.engines
    this.gateway = parts.gateway
    this.endpoints = parts.endpoints
    this.inFlight = parts.inFlight
    this.decisions = parts.decisions
    this.telemetry = parts.telemetry
    this.#director = director
  }

  /**
   * @param answers one engine for each
   * @param plugins besides a scorer that spreads load
   */
  static async start(
    answers: readonly RequestListener[],
    options: Partial<GatewayOptions> = {},
    plugins: readonly AnyPlugin[] = [],
  ): Promise<TestProxy> {
    const engines = await Promise.all(
      answers.map((answer, i) => Engine.start(`127.0.81.${i + 1}`, answer)),
    )
    const told = telemetry()
    const endpoints = new EndpointStore(told)
    endpoints.replace('test', engines.map(specOf))
    const inFlight = new InFlightLedger()
    const decisions = new DecisionLog(10_000)
    const director = directorOver(endpoints, inFlight, decisions, told, plugins)
    const services = { ...told, router: director, endpoints, clock }
    try {
      const gateway = await startGateway(services, { host: '127.0.0.1', port: 0, ...options })
      return new TestProxy(
        { engines, gateway, endpoints, inFlight, decisions, telemetry: told },
        director,
      )
    } catch (error) {
      director[Symbol.dispose]()
      for (const engine of engines) await engine.stop()
      throw error
    }
  }

  get port(): number {
    return this.gateway.port
  }

  /** Load that the director believes to be on the engines. */
  get reserved(): number {
    return this.endpoints.list().reduce((sum, each) => sum + this.inFlight.requests(each), 0)
  }

  async stop(): Promise<void> {
    await this.gateway.stop(0)
    this.#director[Symbol.dispose]()
    for (const engine of this.engines) await engine.stop()
  }

  /** The sum of all series of a name whose labels contain this text. */
  async counted(name: string, labels = ''): Promise<number> {
    return (await this.telemetry.metrics.text())
      .split('\n')
      .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
      .filter((line) => line.includes(labels))
      .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
  }
}

export const specOf = ({ address, port }: Engine, i: number) => ({
  namespace: 'default',
  name: `engine-${i}`,
  address,
  port,
  rank: 0,
  labels: {},
})

function directorOver(
  endpoints: EndpointStore,
  inFlight: InFlightLedger,
  decisions: DecisionLog,
  told: ReturnType<typeof telemetry>,
  more: readonly AnyPlugin[],
): Director {
  const { logger, metrics, notices } = told
  const plugins: readonly AnyPlugin[] = [
    activeRequestScorer,
    maxScorePicker,
    singleProfileHandler,
    ...more,
  ]
  const spec: GenerationSpec = {
    plugins: plugins.map((plugin) => ({
      name: plugin.type,
      plugin,
      params: paramsOf(plugin),
      onError: undefined,
    })),
    profiles: [
      {
        name: 'default',
        filters: [],
        scorers: [{ name: activeRequestScorer.type, weight: 1 }],
        picker: maxScorePicker.type,
      },
    ],
    handler: singleProfileHandler.type,
  }
  const random = new PickRandom(2)
  const container = new Container()
    .provide(LOGGER, {}, () => logger)
    .provide(METRICS, {}, () => metrics)
    .provide(NOTICES, {}, () => notices)
    .provide(RANDOM, {}, () => random)
    .provide(IN_FLIGHT, {}, () => inFlight)
  const generation = buildGeneration(1, spec, container, plugins, (plugin) => paramsOf(plugin))
  return new Director(
    {
      ...{ clock, metrics, notices, endpoints, inFlight, decisions },
      random,
      models: { serves: () => true, baseOf: () => undefined, isBase: () => true },
      openAi: openAiApi,
      requestLog: new RequestLog(logger, 'off'),
      observers: [],
      refused() {},
    },
    { requestTimeoutMs: 600_000, responses: 'full' },
    generation,
  )
}

/** What a client got. */
export interface Got {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: Buffer
}

export interface Asked {
  readonly method?: string
  readonly path?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Buffer
}

/** Sends one request over a connection of its own; rejects where the response breaks. */
export async function ask(port: number, asked: Asked = {}): Promise<Got> {
  const response = await open(port, asked)
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk as Buffer)
  return { status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks) }
}

/** The same as far as the response's headers. */
export async function open(port: number, asked: Asked = {}): Promise<IncomingMessage> {
  const { method = 'POST', path = '/v1/completions', headers = {}, body } = asked
  const sent = method === 'POST' ? (body ?? COMPLETION) : body
  const request = httpRequest({ host: '127.0.0.1', port, method, path, headers, agent: false })
  // One before the response is thrown by `once`, one after it by whoever reads the response.
  request.on('error', () => {})
  request.end(sent)
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  return response
}

export const COMPLETION = '{"model":"m","prompt":"hello"}'
export const STREAMED = '{"model":"m","prompt":"hello","stream":true}'

export const errorOf = ({ body }: Got) =>
  (JSON.parse(body.toString()) as { error: { code: string; message: string; type: string } }).error

/** A connection on which a test writes what it likes; collects what comes. */
export class RawClient {
  readonly socket: Socket
  text = ''
  closed = false
  failure: NodeJS.ErrnoException | undefined

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1')
    this.socket.on('data', (chunk: Buffer) => {
      this.text += chunk.toString('latin1')
    })
    this.socket.on('error', (error) => {
      this.failure = error
    })
    this.socket.on('close', () => {
      this.closed = true
    })
  }

  send(text: string): this {
    this.socket.write(text)
    return this
  }
}

export const isCode = (code: SchedulerError['code']) => (error: unknown) =>
  (error as SchedulerError).code === code
