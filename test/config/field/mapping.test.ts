import assert from 'node:assert/strict'
import { type CheckedConfig, parseConfig } from '../../../src/config/parse.ts'
import { problemsOf } from '../../../src/config/problem.ts'
import { builtinPlugins } from '../../../src/plugins/index.ts'

/** A file whose profile lists all scorers and filters of these entries of `plugins`. */
const file = (...entries: readonly string[]) =>
  ['kind: EndpointPickerConfig', 'plugins:', ...entries.map((entry) => `  - ${entry}`)].join('\n')
const parse = (text: string) => parseConfig(text, 'p.yaml', builtinPlugins)
const paramsOf = ({ spec }: CheckedConfig, name: string) =>
  spec.plugins.find((plugin) => plugin.name === name)?.params as Record<string, unknown>
const warnings = (text: string) =>
  parse(text).warnings.map(({ line, path, message }) => `${line} ${path}: ${message}`)
function errors(text: string): readonly string[] {
  try {
    parse(text)
  } catch (error) {
    return problemsOf(error)
      .filter(({ severity }) => severity === 'error')
      .map(({ line, path, message }) => `${line} ${path}: ${message}`)
  }
  return []
}

describe('old names of parameters', () => {
  const approx = (parameters: string) =>
    file(
      `{ name: p, type: approx-prefix-cache-producer, parameters: ${parameters} }`,
      'type: queue-scorer',
    )

  it('are read under the new ones, each with one warning that says what to write', () => {
    const text = approx('{ blockSize: 32, maxPrefixBlocksToMatch: 100 }')
    assert.deepEqual(paramsOf(parse(text), 'p'), {
      ...{ autoTune: true, blockSizeTokens: 32, maxPrefixTokensToMatch: 3200 },
      lruCapacityPerServer: 31250,
    })
    assert.deepEqual(warnings(text), [
      '3 plugins[0].parameters.blockSize: "blockSize" is an old name; write blockSizeTokens: 32',
      '3 plugins[0].parameters.maxPrefixBlocksToMatch: "maxPrefixBlocksToMatch" is an old name; write maxPrefixTokensToMatch: 3200',
    ])
  })

  it('count blocks of 64 tokens where nothing says', () => {
    const { maxPrefixTokensToMatch } = paramsOf(
      parse(approx('{ maxPrefixBlocksToMatch: 10 }')),
      'p',
    )
    assert.equal(maxPrefixTokensToMatch, 640)
  })

  it('yield to the new ones', () => {
    const text = approx('{ blockSize: 32, blockSizeTokens: 16 }')
    assert.equal(paramsOf(parse(text), 'p').blockSizeTokens, 16)
    assert.deepEqual(warnings(text), [
      '3 plugins[0].parameters.blockSize: "blockSize" has no effect, since "blockSizeTokens" is there; remove it',
    ])
  })

  it('are checked as the new ones are', () => {
    assert.deepEqual(errors(approx('{ blockSize: 0 }')), [
      '3 plugins[0].parameters.blockSizeTokens: must be at least 1, got 0',
    ])
    assert.deepEqual(errors(approx('{ maxPrefixBlocksToMatch: many }')), [
      '3 plugins[0].parameters.maxPrefixBlocksToMatch: "many" cannot be read; write "maxPrefixTokensToMatch"',
    ])
  })

  it('of session affinity lie deeper', () => {
    const session = (parameters: string) =>
      file(
        `{ name: s, type: session-affinity-filter, parameters: ${parameters} }`,
        'type: queue-scorer',
      )
    const params = paramsOf(parse(session('{ headerName: x-s }')), 's')
    assert.deepEqual(params.encodedEndpointHeaderConfig, { header: 'x-s' })
    assert.ok(!('headerName' in params))
    const both = session('{ headerName: x-s, encodedEndpointHeaderConfig: { header: x-t } }')
    assert.deepEqual(paramsOf(parse(both), 's').encodedEndpointHeaderConfig, { header: 'x-t' })
  })

  it('with an attribute and its producer in one are refused, saying how to part them', () => {
    const text = file(
      '{ type: endpoint-attribute-scorer, parameters: { attributeKey: WaitingQueueSize/core-metrics-extractor, algorithm: { type: linear_lower_is_better } } }',
    )
    assert.deepEqual(errors(text), [
      '3 plugins[0].parameters.attributeKey: "WaitingQueueSize/core-metrics-extractor" names an attribute and its producer in one; write attributeKey: WaitingQueueSize and producer: core-metrics-extractor',
    ])
  })
})

describe('by-label', () => {
  const byLabel = (parameters: string) =>
    parse(file(`{ name: f, type: by-label, parameters: ${parameters} }`, 'type: queue-scorer'))
  const pluginOf = ({ spec }: CheckedConfig) =>
    spec.plugins.find(({ name }) => name === 'f')?.plugin.type

  it('is a label selector where that says the same', () => {
    const config = byLabel('{ label: tier, validValues: [gold, tin] }')
    assert.equal(pluginOf(config), 'label-selector-filter')
    assert.deepEqual(paramsOf(config, 'f'), {
      matchLabels: {},
      matchExpressions: [{ key: 'tier', operator: 'In', values: ['gold', 'tin'] }],
    })
    assert.equal(config.warnings.length, 1)
    assert.equal(config.profiles[0]?.items[0]?.entry.plugin?.type, 'label-selector-filter')
  })

  it('stays what it is where endpoints without the label pass too, without a warning', () => {
    const config = byLabel('{ label: tier, validValues: [gold], allowsNoLabel: true }')
    assert.equal(pluginOf(config), 'by-label')
    assert.deepEqual(config.warnings, [])
  })

  it('is checked as such where its parameters are none', () => {
    const text = file('{ type: by-label, parameters: { label: tier, validValues: gold } }')
    assert.deepEqual(errors(text), [
      '3 plugins[0].parameters.validValues: must be a list, got "gold"',
    ])
  })
})

describe('the index of what engines say', () => {
  const precise = (parameters: string) =>
    file(`{ name: p, type: precise-prefix-cache-scorer, parameters: ${parameters} }`)
  const memory = (index: string) => {
    const { indexerConfig } = paramsOf(
      parse(precise(`{ indexerConfig: { kvBlockIndexConfig: ${index} } }`)),
      'p',
    ) as { indexerConfig?: { kvBlockIndexConfig?: { maxMemoryMiB?: number } } }
    return indexerConfig?.kvBlockIndexConfig?.maxMemoryMiB
  }

  for (const [index, mebibytes] of [
    ['{ costAwareMemoryConfig: { size: 2GiB } }', 2048],
    ['{ costAwareMemoryConfig: { size: 500Mi } }', 500],
    ['{ costAwareMemoryConfig: { size: 1 KB } }', 16],
    ['{ costAwareMemoryConfig: { size: 1073741824 } }', 1024],
    ['{ costAwareMemoryConfig: { size: 2GiB }, inMemoryConfig: { size: 5 } }', 2048],
    ['{ maxMemoryMiB: 77, costAwareMemoryConfig: { size: 2GiB } }', 77],
    ['{ enableMetrics: true }', undefined],
  ] as const) {
    it(`takes ${mebibytes} MiB for ${index}`, () => assert.equal(memory(index), mebibytes))
  }

  it('takes memory for a number of blocks, in proportion', () => {
    const few = memory('{ inMemoryConfig: { size: 10000000 } }')!
    assert.deepEqual(
      warnings(
        precise(
          '{ indexerConfig: { kvBlockIndexConfig: { inMemoryConfig: { size: 10000000 } } } }',
        ),
      ),
      [
        `3 plugins[0].parameters.indexerConfig.kvBlockIndexConfig.inMemoryConfig.size: "size" counts blocks; write indexerConfig.kvBlockIndexConfig.maxMemoryMiB: ${few}`,
      ],
    )
    const many = memory('{ inMemoryConfig: { size: 100000000 } }')!
    assert.ok(few > 64 && few < 1024, `${few} MiB`)
    assert.ok(Math.abs(many - 10 * few) <= 10, `${many} MiB`)
  })

  it('says what it cannot be', () => {
    const text = precise(
      '{ indexerConfig: { kvBlockIndexConfig: { redisConfig: { address: "redis://h:1" }, inMemoryConfig: { podCacheSize: 10 } } } }',
    )
    const at = '3 plugins[0].parameters.indexerConfig.kvBlockIndexConfig'
    assert.deepEqual(warnings(text), [
      `${at}.redisConfig: "redisConfig" of llm-d is not available and has no effect: the index is in memory`,
      `${at}.inMemoryConfig.podCacheSize: "podCacheSize" of llm-d is not available and has no effect: every endpoint that holds a block is kept`,
    ])
    assert.deepEqual(
      errors(
        precise(
          '{ indexerConfig: { kvBlockIndexConfig: { costAwareMemoryConfig: { size: lots } } } }',
        ),
      ),
      [
        `${at}.costAwareMemoryConfig.size: "lots" cannot be read; write "indexerConfig.kvBlockIndexConfig.maxMemoryMiB"`,
      ],
    )
    assert.deepEqual(
      errors(
        precise(
          '{ indexerConfig: { kvBlockIndexConfig: { inMemoryConfig: { sizes: 5, podCacheSize: 1 } } } }',
        ),
      ),
      [`${at}.inMemoryConfig.sizes: unknown field "sizes"; did you mean "size"?`],
    )
  })

  for (const [what, parameters, said] of [
    [
      'a topic filter that every topic passes',
      '{ kvEventsConfig: { topicFilter: kv } }',
      undefined,
    ],
    ['the usual topic filter', '{ kvEventsConfig: { topicFilter: kv@ } }', undefined],
    [
      'a topic filter of one pod',
      '{ kvEventsConfig: { topicFilter: kv@10.0.0.1 } }',
      'topicFilter',
    ],
    ['an engine type', '{ kvEventsConfig: { engineType: sglang } }', undefined],
    ['a hash algorithm', '{ tokenProcessorConfig: { hashAlgorithm: cbor-fnv } }', 'hashAlgorithm'],
    [
      'the same inside',
      '{ indexerConfig: { tokenProcessorConfig: { hashAlgorithm: xxh64 } } }',
      'hashAlgorithm',
    ],
    ['a seed that is a number', '{ tokenProcessorConfig: { hashSeed: 42 } }', undefined],
    [
      'an interval in words',
      '{ indexerConfig: { kvBlockIndexConfig: { metricsLoggingInterval: 60s } } }',
      undefined,
    ],
    [
      'labels of pods',
      '{ kvEventsConfig: { podDiscoveryConfig: { podLabelSelector: a=b } } }',
      'podLabelSelector',
    ],
    [
      'no replay',
      '{ kvEventsConfig: { discoverPods: true, podDiscoveryConfig: { replaySocketPort: 0 } } }',
      undefined,
    ],
  ] as const) {
    it(`is ${said === undefined ? 'silent on' : 'said to have no use for'} ${what}`, () => {
      const found = parse(precise(parameters)).warnings.map(({ path }) => path.split('.').at(-1))
      assert.deepEqual(found, said === undefined ? [] : [said])
    })
  }

  for (const [what, parameters, message] of [
    [
      'an unknown hash algorithm',
      '{ tokenProcessorConfig: { hashAlgorithm: md5 } }',
      /must be one of "cbor-fnv", "xxh64", got "md5"/,
    ],
    [
      'an unknown engine type',
      '{ kvEventsConfig: { engineType: vlmm } }',
      /must be one of "vllm", "sglang", got "vlmm"/,
    ],
    [
      'an interval that is none',
      '{ indexerConfig: { kvBlockIndexConfig: { metricsLoggingInterval: soon } } }',
      /must match|must be/,
    ],
    [
      'a slip beside a known field',
      '{ kvEventsConfig: { podDiscoveryConfig: { sockettPort: 1 } } }',
      /did you mean "socketPort"/,
    ],
  ] as const) {
    it(`refuses ${what}`, () => {
      const [found, ...others] = errors(precise(parameters))
      assert.match(found ?? '', message)
      assert.deepEqual(others, [])
    })
  }
})

describe('parameters that name another entry', () => {
  const scorer = (name: string, ...others: readonly string[]) =>
    file(
      `{ type: prefix-cache-scorer, parameters: { prefixMatchInfoProducerName: ${name} } }`,
      ...others,
    )
  const sourceOf = (text: string) => paramsOf(parse(text), 'prefix-cache-scorer').source

  it('choose between picks and events, wherever the entry stands', () => {
    assert.equal(
      sourceOf(scorer('e', '{ name: e, type: precise-prefix-cache-producer }')),
      'tracked',
    )
    assert.equal(sourceOf(scorer('e', '{ name: e, type: approx-prefix-cache-producer }')), 'routed')
    assert.equal(sourceOf(scorer('approx-prefix-cache-producer')), 'routed')
    for (const type of ['precise', 'approx']) {
      assert.deepEqual(
        warnings(scorer('e', `{ name: e, type: ${type}-prefix-cache-producer }`)),
        [],
      )
    }
  })

  it('keep the other parameters of the scorer', () => {
    const text = file(
      'type: precise-prefix-cache-producer',
      '{ type: prefix-cache-scorer, parameters: { prefixMatchInfoProducerName: precise-prefix-cache-producer, matchLengthWeight: 0.3 } }',
    )
    const { source, matchLengthWeight } = paramsOf(parse(text), 'prefix-cache-scorer')
    assert.deepEqual({ source, matchLengthWeight }, { source: 'tracked', matchLengthWeight: 0.3 })
  })

  it('must lead to an entry of a fitting type', () => {
    assert.deepEqual(
      errors(scorer('aprox', '{ name: approx, type: approx-prefix-cache-producer }')),
      [
        '3 plugins[0].parameters.prefixMatchInfoProducerName: "aprox" names no entry of "plugins"; did you mean "approx"?',
      ],
    )
    assert.deepEqual(errors(scorer('queue-scorer', 'type: queue-scorer')), [
      '3 plugins[0].parameters.prefixMatchInfoProducerName: "queue-scorer" is of type queue-scorer; name one of type approx-prefix-cache-producer',
    ])
    assert.deepEqual(errors(scorer('[a]')), [
      '3 plugins[0].parameters.prefixMatchInfoProducerName: must be a string, got ["a"]',
    ])
  })

  it('are said to have no effect where what they name is not here', () => {
    const text = (producer: string) =>
      file(
        'type: dcgm-extractor',
        `{ type: endpoint-attribute-filter, parameters: { attribute: WaitingQueueSize, producer: ${producer}, algorithm: { type: threshold, threshold: { operator: LessThan, value: 5 } } } }`,
        'type: queue-scorer',
      )
    const said = (producer: string) =>
      warnings(text(producer)).filter((line) => line.includes('producer:'))
    assert.deepEqual(said('dcgm-extractor'), [
      '4 plugins[1].parameters.producer: attributes of "dcgm-extractor" are not available; those of core-metrics-extractor are',
    ])
    assert.deepEqual(said('core-metrics-extractor'), [])
    assert.deepEqual(said('""'), [])
  })
})

describe('several entries for one index', () => {
  it('take what the first producer says', () => {
    const text = file(
      '{ type: prefix-cache-scorer, parameters: { lruCapacityPerServer: 100 } }',
      '{ name: one, type: approx-prefix-cache-producer, parameters: { blockSizeTokens: 32 } }',
      '{ name: two, type: approx-prefix-cache-producer, parameters: { blockSizeTokens: 16 } }',
    )
    const config = parse(text)
    for (const name of ['prefix-cache-scorer', 'one', 'two']) {
      const { blockSizeTokens, lruCapacityPerServer } = paramsOf(config, name)
      assert.deepEqual([name, blockSizeTokens, lruCapacityPerServer], [name, 32, 31250])
    }
    assert.deepEqual(warnings(text), [
      '3 plugins[0].parameters.lruCapacityPerServer: has no effect: there is one index for all, and "one" (line 4) describes it',
      '5 plugins[2]: "two" has no effect: there is one index for all, and "one" (line 4) describes it',
    ])
  })

  it('give a precise scorer the parameters of the producer beside it', () => {
    const config = parse(
      file(
        'type: precise-prefix-cache-scorer',
        '{ type: precise-prefix-cache-producer, parameters: { tokenProcessorConfig: { blockSize: 16 } } }',
      ),
    )
    const { kvEventsConfig, tokenProcessorConfig } = paramsOf(config, 'precise-prefix-cache-scorer')
    assert.deepEqual(tokenProcessorConfig, { blockSize: 16 })
    assert.deepEqual(kvEventsConfig, { discoverPods: true })
    assert.deepEqual(config.warnings, [])
  })
})

describe('types that stand for what is done anyway', () => {
  for (const [entry, said] of [
    ['type: inflight-load-producer', []],
    [
      '{ type: inflight-load-producer, parameters: { addEstimatedOutputTokens: false, syncCrossReplicaState: false } }',
      [],
    ],
    [
      '{ type: inflight-load-producer, parameters: { addEstimatedOutputTokens: true } }',
      ['addEstimatedOutputTokens'],
    ],
    [
      '{ type: inflight-load-producer, parameters: { outputRatio: 2, maxEstimatedOutputTokens: 9 } }',
      ['outputRatio', 'maxEstimatedOutputTokens'],
    ],
    [
      '{ type: inflight-load-producer, parameters: { syncCrossReplicaState: true } }',
      ['syncCrossReplicaState'],
    ],
    ['type: endpoint-notification-source', []],
    ['type: openai-parser', []],
    ['{ type: file-discovery, parameters: { path: a.yaml } }', []],
    ['{ type: file-discovery, parameters: { path: a.yaml, watchFile: true } }', []],
    ['{ type: file-discovery, parameters: { path: a.yaml, watchFile: false } }', ['watchFile']],
  ] as const) {
    it(`${entry}: ${said.length === 0 ? 'no warning' : said.join(', ')}`, () => {
      const { warnings: found } = parse(file(entry, 'type: queue-scorer'))
      assert.deepEqual(
        found.map(({ path }) => path.split('.').at(-1)),
        said,
      )
    })
  }

  it('a second file names nothing', () => {
    const text = file(
      '{ type: file-discovery, parameters: { path: a.yaml } }',
      '{ name: other, type: file-discovery, parameters: { path: b.yaml } }',
      'type: queue-scorer',
    )
    assert.deepEqual(warnings(text), [
      '4 plugins[1]: "other" has no effect, since "file-discovery" names the file already; remove one',
    ])
  })
})

describe('handlers that are not here', () => {
  const profiles = (...names: readonly string[]) =>
    `\nschedulingProfiles:\n${names.map((name) => `  - { name: ${name}, plugins: [{ type: ${name === 'p' ? 'prefill-filter' : 'decode-filter'} }, { type: queue-scorer }] }`).join('\n')}`

  for (const [handler, decode] of [
    ['{ type: disagg-profile-handler }', 'decode'],
    ['{ type: disagg-profile-handler, parameters: { profiles: { decode: d } } }', 'd'],
    ['{ type: pd-profile-handler, parameters: { decodeProfile: d } }', 'd'],
  ] as const) {
    it(`${handler} leaves the profile "${decode}", and nothing of the others`, () => {
      const { spec, warnings: said } = parse(file(handler) + profiles('p', decode))
      assert.deepEqual(
        spec.profiles.map(({ name }) => name),
        [decode],
      )
      assert.equal(spec.handler, 'single-profile-handler')
      const types = spec.plugins.map(({ plugin }) => plugin.type)
      assert.ok(!types.includes('prefill-filter') && types.includes('decode-filter'))
      assert.equal(said.length, 1)
      assert.match(said[0]!.message, /every request runs the profile "d(ecode)?" alone/)
    })
  }

  it('leave an error where no profile is theirs', () => {
    assert.equal(errors(file('type: disagg-profile-handler') + profiles('p', 'd')).length, 1)
  })

  it('count for nothing beside one that is here', () => {
    const text = file('type: disagg-profile-handler', 'type: header-profile-handler')
    const { spec } = parse(text + profiles('p', 'decode'))
    assert.equal(spec.handler, 'header-profile-handler')
    assert.equal(spec.profiles.length, 2)
  })
})

describe('detectors of saturation', () => {
  const entry = '{ name: d, type: utilization-detector }'
  const profile = (item: string) =>
    `${file(entry, 'type: queue-scorer')}\nschedulingProfiles: [{ name: a, plugins: [${item}, { pluginRef: queue-scorer }] }]`

  it('are without effect outside of profiles', () => {
    assert.equal(warnings(file(entry, 'type: queue-scorer')).length, 1)
  })

  it('are refused as filters, as those that are not here are', () => {
    const said =
      'of llm-d is not available as a filter, so it would exclude nothing; remove it here, or use utilization-filter'
    assert.deepEqual(errors(profile('{ pluginRef: d }')), [
      `5 schedulingProfiles[0].plugins[0].pluginRef: "d" ${said}`,
    ])
    assert.deepEqual(errors(profile('{ type: concurrency-detector }')), [
      `5 schedulingProfiles[0].plugins[0].type: "concurrency-detector" ${said}`,
    ])
  })
})

describe('sections', () => {
  const withSection = (...lines: readonly string[]) =>
    [
      file(
        'type: queue-scorer',
        'type: openai-parser',
        'type: metrics-data-source',
        'type: endpoint-notification-source',
      ),
      ...lines,
    ].join('\n')

  for (const [what, section] of [
    [
      'sources that there are',
      'dataLayer: { injectDefaults: true, sources: [{ pluginRef: metrics-data-source, extractors: [{ pluginRef: core-metrics-extractor }] }] }',
    ],
    ['the parser that there is', 'requestHandler: { parsers: [{ pluginRef: openai-parser }] }'],
    [
      'gates that are always open',
      'featureGates: [dataLayer, prepareDataPlugins=true, experimentalDatalayer, enableLegacyMetrics, haPopulateNonLeaderDatastore=false, flowControl=false]',
    ],
  ] as const) {
    it(`are silent on ${what}`, () => assert.deepEqual(warnings(withSection(section)), []))
  }

  it('let events have the news of endpoints, from an entry that there is', () => {
    const section =
      'dataLayer: { sources: [{ pluginRef: endpoint-notification-source, extractors: [{ pluginRef: precise-prefix-cache-producer }] }] }'
    const entries = ['type: endpoint-notification-source', 'type: queue-scorer']
    const text = `${file(...entries, 'type: precise-prefix-cache-producer')}\n${section}`
    assert.deepEqual(warnings(text), [])
    assert.equal(errors(`${file(...entries)}\n${section}`).length, 1)
  })

  for (const [what, section, said] of [
    [
      'metrics that are not to be scraped',
      'dataLayer: { injectDefaults: false }',
      ['7 dataLayer.injectDefaults: has no effect: metrics of endpoints are always scraped'],
    ],
    [
      'other replicas',
      'dataLayer: { crossReplicaSyncInterval: 1s }',
      [
        '7 dataLayer.crossReplicaSyncInterval: "crossReplicaSyncInterval" of llm-d has no effect: each picker works for itself',
      ],
    ],
    [
      'an old section',
      'data: { injectDefaults: true }',
      ['7 data: "data" is an old name; write dataLayer'],
    ],
    [
      'an old parser',
      'parser: { pluginRef: openai-parser }',
      ['7 parser: "parser" is an old name; write requestHandler.parsers'],
    ],
    [
      'a parser that is not here, though the field has it by itself',
      'requestHandler: { parsers: [{ pluginRef: anthropic-parser }] }',
      [
        '7 requestHandler.parsers[0].pluginRef: "anthropic-parser" of llm-d is not available and has no effect: the OpenAI paths are read without it, other bodies pass through as they are',
      ],
    ],
    [
      'queues',
      'flowControl: { maxBytes: 1Gi }',
      ['7 flowControl: "flowControl" of llm-d has no effect: requests are not queued here'],
    ],
    [
      'saturation',
      'saturationDetector: { queueDepthThreshold: 5 }',
      [
        '7 saturationDetector: "saturationDetector" of llm-d has no effect: requests are not queued here',
      ],
    ],
  ] as const) {
    it(`say what stands in for ${what}`, () =>
      assert.deepEqual(warnings(withSection(section)), said))
  }

  for (const [what, section, message] of [
    [
      'a source that is a scorer',
      'dataLayer: { sources: [{ pluginRef: queue-scorer }] }',
      '7 dataLayer.sources[0].pluginRef: "queue-scorer" is a queue-scorer; name one of: metrics-data-source, endpoint-notification-source',
    ],
    [
      'an extractor that is nowhere',
      'dataLayer: { sources: [{ pluginRef: metrics-data-source, extractors: [{ pluginRef: core-metric-extractor }] }] }',
      '7 dataLayer.sources[0].extractors[0].pluginRef: "core-metric-extractor" names no entry of "plugins"; known: queue-scorer, openai-parser, metrics-data-source, endpoint-notification-source',
    ],
    [
      'a discovery without its entry',
      'dataLayer: { discovery: { pluginRef: file-discovery } }',
      '7 dataLayer.discovery.pluginRef: "file-discovery" names no entry of "plugins"; known: queue-scorer, openai-parser, metrics-data-source, endpoint-notification-source',
    ],
    [
      'a detector that is nowhere',
      'flowControl: { saturationDetector: { pluginRef: utilisation-detector } }',
      '7 flowControl.saturationDetector.pluginRef: "utilisation-detector" names no entry of "plugins"; known: queue-scorer, openai-parser, metrics-data-source, endpoint-notification-source',
    ],
  ] as const) {
    it(`refuse ${what}`, () => assert.deepEqual(errors(withSection(section)), [message]))
  }
})
