import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { defaultParams, parseConfig } from '../../src/config/parse.ts'
import { problemLine } from '../../src/config/problem.ts'
import { plugins } from './plugins.ts'

const folder = 'test/fixtures/configs'
const read = (name: string) => readFileSync(`${folder}/${name}`, 'utf8')
const parse = (name: string) => parseConfig(read(name), name, plugins)
const inline = (...items: string[]) =>
  'apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nschedulingProfiles:\n' +
  `  - name: default\n    plugins:\n${items.map((item) => `      - ${item}\n`).join('')}`

const TRUTH = {
  ...{ enabled: true, window: 16, maxWrong: 0.5, tolerance: 0.1, minTokens: 0, recoverAfter: 8 },
}

describe('parseConfig, given a file of the field', () => {
  it('reads the tracking mode of the first versions as the precise scorer', () => {
    const { spec, warnings } = parse('2025-09-cache-tracking.yaml')
    const scorer = spec.plugins.find(({ name }) => name === 'prefix-cache-scorer')
    assert.equal(scorer?.plugin.type, 'precise-prefix-cache-scorer')
    assert.deepEqual(scorer?.params, {
      indexerConfig: {
        tokenProcessorConfig: { blockSize: 64, hashSeed: '42' },
        kvBlockIndexConfig: { enableMetrics: true, metricsLoggingInterval: 60000000000 },
      },
      speculativeIndexing: true,
      speculativeTTL: '2s',
      truth: TRUTH,
    })
    assert.deepEqual(spec.profiles, [
      {
        name: 'default',
        filters: [],
        scorers: [
          { name: 'prefix-cache-scorer', weight: 2 },
          { name: 'kv-cache-utilization-scorer', weight: 1 },
          { name: 'queue-scorer', weight: 1 },
        ],
        picker: 'max-score-picker',
      },
    ])
    assert.equal(spec.handler, 'single-profile-handler')
    assert.deepEqual(warnings.map(problemLine), [
      '2025-09-cache-tracking.yaml:8:13  plugins[1].parameters.mode: "prefix-cache-scorer" in this mode is read as ' +
        '"precise-prefix-cache-scorer"; write that',
    ])
  })

  it('drops what only llm-d has, and says so with its line', () => {
    const { spec, warnings } = parse('2026-01-precise-scorer.yaml')
    assert.deepEqual(
      warnings.map(({ line, path }) => `${line} ${path}`),
      [
        '11 plugins[1].parameters.indexerConfig.tokenizersPoolConfig',
        '17 plugins[1].parameters.kvEventsConfig.concurrency',
      ],
    )
    assert.deepEqual(spec.plugins[1]?.params, {
      tokenProcessorConfig: { blockSize: 64 },
      indexerConfig: {},
      kvEventsConfig: { discoverPods: false, zmqEndpoint: 'tcp://*:5557' },
      speculativeIndexing: true,
      speculativeTTL: '2s',
      truth: TRUTH,
    })
  })

  it('reads a role filter', () => {
    const { spec } = parse('2026-05-decode-filter.yaml')
    assert.deepEqual(spec.profiles[0]?.filters, ['decode-filter'])
    assert.deepEqual(
      spec.profiles[0]?.scorers.map(({ weight }) => weight),
      [2, 1, 1],
    )
  })

  it('has a scorer ask the events that the producer of its name follows', () => {
    const { spec, warnings } = parse('2026-10-precise-producer.yaml')
    const find = (name: string) => spec.plugins.find((plugin) => plugin.name === name)
    assert.deepEqual(find('prefix-cache-scorer')?.params, {
      source: 'tracked',
      autoTune: true,
      maxPrefixTokensToMatch: 131072,
      lruCapacityPerServer: 31250,
      matchLengthWeight: 0,
      matchLengthScaleTokens: 8192,
    })
    assert.deepEqual(find('precise-prefix-cache-producer')?.params, {
      tokenProcessorConfig: { blockSizeTokens: 64 },
      speculativeIndexing: true,
      speculativeTTL: '2s',
      truth: TRUTH,
      indexerConfig: { kvBlockIndexConfig: { enableMetrics: true } },
      kvEventsConfig: { discoverPods: true, podDiscoveryConfig: { socketPort: 5556 } },
    })
    assert.deepEqual(
      warnings.map(({ line }) => line),
      [23],
    )
  })

  it('takes the seed and the block size of the ACK documents as they stand there', () => {
    const { spec, tokenizers, warnings } = parse('ack-precise.yaml')
    assert.deepEqual(warnings, [])
    assert.deepEqual(tokenizers, { 'Qwen3-32B': 'Qwen--Qwen3-32B' })
    assert.deepEqual(
      spec.profiles[0]?.scorers.map(({ name, weight }) => `${weight} ${name}`),
      ['3 prefix', '2 queue-scorer', '2 kv-cache-utilization-scorer'],
    )
    assert.equal(spec.profiles[0]?.picker, 'max-score-picker')
  })

  it('fills in profile, picker and handler', () => {
    const { spec, warnings } = parse('no-profiles.yaml')
    assert.deepEqual(warnings, [])
    assert.deepEqual(spec.profiles, [
      {
        name: 'default',
        filters: ['on-a-gpu'],
        scorers: [
          { name: 'queue-scorer', weight: 1 },
          { name: 'kv-cache-utilization-scorer', weight: 1 },
        ],
        picker: 'max-score-picker',
      },
    ])
    assert.deepEqual(
      spec.plugins.map(({ name }) => name),
      [
        'on-a-gpu',
        'queue-scorer',
        'kv-cache-utilization-scorer',
        'max-score-picker',
        'single-profile-handler',
      ],
    )
    assert.deepEqual(spec.plugins[3]?.params, { maxNumOfEndpoints: 1 })
  })

  it('reads JSON, and a key without a value as absent', () => {
    const { spec } = parse('inline.json')
    assert.deepEqual(spec.profiles[0]?.scorers, [{ name: 'queue-scorer', weight: 1 }])
    assert.equal(spec.profiles[0]?.picker, 'random-picker')
  })

  it('keeps the order of scorers and gives unnamed inline plugins the name of their type', () => {
    const { spec, metricsCompat } = parse('inline.yaml')
    assert.equal(metricsCompat, true)
    assert.deepEqual(
      spec.profiles[0]?.scorers.map(({ name, weight }) => `${weight} ${name}`),
      [
        '3 precise-prefix-cache-scorer',
        '2 queue-scorer',
        '2 kv-cache-utilization-scorer',
        '1 active-request-scorer',
        '5 crowd',
      ],
    )
  })
})

describe('parseConfig', () => {
  it('reads context-length-aware that filters as a scorer and a filter, once for all profiles', () => {
    const text = [
      'plugins:',
      '  - { type: header-profile-handler, parameters: { defaultProfile: a } }',
      '  - { name: length, type: context-length-aware, parameters: { label: l, enableFiltering: true } }',
      'schedulingProfiles:',
      '  - name: a',
      '    plugins: [{ type: decode-filter }, { pluginRef: length, weight: 3 }, { type: encode-filter }]',
      '  - name: b',
      '    plugins: [{ pluginRef: length }]',
    ].join('\n')
    const { spec, warnings } = parseConfig(text, 'p.yaml', plugins)
    assert.deepEqual(warnings, [])
    assert.deepEqual(
      spec.profiles.map(({ filters }) => filters),
      [
        ['decode-filter', 'context-length-aware-filter', 'encode-filter'],
        ['context-length-aware-filter'],
      ],
    )
    assert.deepEqual(
      spec.plugins.flatMap(({ plugin, params }) =>
        plugin.type.startsWith('context-length') ? [[plugin.type, params]] : [],
      ),
      [
        ['context-length-aware', { label: 'l', enableFiltering: false }],
        ['context-length-aware-filter', { label: 'l' }],
      ],
    )
  })

  it('numbers inline plugins of one type that differ', () => {
    const text = inline(
      '{ type: active-request-scorer, parameters: { idleThreshold: 4 } }',
      '{ type: active-request-scorer, parameters: { idleThreshold: 9 } }',
    )
    assert.deepEqual(
      parseConfig(text, 'p.yaml', plugins).spec.profiles[0]?.scorers.map(({ name }) => name),
      ['active-request-scorer', 'active-request-scorer#2'],
    )
  })

  it('lets a profile refer to a named inline plugin of another', () => {
    const text = `${inline('{ type: queue-scorer, name: q }', 'type: routing-handler')}  - name: second
    plugins: [{ pluginRef: q, weight: 7 }]\n`
    const { spec } = parseConfig(text, 'p.yaml', plugins)
    assert.deepEqual(spec.profiles[1]?.scorers, [{ name: 'q', weight: 7 }])
    assert.equal(spec.handler, 'routing-handler')
    assert.equal(spec.plugins.filter(({ name }) => name === 'q').length, 1)
  })

  it('keeps a scorer of weight 0 beside one that decides', () => {
    const text = inline('{ type: queue-scorer, weight: 0 }', 'type: active-request-scorer')
    assert.deepEqual(parseConfig(text, 'p.yaml', plugins).spec.profiles[0]?.scorers, [
      { name: 'queue-scorer', weight: 0 },
      { name: 'active-request-scorer', weight: 1 },
    ])
  })

  it('reads merge keys and anchors', () => {
    const text = inline(
      '{ type: active-request-scorer, name: a, parameters: &p { idleThreshold: 3 } }',
      '{ type: active-request-scorer, name: b, parameters: { <<: *p, maxBusyScore: 0.5 } }',
    )
    assert.deepEqual(parseConfig(text, 'p.yaml', plugins).spec.plugins[1]?.params, {
      idleThreshold: 3,
      maxBusyScore: 0.5,
    })
  })

  it('puts what went wrong with modules beside the rest', () => {
    const text = `${inline('type: queue-scorrer')}modules: [./a.ts, ./b.ts]\n`
    const moduleProblems = [
      { index: 1, severity: 'error', message: 'is broken' },
      { index: 0, severity: 'warning', message: 'is old' },
    ] as const
    assert.throws(() => parseConfig(text, 'p.yaml', plugins, { moduleProblems }), {
      message:
        'p.yaml:6:15  schedulingProfiles[0].plugins[0].type: unknown plugin type "queue-scorrer"; did you mean ' +
        '"queue-scorer"?\np.yaml:7:19  modules[1]: is broken',
    })
  })

  it('freezes what it gives, and leaves plugins and their schemas alone', () => {
    const { spec, warnings, tokenizers } = parse('2025-09-cache-tracking.yaml')
    const params = spec.plugins[1]?.params as { indexerConfig: object }
    const frozen = [spec, spec.plugins, spec.profiles[0]?.scorers, params.indexerConfig, warnings]
    for (const value of [...frozen, tokenizers]) assert.ok(Object.isFrozen(value))
    assert.ok(!Object.isFrozen(spec.plugins[1]?.plugin.params))
  })

  it('gives each parse its own defaults', () => {
    const first = defaultParams(plugins.find(({ type }) => type === 'label-selector-filter')!)
    const second = defaultParams(plugins.find(({ type }) => type === 'label-selector-filter')!)
    assert.deepEqual(first, { matchLabels: {}, matchExpressions: [] })
    assert.notEqual(first, second)
  })
})
