import assert from 'node:assert/strict'
import { PROMPT_TOKENS } from '../../../src/framework/attributes.ts'
import type { Endpoint } from '../../../src/framework/endpoint.ts'
import { Type } from '../../../src/framework/index.ts'
import { definePlugin } from '../../../src/framework/plugin.ts'
import { PREFIX_FINDING } from '../../../src/framework/services.ts'
import { setUp } from './director-setup.ts'

/** 100 tokens, of which every endpoint holds 48. */
const tokens = definePlugin({
  kind: 'producer',
  type: 'hundred-tokens',
  description: 'A prompt of 100 tokens.',
  params: Type.Object({}),
  produces: PROMPT_TOKENS,
  create: () => ({ produce: () => ({ prompts: [new Int32Array(100)], exact: true }) }),
})
const prefixes = definePlugin({
  kind: 'scorer',
  type: 'three-blocks',
  description: 'Finds 3 blocks of 16 everywhere.',
  params: Type.Object({}),
  needs: [PROMPT_TOKENS],
  watchesResponses: true,
  create: () => ({
    score(request, endpoints) {
      const match = {
        blocks: new Int32Array(endpoints.length).fill(3),
        weighted: new Float64Array(endpoints.length).fill(3),
        blockTokens: new Int32Array(endpoints.length).fill(16),
        usableBlocks: new Int32Array(endpoints.length).fill(6),
      }
      request.attributes.set(PREFIX_FINDING, { endpoints, match, source: 'routed', tracked: 0 })
      return endpoints.map(() => 1)
    },
    terms: () => ({ blocks: Float64Array.of(3, 3) }),
  }),
})
const plugins = [tokens, prefixes]
const NOTHING = [0, 0, 0, 0, 0]
const RESERVED = [1, 52, 52, 110, 72]

describe('the load that the Director keeps', () => {
  const start = (setup: Parameters<typeof setUp>[0] = {}) => {
    const made = setUp({ plugins, parsed: { maxOutputTokens: 20 }, ...setup })
    const load = (of: Endpoint) => [
      made.inFlight.requests(of),
      made.inFlight.tokens(of),
      made.inFlight.queuedTokens(of),
      made.inFlight.contextTokens(of),
      made.inFlight.pendingKvTokens(of),
    ]
    const target = (destination: string) =>
      made.endpoints().find(({ hostPort }) => hostPort === destination)!
    return { ...made, load, target }
  }

  it('is there with the pick: what is not cached, and the answer that the client allows', async () => {
    const { route, load, target } = start()
    const routed = await route()
    assert.deepEqual(load(target(routed.destination)), RESERVED)
  })

  it('is queued until the first byte of the body, and gone with the end', async () => {
    const { route, load, target } = start()
    const routed = await route()
    const at = target(routed.destination)
    routed.responseHeaders(200, new Map())
    routed.responseBody(new Uint8Array())
    assert.deepEqual(load(at), RESERVED)
    routed.responseBody(Buffer.from('data'))
    assert.deepEqual(load(at), [1, 52, 0, 110, 72])
    routed.responseBody(Buffer.from('data'))
    routed.end('completed')
    routed.end('aborted')
    assert.deepEqual(load(at), NOTHING)
  })

  for (const reason of ['aborted', 'client-gone'] as const) {
    it(`is gone with an end that is ${reason}, before any byte`, async () => {
      const { route, load, target, inFlight } = start({ usage: usage(900) })
      const routed = await route()
      routed.end(reason)
      routed.responseBody(Buffer.from('late'))
      assert.deepEqual(load(target(routed.destination)), NOTHING)
      assert.equal(inFlight.meanOutputTokens, 300)
    })
  }

  it('is gone with its endpoint', async () => {
    const { route, load, target, remove } = start()
    const routed = await route()
    const at = target(routed.destination)
    remove(at)
    assert.deepEqual(load(at), NOTHING)
    routed.responseBody(Buffer.from('late'))
    routed.end('completed')
    assert.deepEqual(load(at), NOTHING)
  })

  it('is gone after the time-out', async () => {
    const { route, load, target, advance } = start({ requestTimeoutMs: 10 })
    const at = target((await route()).destination)
    advance(11)
    const deadline = Date.now() + 5000
    while (load(at)[0] !== 0 && Date.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    assert.deepEqual(load(at), NOTHING)
  })

  it('is followed to the end of the response where all pass through here, wanted or not', async () => {
    const silent = start({ plugins: [] })
    assert.equal((await silent.route()).watchResponse, false)
    const own = start({ plugins: [], options: { passesResponses: true } })
    assert.equal((await own.route()).watchResponse, true)
    assert.equal(own.notices.list().length, 0)
    const told = start({ plugins: [], options: { passesResponses: true, responses: 'none' } })
    assert.equal((await told.route()).watchResponse, false)
    for (const { director } of [silent, own, told]) director[Symbol.dispose]()
  })

  describe('where responses are not looked at', () => {
    const none = { options: { responses: 'none' } } as const

    it('stays until a scrape has the request in it', async () => {
      const { route, load, endpoints, advance, scrape, decisions } = start(none)
      const sum = () => endpoints().map((each) => load(each)[0])
      const routed = await route({ 'x-request-id': 'r1' })
      assert.equal(routed.watchResponse, false)
      const { ended, durationMs } = decisions.find('r1')!
      assert.deepEqual([ended, durationMs], ['not-watched', undefined])
      await route()
      assert.deepEqual(sum(), [1, 1])
      advance(50)
      scrape()
      await route()
      assert.deepEqual(sum().sort(), [1, 2], 'a scrape that was under way has not seen it')
      advance(60)
      scrape()
      await route()
      assert.deepEqual(sum().sort(), [1, 1], 'the scrape has the first two in it')
      advance(200)
      scrape()
      const last = await route()
      assert.deepEqual(sum().sort(), [0, 1])
      last.end('completed')
      assert.deepEqual(sum().sort(), [0, 1], 'it has ended before')
    })

    it('stays for 10 s where no scrape comes', async () => {
      const { route, load, endpoints, advance } = start(none)
      const sum = () => endpoints().map((each) => load(each)[0])
      await route()
      advance(9_999)
      await route()
      assert.deepEqual(sum(), [1, 1])
      advance(1)
      await route()
      assert.deepEqual(sum(), [1, 1], 'the first has gone, the third has come')
    })

    it('says so where plugins want to be told of them, until a configuration says otherwise', async () => {
      const { director, notices, generation } = start({ requests: { responses: { sampled: 3 } } })
      const keys = () => notices.list().map(({ key }) => key)
      assert.deepEqual(keys(), ['responses-unseen'])
      assert.match(notices.list()[0]!.text, /^responses are sampled=3, though plugins want/)
      void director.swap({ ...generation(2), requests: {} })
      assert.deepEqual(keys(), [])
    })

    it('is taken off by the response of one in N where they are sampled', async () => {
      const { route, load, endpoints } = start({ requests: { responses: { sampled: 3 } } })
      const routed = []
      for (let i = 0; i < 7; i++) routed.push(await route())
      assert.deepEqual(
        routed.map(({ watchResponse }) => watchResponse),
        [true, false, false, true, false, false, true],
      )
      for (const each of routed) each.end('completed')
      const left = endpoints().reduce((sum, each) => sum + load(each)[0]!, 0)
      assert.equal(left, 4)
    })
  })

  it('fades too where the gateway shows nothing of a response that is looked at', async () => {
    const { route, load, endpoints, advance, scrape } = start()
    const sum = () => endpoints().map((each) => load(each)[0])
    const routed = await route()
    assert.equal(routed.watchResponse, true)
    routed.end('not-watched')
    assert.deepEqual(sum().sort(), [0, 1])
    advance(200)
    scrape()
    await route()
    assert.deepEqual(sum().sort(), [0, 1])
  })

  it('teaches how long answers are', async () => {
    const { route, inFlight } = start({ usage: usage(400) })
    ;(await route()).end('completed')
    assert.equal(inFlight.meanOutputTokens, 302)
  })

  it('comes from what the decision says of the pick, which keeps what scores are made of', async () => {
    const { route, decisions } = start()
    await route({ 'x-request-id': 'r1' })
    const { predictedCachedTokens, promptTokens, profiles } = decisions.find('r1')!
    assert.equal(predictedCachedTokens, 48)
    assert.deepEqual(promptTokens, { count: 100, exact: true })
    assert.deepEqual(profiles[0]!.scorers[0]!.terms, { blocks: Float64Array.of(3, 3) })
  })
})

function usage(completionTokens: number) {
  return { promptTokens: 100, completionTokens, cachedTokens: 48 }
}
