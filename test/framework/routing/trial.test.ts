import assert from 'node:assert/strict'
import { Type } from 'typebox'
import { Cancellation } from '../../../src/framework/cancellation.ts'
import { SchedulerError } from '../../../src/framework/errors.ts'
import { definePlugin } from '../../../src/framework/plugin.ts'
import { endpoint } from '../../../src/framework/testing.ts'
import { setUp } from './director-setup.ts'

const never = new Cancellation()
const incoming = { headers: new Map(), body: [Buffer.from('{}')], subset: undefined }

const ofName = definePlugin({
  kind: 'scorer',
  type: 'of-name',
  description: 'Prefers the endpoint called b.',
  params: Type.Object({}),
  create: () => ({
    score: (_request, endpoints) => endpoints.map(({ name }) => Number(name === 'b')),
  }),
})

const nobody = definePlugin({
  kind: 'filter',
  type: 'nobody',
  description: 'Lets nobody pass.',
  params: Type.Object({}),
  create: () => ({ filter: () => [] }),
})

const notA = definePlugin({
  kind: 'filter',
  type: 'not-a',
  description: 'Lets all but a pass.',
  params: Type.Object({}),
  create: () => ({ filter: (_request, endpoints) => endpoints.filter(({ name }) => name !== 'a') }),
})

const endpoints = ['a', 'b', 'c'].map((name) => endpoint({ name }))

describe('Director.explain', () => {
  it('decides as route does, and nothing follows from it', async () => {
    const { director, route, inFlight, decisions, lines, metrics } = setUp({
      plugins: [ofName, notA],
      endpoints,
    })
    const counted = async () =>
      (await metrics.text()).split('\n').filter((line) => /^epp_(?!plugin_duration)/.test(line))
    const before = await counted()
    for (let i = 0; i < 3; i++) {
      const trial = await director.explain(incoming, never)
      assert.equal(trial.decision?.endpoints[0], endpoints[1]!.hostPort)
      assert.deepEqual(trial.decision.profiles[0]!.filters[0]!.dropped, [endpoints[0]!.hostPort])
    }
    for (const each of endpoints) {
      assert.deepEqual([inFlight.requests(each), inFlight.lastPick(each)], [0, 0])
    }
    assert.deepEqual(decisions.list(10), [])
    assert.deepEqual(lines, [])
    assert.deepEqual(await counted(), before)
    const routed = await route()
    assert.equal(routed.destination, endpoints[1]!.hostPort)
    director[Symbol.dispose]()
  })

  it('tells what filters dropped where they left nobody', async () => {
    const { director } = setUp({ plugins: [ofName, notA, nobody], endpoints })
    const trial = await director.explain(incoming, never)
    assert.ok(trial.decision === undefined)
    assert.equal(trial.error.code, 'NO_ENDPOINTS')
    const [first, second] = trial.filters.get('default')!
    assert.deepEqual(first!.dropped, [endpoints[0]!.hostPort])
    assert.deepEqual(second!.dropped, [endpoints[1]!.hostPort, endpoints[2]!.hostPort])
    director[Symbol.dispose]()
  })

  it('fails as route does for what is wrong before the profiles run', async () => {
    const { director } = setUp({ serves: () => false })
    await assert.rejects(
      director.explain(incoming, never),
      (error) => error instanceof SchedulerError && error.code === 'MODEL_UNKNOWN',
    )
    director[Symbol.dispose]()
  })
})

describe('x-epp-decision', () => {
  it('is off by default', async () => {
    const { director, route } = setUp({ plugins: [ofName], endpoints })
    const routed = await route()
    assert.equal(routed.responseHeaders(200, new Map()), undefined)
    director[Symbol.dispose]()
  })

  it('names the endpoint and the reason where it is asked for, and has responses looked at', async () => {
    const { director, route } = setUp({
      plugins: [ofName],
      endpoints,
      requests: { decisionHeader: true },
    })
    const routed = await route()
    assert.equal(routed.watchResponse, true)
    const [, b] = endpoints
    assert.deepEqual(
      [...routed.responseHeaders(200, new Map())!],
      [
        [
          'x-epp-decision',
          `endpoint=${b!.hostPort}; reason="${b!.hostPort} leads ${endpoints[0]!.hostPort} by 1 (of-name +1)"`,
        ],
      ],
    )
    routed.end('completed')
    director[Symbol.dispose]()
  })
})
