import assert from 'node:assert/strict'
import { endpoint, paramsOf, request } from '../../src/framework/testing.ts'
import { headerProfileHandler } from '../../src/plugins/handlers/header-profile-handler.ts'

describe('header-profile-handler', () => {
  const PROFILES = ['encode', 'prefill', 'decode']
  const next = (
    headers: Readonly<Record<string, string>>,
    profiles: readonly string[] = PROFILES,
    params: object = {},
    results = new Map(),
  ) =>
    headerProfileHandler
      .create(paramsOf(headerProfileHandler, { ...params }), {})
      .next(request({ headers }), profiles, results)

  for (const [what, actual, expected] of [
    ['the profile that the header names', next({ 'epp-profile': 'prefill' }), 'prefill'],
    ['decode without the header', next({}), 'decode'],
    ['decode with an empty header', next({ 'epp-profile': ' ' }), 'decode'],
    ['another default', next({}, PROFILES, { defaultProfile: 'encode' }), 'encode'],
    [
      'by another header, in any case',
      next({ 'x-stage': 'encode', 'epp-profile': 'prefill' }, PROFILES, { headerName: 'X-Stage' }),
      'encode',
    ],
    [
      'the only profile whatever the header says',
      next({ 'epp-profile': 'prefill' }, ['only']),
      'only',
    ],
    ['the only profile without the default', next({}, ['only']), 'only'],
  ] as const) {
    it(`runs ${what}`, () => assert.deepEqual(actual, { run: [expected] }))
  }

  it('takes the result of what ran, whether it found an endpoint or not', () => {
    for (const result of [[endpoint()], undefined]) {
      assert.deepEqual(
        next({ 'epp-profile': 'prefill' }, PROFILES, {}, new Map([['prefill', result]])),
        { primary: 'prefill' },
      )
    }
  })

  it('refuses a name that no profile has', () => {
    assert.throws(() => next({ 'epp-profile': 'Prefill' }), {
      code: 'BAD_REQUEST',
      message:
        'no profile is named "Prefill"; set the header EPP-Profile to one of: encode, prefill, decode',
    })
  })

  it('repeats at most 64 characters of a name', () => {
    assert.throws(() => next({ 'epp-profile': 'x'.repeat(5000) }), {
      message: `no profile is named "${'x'.repeat(64)}"; set the header EPP-Profile to one of: encode, prefill, decode`,
    })
  })
})
