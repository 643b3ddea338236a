import assert from 'node:assert/strict'
import { PROMPT_TOKENS } from '../../../src/framework/attributes.ts'
import { Cancellation } from '../../../src/framework/cancellation.ts'
import { Type } from '../../../src/framework/index.ts'
import { definePlugin } from '../../../src/framework/plugin.ts'
import type { InferenceRequest } from '../../../src/framework/request.ts'
import { endpoint } from '../../../src/framework/testing.ts'
import { setUp } from './director-setup.ts'

describe('Director', () => {
  it('asks the plugins that want to set headers of a response, as long as it is under way', async () => {
    const seen: unknown[] = []
    const marker = definePlugin({
      kind: 'observer',
      type: 'marker',
      description: 'Marks responses.',
      params: Type.Object({}),
      watchesResponses: true,
      create: () => ({
        responseHeaders(asked, { name }, { status, headers, servedEndpoint }) {
          seen.push([asked.model, name, status, headers.get('a'), servedEndpoint])
          return new Map([
            ['x-mark', name],
            ['content-length', '1'],
          ])
        },
      }),
    })
    const { route, director } = setUp({ plugins: [marker], endpoints: [endpoint({ name: 'one' })] })
    const routed = await route()
    assert.equal(routed.watchResponse, true)
    const set = routed.responseHeaders(200, new Map([['a', 'b']]), '10.0.0.1:8000')
    assert.deepEqual([...set!], [['x-mark', 'one']])
    assert.deepEqual(seen, [['m', 'one', 200, 'b', '10.0.0.1:8000']])
    routed.end('completed')
    assert.equal(routed.responseHeaders(200, new Map()), undefined)
    assert.equal(seen.length, 1)
    director[Symbol.dispose]()
  })

  it('forgets prompt, token ids and body when they have served, while the response may take minutes', async () => {
    const seen: unknown[] = []
    const see = ({ prompt, attributes }: InferenceRequest) =>
      seen.push([prompt?.kind, attributes.get(PROMPT_TOKENS)?.prompts.map(({ length }) => length)])
    const watcher = definePlugin({
      kind: 'observer',
      type: 'watcher',
      description: 'Looks at what there is of a request.',
      params: Type.Object({}),
      watchesResponses: true,
      create: () => ({
        picked(request) {
          request.attributes.set(PROMPT_TOKENS, { prompts: [Int32Array.of(1, 2)], exact: true })
          see(request)
        },
        responded: see,
        ended: see,
      }),
    })
    const { route, director } = setUp({ plugins: [watcher] })
    const routed = await route()
    assert.equal(Buffer.concat(routed.takeBody() as Buffer[]).toString(), '{}')
    assert.deepEqual(routed.takeBody(), [])
    routed.responseBody(Buffer.from('{'))
    routed.end('completed')
    assert.deepEqual(seen, [
      ['text', [2]],
      [undefined, [0]],
      [undefined, [0]],
    ])
    director[Symbol.dispose]()
  })

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
    const { route, inFlight, endpoints, decisions, advance } = setUp()
    const routed = await route({ 'x-request-id': 'r1' })
    routed.responseHeaders(200, new Map())
    advance(5)
    routed.responseBody(Buffer.from('{'))
    advance(4)
    assert.equal(decisions.find('r1')!.durationMs, undefined, 'the answer is under way')
    routed.end('completed')
    advance(1)
    routed.end('aborted')
    assert.deepEqual(
      endpoints().map((each) => inFlight.requests(each)),
      [0, 0],
    )
    const decision = decisions.find('r1')!
    assert.equal(decision.ended, 'completed')
    assert.equal(decision.status, 200)
    assert.deepEqual([decision.firstByteMs, decision.durationMs], [5, 9])
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
    assert.equal(Buffer.concat(routed.takeBody() as Buffer[]).toString(), 'rewritten to new')
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
    assert.equal(Buffer.concat(routed.takeBody() as Buffer[]).toString(), 'rewritten to lora-1')
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
    assert.equal(Buffer.concat(routed.takeBody() as Buffer[]).toString(), 'base added')
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
    const gone = new Cancellation()
    const routed = director.route(
      { headers: new Map(), body: [Buffer.from('{}')], subset: undefined },
      gone,
    )
    gone.cancel()
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
