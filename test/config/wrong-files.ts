/** A file with something wrong in it, and exactly what is to be said of it. */
export interface WrongFile {
  readonly what: string
  readonly text: string
  /** `line:column  path: message` of every error, in order. */
  readonly errors: readonly string[]
  /** The same of every warning. */
  readonly warnings?: readonly string[]
  /** True when the JSON Schema alone can tell. */
  readonly schema?: boolean
}

const HEAD = 'apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n'

/** Lines under the two of the head, so that the first is line 3. */
const file = (...lines: string[]) => `${HEAD}${lines.join('\n')}\n`

/** One profile whose lines begin in line 6. */
const profile = (...lines: string[]) =>
  file(
    'schedulingProfiles:',
    '  - name: default',
    '    plugins:',
    ...lines.map((line) => `      - ${line}`),
  )

export const WRONG_FILES: readonly WrongFile[] = [
  {
    what: 'nothing',
    text: '',
    errors: ['1:1  the file is empty; begin with apiVersion, kind and plugins'],
  },
  {
    what: 'only a comment',
    text: '# nothing yet\n',
    errors: ['1:1  the file is empty; begin with apiVersion, kind and plugins'],
  },
  {
    what: 'a list',
    text: '- type: queue-scorer\n',
    errors: ['1:1  must be an object, got [{"type":"queue-scorer"}]'],
    schema: true,
  },
  {
    what: 'a word',
    text: 'hello\n',
    errors: ['1:1  must be an object, got "hello"'],
    schema: true,
  },
  {
    what: 'an open bracket',
    text: file('plugins: [{ type: queue-scorer }'),
    errors: [
      '4:1  not YAML: flow sequence in block collection must be sufficiently indented and end with a ]',
    ],
  },
  {
    what: 'a tab as indentation',
    text: file('plugins:', '\t- type: queue-scorer'),
    errors: ['4:1  not YAML: tabs are not allowed as indentation'],
  },
  {
    what: 'a duplicate key',
    text: file('plugins:', '  - type: queue-scorer', '    type: random-picker'),
    errors: ['5:5  duplicate key "type"; keep one of them'],
  },
  {
    what: 'two documents',
    text: `${HEAD}---\n${HEAD}`,
    errors: ['3:1  a second document begins here; a file holds one'],
  },
  {
    what: 'an alias without an anchor',
    text: file('plugins: *none'),
    errors: [
      '1:1  cannot be read: Unresolved alias (the anchor must be set before the alias): none',
    ],
  },
  {
    what: 'aliases that multiply',
    text: file(
      'a: &a [x, x, x, x, x, x, x, x, x, x]',
      'b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]',
      'c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]',
      'd: [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]',
    ),
    errors: ['1:1  cannot be read: Excessive alias count indicates a resource exhaustion attack'],
  },
  { what: 'a pit of brackets', text: '['.repeat(100_000), errors: ['1:1  is nested too deeply'] },
  {
    what: 'a text that is too long',
    text: `# ${'x'.repeat(1024 * 1024)}`,
    errors: ['1:1  is larger than 1048576 bytes; split it or remove what is unused'],
  },
  {
    what: 'another kind of object',
    text: 'apiVersion: v1\nkind: ConfigMap\nplugins: []\n',
    errors: [
      '1:13  apiVersion: must be one of "llm-d.ai/v1alpha1", "inference.networking.x-k8s.io/v1alpha1", got "v1"',
      '2:7  kind: must be "EndpointPickerConfig", got "ConfigMap"',
    ],
    warnings: ['1:1  no scorer: every endpoint scores the same, load is not looked at'],
    schema: true,
  },
  {
    what: 'a slip in a top-level field',
    text: file('plugin:', '  - type: queue-scorer', 'schedulingprofiles: []'),
    errors: [
      '3:1  plugin: unknown field "plugin"; did you mean "plugins"?',
      '5:1  schedulingprofiles: unknown field "schedulingprofiles"; did you mean "schedulingProfiles"?',
    ],
    warnings: ['1:1  no scorer: every endpoint scores the same, load is not looked at'],
    schema: true,
  },
  {
    what: 'a field that nobody knows',
    text: file('colour: red', 'plugins:', '  - type: queue-scorer'),
    errors: [
      '3:1  colour: unknown field "colour"; known: apiVersion, kind, modules, plugins, schedulingProfiles, tokenizers, metrics, responses, saltHeader, decisionHeader, dataParallel, dataParallelSize, featureGates, dataLayer, data, flowControl, requestHandler, saturationDetector, parser',
    ],
    schema: true,
  },
  {
    what: 'lists that are none',
    text: file('plugins: queue-scorer', 'schedulingProfiles: {}'),
    errors: [
      '3:10  plugins: must be a list, got "queue-scorer"',
      '4:21  schedulingProfiles: must be a list, got {}',
    ],
    schema: true,
  },
  {
    what: 'no profile in the list',
    text: file('plugins:', '  - type: queue-scorer', 'schedulingProfiles: []'),
    errors: ['5:21  schedulingProfiles: must not be empty, got []'],
    schema: true,
  },
  {
    what: 'a slip in a type',
    text: profile('{ type: queue-scorrer, weight: 2 }', '{ type: max-score-picker }'),
    errors: [
      '6:17  schedulingProfiles[0].plugins[0].type: unknown plugin type "queue-scorrer"; did you mean "queue-scorer"?',
    ],
    schema: true,
  },
  {
    what: 'a type that is like no other',
    text: profile('type: quantum-oracle'),
    errors: [
      '6:15  schedulingProfiles[0].plugins[0].type: unknown plugin type "quantum-oracle"; "epp plugins" lists those there are',
    ],
    schema: true,
  },
  {
    what: 'an entry without a type',
    text: file('plugins:', '  - name: mine', '  - type: queue-scorer'),
    errors: ['4:5  plugins[0]: "type" is missing'],
    schema: true,
  },
  {
    what: 'a type that is a number',
    text: file('plugins:', '  - type: 7', '  - type: queue-scorer'),
    errors: ['4:11  plugins[0].type: must be a string (write it in quotes), got 7'],
    schema: true,
  },
  {
    what: 'an old name of a type',
    text: profile('{ type: queue-depth-scorer }', '{ type: max-score-picker }'),
    errors: [],
    warnings: [
      '6:17  schedulingProfiles[0].plugins[0].type: "queue-depth-scorer" is an old name; write "queue-scorer"',
    ],
  },
  {
    what: 'a scorer of llm-d that is not here',
    text: profile('{ type: topology-affinity-scorer, weight: 2 }', '{ type: queue-scorer }'),
    errors: [],
    warnings: [
      '6:17  schedulingProfiles[0].plugins[0].type: "topology-affinity-scorer" of llm-d is not available and has no effect',
    ],
  },
  {
    what: 'a filter of llm-d that is not here',
    text: profile('type: multicluster-session-affinity-filter', 'type: queue-scorer'),
    errors: [
      '6:15  schedulingProfiles[0].plugins[0].type: the filter "multicluster-session-affinity-filter" of llm-d is not available, so it would exclude nothing; remove it',
    ],
    schema: true,
  },
  {
    what: 'a parameter of llm-d that is not here',
    text: profile('type: active-request-scorer\n        parameters:\n          requestTimeout: 2m'),
    errors: [],
    warnings: [
      '8:11  schedulingProfiles[0].plugins[0].parameters.requestTimeout: "requestTimeout" of llm-d is not available and has no effect: a request counts until it ends',
    ],
  },
  {
    what: 'a parameter of llm-d that is not here, deep inside and in a list',
    text: profile(
      '{ type: precise-prefix-cache-scorer, parameters: { kvEventsConfig: { concurrency: 4, concurency: 4 } } }',
    ),
    errors: [
      '6:94  schedulingProfiles[0].plugins[0].parameters.kvEventsConfig.concurency: unknown field "concurency"; known: zmqEndpoint, discoverPods, podDiscoveryConfig',
    ],
    warnings: [
      '6:78  schedulingProfiles[0].plugins[0].parameters.kvEventsConfig.concurrency: "concurrency" of llm-d is not available and has no effect: one thread applies all events',
    ],
    schema: true,
  },
  {
    what: 'a parameter of llm-d that is not here, in a filter',
    text: profile(
      'type: endpoint-attribute-filter\n        parameters:\n          attribute: KVCacheUsagePercent\n' +
        '          producer: dcgm-extractor\n' +
        '          algorithm: { type: threshold, threshold: { operator: LessThan, value: 0.95 } }',
      'type: queue-scorer',
    ),
    errors: [],
    warnings: [
      '9:21  schedulingProfiles[0].plugins[0].parameters.producer: attributes of "dcgm-extractor" are not available; those of core-metrics-extractor are',
    ],
  },
  {
    what: 'a limit that depends on another parameter',
    text: profile(
      'type: utilization-filter\n        parameters:\n          conditions:\n' +
        '            - { metric: waiting-queue, maxValue: 80 }\n' +
        '            - { metric: kv-cache-utilization, maxValue: 80 }',
      'type: queue-scorer',
    ),
    errors: [
      '10:57  schedulingProfiles[0].plugins[0].parameters.conditions[1].maxValue: must be at most 1, got 80',
    ],
    schema: true,
  },
  {
    what: 'two of what there may be one',
    text: profile(
      'type: endpoint-attribute-scorer\n        parameters:\n          attributeKey: KVCacheUsagePercent\n' +
        '          algorithm:\n            type: linear_lower_is_better\n' +
        '            normalization: { fixedRange: { min: 0, max: 1 }, adaptiveRange: {} }',
    ),
    errors: [
      '11:28  schedulingProfiles[0].plugins[0].parameters.algorithm.normalization: must have at most 1 field, got {"fixedRange":{"min":0,"max":1},"adaptiveRange":{}}',
    ],
    schema: true,
  },
  {
    what: 'slips in parameters',
    text: profile(
      'type: active-request-scorer\n        parameters:\n          idleTreshold: 3\n          maxBusyScore: 1.5',
    ),
    errors: [
      '8:11  schedulingProfiles[0].plugins[0].parameters.idleTreshold: unknown field "idleTreshold"; did you mean "idleThreshold"?',
      '9:25  schedulingProfiles[0].plugins[0].parameters.maxBusyScore: must be at most 1, got 1.5',
    ],
    schema: true,
  },
  {
    what: 'a parameter below its minimum and one of another type',
    text: profile(
      'type: active-request-scorer\n        parameters: { idleThreshold: -1, maxBusyScore: high }',
    ),
    errors: [
      '7:38  schedulingProfiles[0].plugins[0].parameters.idleThreshold: must be at least 0, got -1',
      '7:56  schedulingProfiles[0].plugins[0].parameters.maxBusyScore: must be a number, got "high"',
    ],
    schema: true,
  },
  {
    what: 'a fraction where a whole number belongs',
    text: profile(
      '{ type: queue-scorer }',
      '{ type: max-score-picker, parameters: { maxNumOfEndpoints: 1.5 } }',
    ),
    errors: [
      '7:68  schedulingProfiles[0].plugins[1].parameters.maxNumOfEndpoints: must be an integer, got 1.5',
    ],
    schema: true,
  },
  {
    what: 'a number where a string belongs',
    text: profile(
      'type: label-selector-filter\n        parameters: { matchLabels: { gpu: 80 } }',
      'type: queue-scorer',
    ),
    errors: [
      '7:43  schedulingProfiles[0].plugins[0].parameters.matchLabels.gpu: must be a string (write it in quotes), got 80',
    ],
    schema: true,
  },
  {
    what: 'a value outside a choice, and a missing field beside it',
    text: profile(
      'type: label-selector-filter\n        parameters: { matchExpressions: [{ operator: in }] }',
      'type: queue-scorer',
    ),
    errors: [
      '7:42  schedulingProfiles[0].plugins[0].parameters.matchExpressions[0]: "key" is missing',
      '7:54  schedulingProfiles[0].plugins[0].parameters.matchExpressions[0].operator: must be one of "In", "NotIn", "Exists", "DoesNotExist", got "in"',
    ],
    schema: true,
  },
  {
    what: 'a value of neither type of a union',
    text: profile(
      '{ type: precise-prefix-cache-scorer, parameters: { tokenProcessorConfig: { hashSeed: true } } }',
    ),
    errors: [
      '6:94  schedulingProfiles[0].plugins[0].parameters.tokenProcessorConfig.hashSeed: must be a string or an integer, got true',
    ],
    schema: true,
  },
  {
    what: 'a duration that is none',
    text: profile('{ type: precise-prefix-cache-scorer, parameters: { speculativeTTL: soon } }'),
    errors: [
      '6:76  schedulingProfiles[0].plugins[0].parameters.speculativeTTL: must match ^(\\d+(\\.\\d+)?(ns|us|µs|ms|s|m|h))+$, got "soon"',
    ],
    schema: true,
  },
  {
    what: 'parameters that are a list',
    text: profile('{ type: queue-scorer, parameters: [] }'),
    errors: ['6:43  schedulingProfiles[0].plugins[0].parameters: must be an object, got []'],
    schema: true,
  },
  {
    what: 'parameters for a plugin that has none',
    text: profile('{ type: queue-scorer, parameters: { threshold: 128 } }'),
    errors: [
      '6:45  schedulingProfiles[0].plugins[0].parameters.threshold: unknown field "threshold"',
    ],
    schema: true,
  },
  {
    what: 'two plugins of one name',
    text: file(
      'plugins:',
      '  - type: queue-scorer',
      '  - name: queue-scorer',
      '    type: random-picker',
    ),
    errors: [
      '5:5  plugins[1]: two plugins are named "queue-scorer" (the other in line 4); give one another name',
    ],
  },
  {
    what: 'the same type twice without names',
    text: file('plugins:', '  - type: active-request-scorer', '  - type: active-request-scorer'),
    errors: [
      '5:5  plugins[1]: two plugins are named "active-request-scorer" (the other in line 4); give one another name',
    ],
  },
  {
    what: 'a reference to nothing',
    text: file(
      'plugins:',
      '  - { type: queue-scorer, name: queue }',
      'schedulingProfiles:',
      '  - name: default',
      '    plugins:',
      '      - { pluginRef: queues, weight: 2 }',
      '      - { pluginRef: queue }',
      '      - { pluginRef: max-score-picker }',
    ),
    errors: [
      '8:22  schedulingProfiles[0].plugins[0].pluginRef: "queues" names no entry of "plugins"; did you mean "queue"?',
      '10:22  schedulingProfiles[0].plugins[2].pluginRef: "max-score-picker" names no entry of "plugins"; add it there, or write type: max-score-picker',
    ],
  },
  {
    what: 'a line with both a reference and a type',
    text: file(
      'plugins:',
      '  - type: queue-scorer',
      'schedulingProfiles:',
      '  - name: default',
      '    plugins:',
      '      - { pluginRef: queue-scorer, type: queue-scorer, parameters: {} }',
    ),
    errors: [
      '8:36  schedulingProfiles[0].plugins[0].type: "type" beside "pluginRef"; it belongs to the entry of "plugins" that "queue-scorer" names',
      '8:56  schedulingProfiles[0].plugins[0].parameters: "parameters" beside "pluginRef"; it belongs to the entry of "plugins" that "queue-scorer" names',
    ],
    schema: true,
  },
  {
    what: 'a line with neither',
    text: profile('weight: 2', 'type: queue-scorer'),
    errors: [
      '6:9  schedulingProfiles[0].plugins[0]: "pluginRef" (or "type", for a plugin written inline) is missing',
    ],
    schema: true,
  },
  {
    what: 'a plugin twice in a profile',
    text: file(
      'plugins:',
      '  - type: queue-scorer',
      'schedulingProfiles:',
      '  - name: default',
      '    plugins:',
      '      - pluginRef: queue-scorer',
      '      - pluginRef: queue-scorer',
    ),
    errors: [
      '9:9  schedulingProfiles[0].plugins[1]: "queue-scorer" is listed twice in this profile; remove one',
    ],
  },
  {
    what: 'the same inline plugin twice in a profile',
    text: profile('type: queue-scorer', 'type: queue-scorer'),
    errors: [
      '7:9  schedulingProfiles[0].plugins[1]: "queue-scorer" is listed twice in this profile; remove one',
    ],
  },
  {
    what: 'two pickers in a profile',
    text: profile('type: queue-scorer', 'type: max-score-picker', 'type: random-picker'),
    errors: [
      '8:9  schedulingProfiles[0].plugins[2]: a second picker; the profile has "max-score-picker" already: remove one',
    ],
  },
  {
    what: 'a negative weight and one in words',
    text: profile(
      '{ type: queue-scorer, weight: -1 }',
      '{ type: kv-cache-utilization-scorer, weight: "2" }',
    ),
    errors: [
      '6:39  schedulingProfiles[0].plugins[0].weight: must be at least 0, got -1',
      '7:54  schedulingProfiles[0].plugins[1].weight: must be a number, got "2"',
    ],
    schema: true,
  },
  {
    what: 'weights that are no finite numbers',
    text: profile(
      '{ type: queue-scorer, weight: .nan }',
      '{ type: kv-cache-utilization-scorer, weight: .inf }',
    ),
    errors: [
      '6:39  schedulingProfiles[0].plugins[0].weight: must be a finite number, got NaN',
      '7:54  schedulingProfiles[0].plugins[1].weight: must be a finite number, got Infinity',
    ],
    schema: true,
  },
  {
    what: 'weights that add up to nothing',
    text: profile(
      '{ type: queue-scorer, weight: 0 }',
      '{ type: kv-cache-utilization-scorer, weight: 0 }',
    ),
    errors: [
      '4:5  schedulingProfiles[0]: the weights add up to 0, so that nothing decides; make at least one positive',
    ],
  },
  {
    what: 'a weight on a picker',
    text: profile('{ type: queue-scorer }', '{ type: max-score-picker, weight: 2 }'),
    errors: [],
    warnings: [
      '7:35  schedulingProfiles[0].plugins[1].weight: a weight has no effect on a picker; remove it',
    ],
  },
  {
    what: 'a profile without a name',
    text: file('schedulingProfiles:', '  - plugins:', '      - type: queue-scorer'),
    errors: ['4:5  schedulingProfiles[0]: "name" is missing'],
    schema: true,
  },
  {
    what: 'two profiles of one name',
    text: file(
      'plugins:',
      '  - type: queue-scorer',
      '  - type: routing-handler',
      'schedulingProfiles:',
      '  - { name: a, plugins: [{ pluginRef: queue-scorer }] }',
      '  - { name: a, plugins: [{ pluginRef: queue-scorer }] }',
    ),
    errors: [
      '8:13  schedulingProfiles[1].name: two profiles are named "a" (the other in line 7); rename one',
    ],
  },
  {
    what: 'several profiles for the handler of one',
    text: file(
      'plugins:',
      '  - type: queue-scorer',
      '  - type: single-profile-handler',
      'schedulingProfiles:',
      '  - { name: a, plugins: [{ pluginRef: queue-scorer }] }',
      '  - { name: b, plugins: [{ pluginRef: queue-scorer }] }',
    ),
    errors: [
      '5:5  plugins[1]: "single-profile-handler" runs one profile, and there are 2; keep one, or use another handler',
    ],
  },
  {
    what: 'several profiles and a handler of llm-d that is not here',
    text: file(
      'plugins:',
      '  - type: queue-scorer',
      '  - type: disagg-profile-handler',
      'schedulingProfiles:',
      '  - { name: first, plugins: [{ pluginRef: queue-scorer }] }',
      '  - { name: second, plugins: [{ pluginRef: queue-scorer }] }',
    ),
    errors: [
      '6:1  schedulingProfiles: 2 profiles and no handler to choose between them; keep one profile, or add a handler',
    ],
    warnings: [
      '5:11  plugins[1].type: "disagg-profile-handler" of llm-d is not available and has no effect: an endpoint does all stages of a request',
    ],
  },
  {
    what: 'several handlers',
    text: file(
      'plugins:',
      '  - type: queue-scorer',
      '  - type: single-profile-handler',
      '  - type: routing-handler',
    ),
    errors: [
      '6:5  plugins[2]: a second handler; "single-profile-handler" decides already: remove one',
    ],
  },
  {
    what: 'a plugin that no profile lists',
    text: file(
      'plugins:',
      '  - type: queue-scorer',
      '  - type: kv-cache-utilization-scorer',
      'schedulingProfiles:',
      '  - { name: default, plugins: [{ pluginRef: queue-scorer }] }',
    ),
    errors: [],
    warnings: ['5:5  plugins[1]: "kv-cache-utilization-scorer" is in no profile and has no effect'],
  },
  {
    what: 'a profile without a scorer',
    text: profile('type: max-score-picker'),
    errors: [],
    warnings: [
      '4:5  schedulingProfiles[0]: no scorer: every endpoint scores the same, load is not looked at',
    ],
  },
  {
    what: 'feature gates: a slip, a value that is none, two without effect',
    text: file(
      'featureGates: [flowControll, "flowControl=maybe", flowControl, enableLegacyMetrics=false]',
      'plugins:',
      '  - type: queue-scorer',
    ),
    errors: [
      '3:16  featureGates[0]: unknown feature gate "flowControll"; did you mean "flowControl"?',
      '3:30  featureGates[1]: "flowControl" must be true or false, got "maybe"',
    ],
    warnings: [
      '3:51  featureGates[2]: the feature gate "flowControl" of llm-d has no effect: requests are not queued here',
    ],
  },
  {
    what: 'sections without effect, and slips inside them',
    text: file(
      'plugins:',
      '  - type: queue-scorer',
      'flowControl:',
      '  maxByte: 1Gi',
      '  priorityBands: [{ priority: high }]',
      'dataLayer:',
      '  sources:',
      '    - pluginRef: metric-source',
      'saturationDetector: { pluginRef: utilization-detector }',
    ),
    errors: [
      '6:3  flowControl.maxByte: unknown field "maxByte"; did you mean "maxBytes"?',
      '7:31  flowControl.priorityBands[0].priority: must be an integer, got "high"',
      '10:18  dataLayer.sources[0].pluginRef: "metric-source" names no entry of "plugins"; known: queue-scorer',
    ],
    warnings: [
      '5:1  flowControl: "flowControl" of llm-d has no effect: requests are not queued here',
      '11:1  saturationDetector: "saturationDetector" of llm-d has no effect: requests are not queued here',
    ],
    schema: true,
  },
  {
    what: 'tokenizers and metrics of other shapes',
    text: file(
      'plugins:',
      '  - type: queue-scorer',
      'tokenizers: { Qwen/Qwen3-32B: 3 }',
      'metrics: { compat: yes please }',
      'modules: ./mine.ts',
    ),
    errors: [
      '5:31  tokenizers["Qwen/Qwen3-32B"]: must be a string (write it in quotes), got 3',
      '6:20  metrics.compat: must be true or false, got "yes please"',
      '7:10  modules: must be a list, got "./mine.ts"',
    ],
    schema: true,
  },
]
