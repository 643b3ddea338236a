import assert from 'node:assert/strict'
import { endpoint, paramsOf, request } from '../../src/framework/testing.ts'
import { byLabel } from '../../src/plugins/filters/by-label.ts'
import { decodeFilter } from '../../src/plugins/filters/decode-filter.ts'
import { encodeFilter } from '../../src/plugins/filters/encode-filter.ts'
import { headerBasedTestingFilter } from '../../src/plugins/filters/header-based-testing-filter.ts'
import { prefillFilter } from '../../src/plugins/filters/prefill-filter.ts'
import { utilizationFilter } from '../../src/plugins/filters/utilization-filter.ts'
import { withRequests } from './known-load.ts'

describe('by-label', () => {
  const endpoints = [
    endpoint({ name: 'gold', labels: { tier: 'gold' } }),
    endpoint({ name: 'tin', labels: { tier: 'tin', other: 'gold' } }),
    endpoint({ name: 'empty', labels: { tier: '' } }),
    endpoint({ name: 'none', labels: { other: 'gold' } }),
  ]
  const kept = (params: object, among = endpoints) =>
    byLabel
      .create(paramsOf(byLabel, { label: 'tier', ...params }), {})
      .filter(request(), among)
      .map(({ name }) => name)

  for (const [what, actual, expected] of [
    ['the value', kept({ validValues: ['gold'] }), ['gold']],
    [
      'one of several values, in the order given',
      kept({ validValues: ['tin', 'gold'] }),
      ['gold', 'tin'],
    ],
    [
      'those without the label too',
      kept({ validValues: ['tin'], allowsNoLabel: true }),
      ['tin', 'none'],
    ],
    ['only those without the label', kept({ allowsNoLabel: true }), ['none']],
    ['none for a value that none has', kept({ validValues: ['lead'] }), []],
    ['an empty value', kept({ validValues: [''] }), ['empty']],
    ['none without values', kept({}), []],
    ['one endpoint', kept({ validValues: ['tin'] }, [endpoints[1]!]), ['tin']],
  ] as const) {
    it(`keeps ${what}`, () => assert.deepEqual(actual, expected))
  }
})

describe('role filters', () => {
  const ROLES = [
    'encode',
    'prefill',
    'decode',
    'encode-prefill',
    'prefill-decode',
    'encode-prefill-decode',
    'both',
    'Decode',
    undefined,
  ]
  const endpoints = ROLES.map((role) =>
    endpoint({ name: `${role}`, labels: role === undefined ? {} : { 'llm-d.ai/role': role } }),
  )

  for (const [plugin, expected] of [
    [decodeFilter, 'decode prefill-decode encode-prefill-decode both undefined'],
    [prefillFilter, 'prefill encode-prefill prefill-decode encode-prefill-decode both'],
    [encodeFilter, 'encode encode-prefill encode-prefill-decode'],
  ] as const) {
    const filter = plugin.create({}, {})
    for (const [i, role] of ROLES.entries()) {
      const stays = expected.split(' ').includes(`${role}`)
      it(`${plugin.type} ${stays ? 'keeps' : 'drops'} ${role ?? 'an endpoint without a role'}`, () => {
        assert.equal(filter.filter(request(), [endpoints[i]!]).length, stays ? 1 : 0)
      })
    }
    it(`${plugin.type} keeps the order`, () => {
      const names = filter.filter(request(), endpoints).map(({ name }) => name)
      assert.deepEqual(names, expected.split(' '))
    })
  }
})

describe('utilization-filter', () => {
  const endpoints = [
    endpoint({ name: 'idle', metrics: {} }),
    endpoint({ name: 'busy', metrics: { running: 20, waiting: 6, kvCacheUsage: 0.9 } }),
    endpoint({ name: 'full', metrics: { running: 40, waiting: 0, kvCacheUsage: 1 } }),
    endpoint({ name: 'unknown' }),
  ]
  const inFlight = withRequests(endpoints, [0, 3, 7, 2])
  const kept = (
    conditions: readonly (readonly [string, number])[],
    params: object = {},
    among = endpoints,
  ) =>
    utilizationFilter
      .create(
        paramsOf(utilizationFilter, {
          conditions: conditions.map(([metric, maxValue]) => ({ metric, maxValue })),
          ...params,
        }),
        { inFlight },
      )
      .filter(request(), among)
      .map(({ name }) => name)

  for (const [what, actual, expected] of [
    [
      'up to the limit of requests in flight',
      kept([['active-requests', 3]]),
      ['idle', 'busy', 'unknown'],
    ],
    ['up to the limit of running requests', kept([['running-requests', 20]]), ['idle', 'busy']],
    ['up to the limit of waiting requests', kept([['waiting-queue', 5]]), ['idle', 'full']],
    ['up to the limit of KV cache', kept([['kv-cache-utilization', 0.9]]), ['idle', 'busy']],
    [
      'what is within all limits',
      kept([
        ['active-requests', 6],
        ['waiting-queue', 6],
        ['running-requests', 19],
      ]),
      ['idle'],
    ],
    ['a limit of 0', kept([['active-requests', 0]]), ['idle']],
    [
      'none when none is within',
      kept(
        [
          ['waiting-queue', 3],
          ['kv-cache-utilization', 0.5],
        ],
        {},
        [endpoints[1]!, endpoints[2]!],
      ),
      [],
    ],
    [
      'all when none is within and it falls back',
      kept([['active-requests', 1]], { fallbackOnEmpty: true }, [endpoints[1]!, endpoints[2]!]),
      ['busy', 'full'],
    ],
    [
      'what is within though it could fall back',
      kept([['waiting-queue', 0]], { fallbackOnEmpty: true }),
      ['idle', 'full'],
    ],
    [
      'an endpoint without metrics when none has any',
      kept([['waiting-queue', 0]], {}, [endpoints[3]!]),
      ['unknown'],
    ],
    [
      'to the limit in flight when none has metrics',
      kept(
        [
          ['waiting-queue', 0],
          ['active-requests', 1],
        ],
        {},
        [endpoints[3]!],
      ),
      [],
    ],
  ] as const) {
    it(`keeps ${what}`, () => assert.deepEqual(actual, expected))
  }
})

describe('header-based-testing-filter', () => {
  const endpoints = [
    endpoint({ name: 'a0', address: '10.0.0.1', port: 3000 }),
    endpoint({ name: 'a1', address: '10.0.0.1', port: 3002 }),
    endpoint({ name: 'b0', address: '10.0.0.2', port: 3000 }),
    endpoint({ name: 'six', address: 'fd00::7', port: 3000 }),
  ]
  const filter = headerBasedTestingFilter.create({}, {})
  const kept = (header?: string) =>
    filter
      .filter(
        request(header === undefined ? {} : { headers: { 'test-epp-endpoint-selection': header } }),
        endpoints,
      )
      .map(({ name }) => name)

  for (const [what, actual, expected] of [
    ['all ports of an address', kept('10.0.0.1'), ['a0', 'a1']],
    ['one port', kept('10.0.0.1:3002'), ['a1']],
    ['in the order of the header', kept('10.0.0.2, 10.0.0.1:3002 ,10.0.0.1'), ['b0', 'a1', 'a0']],
    [
      'IPv6 with a port, in brackets and bare',
      [kept('[fd00::7]:3000'), kept('[fd00::7]'), kept('fd00::7')],
      [['six'], ['six'], ['six']],
    ],
    ['its own of a list with foreign addresses', kept('10.9.9.9,10.0.0.2:3000'), ['b0']],
    ['nothing for foreign addresses', kept('10.9.9.9,10.0.0.2:9999'), []],
    ['nothing for an empty header', kept(''), []],
    ['nothing for what is no address', kept(',,:3000,10.0.0,__proto__'), []],
    ['nothing without the header', kept(), []],
    ['each endpoint once', kept('10.0.0.2,10.0.0.2:3000,10.0.0.2'), ['b0']],
  ] as const) {
    it(`keeps ${what}`, () => assert.deepEqual(actual, expected))
  }

  it('is quick with a header of 7,500 addresses', () => {
    const header = Array.from({ length: 7500 }, (_, i) => `11.${i >> 8}.${i & 255}.1`).join(',')
    const startMs = performance.now()
    assert.deepEqual(kept(header), [])
    const tookMs = performance.now() - startMs
    console.log(`        ${tookMs.toFixed(1)} ms (limit 20)`)
    assert.ok(tookMs < 200)
  })
})

describe('header-based-testing-filter, with ranks behind one port', () => {
  it('keeps all ranks of an address and port', () => {
    const endpoints = [0, 1].map((rank) =>
      endpoint({ name: `r${rank}`, address: '10.0.0.1', port: 3000, rank, sharesPort: true }),
    )
    const headers = { 'test-epp-endpoint-selection': '10.0.0.1:3000' }
    const kept = headerBasedTestingFilter.create({}, {}).filter(request({ headers }), endpoints)
    assert.deepEqual(kept, endpoints)
  })
})
