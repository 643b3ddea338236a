/** A valid file with something in it that has no effect or cannot work, and one that is nearly the same. */
export interface PointlessFile {
  readonly what: string
  readonly text: string
  /** `line:column  path: message` of every warning, in order. */
  readonly warnings?: readonly string[]
  /** The same of every error. */
  readonly errors?: readonly string[]
  /** A file of which nothing is to be said. */
  readonly near: string
}

/** One profile whose lines begin in line 4. */
const profile = (...lines: string[]) =>
  ['schedulingProfiles:', '  - name: default', '    plugins:']
    .concat(lines.map((line) => `      - ${line}`))
    .join('\n')

/** One plugin with parameters in flow style, in line 4, beside a scorer in line 5. */
const withParams = (type: string, parameters: string) =>
  profile(`{ type: ${type}, parameters: ${parameters} }`, 'type: queue-scorer')

/** Two profiles, `a` in line 4 and `b` in line 5, and the handler that chooses between them in line 2. */
const stages = (handler: string, second = 'b') =>
  [
    'plugins:',
    `  - ${handler}`,
    'schedulingProfiles:',
    '  - { name: a, plugins: [{ type: queue-scorer }] }',
    `  - { name: ${second}, plugins: [{ type: load-aware-scorer }] }`,
  ].join('\n')

const PARAMS = 'schedulingProfiles[0].plugins[0].parameters'
const LOAD = 'type: queue-scorer'

export const POINTLESS_FILES: readonly PointlessFile[] = [
  {
    what: 'a scorer that is switched off',
    text: profile('{ type: queue-scorer, weight: 0 }', 'type: load-aware-scorer'),
    warnings: [
      '4:39  schedulingProfiles[0].plugins[0].weight: weight 0 switches "queue-scorer" off; give it a weight, or remove it',
    ],
    near: profile('{ type: queue-scorer, weight: 0.01 }', 'type: load-aware-scorer'),
  },
  {
    what: 'a weight that is less than a tie',
    text: profile('{ type: queue-scorer, weight: 1.0e-10 }', '{ type: load-aware-scorer }'),
    warnings: [
      '4:39  schedulingProfiles[0].plugins[0].weight: with weight 1e-10 the scores of "queue-scorer" are less than a tie, so that it has no influence; give it more, or remove it',
    ],
    // Drawn in proportion, every weight counts.
    near: profile(
      '{ type: queue-scorer, weight: 1.0e-10 }',
      'type: load-aware-scorer',
      'type: weighted-random-picker',
    ),
  },
  {
    what: 'a weight on a filter',
    text: profile('{ type: decode-filter, weight: 2 }', LOAD),
    warnings: [
      '4:32  schedulingProfiles[0].plugins[0].weight: a weight has no effect on a filter; remove it',
    ],
    near: profile('{ type: decode-filter }', '{ type: queue-scorer, weight: 2 }'),
  },
  {
    what: 'one scorer under two names',
    text: profile(
      '{ type: active-request-scorer, name: a, weight: 2 }',
      '{ type: active-request-scorer, name: b, parameters: { idleThreshold: 0 } }',
    ),
    warnings: [
      '5:9  schedulingProfiles[0].plugins[1]: "b" scores as "a" does; keep one of them, with weight 3',
    ],
    near: profile(
      '{ type: active-request-scorer, name: a, weight: 2 }',
      '{ type: active-request-scorer, name: b, parameters: { idleThreshold: 9 } }',
    ),
  },
  {
    what: 'one filter under two names',
    text: profile('{ type: decode-filter, name: a }', '{ type: decode-filter, name: b }', LOAD),
    warnings: [
      '5:9  schedulingProfiles[0].plugins[1]: "b" keeps what "a" keeps already; remove it',
    ],
    near: profile('type: decode-filter', 'type: prefill-filter', LOAD),
  },
  {
    what: 'a draw without scores',
    text: profile('type: decode-filter', 'type: weighted-random-picker'),
    warnings: [
      '2:5  schedulingProfiles[0]: no scorer: every endpoint scores the same, and one is picked at random',
    ],
    near: profile('type: decode-filter', 'type: random-picker'),
  },
  {
    what: 'scorers beside a picker that does not look at them',
    text: profile(LOAD, 'type: load-aware-scorer', 'type: random-picker'),
    warnings: [
      '6:9  schedulingProfiles[0].plugins[2]: "random-picker" picks without regard to scores, so that "queue-scorer", "load-aware-scorer" cannot influence; use max-score-picker or weighted-random-picker',
    ],
    near: profile(LOAD, 'type: load-aware-scorer', 'type: weighted-random-picker'),
  },
  {
    what: 'a picker that stands in from "plugins" and does not look at scores',
    text: `plugins: [{ type: random-picker }]\n${profile(LOAD)}`,
    warnings: [
      '1:11  plugins[0]: "random-picker" picks without regard to scores, so that "queue-scorer" cannot influence; use max-score-picker or weighted-random-picker',
    ],
    near: `plugins: [{ type: max-score-picker }]\n${profile(LOAD)}`,
  },
  {
    what: 'a plugin that no profile lists',
    text: `plugins: [{ type: load-aware-scorer }]\n${profile(LOAD)}`,
    warnings: ['1:11  plugins[0]: "load-aware-scorer" is in no profile and has no effect'],
    near: `plugins: [{ type: load-aware-scorer }]\n${profile(LOAD, 'pluginRef: load-aware-scorer')}`,
  },
  {
    what: 'a producer whose data nobody needs, and tokenizers with it',
    text: `tokenizers: { qwen: folder }\nplugins: [{ type: token-producer }]\n${profile(LOAD)}`,
    warnings: [
      '1:1  tokenizers: no plugin needs token ids, so that this has no effect',
      '2:11  plugins[0]: "token-producer" has no effect, since no plugin needs PromptTokens; remove it',
    ],
    near: `tokenizers: { qwen: folder }\nplugins: [{ type: token-producer }]\n${profile('type: token-load-scorer')}`,
  },
  {
    what: 'two producers of the same data',
    text: `plugins: [{ type: token-producer }, { type: token-producer, name: other }]\n${profile('type: cost-scorer')}`,
    warnings: [
      '1:37  plugins[1]: "other" has no effect, since "token-producer" makes PromptTokens already; remove one',
    ],
    near: `plugins: [{ type: token-producer }]\n${profile('type: cost-scorer')}`,
  },
  {
    what: 'data that nothing makes',
    text: profile('type: mood-scorer', LOAD),
    errors: [
      '4:9  schedulingProfiles[0].plugins[0]: "mood-scorer" needs Mood, which nothing makes; add mood-producer to "plugins"',
    ],
    near: `plugins: [{ type: mood-producer }]\n${profile('type: mood-scorer', LOAD)}`,
  },
  {
    what: 'a profile that the handler never runs',
    text: stages('type: routing-handler'),
    warnings: [
      '5:5  schedulingProfiles[1]: "routing-handler" never runs this profile; remove or rename it',
    ],
    near: stages('{ type: header-profile-handler, parameters: { defaultProfile: a } }'),
  },
  {
    what: 'a profile with a name that no header can say',
    text: stages('{ type: header-profile-handler, parameters: { defaultProfile: a } }', '" b"'),
    warnings: [
      '5:5  schedulingProfiles[1]: "header-profile-handler" never runs this profile; remove or rename it',
    ],
    near: stages('{ type: header-profile-handler, parameters: { defaultProfile: " b" } }', '" b"'),
  },
  {
    what: 'a choice of one profile',
    text: `plugins: [{ type: header-profile-handler }]\n${profile(LOAD)}`,
    warnings: [
      '1:11  plugins[0]: "header-profile-handler" runs the only profile there is, whatever the header says; remove it',
    ],
    near: `plugins: [{ type: single-profile-handler }]\n${profile(LOAD)}`,
  },
  {
    what: 'a default profile that is not there',
    text: stages('{ type: header-profile-handler, parameters: { defaultProfile: bb } }'),
    warnings: [
      '2:67  plugins[0].parameters.defaultProfile: no profile is named "bb", so that requests without the header EPP-Profile are refused; name one of: a, b; did you mean "b"?',
    ],
    near: stages('{ type: header-profile-handler, parameters: { defaultProfile: b } }'),
  },
  {
    what: 'a label without valid values',
    text: withParams('by-label', '{ label: tier }'),
    errors: [
      '4:9  schedulingProfiles[0].plugins[0]: "by-label" keeps no endpoint: no value of "tier" is valid; list some in validValues',
    ],
    near: withParams('by-label', '{ label: tier, allowsNoLabel: true }'),
  },
  {
    what: 'a selector that selects everything',
    text: withParams('label-selector-filter', '{ matchLabels: {} }'),
    warnings: [
      '4:9  schedulingProfiles[0].plugins[0]: "label-selector-filter" has no condition, so that it keeps every endpoint; add one, or remove it',
    ],
    near: withParams('label-selector-filter', '{ matchLabels: { tier: "" } }'),
  },
  {
    what: 'expressions with too few values and too many',
    text: withParams(
      'label-selector-filter',
      '{ matchExpressions: [{ key: a, operator: In }, { key: b, operator: NotIn, values: [] }, { key: c, operator: Exists, values: [x] }] }',
    ),
    errors: [
      `4:73  ${PARAMS}.matchExpressions[0]: "a" In no values keeps no endpoint; list some in values`,
    ],
    warnings: [
      `4:99  ${PARAMS}.matchExpressions[1]: "b" NotIn no values keeps every endpoint; list some in values`,
      `4:168  ${PARAMS}.matchExpressions[2].values: values have no effect on Exists; remove them, or write In or NotIn`,
    ],
    near: withParams(
      'label-selector-filter',
      '{ matchExpressions: [{ key: a, operator: In, values: [x] }, { key: c, operator: Exists, values: [] }] }',
    ),
  },
  {
    what: 'a selector beside a stricter one',
    text: profile(
      '{ type: label-selector-filter, name: wide, parameters: { matchExpressions: [{ key: a, operator: In, values: [x] }] } }',
      '{ type: label-selector-filter, name: narrow, parameters: { matchLabels: { a: x, b: y } } }',
      LOAD,
    ),
    warnings: [
      '4:9  schedulingProfiles[0].plugins[0]: "wide" keeps what "narrow" keeps already, which has the same conditions and more; remove it',
    ],
    near: profile(
      '{ type: label-selector-filter, name: wide, parameters: { matchLabels: { a: z } } }',
      '{ type: label-selector-filter, name: narrow, parameters: { matchLabels: { a: x, b: y } } }',
      LOAD,
    ),
  },
  {
    what: 'affinity to any share of a prompt',
    text: withParams('prefix-cache-affinity-filter', '{ affinityThreshold: 0 }'),
    warnings: [
      `4:80  ${PARAMS}.affinityThreshold: 0 keeps all endpoints, since any share of a prompt is enough; set another value, or remove the filter`,
    ],
    near: withParams('prefix-cache-affinity-filter', '{ affinityThreshold: 0.01 }'),
  },
  {
    what: 'affinity to more than a prompt',
    text: withParams('prefix-cache-affinity-filter', '{ affinityThreshold: 80 }'),
    warnings: [
      `4:80  ${PARAMS}.affinityThreshold: 80 keeps all endpoints, since no share of a prompt is above 1; set another value, or remove the filter`,
    ],
    near: withParams('prefix-cache-affinity-filter', '{ affinityThreshold: 1 }'),
  },
  {
    what: 'affinity from which every request is free',
    text: withParams('prefix-cache-affinity-filter', '{ explorationProbability: 1 }'),
    warnings: [
      `4:85  ${PARAMS}.explorationProbability: 1 keeps all endpoints, since every request explores; set another value, or remove the filter`,
    ],
    near: withParams('prefix-cache-affinity-filter', '{ explorationProbability: 0.99 }'),
  },
  {
    what: 'a throughput for a limit that is off',
    text: withParams(
      'prefix-cache-affinity-filter',
      '{ maxTTFTPenaltyMs: 0, peakPrefillThroughput: 9000 }',
    ),
    warnings: [
      `4:82  ${PARAMS}.peakPrefillThroughput: maxTTFTPenaltyMs is 0 and sets no limit, so that this has no effect; set that one, or remove this`,
    ],
    near: withParams('prefix-cache-affinity-filter', '{ maxTTFTPenaltyMs: 0 }'),
  },
  {
    what: 'two limits of one metric',
    text: withParams(
      'utilization-filter',
      '{ conditions: [{ metric: waiting-queue, maxValue: 9 }, { metric: waiting-queue, maxValue: 5 }] }',
    ),
    warnings: [
      `4:64  ${PARAMS}.conditions[0]: conditions[1] limits waiting-queue to 5, so that 9 has no effect; keep one`,
    ],
    near: withParams(
      'utilization-filter',
      '{ conditions: [{ metric: waiting-queue, maxValue: 9 }, { metric: running-requests, maxValue: 5 }] }',
    ),
  },
  {
    what: 'a limit that no share can exceed',
    text: withParams(
      'utilization-filter',
      '{ conditions: [{ metric: kv-cache-utilization, maxValue: 1 }] }',
    ),
    warnings: [
      `4:106  ${PARAMS}.conditions[0].maxValue: no share of KV blocks in use is above 1, so that this excludes none but endpoints without metrics; write a lower maxValue`,
    ],
    near: withParams(
      'utilization-filter',
      '{ conditions: [{ metric: kv-cache-utilization, maxValue: 0.99 }] }',
    ),
  },
  {
    what: 'an attribute that no page tells',
    text: withParams(
      'endpoint-attribute-scorer',
      '{ attributeKey: KVCacheUsage, algorithm: { type: linear_lower_is_better } }',
    ),
    warnings: [
      `4:72  ${PARAMS}.attributeKey: no metric is read as "KVCacheUsage", so that every endpoint scores 0; add it to customMetrics of core-metrics-extractor`,
    ],
    near: `plugins: [{ type: core-metrics-extractor, parameters: { engineConfigs: [{ name: vllm, customMetrics: [{ attributeKey: KVCacheUsage, metricSpec: my_kv }] }] } }]\n${withParams(
      'endpoint-attribute-scorer',
      '{ attributeKey: KVCacheUsage, algorithm: { type: linear_lower_is_better } }',
    )}`,
  },
  {
    what: 'an attribute with a slip, that lets all pass',
    text: withParams(
      'endpoint-attribute-filter',
      '{ attribute: WaitingQueSize, algorithm: { type: threshold, threshold: { operator: LessThan, value: 9 } } }',
    ),
    warnings: [
      `4:69  ${PARAMS}.attribute: no metric is read as "WaitingQueSize", so that every endpoint is kept; add it to customMetrics of core-metrics-extractor; did you mean "WaitingQueueSize"?`,
    ],
    near: withParams(
      'endpoint-attribute-filter',
      '{ attribute: WaitingQueueSize, algorithm: { type: threshold, threshold: { operator: LessThan, value: 9 } } }',
    ),
  },
  {
    what: 'an attribute that no page tells and every endpoint must have',
    text: withParams(
      'endpoint-attribute-filter',
      '{ attribute: heat, onMissing: Fail, algorithm: { type: threshold, threshold: { operator: LessThan, value: 9 } } }',
    ),
    errors: [
      `4:69  ${PARAMS}.attribute: no metric is read as "heat", so that no endpoint is kept; add it to customMetrics of core-metrics-extractor`,
    ],
    near: `plugins: [{ type: core-metrics-extractor, parameters: { engineConfigs: [{ name: hot, kvUsageSpec: use, customMetrics: [{ attributeKey: heat, metricSpec: heat }] }] } }]\n${withParams(
      'endpoint-attribute-filter',
      '{ attribute: heat, onMissing: Fail, algorithm: { type: threshold, threshold: { operator: LessThan, value: 9 } } }',
    )}`,
  },
  {
    what: 'a limit in percent of a share',
    text: withParams(
      'endpoint-attribute-filter',
      '{ attribute: KVCacheUsagePercent, algorithm: { type: threshold, threshold: { operator: LessThan, value: 90 } } }',
    ),
    warnings: [
      `4:160  ${PARAMS}.algorithm.threshold.value: KVCacheUsagePercent goes from 0 to 1, so that with LessThan 90 every endpoint is kept; correct it`,
    ],
    near: withParams(
      'endpoint-attribute-filter',
      '{ attribute: KVCacheUsagePercent, algorithm: { type: threshold, threshold: { operator: LessThan, value: 0.9 } } }',
    ),
  },
  {
    what: 'a limit that no count is below',
    text: withParams(
      'endpoint-attribute-filter',
      '{ attribute: WaitingQueueSize, algorithm: { type: threshold, threshold: { operator: LessThan, value: 0 } } }',
    ),
    errors: [
      `4:157  ${PARAMS}.algorithm.threshold.value: WaitingQueueSize is never below 0, so that with LessThan 0 no endpoint is kept; correct it`,
    ],
    near: withParams(
      'endpoint-attribute-filter',
      '{ attribute: WaitingQueueSize, algorithm: { type: threshold, threshold: { operator: LessThanOrEqual, value: 0 } } }',
    ),
  },
  {
    what: 'a limit that all have, where having the attribute does not count',
    text: withParams(
      'endpoint-attribute-filter',
      '{ attribute: MaxActiveModels, algorithm: { type: threshold, threshold: { operator: GreaterThanOrEqual, value: 0 } } }',
    ),
    warnings: [
      `4:166  ${PARAMS}.algorithm.threshold.value: MaxActiveModels is never below 0, so that with GreaterThanOrEqual 0 every endpoint is kept; correct it`,
    ],
    near: withParams(
      'endpoint-attribute-filter',
      '{ attribute: MaxActiveModels, onMissing: Fail, algorithm: { type: threshold, threshold: { operator: GreaterThanOrEqual, value: 0 } } }',
    ),
  },
  {
    what: 'a scale in percent for a share',
    text: withParams(
      'endpoint-attribute-scorer',
      '{ attributeKey: KVCacheUsagePercent, algorithm: { type: linear_lower_is_better, normalization: { fixedRange: { min: 0, max: 100 } } } }',
    ),
    warnings: [
      `4:165  ${PARAMS}.algorithm.normalization.fixedRange: KVCacheUsagePercent goes from 0 to 1, so that scores on the range from 0 to 100 differ by at most 0.01; correct it`,
    ],
    near: withParams(
      'endpoint-attribute-scorer',
      '{ attributeKey: KVCacheUsagePercent, algorithm: { type: linear_lower_is_better, normalization: { fixedRange: { min: 0, max: 2 } } } }',
    ),
  },
  {
    what: 'a scale that has no values, and one that is none',
    text: profile(
      '{ type: endpoint-attribute-scorer, name: a, parameters: { attributeKey: WaitingQueueSize, algorithm: { type: linear_lower_is_better, normalization: { fixedRange: { min: -9, max: 0 } } } } }',
      '{ type: endpoint-attribute-scorer, name: b, parameters: { attributeKey: WaitingQueueSize, algorithm: { type: linear_lower_is_better, normalization: { fixedRange: { min: 5, max: 5 } } } } }',
    ),
    errors: [
      '5:171  schedulingProfiles[0].plugins[1].parameters.algorithm.normalization.fixedRange: the range from 5 to 5 is empty; min must be less than max',
    ],
    warnings: [
      `4:171  ${PARAMS}.algorithm.normalization.fixedRange: WaitingQueueSize is never below 0, so that scores on the range from -9 to 0 are all alike; correct it`,
    ],
    near: profile(
      '{ type: endpoint-attribute-scorer, name: a, parameters: { attributeKey: WaitingQueueSize, algorithm: { type: linear_lower_is_better, normalization: { fixedRange: { min: -9, max: 9 } } } } }',
    ),
  },
  {
    what: 'a load that every prompt is',
    text: withParams('token-load-scorer', '{ queueThresholdTokens: 1 }'),
    warnings: [
      `4:72  ${PARAMS}.queueThresholdTokens: an engine computes at least one token of every prompt, so that every endpoint scores 0; set the load of a busy endpoint, such as 4194304`,
    ],
    near: withParams('token-load-scorer', '{ queueThresholdTokens: 2 }'),
  },
  {
    what: 'a scale of costs beside nothing',
    text: profile('{ type: cost-scorer, parameters: { scaleSeconds: 3 } }'),
    warnings: [
      `4:44  ${PARAMS}.scaleSeconds: the only scorer beside max-score-picker picks the least cost on any scale, so that this has no effect; remove it`,
    ],
    near: withParams('cost-scorer', '{ scaleSeconds: 3 }'),
  },
  {
    what: 'prefixes shorter than a block',
    text: withParams('prefix-cache-scorer', '{ maxPrefixTokensToMatch: 50 }'),
    warnings: [
      `4:76  ${PARAMS}.maxPrefixTokensToMatch: 50 tokens are less than a block of 64, so that nothing matches and every endpoint scores 0; raise it`,
    ],
    near: withParams('prefix-cache-scorer', '{ maxPrefixTokensToMatch: 50, blockSizeTokens: 32 }'),
  },
  {
    what: 'parameters of a prefix scorer that others switch off',
    text: withParams(
      'prefix-cache-scorer',
      '{ source: tracked, blockSizeTokens: 64, matchLengthScaleTokens: 4096 }',
    ),
    warnings: [
      `4:69  ${PARAMS}.blockSizeTokens: events tell what endpoints hold, so that this has no effect; remove it`,
      `4:90  ${PARAMS}.matchLengthScaleTokens: matchLengthWeight is 0, so that this has no effect; set that one too`,
    ],
    // What is written as it is by default claims no effect.
    near: withParams(
      'prefix-cache-scorer',
      '{ source: routed, blockSizeTokens: 64, matchLengthScaleTokens: 8192 }',
    ),
  },
  {
    what: 'two prefix scorers for one index',
    text: profile(
      '{ type: prefix-cache-scorer, name: a, parameters: { blockSizeTokens: 64 } }',
      '{ type: prefix-cache-scorer, name: b, parameters: { blockSizeTokens: 32 } }',
    ),
    warnings: [
      '5:9  schedulingProfiles[0].plugins[1]: "b" and "a" both configure the index of routed prompts, each otherwise; give them the same parameters, or keep one',
    ],
    near: `${profile('{ type: prefix-cache-scorer, name: a, parameters: { blockSizeTokens: 64 } }')}\n  - { name: second, plugins: [{ pluginRef: a }] }\nplugins: [{ type: header-profile-handler, parameters: { defaultProfile: second } }]`,
  },
  {
    what: 'two plugins for the one way of reading metrics',
    text: [
      'plugins:',
      '  - { type: metrics-data-source, name: a }',
      '  - { type: metrics-data-source, name: b, parameters: { port: 9100 } }',
      '  - { type: core-metrics-extractor, name: c }',
      '  - { type: core-metrics-extractor, name: d, parameters: { defaultEngine: sglang } }',
      '  - type: queue-scorer',
    ].join('\n'),
    warnings: [
      '3:5  plugins[1]: "b" and "a" both configure where metrics pages are, each otherwise; give them the same parameters, or keep one',
      '5:5  plugins[3]: "d" and "c" both configure the names of metrics, each otherwise; give them the same parameters, or keep one',
    ],
    near: 'plugins: [{ type: metrics-data-source }, { type: core-metrics-extractor }, { type: queue-scorer }]',
  },
  {
    what: 'two precise scorers for one index',
    text: profile(
      '{ type: precise-prefix-cache-scorer, name: a }',
      '{ type: precise-prefix-cache-scorer, name: b, parameters: { speculativeIndexing: false } }',
    ),
    warnings: [
      '5:9  schedulingProfiles[0].plugins[1]: "b" and "a" both configure the index of tracked blocks, each otherwise; give them the same parameters, or keep one',
    ],
    near: profile('type: precise-prefix-cache-scorer', 'type: prefix-cache-scorer'),
  },
  {
    what: 'parameters of the precise scorer that others switch off',
    text: profile(
      [
        'type: precise-prefix-cache-scorer',
        'parameters:',
        '  tokenProcessorConfig: { blockSize: 64, blockSizeTokens: 32 }',
        '  indexerConfig:',
        '    tokenProcessorConfig: { blockSize: 16 }',
        '    kvBlockIndexConfig: { enableMetrics: false, metricsLoggingInterval: 30s }',
        '  kvEventsConfig: { podDiscoveryConfig: { socketPort: 5557 } }',
        '  speculativeIndexing: false',
        '  speculativeTTL: 9s',
        '  truth: { enabled: false, window: 32 }',
      ].join('\n        '),
    ),
    warnings: [
      `6:35  ${PARAMS}.tokenProcessorConfig.blockSize: blockSizeTokens says it already, so that this has no effect; keep one`,
      `8:37  ${PARAMS}.indexerConfig.tokenProcessorConfig.blockSize: tokenProcessorConfig.blockSize says it already, so that this has no effect; keep one`,
      `9:57  ${PARAMS}.indexerConfig.kvBlockIndexConfig.metricsLoggingInterval: enableMetrics is false, so that this has no effect; keep one`,
      `10:51  ${PARAMS}.kvEventsConfig.podDiscoveryConfig.socketPort: engines are dialled only where discoverPods is true, so that this has no effect; keep one`,
      `12:11  ${PARAMS}.speculativeTTL: speculativeIndexing is false, so that this has no effect; keep one`,
      `13:36  ${PARAMS}.truth.window: truth.enabled is false, so that this has no effect; keep one`,
    ],
    near: profile(
      [
        'type: precise-prefix-cache-scorer',
        'parameters:',
        '  tokenProcessorConfig: { blockSize: 64 }',
        '  indexerConfig:',
        '    tokenProcessorConfig: { hashSeed: 7 }',
        '    kvBlockIndexConfig: { enableMetrics: true, metricsLoggingInterval: 30s }',
        '  kvEventsConfig: { discoverPods: true, podDiscoveryConfig: { socketPort: 5557 } }',
        '  speculativeTTL: 9s',
        '  truth: { window: 32 }',
      ].join('\n        '),
    ),
  },
  {
    what: 'blocks that are worth nothing anywhere',
    text: withParams(
      'precise-prefix-cache-scorer',
      '{ indexerConfig: { kvCacheBackendConfigs: [{ name: gpu, weight: 0 }, { name: cpu, weight: 0 }, { name: disk, weight: 0 }] } }',
    ),
    warnings: [
      `4:100  ${PARAMS}.indexerConfig.kvCacheBackendConfigs: a block is worth 0 in every medium, so that every endpoint scores 0; raise one`,
    ],
    near: withParams(
      'precise-prefix-cache-scorer',
      '{ indexerConfig: { kvCacheBackendConfigs: [{ name: gpu, weight: 0 }, { name: cpu, weight: 1 }, { name: disk, weight: 0 }] } }',
    ),
  },
  {
    what: 'ids of sessions for a strategy without them',
    text: withParams(
      'session-affinity-scorer',
      '{ encodedEndpointHeaderConfig: { header: x-b }, sessionIdConfig: { evictionTtlSeconds: 9 } }',
    ),
    warnings: [
      `4:102  ${PARAMS}.sessionIdConfig: the strategy is encoded_endpoint_header, so that this has no effect; change it, or remove this`,
    ],
    near: withParams('session-affinity-scorer', '{ encodedEndpointHeaderConfig: { header: x-b } }'),
  },
  {
    what: 'a header of the endpoint for ids of sessions, and one id twice',
    text: withParams(
      'session-affinity-filter',
      '{ strategy: session_id, encodedEndpointHeaderConfig: { header: x-b }, sessionIdConfig: { sources: [{ header: x-id }, { header: X-ID }] } }',
    ),
    warnings: [
      `4:78  ${PARAMS}.encodedEndpointHeaderConfig: the strategy is session_id, so that this has no effect; change it, or remove this`,
      `4:171  ${PARAMS}.sessionIdConfig.sources[1]: "x-id" stands before this already; remove one`,
    ],
    near: withParams(
      'session-affinity-filter',
      '{ strategy: session_id, sessionIdConfig: { sources: [{ header: x-id }, { header: x-user }] } }',
    ),
  },
  {
    what: 'sessions of a profile that is not there',
    text: withParams('session-affinity-filter', '{ profileName: defualt }'),
    warnings: [
      `4:69  ${PARAMS}.profileName: no profile is named "defualt", so that no session is ever bound; name one of: default; did you mean "default"?`,
    ],
    near: withParams('session-affinity-filter', '{ profileName: default }'),
  },
  {
    what: 'a preference for what a filter has left alone',
    text: profile('type: session-affinity-filter', 'type: session-affinity-scorer', LOAD),
    warnings: [
      '5:9  schedulingProfiles[0].plugins[1]: "session-affinity-scorer" cannot influence: "session-affinity-filter" leaves a session\'s endpoint alone already; keep one of them',
    ],
    near: profile(
      'type: session-affinity-filter',
      '{ type: session-affinity-scorer, parameters: { strategy: session_id } }',
      LOAD,
    ),
  },
]
