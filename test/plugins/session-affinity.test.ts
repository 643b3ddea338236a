import assert from 'node:assert/strict'
import type { Endpoint } from '../../src/framework/endpoint.ts'
import type { Decision, ProfileTrace } from '../../src/framework/routing/decision.ts'
import { endpoint, paramsOf, request } from '../../src/framework/testing.ts'
import { sessionAffinityFilter } from '../../src/plugins/session-affinity/session-affinity-filter.ts'
import { sessionAffinityScorer } from '../../src/plugins/session-affinity/session-affinity-scorer.ts'
import { SessionTable } from '../../src/plugins/session-affinity/session-table.ts'

const endpoints = ['a', 'b', 'c'].map((name) => endpoint({ name }))
const [a, b, c] = endpoints as [Endpoint, Endpoint, Endpoint]
const base64 = (text: string) => Buffer.from(text).toString('base64')

/** A decision of profiles by name, the first of which counts. */
function decision(picked: Readonly<Record<string, Endpoint>>): Decision {
  const profiles = Object.entries(picked).map(
    ([profile, { hostPort }]) => ({ profile, picked: [hostPort] }) as unknown as ProfileTrace,
  )
  return { primary: profiles[0]!.profile, profiles } as unknown as Decision
}

/** A filter that answers names, with a clock. */
function make(params: object) {
  const clock = { ms: 1000, nowMs: () => clock.ms, epochMs: () => 0 }
  const plugin = sessionAffinityFilter.create(paramsOf(sessionAffinityFilter, { ...params }), {
    clock,
    endpoints: { list: () => endpoints, listen: () => () => {} },
  })
  /** Sends a request to `target`; gives what the filter kept and what the response got. */
  const send = (
    headers: Readonly<Record<string, string>>,
    target: Endpoint,
    among: readonly Endpoint[] = endpoints,
    decided = decision({ default: target }),
  ) => {
    const asked = request({ headers })
    const kept = plugin.filter(asked, among).map(({ name }) => name)
    plugin.picked?.(asked, target, decided)
    const response = { status: 200, headers: new Map<string, string>(), servedEndpoint: undefined }
    return { kept: kept.join(' '), set: plugin.responseHeaders?.(asked, target, response) }
  }
  return { send, clock }
}

describe('session affinity by a header of the response', () => {
  const TOKEN_B = base64('default/b-rank-0')

  it('names the endpoint on every response', () => {
    const { send } = make({})
    const named = new Map([['x-session-token', TOKEN_B]])
    assert.deepEqual(send({}, b), { kept: 'a b c', set: named })
    assert.deepEqual(send({ 'x-session-token': TOKEN_B }, b), { kept: 'b', set: named })
  })

  it('takes up what the response said', () => {
    const { send } = make({})
    for (const target of endpoints) {
      const token = send({}, target).set?.get('x-session-token') ?? ''
      assert.equal(send({ 'x-session-token': token }, target).kept, target.name)
    }
  })

  for (const [what, token] of [
    ['is gone', base64('default/z-rank-0')],
    ['has another rank', base64('default/b-rank-1')],
    ['is of another namespace', base64('other/b-rank-0')],
    ['is not base64', '%%%'],
    ['is empty', ''],
    ['is endless', TOKEN_B.repeat(500)],
  ] as const) {
    it(`keeps all when the endpoint named ${what}`, () => {
      assert.equal(make({}).send({ 'x-session-token': token }, a).kept, 'a b c')
    })
  }

  it('keeps all when the endpoint is not a candidate', () => {
    assert.equal(make({}).send({ 'x-session-token': TOKEN_B }, a, [a, c]).kept, 'a c')
  })

  it('tells ranks of one server apart', () => {
    const ranks = [0, 1].map((rank) => endpoint({ name: 'pod', rank, port: 8000 + rank }))
    const { send } = make({})
    const set = send({}, ranks[1]!, ranks).set
    assert.deepEqual(set, new Map([['x-session-token', base64('default/pod-rank-1')]]))
    const asked = request({ headers: { 'x-session-token': set?.get('x-session-token') ?? '' } })
    const scorer = sessionAffinityScorer.create(paramsOf(sessionAffinityScorer), {
      clock: { nowMs: () => 0, epochMs: () => 0 },
      endpoints: { list: () => ranks, listen: () => () => {} },
    })
    assert.deepEqual(Array.from(scorer.score(asked, ranks)), [0, 1])
  })

  for (const params of [{ encodedEndpointHeaderConfig: { header: 'X-Sticky' } }]) {
    it(`uses the header of ${JSON.stringify(params)}`, () => {
      const { send } = make(params)
      assert.deepEqual(send({ 'x-session-token': TOKEN_B }, b), {
        kept: 'a b c',
        set: new Map([['x-sticky', TOKEN_B]]),
      })
      assert.equal(send({ 'x-sticky': TOKEN_B }, b).kept, 'b')
    })
  }

  it('names the endpoint of the profile that it is for', () => {
    const { send } = make({ profileName: 'prefill' })
    const of = (decided: Decision) => send({}, a, endpoints, decided).set?.get('x-session-token')
    assert.equal(of(decision({ decode: a, prefill: b })), TOKEN_B)
    assert.equal(of(decision({ prefill: a })), base64('default/a-rank-0'))
    assert.equal(of(decision({ decode: a })), undefined)
  })
})

describe('session affinity by an id', () => {
  const params = (sessionIdConfig: object = {}) => ({ strategy: 'session_id', sessionIdConfig })
  const session = (id: string) => ({ 'x-session-id': id })

  it('binds a session to the endpoint of its first request', () => {
    const { send } = make(params())
    assert.equal(send(session('s'), b).kept, 'a b c')
    assert.equal(send(session('s'), b).kept, 'b')
    assert.equal(send(session('t'), a).kept, 'a b c')
    assert.equal(send(session('t'), a).kept, 'a')
  })

  it('sets nothing on responses', () => {
    assert.equal(make(params()).send(session('s'), b).set, undefined)
  })

  it('keeps the bond when another endpoint was picked all the same', () => {
    const { send } = make(params())
    send(session('s'), b)
    send(session('s'), c)
    assert.equal(send(session('s'), b).kept, 'b')
  })

  it('binds anew when the endpoint was not a candidate', () => {
    const { send } = make(params())
    send(session('s'), b)
    assert.equal(send(session('s'), c, [a, c]).kept, 'a c')
    assert.equal(send(session('s'), c).kept, 'c')
  })

  it('does not take a server that came back under its name for the old one', () => {
    const { send } = make(params())
    send(session('s'), b)
    const back = { ...b, id: `${b.id}1` }
    assert.equal(send(session('s'), back, [a, back]).kept, 'a b')
  })

  it('forgets a session that is not used for its time, counted from the last use', () => {
    const { send, clock } = make(params({ evictionTtlSeconds: 2 }))
    send(session('s'), b)
    for (let n = 0; n < 3; n++) {
      clock.ms += 1999
      assert.equal(send(session('s'), b).kept, 'b')
    }
    clock.ms += 2001
    assert.equal(send(session('s'), a).kept, 'a b c')
    assert.equal(send(session('s'), a).kept, 'a')
  })

  it('looks at its sources in order, at the first that is not empty', () => {
    const sources = [{ header: 'X-One' }, { header: 'X-Two' }]
    const { send } = make(params({ sources }))
    send({ 'x-one': 's', 'x-two': 't' }, b)
    assert.equal(send({ 'x-two': 't' }, a).kept, 'a b c')
    assert.equal(send({ 'x-one': '', 'x-two': 't' }, a).kept, 'a')
    assert.equal(send({ 'x-one': 's', 'x-two': 't' }, b).kept, 'b')
    assert.equal(send({ 'x-session-id': 's' }, c).kept, 'a b c')
  })

  it('does nothing for requests without an id', () => {
    const { send } = make(params())
    send({}, b)
    assert.equal(send({}, b).kept, 'a b c')
  })

  it('remembers the endpoint of the profile that it is for', () => {
    const { send } = make({ ...params(), profileName: 'prefill' })
    send(session('s'), a, endpoints, decision({ decode: a, prefill: c }))
    assert.equal(send(session('s'), a).kept, 'c')
  })

  it('takes what is forgotten out of memory at the next sweep', () => {
    const clock = { ms: 1000, nowMs: () => clock.ms, epochMs: () => 0 }
    const table = new SessionTable(
      { sources: [{ header: 'x-session-id' }], evictionTtlSeconds: 2, evictionSweepSeconds: 7 },
      (target) => target,
      clock,
    )
    const pick = (id: string) =>
      table.picked(request({ headers: session(id) }), a, decision({ default: a }))
    for (const id of ['s', 't', 'u']) pick(id)
    clock.ms += 6999
    pick('v')
    assert.equal(table.size, 4)
    clock.ms += 1
    pick('w')
    assert.equal(table.size, 2)
  })

  it('keeps no more than 100,000 sessions, the longest unused go', function () {
    this.timeout(60_000)
    const { send } = make(params())
    const startMs = performance.now()
    for (let n = 0; n < 100_000; n++) send(session(`${n}`), b)
    assert.equal(send(session('0'), b).kept, 'b')
    send(session('one more'), b)
    assert.equal(send(session('0'), b).kept, 'b')
    assert.equal(send(session('1'), a).kept, 'a b c')
    console.log(`        ${(performance.now() - startMs).toFixed(0)} ms (limit 2000)`)
  })
})

describe('session-affinity-scorer', () => {
  const scores = (headers: Readonly<Record<string, string>>, among = endpoints) =>
    Array.from(
      sessionAffinityScorer
        .create(paramsOf(sessionAffinityScorer), {
          clock: { nowMs: () => 0, epochMs: () => 0 },
          endpoints: { list: () => among, listen: () => () => {} },
        })
        .score(request({ headers }), among),
    )
  const token = { 'x-session-token': base64('default/c-rank-0') }

  for (const [what, actual, expected] of [
    ['1 for the endpoint of the session', scores(token), [0, 0, 1]],
    ['0 for all without a session', scores({}), [0, 0, 0]],
    ['0 for all when the endpoint is gone', scores(token, [a, b]), [0, 0]],
    ['1 for one endpoint', scores(token, [c]), [1]],
    ['0 for one endpoint that is another', scores(token, [a]), [0]],
    ['0 for all when the header names none', scores({ 'x-session-token': '%%%' }), [0, 0, 0]],
  ] as const) {
    it(`scores ${what}`, () => assert.deepEqual(actual, expected))
  }

  it('scores by an id where the first request of the session went', () => {
    const scorer = sessionAffinityScorer.create(
      paramsOf(sessionAffinityScorer, { strategy: 'session_id' }),
      {
        clock: { nowMs: () => 0, epochMs: () => 0 },
        endpoints: { list: () => endpoints, listen: () => () => {} },
      },
    )
    const asked = request({ headers: { 'x-session-id': 's' } })
    assert.deepEqual(Array.from(scorer.score(asked, endpoints)), [0, 0, 0])
    scorer.picked?.(asked, b, decision({ default: b }))
    assert.deepEqual(Array.from(scorer.score(asked, endpoints)), [0, 1, 0])
    assert.deepEqual(Array.from(scorer.score(asked, [c, b])), [0, 1])
  })
})
