/** A plugin type of the field that is not built in: known and without effect, where any other unknown name is a mistake. */
export interface FieldType {
  /** `filter`: leaving it out would change who may serve, so that it is an error. */
  readonly kind: 'filter' | 'handler' | 'other'
  /** What stands in for it, or what to do; empty when there is nothing to say. */
  readonly advice: string
}

/** Types that are filters where a profile lists them, and something else where a section does. */
export const FIELD_FILTERS: readonly string[] = ['utilization-detector', 'concurrency-detector']

const SPLIT = 'an endpoint does all stages of a request'
const QUEUE = 'requests are not queued here'
const LATENCY = 'latency is not predicted'
const FORMATS = 'the OpenAI paths are read without it, other bodies pass through as they are'

/**
 * Sources: the plugin registries of llm-d-router and of gateway-api-inference-extension up to November 2026, and the
 * configurations of llm-d's guides since September 2025.
 */
const TYPES: readonly (readonly [FieldType['kind'], string, string])[] = [
  [
    'filter',
    'multicluster-session-affinity-filter low-queue-filter lora-affinity-filter least-queue-filter ' +
      'least-kv-cache-filter sheddable-capacity-filter',
    '',
  ],
  // Both keep every endpoint of which they know nothing, and nothing is known here.
  ['other', 'topology-affinity-filter', 'it keeps all endpoints where their topology is not known'],
  ['other', 'slo-headroom-tier-filter', 'it keeps all endpoints where no latency is predicted'],
  [
    'other',
    'topology-affinity-scorer mm-embeddings-cache-scorer multicluster-queue-scorer ' +
      'multicluster-kv-cache-utilization-scorer multicluster-prefix-cache-scorer',
    '',
  ],
  ['other', 'latency-scorer predicted-latency-producer latency-slo-admitter', LATENCY],
  ['handler', 'disagg-profile-handler pd-profile-handler', SPLIT],
  ['handler', 'data-parallel-profile-handler', 'each rank of a server is an endpoint of its own'],
  [
    'other',
    'disagg-headers-handler prefill-header-handler prefix-based-pd-decider always-disagg-pd-decider ' +
      'always-disagg-multimodal-decider',
    SPLIT,
  ],
  [
    'other',
    'burst-prefix-cache-producer multicluster-approx-prefix-cache-producer',
    'what was sent where is remembered as by approx-prefix-cache-producer',
  ],
  [
    'other',
    'multicluster-metrics-data-source multicluster-metrics-extractor',
    'metrics of endpoints are always scraped',
  ],
  ['other', 'models-data-source models-data-extractor', '/v1/models is always asked'],
  ['other', 'multicluster-file-discovery', 'name the file with file-discovery'],
  [
    'other',
    'anthropic-parser vllmhttp-parser sglanghttp-parser vllmgrpc-parser vertexai-parser passthrough-parser',
    FORMATS,
  ],
  [
    'other',
    'global-strict-fairness-policy round-robin-fairness-policy program-aware-fairness fcfs-ordering-policy ' +
      'edf-ordering-policy slo-deadline-ordering-policy static-usage-limit-policy priority-holdback-policy ' +
      'soft-reflective-ceiling-policy utilization-detector concurrency-detector sheddable-eviction-filter ' +
      'priority-then-time-eviction-order-policy',
    QUEUE,
  ],
  [
    'other',
    'k8s-notification-source p2p-source-producer mm-embeddings-cache-producer session-id-producer ' +
      'session-interturn-latency-producer kv-cache-hint-v2 probabilistic-admitter disaggregatedset-rollout-screener ' +
      'agent-identity request-attribute-reporter dcgm-data-source dcgm-extractor topology-extractor',
    '',
  ],
]

/** The plugin types of the field that are not built in. */
export const FIELD_TYPES: ReadonlyMap<string, FieldType> = new Map(
  TYPES.flatMap(([kind, types, advice]) =>
    types.split(' ').map((type) => [type, { kind, advice }] as const),
  ),
)
