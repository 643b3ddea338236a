import assert from 'node:assert/strict'
import { endpoint, request } from '../../src/framework/testing.ts'
import { singleProfileHandler } from '../../src/plugins/handlers/single-profile-handler.ts'

describe('single-profile-handler', () => {
  const handler = singleProfileHandler.create({}, {})
  const next = (
    results: ReadonlyMap<string, readonly ReturnType<typeof endpoint>[] | undefined>,
    headers: Readonly<Record<string, string>> = {},
  ) => handler.next(request({ headers }), ['only'], results)

  it('runs the only profile', () => assert.deepEqual(next(new Map()), { run: ['only'] }))

  it('runs it whatever the request says', () => {
    assert.deepEqual(next(new Map(), { 'epp-profile': 'other' }), { run: ['only'] })
  })

  for (const [what, result] of [
    ['one endpoint', [endpoint()]],
    ['several endpoints', [endpoint(), endpoint()]],
    ['none: the request then fails with what the profile said', undefined],
  ] as const) {
    it(`takes its result, once, when it found ${what}`, () => {
      assert.deepEqual(next(new Map([['only', result]])), { primary: 'only' })
    })
  }

  it('goes by the name, not by whether there is a result', () => {
    assert.deepEqual(next(new Map([['other', [endpoint()]]])), { run: ['only'] })
  })
})
