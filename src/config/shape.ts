import { Type } from 'typebox'
import { RESPONSES_PATTERN } from '../framework/routing/request-policy.ts'

/** The API groups under which the field writes this kind of file. */
export const API_VERSIONS = ['llm-d.ai/v1alpha1', 'inference.networking.x-k8s.io/v1alpha1'] as const

const strings = (description: string) => Type.Array(Type.String(), { description })
const ref = (description: string) => Type.Object({ pluginRef: Type.String() }, { description })
const name = Type.String({
  minLength: 1,
  description: 'Name by which profiles refer to this plugin; its type when absent.',
})
const type = Type.String({ minLength: 1, description: 'Which plugin.' })
const parameters = Type.Unsafe<Record<string, unknown>>({
  type: 'object',
  description: "The plugin's parameters.",
})
const weight = Type.Number({
  minimum: 0,
  description: 'Factor of the score of a scorer; 1 when absent, 0 switches the scorer off.',
})
const onError = Type.Enum(['neutral', 'skip', 'fail'], {
  description:
    'What becomes of a request for which a filter or scorer fails: `fail` (the default) fails it, `skip` goes on without the plugin, `neutral` lets all endpoints pass or scores each 0.5.',
})
const timeBudgetMs = Type.Number({
  exclusiveMinimum: 0,
  description:
    'Milliseconds that a call may take: over it is counted, and on average over it is said; a producer is given up after it.',
})
const quantity = Type.Union([Type.Number(), Type.String()])
const band = {
  maxBytes: Type.Optional(quantity),
  maxRequests: Type.Optional(quantity),
  fairnessPolicyRef: Type.Optional(Type.String()),
  orderingPolicyRef: Type.Optional(Type.String()),
}
const dataLayer = Type.Object(
  {
    injectDefaults: Type.Optional(Type.Boolean()),
    sources: Type.Optional(
      Type.Array(
        Type.Object({
          pluginRef: Type.String(),
          extractors: Type.Optional(Type.Array(ref('An extractor of this source.'))),
        }),
      ),
    ),
    discovery: Type.Optional(ref('Where endpoints come from.')),
    peerDiscovery: Type.Optional(ref('Where replicas of the picker come from.')),
    crossReplicaSyncerPluginRef: Type.Optional(Type.String()),
    crossReplicaSyncInterval: Type.Optional(Type.String()),
  },
  { description: 'Sources and discovery of llm-d; those that are built in need not be named.' },
)
const detector = Type.Object(
  {
    pluginRef: Type.Optional(Type.String()),
    queueDepthThreshold: Type.Optional(Type.Number()),
    kvCacheUtilThreshold: Type.Optional(Type.Number()),
    metricsStalenessThreshold: Type.Optional(Type.String()),
  },
  { description: 'Known in llm-d and GIE, without effect here.' },
)
const flowControl = Type.Object(
  {
    maxBytes: Type.Optional(quantity),
    maxRequests: Type.Optional(quantity),
    defaultRequestTTL: Type.Optional(Type.String()),
    noEndpointRequestTTL: Type.Optional(Type.String()),
    priorityBands: Type.Optional(Type.Array(Type.Object({ priority: Type.Integer(), ...band }))),
    defaultPriorityBand: Type.Optional(Type.Object(band)),
    defaultNegativePriorityBand: Type.Optional(Type.Object(band)),
    usageLimitPolicyPluginRef: Type.Optional(Type.String()),
    saturationDetector: Type.Optional(detector),
    enableEviction: Type.Optional(Type.Boolean()),
  },
  { description: 'Known in llm-d and GIE, without effect here.' },
)

/** The shape of the file, without what depends on the plugins that there are. */
export const FILE_SHAPE = Type.Object({
  apiVersion: Type.Optional(
    Type.Enum([...API_VERSIONS], { description: "llm-d's group or GIE's; may be left out." }),
  ),
  kind: Type.Optional(Type.Literal('EndpointPickerConfig', { description: 'May be left out.' })),
  modules: Type.Optional(
    strings(
      'Third-party plugins: files, relative to this one, or npm packages that this folder sees.',
    ),
  ),
  plugins: Type.Optional(
    Type.Array(
      Type.Object({
        name: Type.Optional(name),
        type,
        parameters: Type.Optional(parameters),
        onError: Type.Optional(onError),
        timeBudgetMs: Type.Optional(timeBudgetMs),
      }),
      { description: 'The plugins that profiles may refer to.' },
    ),
  ),
  schedulingProfiles: Type.Optional(
    Type.Array(
      Type.Object({
        name: Type.String({ minLength: 1, description: 'Unique among the profiles.' }),
        shadow: Type.Optional(
          Type.Boolean({
            description:
              'True runs the profile for each request beside the one that acts, and does nothing with its pick but compare.',
          }),
        ),
        timeBudgetMs: Type.Optional(
          Type.Number({
            exclusiveMinimum: 0,
            description:
              'Of a shadow profile: milliseconds that it may take for each request on average, 1 when absent; it is skipped for some when it takes more.',
          }),
        ),
        plugins: Type.Optional(
          Type.Array(
            Type.Object({
              pluginRef: Type.Optional(
                Type.String({ minLength: 1, description: 'Name of an entry of `plugins`.' }),
              ),
              name: Type.Optional(name),
              type: Type.Optional(type),
              weight: Type.Optional(weight),
              parameters: Type.Optional(parameters),
              onError: Type.Optional(onError),
              timeBudgetMs: Type.Optional(timeBudgetMs),
            }),
            {
              description:
                'Filters in the order in which they run, scorers with their weights, one picker.',
            },
          ),
        ),
      }),
      { minItems: 1, description: 'Which filters, scorers and picker choose an endpoint.' },
    ),
  ),
  tokenizers: Type.Optional(
    Type.Record(Type.String(), Type.String(), {
      description: 'Served model name to its folder under --tokenizers-dir.',
    }),
  ),
  metrics: Type.Optional(
    Type.Object({
      compat: Type.Optional(
        Type.Boolean({ description: "Adds llm-d's metric names (llm_d_epp_*)." }),
      ),
    }),
  ),
  responses: Type.Optional(
    Type.String({
      pattern: RESPONSES_PATTERN,
      description:
        'Which responses are looked at: `full`, `sampled=N` (one in N), `none`, or `auto` (the default): all where a plugin needs them, else none. --responses wins.',
    }),
  ),
  saltHeader: Type.Optional(
    Type.String({
      pattern: '^[A-Za-z0-9-]+$',
      description:
        "Header in which the gateway gives the cache salt, in the place of the body's: the engine gets it as `cache_salt`.",
    }),
  ),
  decisionHeader: Type.Optional(
    Type.Boolean({
      description:
        'True tells in the response header `x-epp-decision` which endpoint served the request, how much of the prompt was expected there, and why. Responses are then looked at.',
    }),
  ),
  dataParallel: Type.Optional(
    Type.Enum(['header'], {
      description:
        '`header`: engines have several data-parallel ranks behind one port, `dataParallelSize` each. A rank is picked, and told to the engine as `x-data-parallel-rank`.',
    }),
  ),
  dataParallelSize: Type.Optional(
    Type.Integer({
      minimum: 2,
      maximum: 256,
      description:
        "With `dataParallel: header`: how many ranks each engine has behind its port, vLLM's --data-parallel-size.",
    }),
  ),
  featureGates: Type.Optional(strings('Known in llm-d and GIE, without effect here.')),
  dataLayer: Type.Optional(dataLayer),
  data: Type.Optional(dataLayer),
  flowControl: Type.Optional(flowControl),
  requestHandler: Type.Optional(
    Type.Object(
      { parsers: Type.Optional(Type.Array(ref('A parser.'))) },
      { description: 'Parsers of llm-d; openai-parser need not be named.' },
    ),
  ),
  saturationDetector: Type.Optional(detector),
  parser: Type.Optional(ref('Known in llm-d and GIE, without effect here.')),
})
