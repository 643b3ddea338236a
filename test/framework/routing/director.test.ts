import assert from 'node:assert/strict'
import { PROMPT_TOKENS } from '../../../src/framework/attributes.ts'
import { buildGeneration, type GenerationSpec } from '../../../src/framework/build.ts'
import { Container } from '../../../src/framework/container.ts'
import type { Endpoint } from '../../../src/framework/endpoint.ts'
import { Type } from '../../../src/framework/index.ts'
import { type AnyPlugin, definePlugin } from '../../../src/framework/plugin.ts'
import { seededRandom } from '../../../src/framework/random.ts'
import { DecisionLog } from '../../../src/framework/routing/decision.ts'
import { Director } from '../../../src/framework/routing/director.ts'
import { InFlightLedger } from '../../../src/framework/routing/in-flight.ts'
import { RequestLog, type RequestLogMode } from '../../../src/framework/routing/request-log.ts'
import {
  type EndpointListener,
  IN_FLIGHT,
  LOGGER,
  METRICS,
  type ParsedRequest,
  RANDOM,
} from '../../../src/framework/services.ts'
import { endpoint, paramsOf } from '../../../src/framework/testing.ts'
import { singleProfileHandler } from '../../../src/plugins/handlers/single-profile-handler.ts'
import { maxScorePicker } from '../../../src/plugins/pickers/max-score-picker.ts'
import { activeRequestScorer } from '../../../src/plugins/scorers/active-request-scorer.ts'
import { createLogger } from '../../../src/telemetry/logger.ts'
import { PrometheusMetrics } from '../../../src/telemetry/metrics.ts'

const never = new AbortController().signal

interface Setup {
  readonly plugins?: readonly AnyPlugin[]
  readonly endpoints?: readonly Endpoint[]
  readonly log?: RequestLogMode
  readonly requestTimeoutMs?: number
  readonly serves?: (model: string) => boolean | Promise<boolean>
  readonly parsed?: Partial<ParsedRequest>
}

/** A director over real framework parts; endpoints, clock and the wire format are the test's. */
function setUp(setup: Setup = {}) {
  const lines: Record<string, unknown>[] = []
  const logger = createLogger({
    format: 'json',
    level: 'debug',
    write: (line) => lines.push(JSON.parse(line)),
    epochMs: () => 0,
  })
  const metrics = new PrometheusMetrics()
  const inFlight = new InFlightLedger()
  const listeners: EndpointListener[] = []
  let endpoints = setup.endpoints ?? [endpoint({ name: 'a' }), endpoint({ name: 'b' })]
  const plugins = setup.plugins ?? [activeRequestScorer]
  const spec: GenerationSpec = {
    plugins: [...plugins, maxScorePicker, singleProfileHandler].map((plugin) => ({
      name: plugin.type,
      plugin,
      params: paramsOf(plugin),
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
  }
  const container = new Container()
    .provide(LOGGER, {}, () => logger)
    .provide(METRICS, {}, () => metrics)
    .provide(RANDOM, {}, () => seededRandom(1))
    .provide(IN_FLIGHT, {}, () => inFlight)
  let nowMs = 0
  const decisions = new DecisionLog(10)
  const director = new Director(
    {
      clock: { nowMs: () => nowMs, epochMs: () => nowMs },
      random: seededRandom(2),
      metrics,
      endpoints: {
        list: () => endpoints,
        listen(listener) {
          listeners.push(listener)
          return () => listeners.splice(listeners.indexOf(listener), 1)
        },
      },
      models: { serves: setup.serves ?? (() => true), baseOf: () => undefined, isBase: () => true },
      openAi: {
        parse: () => ({
          model: 'm',
          prompt: { kind: 'text', texts: ['hello'] },
          stream: false,
          cacheSalt: undefined,
          maxOutputTokens: undefined,
          ...setup.parsed,
        }),
        addModel: (_body, model) => [Buffer.from(`${model} added`)],
        rewriteModel: (_body, model) => [Buffer.from(`rewritten to ${model}`)],
        usageScanner: () => ({ push() {}, usage: () => undefined }),
      },
      inFlight,
      decisions,
      requestLog: new RequestLog(logger, setup.log ?? 'on'),
      observers: [],
      refused() {},
    },
    { requestTimeoutMs: setup.requestTimeoutMs ?? 60_000, responses: 'auto' },
    buildGeneration(1, spec, container, plugins, (plugin) => paramsOf(plugin)),
  )
  const route = (headers: Record<string, string> = {}, subset?: readonly string[]) =>
    director.route(
      { headers: new Map(Object.entries(headers)), body: [Buffer.from('{}')], subset },
      never,
    )
  return {
    director,
    route,
    inFlight,
    decisions,
    lines,
    endpoints: () => endpoints,
    remove(gone: Endpoint) {
      endpoints = endpoints.filter((each) => each !== gone)
      for (const listener of [...listeners]) listener.removed?.(gone)
    },
    advance(ms: number) {
      nowMs += ms
    },
  }
}

describe('Director', () => {
  it('reserves load within the pick, so that picks of one tick spread', async () => {
    const { route, inFlight, endpoints } = setUp()
    const routes = [route(), route(), route(), route()]
    await Promise.all(routes)
    assert.deepEqual(
      endpoints().map((each) => inFlight.requests(each)),
      [2, 2],
    )
  })

  it('releases load once, whatever ends the request, and tells the decision why', async () => {
    const { route, inFlight, endpoints, decisions } = setUp()
    const routed = await route({ 'x-request-id': 'r1' })
    routed.responseHeaders(200, new Map())
    routed.end('completed')
    routed.end('aborted')
    assert.deepEqual(
      endpoints().map((each) => inFlight.requests(each)),
      [0, 0],
    )
    const decision = decisions.find('r1')!
    assert.equal(decision.ended, 'completed')
    assert.equal(decision.status, 200)
  })

  it('ends the requests of an endpoint that is gone', async () => {
    const { route, remove, decisions, endpoints } = setUp()
    const routed = await route({ 'x-request-id': 'r1' })
    remove(endpoints().find((each) => each.hostPort === routed.destination)!)
    assert.equal(decisions.find('r1')!.ended, 'endpoint-gone')
    routed.end('completed')
    assert.equal(decisions.find('r1')!.ended, 'endpoint-gone')
  })

  it('takes load off after the time-out when no end is ever seen', async () => {
    const { route, advance, decisions } = setUp({ requestTimeoutMs: 10 })
    await route({ 'x-request-id': 'r1' })
    advance(11)
    const deadline = Date.now() + 5000
    while (!decisions.find('r1')!.ended && Date.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    assert.equal(decisions.find('r1')!.ended, 'timeout')
  })

  it('logs what operators grep', async () => {
    const only = endpoint({ name: 'qwen', address: '10.0.0.5', labels: { app: 'qwen3' } })
    const { route, lines } = setUp({ endpoints: [only] })
    await route({ 'x-request-id': 'r1' })
    assert.deepEqual(
      lines.find(({ msg }) => msg === 'Request handled'),
      {
        time: '1970-01-01T00:00:00.000Z',
        level: 'info',
        logger: 'director',
        msg: 'Request handled',
        'x-request-id': 'r1',
        model: 'm',
        resolvedTargetModel: 'm',
        criticality: 'Standard',
        targetModel: 'm',
        endpoint: {
          NamespacedName: 'default/qwen',
          Address: '10.0.0.5',
          Labels: { app: 'qwen3' },
        },
      },
    )
  })

  it('logs one in N when sampled, none when off', async () => {
    for (const [mode, expected] of [
      [{ sampled: 2 }, 2],
      ['off', 0],
    ] as const) {
      const { route, lines } = setUp({ log: mode })
      for (let i = 0; i < 4; i++) await route()
      assert.equal(lines.filter(({ msg }) => msg === 'Request handled').length, expected)
    }
  })

  it('rewrites the model by header, the newer name first, and takes control headers off', async () => {
    const { route, decisions } = setUp()
    const routed = await route({
      'x-request-id': 'r1',
      'x-gateway-model-name-rewrite': 'old',
      'x-llm-d-model-name-rewrite': 'new',
      'x-prefiller-host-port': '10.9.9.9:1',
    })
    assert.equal(Buffer.concat(routed.body as Buffer[]).toString(), 'rewritten to new')
    assert.equal(decisions.find('r1')!.targetModel, 'new')
    assert.deepEqual([...routed.removeHeaders].sort(), [
      'x-gateway-model-name-rewrite',
      'x-llm-d-model-name-rewrite',
      'x-prefiller-host-port',
    ])
  })

  it('asks rules for target and criticality before what the client wants', async () => {
    const { director, route, decisions } = setUp()
    const rule = {
      targetModel: 'lora-1',
      criticality: 'Critical',
      source: 'InferenceModel d/m',
    } as const
    director.setRules({
      priorityOf: (name) => ({ batch: -2 })[name],
      ruleOf: (model) => (model === 'm' ? rule : undefined),
    })
    const routed = await route({
      'x-request-id': 'r1',
      'x-llm-d-model-name-rewrite': 'other',
      'x-gateway-inference-objective': 'batch',
    })
    assert.equal(Buffer.concat(routed.body as Buffer[]).toString(), 'rewritten to lora-1')
    const { modelRule, criticality, priority, targetModel } = decisions.find('r1')!
    assert.deepEqual([modelRule, criticality, priority], [rule.source, 'Critical', -2])
    assert.equal(targetModel, 'lora-1')
  })

  it('takes the criticality from the objective where no model says one', async () => {
    const { director, route, decisions } = setUp()
    director.setRules({
      priorityOf: (name) => ({ batch: -2, chat: 4, zero: 0 })[name],
      ruleOf: () => undefined,
    })
    for (const [objective, expected] of [
      ['batch', ['Sheddable', -2]],
      ['chat', ['Critical', 4]],
      ['zero', ['Standard', 0]],
      ['unknown', ['Standard', 0]],
    ] as const) {
      await route({ 'x-request-id': objective, 'x-llm-d-inference-objective': objective })
      const { criticality, priority } = decisions.find(objective)!
      assert.deepEqual([criticality, priority], expected)
    }
  })

  it('lets a rule name the model of a request that names none', async () => {
    const { director, route, decisions } = setUp({ parsed: { model: '' } })
    director.setRules({
      priorityOf: () => undefined,
      ruleOf: () => ({ targetModel: 'base', criticality: undefined, source: 'x' }),
    })
    const routed = await route({ 'x-request-id': 'r1' })
    assert.equal(decisions.find('r1')!.targetModel, 'base')
    assert.equal(Buffer.concat(routed.body as Buffer[]).toString(), 'base added')
  })

  it('replaces a request id that is not printable or too long', async () => {
    const { route } = setUp()
    for (const id of ['a b', 'x'.repeat(129), '']) {
      const routed = await route({ 'x-request-id': id })
      assert.match(routed.setHeaders.get('x-request-id') ?? '', /^[0-9a-f-]{36}$/)
    }
    assert.equal((await route({ 'x-request-id': 'fine' })).setHeaders.size, 0)
  })

  it('chooses within the subset, with or without port', async () => {
    const { route, endpoints } = setUp()
    const [a, b] = endpoints()
    for (const subset of [
      [b!.hostPort],
      [b!.address],
      [a!.address.replace('10', '11'), b!.address],
    ]) {
      assert.equal((await route({}, subset)).destination, b!.hostPort)
    }
  })

  for (const [code, setup, subset] of [
    ['POOL_EMPTY', { endpoints: [] }, undefined],
    ['SUBSET_EMPTY', {}, []],
    ['SUBSET_EMPTY', {}, ['10.99.0.1:8000']],
    ['MODEL_UNKNOWN', { serves: () => Promise.resolve(false) }, undefined],
    ['MODEL_MISSING', { parsed: { model: '' } }, undefined],
  ] as const) {
    it(`fails with ${code}`, async () => {
      await assert.rejects(setUp(setup).route({}, subset), { code })
    })
  }

  it('refuses to pick for a client that went away while data was produced', async () => {
    const { director, inFlight, endpoints } = setUp({ serves: () => Promise.resolve(true) })
    const gone = new AbortController()
    const routed = director.route(
      { headers: new Map(), body: [Buffer.from('{}')], subset: undefined },
      gone.signal,
    )
    gone.abort()
    await assert.rejects(routed, { code: 'CANCELLED' })
    assert.deepEqual(
      endpoints().map((each) => inFlight.requests(each)),
      [0, 0],
    )
  })

  it('gives a replaced configuration back when its last request has ended', async () => {
    const { director, route } = setUp()
    const routed = await route()
    let drained = false
    const swapped = director.swap({ ...director.generation, id: 2 }).then((old) => {
      drained = true
      return old.id
    })
    await route()
    assert.equal(drained, false)
    routed.end('completed')
    assert.equal(await swapped, 1)
  })

  it('produces needed data first, whatever the order of plugins, and goes on without it', async () => {
    const needy = definePlugin({
      kind: 'scorer',
      type: 'needy-scorer',
      description: 'Scores by token count.',
      params: Type.Object({}),
      needs: [PROMPT_TOKENS],
      create: () => ({
        score: (request, endpoints) =>
          endpoints.map(() => (request.attributes.get(PROMPT_TOKENS)?.prompts.length ?? 0) / 2),
      }),
    })
    let produced = 0
    const producer = definePlugin({
      kind: 'producer',
      type: 'some-producer',
      description: 'Makes tokens, fails the second time.',
      params: Type.Object({}),
      produces: PROMPT_TOKENS,
      create: () => ({
        async produce() {
          if (++produced > 1) throw new Error('no tokens today')
          return { prompts: [Int32Array.of(1)], exact: true }
        },
      }),
    })
    const { route, decisions } = setUp({ plugins: [needy, producer] })
    await route({ 'x-request-id': 'r1' })
    await route({ 'x-request-id': 'r2' })
    assert.deepEqual(
      ['r1', 'r2'].map((id) => decisions.find(id)!.profiles[0]!.scorers[0]!.scores[0]),
      [0.5, 0],
    )
    assert.deepEqual(decisions.find('r1')!.promptTokens, { count: 1, exact: true })
  })
})
