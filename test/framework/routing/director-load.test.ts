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

  it('stays for a while where responses are not to be looked at', async () => {
    const { route, load, endpoints, advance, decisions } = start({ responses: 'never' })
    const routed = await route({ 'x-request-id': 'r1' })
    assert.equal(routed.watchResponse, false)
    assert.equal(decisions.find('r1')!.ended, 'not-watched')
    const sum = () => endpoints().map((each) => load(each)[0])
    await route()
    assert.deepEqual(sum(), [1, 1])
    advance(10_000)
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
