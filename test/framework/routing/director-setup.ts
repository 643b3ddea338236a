import { buildGeneration, type GenerationSpec } from '../../../src/framework/build.ts'
import { Cancellation } from '../../../src/framework/cancellation.ts'
import { Container } from '../../../src/framework/container.ts'
import type { Endpoint } from '../../../src/framework/endpoint.ts'
import type { OnError } from '../../../src/framework/on-error.ts'
import type { AnyPlugin, Usage } from '../../../src/framework/plugin.ts'
import { PickRandom } from '../../../src/framework/random.ts'
import { DecisionLog } from '../../../src/framework/routing/decision.ts'
import type { DirectorOptions } from '../../../src/framework/routing/director.ts'
import { Director } from '../../../src/framework/routing/director.ts'
import { InFlightLedger } from '../../../src/framework/routing/in-flight.ts'
import { RequestLog, type RequestLogMode } from '../../../src/framework/routing/request-log.ts'
import type { RequestPolicy } from '../../../src/framework/routing/request-policy.ts'
import {
  type EndpointListener,
  IN_FLIGHT,
  type IncomingRequest,
  LOGGER,
  METRICS,
  NOTICES,
  type ParsedRequest,
  RANDOM,
} from '../../../src/framework/services.ts'
import { endpoint, paramsOf } from '../../../src/framework/testing.ts'
import { singleProfileHandler } from '../../../src/plugins/handlers/single-profile-handler.ts'
import { maxScorePicker } from '../../../src/plugins/pickers/max-score-picker.ts'
import { activeRequestScorer } from '../../../src/plugins/scorers/active-request-scorer.ts'
import { createLogger } from '../../../src/telemetry/logger.ts'
import { PrometheusMetrics } from '../../../src/telemetry/metrics.ts'
import { createNotices } from '../../../src/telemetry/notices.ts'

const never = new Cancellation()

export interface Setup {
  readonly plugins?: readonly AnyPlugin[]
  readonly endpoints?: readonly Endpoint[]
  readonly log?: RequestLogMode
  readonly requestTimeoutMs?: number
  readonly serves?: (model: string) => boolean | Promise<boolean>
  readonly parsed?: Partial<ParsedRequest>
  /** What flags say. */
  readonly options?: Partial<DirectorOptions>
  /** What the configuration says. */
  readonly requests?: RequestPolicy
  /** What the engine's answers say at their end. */
  readonly usage?: Usage
  /** Adds what the plugins inject beside the framework's own. */
  readonly services?: (container: Container) => Container
  /** By plugin type. */
  readonly onError?: Readonly<Record<string, OnError>>
}

/** A director over real framework parts; endpoints, clock and the wire format are the test's. */
export function setUp(setup: Setup = {}) {
  const lines: Record<string, unknown>[] = []
  const logger = createLogger({
    format: 'json',
    level: 'debug',
    write: (line) => lines.push(JSON.parse(line)),
    epochMs: () => 0,
  })
  const metrics = new PrometheusMetrics()
  const notices = createNotices(() => 0)
  const inFlight = new InFlightLedger()
  const listeners: EndpointListener[] = []
  let endpoints = setup.endpoints ?? [endpoint({ name: 'a' }), endpoint({ name: 'b' })]
  const plugins = setup.plugins ?? [activeRequestScorer]
  const spec: GenerationSpec = {
    plugins: [...plugins, maxScorePicker, singleProfileHandler].map((plugin) => ({
      name: plugin.type,
      plugin,
      params: paramsOf(plugin),
      onError: setup.onError?.[plugin.type],
    })),
    profiles: [
      {
        name: 'default',
        filters: plugins.filter(({ kind }) => kind === 'filter').map(({ type }) => type),
        scorers: plugins
          .filter(({ kind }) => kind === 'scorer')
          .map(({ type }) => ({ name: type, weight: 1 })),
        picker: 'max-score-picker',
      },
    ],
    handler: 'single-profile-handler',
    ...(setup.requests && { requests: setup.requests }),
  }
  const random = new PickRandom(2)
  const { services = (container: Container) => container } = setup
  const container = services(new Container())
    .provide(LOGGER, {}, () => logger)
    .provide(METRICS, {}, () => metrics)
    .provide(NOTICES, {}, () => notices)
    .provide(RANDOM, {}, () => random)
    .provide(IN_FLIGHT, {}, () => inFlight)
  const generation = (id: number) =>
    buildGeneration(id, spec, container, plugins, (plugin) => paramsOf(plugin))
  let nowMs = 0
  const decisions = new DecisionLog(10)
  const parsed: ParsedRequest = {
    model: 'm',
    prompt: { kind: 'text', texts: ['hello'] },
    stream: false,
    cacheSalt: undefined,
    maxOutputTokens: undefined,
    ...setup.parsed,
  }
  const director = new Director(
    {
      clock: { nowMs: () => nowMs, epochMs: () => nowMs },
      random,
      metrics,
      notices,
      endpoints: {
        list: () => endpoints,
        listen(listener) {
          listeners.push(listener)
          return () => listeners.splice(listeners.indexOf(listener), 1)
        },
      },
      models: { serves: setup.serves ?? (() => true), baseOf: () => undefined, isBase: () => true },
      openAi: {
        parse: () => parsed,
        parsePart: () => ({ ...parsed, isCut: true }),
        addModel: (_body, model) => [Buffer.from(`${model} added`)],
        rewriteModel: (_body, model) => [Buffer.from(`rewritten to ${model}`)],
        setSalt: (_body, salt, before) => [Buffer.from(`salt ${salt} for ${before}`)],
        usageScanner: () => ({ push() {}, usage: () => setup.usage }),
      },
      inFlight,
      decisions,
      requestLog: new RequestLog(logger, setup.log ?? 'on'),
      observers: [],
      refused() {},
    },
    { requestTimeoutMs: setup.requestTimeoutMs ?? 60_000, ...setup.options },
    generation(1),
  )
  const route = (
    headers: Record<string, string> = {},
    subset?: readonly string[],
    more: Partial<IncomingRequest> = {},
  ) =>
    director.route(
      { headers: new Map(Object.entries(headers)), body: [Buffer.from('{}')], subset, ...more },
      never,
    )
  return {
    director,
    route,
    inFlight,
    decisions,
    notices,
    lines,
    metrics,
    generation,
    endpoints: () => endpoints,
    remove(gone: Endpoint) {
      endpoints = endpoints.filter((each) => each !== gone)
      for (const listener of [...listeners]) listener.removed?.(gone)
    },
    /** Lets every endpoint be scraped now. */
    scrape() {
      endpoints = endpoints.map((each) => {
        const { name, address, port, slot, rank } = each
        return endpoint({ name, address, port, slot, rank, metrics: { scrapedAtMs: nowMs } })
      })
    },
    advance(ms: number) {
      nowMs += ms
    },
  }
}
