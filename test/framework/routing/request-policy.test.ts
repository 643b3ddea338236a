import assert from 'node:assert/strict'
import { PROMPT_TOKENS } from '../../../src/framework/attributes.ts'
import { Type } from '../../../src/framework/index.ts'
import { definePlugin } from '../../../src/framework/plugin.ts'
import { responsesMode, responsesText } from '../../../src/framework/routing/request-policy.ts'
import type { GatewayCall } from '../../../src/framework/services.ts'
import { endpoint } from '../../../src/framework/testing.ts'
import { setUp } from './director-setup.ts'

const SALT_HEADER = 'x-tenant-salt'
const call: GatewayCall = { authority: 'picker:9002', pool: undefined }
const requests = { saltHeader: SALT_HEADER }

/** Makes tokens, exact, of whatever prompt; tells what salt the request then had. */
const salts: (string | undefined)[] = []
const tokens = definePlugin({
  kind: 'producer',
  type: 'exact-tokens',
  description: 'Exact tokens.',
  params: Type.Object({}),
  produces: PROMPT_TOKENS,
  create: () => ({
    produce: ({ cacheSalt }) => {
      salts.push(cacheSalt)
      return { prompts: [new Int32Array(100)], exact: true }
    },
  }),
})
/** Scores endpoints by their rank, the higher the better. */
const byRank = definePlugin({
  kind: 'scorer',
  type: 'by-rank-scorer',
  description: 'The higher the rank, the better.',
  params: Type.Object({}),
  needs: [PROMPT_TOKENS],
  create: () => ({ score: (_, endpoints) => endpoints.map(({ rank }) => rank / 10) }),
})
const plugins = [tokens, byRank]
const text = (body: readonly Uint8Array[]) => Buffer.concat(body).toString()

describe('what a configuration says of requests', () => {
  beforeEach(() => salts.splice(0))

  describe('responses', () => {
    for (const mode of ['auto', 'full', 'none', 'sampled=7']) {
      it(`may be ${mode}`, () => assert.equal(responsesText(responsesMode(mode)!), mode))
    }
    for (const bad of ['', 'always', 'sampled', 'sampled=', 'sampled=0', 'sampled=1.5', 'full ']) {
      it(`may not be "${bad}"`, () => assert.equal(responsesMode(bad), undefined))
    }
    it('may not be sampled past what a number can count', () =>
      assert.equal(responsesMode(`sampled=${'9'.repeat(20)}`), undefined))

    it('of a flag win over those of the configuration', async () => {
      const mode = async (setup: Parameters<typeof setUp>[0]) => {
        const { route, director } = setUp(setup)
        const { watchResponse } = await route()
        assert.equal(director.mayWatchResponse(), watchResponse)
        return watchResponse
      }
      assert.equal(await mode({ requests: { responses: 'none' } }), false)
      assert.equal(
        await mode({ requests: { responses: 'none' }, options: { responses: 'full' } }),
        true,
      )
      assert.equal(
        await mode({ requests: { responses: 'full' }, options: { responses: 'none' } }),
        false,
      )
      assert.equal(await mode({ plugins, requests: {} }), false, 'no plugin wants them')
      assert.equal(await mode({ requests: {} }), true, 'active-request-scorer wants them')
      assert.equal(await mode({ plugins, requests: { responses: 'full' } }), true)
    })
  })

  describe('saltHeader', () => {
    const routed = async (
      headers: Record<string, string>,
      setup: Parameters<typeof setUp>[0] = {},
      isGateway = true,
    ) => {
      const { route } = setUp({ plugins, requests, ...setup })
      return route(headers, undefined, isGateway ? { call } : {})
    }

    it('puts the salt of the header into request and body, in the place of the one that is there', async () => {
      const given = { [SALT_HEADER]: 'tenant-1' }
      const added = await routed(given)
      assert.equal(text(added.takeBody()), 'salt tenant-1 for undefined')
      assert.deepEqual(added.removeHeaders, [])
      const replaced = await routed(given, { parsed: { cacheSalt: 'mine' } })
      assert.equal(text(replaced.takeBody()), 'salt tenant-1 for mine')
      assert.deepEqual(salts, ['tenant-1', 'tenant-1'])
    })

    it('leaves a body that has this salt, and one without a prompt, as it is', async () => {
      const given = { [SALT_HEADER]: 'mine' }
      assert.equal(text((await routed(given, { parsed: { cacheSalt: 'mine' } })).takeBody()), '{}')
      assert.equal(text((await routed(given, { parsed: { prompt: undefined } })).takeBody()), '{}')
    })

    it('leaves the salt to the body where the header is absent, empty, or not asked for', async () => {
      const parsed = { cacheSalt: 'mine' }
      assert.equal(text((await routed({}, { parsed })).takeBody()), '{}')
      assert.equal(text((await routed({ [SALT_HEADER]: '' }, { parsed })).takeBody()), '{}')
      assert.equal(
        text((await routed({ [SALT_HEADER]: 'x' }, { parsed, requests: {} })).takeBody()),
        '{}',
      )
      assert.deepEqual(salts, ['mine', 'mine', 'mine'])
    })

    it('takes the header off, unread, where it is no gateway that asks', async () => {
      const given = { [SALT_HEADER]: 'tenant-1' }
      const taken = await routed(given, { parsed: { cacheSalt: 'mine' } }, false)
      assert.equal(text(taken.takeBody()), '{}')
      assert.deepEqual(taken.removeHeaders, [SALT_HEADER])
      assert.deepEqual(salts, ['mine'])
    })

    for (const bodySeen of ['part', 'none'] as const) {
      it(`refuses a request of whose body the gateway passes ${bodySeen}`, async () => {
        const { route } = setUp({ plugins, requests })
        const body = bodySeen === 'none' ? { body: [] } : {}
        const more = { call, bodySeen, ...body }
        await assert.rejects(route({ [SALT_HEADER]: 'tenant-1' }, undefined, more), {
          code: 'CONFIG_INVALID',
          message: /header x-tenant-salt cannot be put into a body.*set its request_body_mode/,
        })
        await route({}, undefined, more)
      })
    }
  })

  describe('a body that is not seen', () => {
    it('whole: tokens are not exact, model and rewrite are kept, and the decision says so', async () => {
      const { route, decisions, lines } = setUp({ plugins })
      const headers = { 'x-request-id': 'r1', 'x-llm-d-model-name-rewrite': 'other' }
      const taken = await route(headers, undefined, { bodySeen: 'part' })
      assert.equal(text(taken.takeBody()), 'rewritten to other')
      const { promptTokens, remark, targetModel } = decisions.find('r1')!
      assert.deepEqual(promptTokens, { count: 100, exact: false, reason: remark })
      assert.equal(targetModel, 'other')
      assert.match(remark!, /the beginning of the body alone: token counts are not exact/)
      const [line] = lines.filter(({ msg }) => msg === 'Request handled')
      assert.equal(line!.remark, remark)
    })

    it('as far as the model: it is picked without one, whatever it is to be', async () => {
      const { route, decisions } = setUp({ plugins, parsed: { model: '' } })
      const headers = { 'x-request-id': 'r1', 'x-llm-d-model-name-rewrite': 'other' }
      const taken = await route(headers, undefined, { bodySeen: 'part' })
      assert.equal(text(taken.takeBody()), '{}')
      assert.equal(decisions.find('r1')!.targetModel, '')
      await assert.rejects(setUp({ plugins, parsed: { model: '' } }).route(), {
        code: 'MODEL_MISSING',
      })
    })

    it('at all: prefix scorers are neutral, and the decision says so', async () => {
      const { route, decisions } = setUp({ plugins })
      const more = { body: [], bodySeen: 'none' } as const
      await route({ 'x-request-id': 'r1' }, undefined, more)
      assert.equal(decisions.find('r1')!.remark, 'no body: prefix scorers neutral')
      await route({ 'x-request-id': 'r2' }, undefined, { body: [] })
      assert.equal(decisions.find('r2')!.remark, undefined, 'a request that has none')
    })
  })

  describe('ranks behind one port', () => {
    const given = { 'x-data-parallel-rank': '0', 'x-request-id': 'r' }
    /** Scored by rank, and of one rank the first server best. */
    const ranksOf = (address: string, sharesPort = true) =>
      [0, 1, 2].map((rank) => endpoint({ address, rank, sharesPort, port: 8000 }))
    const ranks = ranksOf('10.1.1.1')

    it('are told apart by the header, in the place of what the client says', async () => {
      const { route, decisions } = setUp({ plugins, endpoints: ranks })
      const routed = await route(given)
      assert.deepEqual([...routed.setHeaders], [['x-data-parallel-rank', '2']])
      assert.equal(routed.destination, '10.1.1.1:8000')
      assert.deepEqual(decisions.find('r')!.endpoints, ['10.1.1.1:8000#2'])
    })

    it('send no header where ranks have ports of their own', async () => {
      const endpoints = [0, 1].map((rank) => endpoint({ rank, port: 8000 + rank }))
      assert.deepEqual([...(await setUp({ plugins, endpoints }).route(given)).setHeaders], [])
    })

    it('are all allowed by a hint with their address, with or without the port', async () => {
      for (const hint of ['10.1.1.1', '10.1.1.1:8000']) {
        const endpoints = [...ranksOf('10.1.1.2'), ...ranks]
        const { route, decisions } = setUp({ plugins, endpoints })
        assert.equal((await route(given, [hint])).destination, '10.1.1.1:8000')
        assert.equal(decisions.find('r')!.candidates, 3)
      }
      const { route } = setUp({ plugins, endpoints: ranks })
      await assert.rejects(route(given, ['10.1.1.1:8001']), { code: 'SUBSET_EMPTY' })
    })

    it('are all avoided with their port', async () => {
      const { route } = setUp({ plugins, endpoints: [...ranks, ranksOf('10.1.1.2')[0]!] })
      const avoid = new Set(['10.1.1.1:8000'])
      assert.equal((await route(given, undefined, { avoid })).destination, '10.1.1.2:8000')
    })

    it('have the same rank of other servers as fallbacks, since the header says it to all', async () => {
      const endpoints = [
        ...ranks,
        ...ranksOf('10.1.1.2'),
        endpoint({ address: '10.1.1.3', rank: 2 }),
      ]
      const { route, decisions } = setUp({
        plugins,
        endpoints,
        options: { fallbackEndpoints: 5 },
      })
      const { destination, setHeaders } = await route(given, ['10.1.1.1', '10.1.1.2'])
      assert.deepEqual(destination.split(',').sort(), ['10.1.1.1:8000', '10.1.1.2:8000'])
      assert.equal(setHeaders.get('x-data-parallel-rank'), '2')
      assert.deepEqual(
        decisions.find('r')!.endpoints.map((name) => name.slice(name.indexOf('#'))),
        ['#2', '#2'],
      )
    })
  })

  describe('fallback endpoints', () => {
    const endpoints = [1, 3, 2, 0].map((rank) =>
      endpoint({ address: `10.1.1.${rank}`, rank, slot: rank }),
    )
    const named = async (fallbackEndpoints?: number) => {
      const options = fallbackEndpoints === undefined ? {} : { fallbackEndpoints }
      const { route, decisions } = setUp({ plugins, endpoints, options })
      const { destination } = await route({ 'x-request-id': 'r1' })
      assert.deepEqual(decisions.find('r1')!.endpoints, destination.split(','))
      return destination.replaceAll(':8000', '').replaceAll('10.1.1.', '')
    }

    it('are what the picker picks where no flag says how many', async () =>
      assert.equal(await named(), '3'))
    it('are the next best by score', async () => assert.equal(await named(2), '3,2,1'))
    it('are none where the flag says 0', async () => assert.equal(await named(0), '3'))
    it('are as many as there are', async () => assert.equal(await named(9), '3,2,1,0'))
    it('name no address twice', async () => {
      const ranks = [0, 1].map((rank) => endpoint({ address: '10.1.1.9', rank, slot: rank }))
      const { route } = setUp({ plugins, endpoints: ranks, options: { fallbackEndpoints: 3 } })
      assert.equal((await route()).destination, '10.1.1.9:8000')
    })
  })
})
