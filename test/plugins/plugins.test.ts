import assert from 'node:assert/strict'
import { checkPlugin, endpoint, paramsOf, request } from '../../src/framework/testing.ts'
import { labelSelectorFilter } from '../../src/plugins/filters/label-selector-filter.ts'
import { builtinPlugins } from '../../src/plugins/index.ts'

/** Params of the plugins that cannot do without. */
const PARAMS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'header-label-affinity-scorer': { headerName: 'x-zone', labelKey: 'zone' },
  'endpoint-attribute-scorer': {
    attributeKey: 'WaitingQueueSize',
    algorithm: { type: 'linear_lower_is_better' },
  },
  'file-discovery': { path: 'endpoints.yaml' },
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
    ['In several values', expression('In', 'tin', 'gold'), ['a', 'b']],
    ['NotIn all values', expression('NotIn', 'tin', 'gold'), ['c']],
    ['a value that none has', { matchLabels: { tier: 'lead' } }, []],
    [
      'labels and expressions together',
      { matchLabels: { zone: 'x' }, ...expression('Exists') },
      ['a'],
    ],
    ['two labels, both of which must be there', { matchLabels: { tier: 'tin', zone: 'x' } }, []],
  ] as const) {
    it(`${what} keeps ${names.join(', ')}`, () => assert.deepEqual(kept(params), names))
  }
})
