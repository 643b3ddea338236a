import assert from 'node:assert/strict'
import { decisionJson } from '../../../src/admin/decision-json.ts'
import { SchedulerError } from '../../../src/framework/errors.ts'
import { Type } from '../../../src/framework/index.ts'
import { definePlugin, type Scorer } from '../../../src/framework/plugin.ts'
import { setUp } from './director-setup.ts'

const scorer = (type: string, create: () => Scorer, watches?: (params: object) => boolean) =>
  definePlugin({
    kind: 'scorer',
    type,
    description: 'A scorer.',
    params: Type.Object({}),
    ...(watches && { watchesResponses: watches }),
    create,
  })
const fail = () => {
  throw new Error('boom')
}
const broken = scorer('broken', () => ({
  score: fail,
  report: () => ({ message: 'Of an earlier request', fields: {} }),
}))
const sound = scorer('sound', () => ({
  score: (_request, endpoints) => endpoints.map((_, i) => i),
  report: () => ({ message: 'Scored', fields: {} }),
}))

describe('Director, with a scorer that fails', () => {
  it('fails the request by default', async () => {
    const { route, director, inFlight, endpoints } = setUp({ plugins: [sound, broken] })
    await assert.rejects(route(), {
      code: 'PLUGIN_FAILED',
      message: 'scorer "broken" failed: boom',
    })
    assert.equal(
      endpoints().reduce((sum, each) => sum + inFlight.requests(each), 0),
      0,
    )
    director[Symbol.dispose]()
  })

  it('picks without it where its onError says so; the decision tells, and it reports nothing', async () => {
    const { route, director, decisions, lines } = setUp({
      plugins: [sound, broken],
      onError: { broken: 'neutral' },
    })
    await route({ 'x-request-id': 'r' })
    const page = decisionJson(decisions.find('r')!) as {
      readonly profiles: readonly [{ readonly scorers: unknown }]
    }
    assert.deepEqual(page.profiles[0].scorers, [
      { name: 'sound', weight: 1 },
      { name: 'broken', weight: 1, error: 'scorer "broken" failed: boom' },
    ])
    const messages = lines.map(({ msg }) => msg)
    assert.ok(messages.includes('Scored'))
    assert.ok(!messages.includes('Of an earlier request'))
    director[Symbol.dispose]()
  })

  it("refuses the request with a plugin's BAD_REQUEST, which is no failure", async () => {
    const refusal = new SchedulerError('BAD_REQUEST', 'no such tenant')
    const refusing = scorer('refusing', () => ({
      score() {
        throw refusal
      },
    }))
    const { route, director, lines } = setUp({
      plugins: [refusing],
      onError: { refusing: 'skip' },
    })
    await assert.rejects(route(), refusal)
    assert.deepEqual(
      lines.filter(({ level }) => level !== 'debug'),
      [],
    )
    director[Symbol.dispose]()
  })

  it('shows a notice until the configuration is replaced, though requests of the old one go on', async () => {
    const { route, director, notices, generation } = setUp({
      plugins: [sound, broken],
      onError: { broken: 'skip' },
    })
    await route()
    assert.deepEqual(
      notices.list().map(({ key }) => key),
      ['plugin-failing:scorer "broken"'],
    )
    const old = director.generation
    await director.swap(generation(2))
    assert.deepEqual(notices.list(), [])
    const [profile] = old.profiles.values()
    assert.equal(profile!.scorers.length, 2)
    for (const { probe } of profile!.scorers) probe.attempt('skip', fail)
    assert.deepEqual(notices.list(), [], 'the replaced one has nothing to say any more')
    await route()
    assert.equal(notices.list().length, 1)
    director[Symbol.dispose]()
  })
})

describe('buildGeneration', () => {
  it('asks a plugin with its params whether it watches responses', async () => {
    for (const watches of [true, false]) {
      const seen: object[] = []
      const plugin = scorer(
        'watching',
        () => ({ score: (_request, endpoints) => endpoints.map(() => 1) }),
        (params) => {
          seen.push(params)
          return watches
        },
      )
      const { route, director } = setUp({ plugins: [plugin] })
      assert.equal((await route()).watchResponse, watches)
      assert.deepEqual(seen, [{}])
      director[Symbol.dispose]()
    }
  })

  it('refuses an onError that a kind cannot have', () => {
    assert.throws(() => setUp({ onError: { 'max-score-picker': 'skip' } }), {
      code: 'CONFIG_INVALID',
      message:
        'plugin "max-score-picker": "onError" of a picker must be "fail": without a pick there is no answer; got "skip"; remove it',
    })
  })
})
