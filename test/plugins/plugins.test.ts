import assert from 'node:assert/strict'
import { seededRandom } from '../../src/framework/random.ts'
import { InFlightLedger } from '../../src/framework/routing/in-flight.ts'
import { checkPlugin, endpoint, paramsOf, request } from '../../src/framework/testing.ts'
import { labelSelectorFilter } from '../../src/plugins/filters/label-selector-filter.ts'
import { builtinPlugins } from '../../src/plugins/index.ts'
import { maxScorePicker } from '../../src/plugins/pickers/max-score-picker.ts'
import { randomPicker } from '../../src/plugins/pickers/random-picker.ts'

/** Params of the plugins that cannot do without. */
const PARAMS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'header-label-affinity-scorer': { headerName: 'x-zone', labelKey: 'zone' },
  'endpoint-attribute-scorer': {
    attributeKey: 'WaitingQueueSize',
    algorithm: { type: 'linear_lower_is_better' },
  },
  'by-label': { label: 'tier', validValues: ['gold'] },
  'utilization-filter': { conditions: [{ metric: 'waiting-queue', maxValue: 9 }] },
  'endpoint-attribute-filter': {
    attribute: 'WaitingQueueSize',
    algorithm: { type: 'threshold', threshold: { operator: 'LessThan', value: 9 } },
  },
}

/** Services that a plugin's author gives to the check. */
const SERVICES: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'session-affinity-scorer': { endpoints: { list: () => [], listen: () => () => {} } },
  'session-affinity-filter': { endpoints: { list: () => [], listen: () => () => {} } },
}

describe('every built-in plugin', () => {
  for (const plugin of builtinPlugins) {
    const { type, kind } = plugin
    it(`${type} keeps the contract of a ${kind}`, () =>
      checkPlugin(plugin, { params: PARAMS[type] ?? {}, services: SERVICES[type] ?? {} }))

    if (type in PARAMS) {
      it(`${type} says which params it cannot do without`, () => {
        assert.throws(() => checkPlugin(plugin), /must have required property/)
      })
    }
  }

  it('has a name of its own', () => {
    const names = builtinPlugins.flatMap(({ type, aliases }) => [type, ...aliases])
    assert.equal(new Set(names).size, names.length)
  })
})

describe('label-selector-filter', () => {
  const endpoints = [
    endpoint({ name: 'a', labels: { tier: 'gold', zone: 'x' } }),
    endpoint({ name: 'b', labels: { tier: 'tin' } }),
    endpoint({ name: 'c' }),
  ]
  const kept = (params: Record<string, unknown>) =>
    labelSelectorFilter
      .create(paramsOf(labelSelectorFilter, params), {})
      .filter(request(), endpoints)
      .map(({ name }) => name)
  const expression = (operator: string, ...values: string[]) => ({
    matchExpressions: [{ key: 'tier', operator, ...(values.length > 0 && { values }) }],
  })

  for (const [what, params, names] of [
    ['an empty selector', {}, ['a', 'b', 'c']],
    ['matchLabels', { matchLabels: { tier: 'gold' } }, ['a']],
    ['In', expression('In', 'tin', 'lead'), ['b']],
    ['NotIn', expression('NotIn', 'gold'), ['b', 'c']],
    ['Exists', expression('Exists'), ['a', 'b']],
    ['DoesNotExist', expression('DoesNotExist'), ['c']],
  ] as const) {
    it(`${what} keeps ${names.join(', ')}`, () => assert.deepEqual(kept(params), names))
  }
})

describe('max-score-picker', () => {
  const endpoints = Array.from({ length: 4 }, (_, slot) => endpoint({ slot, name: `e${slot}` }))
  /** @param picked endpoints in the order in which they were picked before */
  const pick = (scores: readonly number[], picked: readonly number[], maxNumOfEndpoints = 1) => {
    const inFlight = new InFlightLedger()
    for (const i of picked) inFlight.reserve(endpoints[i]!)
    return maxScorePicker
      .create(paramsOf(maxScorePicker, { maxNumOfEndpoints }), {
        inFlight,
        random: seededRandom(7),
      })
      .pick(
        request(),
        endpoints.map((each, i) => ({ endpoint: each, score: scores[i]! })),
      )
      .map(({ name }) => name)
  }

  it('picks the highest score', () => assert.deepEqual(pick([1, 3, 2, 0], []), ['e1']))

  it('gives a tie to the least recently picked', () => {
    assert.deepEqual(pick([2, 2, 2, 1], [1, 2, 0]), ['e1'])
  })

  it('names fallbacks in the order of their scores', () => {
    assert.deepEqual(pick([1, 3, 2, 0], [], 3), ['e1', 'e2', 'e0'])
  })

  it('breaks the remaining ties by the seed', () => {
    const random = seededRandom(3)
    const picker = maxScorePicker.create(paramsOf(maxScorePicker), {
      inFlight: new InFlightLedger(),
      random,
    })
    const scored = endpoints.map((each) => ({ endpoint: each, score: 1 }))
    const picked = Array.from({ length: 400 }, () => picker.pick(request(), scored)[0]!.name)
    for (const { name } of endpoints) {
      const share = picked.filter((each) => each === name).length
      assert.ok(share > 60 && share < 140, `${name} was picked ${share} times of 400`)
    }
  })
})

describe('random-picker', () => {
  it('picks each endpoint about equally often, whatever the scores', () => {
    const picker = randomPicker.create(paramsOf(randomPicker), { random: seededRandom(11) })
    const scored = [endpoint(), endpoint()].map((each, i) => ({ endpoint: each, score: i }))
    const first = Array.from({ length: 400 }, () => picker.pick(request(), scored)[0])
    const share = first.filter((each) => each === scored[0]!.endpoint).length
    assert.ok(share > 150 && share < 250, `the first was picked ${share} times of 400`)
  })
})
