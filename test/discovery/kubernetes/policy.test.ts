import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { readDocument } from '../../../src/config/document.ts'
import { parseConfig } from '../../../src/config/parse.ts'
import { isFault } from '../../../src/discovery/kubernetes/objects/field.ts'
import { DEFAULT_POOL_CONFIG, policyOf } from '../../../src/discovery/kubernetes/policy.ts'
import { builtinPlugins } from '../../../src/plugins/index.ts'
import { policyObject, poolPart } from './cluster.ts'

const good = (object: unknown) => {
  const policy = policyOf(object)
  assert.ok(!isFault(policy), JSON.stringify(policy))
  return policy
}
const entries = (config: Readonly<Record<string, unknown>>) =>
  (config.schedulingProfiles as { plugins: Record<string, unknown>[] }[])[0]!.plugins
const tracking = (trackingConfig: unknown) =>
  good(policyObject('p', { mode: 'tracking', trackingConfig }))
const PROCESSOR = { blockSize: 64, hashSeed: 42, model: 'Qwen/Qwen3-32B' }

describe('policyOf', () => {
  it('makes configurations that are valid without a warning', () => {
    for (const config of [
      DEFAULT_POOL_CONFIG,
      good(policyObject('p', {})).config,
      good(policyObject('p', { mode: 'estimate' })).config,
      tracking(undefined).config,
      tracking({ tokenProcessorConfig: PROCESSOR }).config,
    ]) {
      const { warnings } = parseConfig(JSON.stringify(config), 'policy', builtinPlugins)
      assert.deepEqual(warnings, [])
    }
  })

  it('scores by the shipped weights', () => {
    const shipped = readDocument(readFileSync('config/profiles/weights.yaml', 'utf8'))
    const expected = entries(shipped.value as Record<string, unknown>)
    assert.deepEqual(entries(tracking(undefined).config), expected)
    assert.deepEqual(entries(DEFAULT_POOL_CONFIG), expected.slice(1))
    assert.deepEqual(entries(good(policyObject('p', { mode: 'estimate' })).config), [
      { type: 'prefix-cache-scorer', weight: 3 },
      ...expected.slice(1),
    ])
    assert.deepEqual(good(policyObject('p', {})).config, DEFAULT_POOL_CONFIG)
    assert.deepEqual(good(poolPart('v', 'k', 'p', {})).config, DEFAULT_POOL_CONFIG)
  })

  it('names its source', () => {
    const { source } = good(policyObject('p', {}, { namespace: 'models' }))
    assert.equal(source, 'InferenceTrafficPolicy models/p')
  })

  it('finds the token processor inside the indexer config, and beside it', () => {
    for (const trackingConfig of [
      { indexerConfig: { tokenProcessorConfig: PROCESSOR } },
      { indexerConfig: {}, tokenProcessorConfig: PROCESSOR },
    ]) {
      const { config, warnings } = tracking(trackingConfig)
      const [precise] = entries(config)
      assert.deepEqual(precise!.parameters, {
        tokenProcessorConfig: { blockSize: 64, hashSeed: '42', model: 'Qwen/Qwen3-32B' },
        speculativeIndexing: true,
      })
      assert.deepEqual(warnings, [])
    }
  })

  it('lets the inner one win where both say different things, and says so', () => {
    const { config, warnings } = tracking({
      indexerConfig: { tokenProcessorConfig: { blockSize: 32, hashSeed: '42' } },
      tokenProcessorConfig: PROCESSOR,
    })
    const { tokenProcessorConfig } = entries(config)[0]!.parameters as Record<string, unknown>
    assert.deepEqual(tokenProcessorConfig, {
      ...{ blockSize: 32, hashSeed: '42', model: 'Qwen/Qwen3-32B' },
    })
    assert.equal(warnings.length, 1)
    assert.match(
      warnings[0]!,
      /trackingConfig\.tokenProcessorConfig\.blockSize \(64\) has no effect: .*indexerConfig\.tokenProcessorConfig\.blockSize says 32; remove one/,
    )
  })

  it('names unknown fields, and those without effect in the mode', () => {
    const { warnings } = good(
      poolPart('v', 'InferenceTrafficPolicy', 'p', {
        extra: 1,
        profile: {
          pd: {},
          single: {
            trafficPolicy: {
              loadBalance: { x: 1 },
              prefixCache: { mode: 'estimate', trackingConfig: { indexerConfig: { shards: 2 } } },
            },
          },
        },
      }),
    )
    const at = 'spec.profile.single.trafficPolicy'
    assert.deepEqual(warnings, [
      'spec.extra is not known here and has no effect',
      'spec.profile.pd is not known here and has no effect',
      `${at}.loadBalance is not known here and has no effect`,
      `${at}.prefixCache.trackingConfig.indexerConfig.shards is not known here and has no effect`,
      `${at}.prefixCache.trackingConfig has no effect without mode: tracking`,
    ])
  })

  const bad: readonly (readonly [string, unknown, RegExp])[] = [
    ['no object', 'text', /^the object must be an object, is "text"$/],
    [
      'an unknown mode',
      policyObject('p', { mode: 'magic' }),
      /mode is "magic"; use one of tracking, estimate$/,
    ],
    ['no pool', { metadata: { name: 'p' }, spec: {} }, /^spec\.poolRef\.name is missing$/],
    [
      'a pool of another kind',
      poolPart('v', 'k', 'p', { poolRef: { name: 'x', kind: 'Service' } }),
      /^spec\.poolRef\.kind is "Service"; only InferencePool/,
    ],
    [
      'a block size of 0',
      policyObject('p', {
        mode: 'tracking',
        trackingConfig: { tokenProcessorConfig: { blockSize: 0 } },
      }),
      /blockSize must be a whole number from 1 to 1048576, is 0$/,
    ],
    [
      'a block size in quotation marks',
      policyObject('p', {
        mode: 'tracking',
        trackingConfig: { tokenProcessorConfig: { blockSize: '64' } },
      }),
      /is "64"$/,
    ],
    [
      'a hash seed that is a list',
      policyObject('p', {
        mode: 'tracking',
        trackingConfig: { tokenProcessorConfig: { hashSeed: [] } },
      }),
      /hashSeed must be a text that is not empty, is a list$/,
    ],
  ]
  for (const [what, object, message] of bad) {
    it(`refuses ${what}`, () => {
      const policy = policyOf(object)
      assert.ok(isFault(policy))
      assert.match(policy.fault, message)
    })
  }
})
