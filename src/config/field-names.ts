/**
 * What llm-d's and GIE's configuration files may hold beyond what is built in, so that an existing file loads: such a name
 * is known and without effect, any other unknown name is a mistake.
 *
 * Sources: the plugin registries and parameter structs of llm-d-router and of gateway-api-inference-extension up to
 * November 2026, and the configurations of llm-d's guides since September 2025.
 */

/** A plugin type of the field. */
export interface FieldType {
  readonly kind: 'filter' | 'scorer' | 'picker' | 'handler' | 'other'
  /** What to do instead; empty when there is nothing to do. */
  readonly advice: string
}

const METRICS = 'metrics are always scraped'
const EVENTS = 'KV events are followed for every endpoint without it'
const FORMATS = 'the OpenAI paths are read without it, other bodies pass through as they are'
const DATA = 'metrics-data-source and core-metrics-extractor count wherever "plugins" has them'
const LOAD = 'load in flight is counted without it'

const TYPES: readonly (readonly [FieldType['kind'], string, string])[] = [
  [
    'scorer',
    'topology-affinity-scorer mm-embeddings-cache-scorer latency-scorer multicluster-queue-scorer ' +
      'multicluster-kv-cache-utilization-scorer multicluster-prefix-cache-scorer',
    '',
  ],
  [
    'filter',
    'topology-affinity-filter slo-headroom-tier-filter multicluster-session-affinity-filter low-queue-filter ' +
      'lora-affinity-filter least-queue-filter least-kv-cache-filter sheddable-capacity-filter',
    '',
  ],
  [
    'handler',
    'data-parallel-profile-handler disagg-profile-handler pd-profile-handler',
    'use single-profile-handler with one profile',
  ],
  ['other', 'precise-prefix-cache-producer', 'precise-prefix-cache-scorer does its work'],
  [
    'other',
    'approx-prefix-cache-producer burst-prefix-cache-producer multicluster-approx-prefix-cache-producer',
    'prefix-cache-scorer keeps what it learns itself',
  ],
  ['other', 'inflight-load-producer', LOAD],
  ['other', 'endpoint-notification-source', EVENTS],
  ['other', 'k8s-notification-source', ''],
  ['other', 'multicluster-metrics-data-source multicluster-metrics-extractor', METRICS],
  ['other', 'models-data-source models-data-extractor', '/v1/models is always asked'],
  ['other', 'file-discovery multicluster-file-discovery', 'give the file with --endpoints-file'],
  [
    'other',
    'openai-parser anthropic-parser vllmhttp-parser sglanghttp-parser vllmgrpc-parser vertexai-parser passthrough-parser',
    FORMATS,
  ],
  [
    'other',
    'prefix-based-pd-decider always-disagg-pd-decider always-disagg-multimodal-decider disagg-headers-handler ' +
      'prefill-header-handler p2p-source-producer predicted-latency-producer mm-embeddings-cache-producer ' +
      'session-id-producer session-interturn-latency-producer kv-cache-hint-v2 latency-slo-admitter ' +
      'probabilistic-admitter disaggregatedset-rollout-screener agent-identity request-attribute-reporter ' +
      'dcgm-data-source dcgm-extractor topology-extractor ' +
      'global-strict-fairness-policy round-robin-fairness-policy program-aware-fairness fcfs-ordering-policy ' +
      'edf-ordering-policy slo-deadline-ordering-policy static-usage-limit-policy priority-holdback-policy ' +
      'soft-reflective-ceiling-policy utilization-detector concurrency-detector sheddable-eviction-filter ' +
      'priority-then-time-eviction-order-policy',
    '',
  ],
]

/** The plugin types of the field that are not built in. */
export const FIELD_TYPES: ReadonlyMap<string, FieldType> = new Map(
  TYPES.flatMap(([kind, types, advice]) =>
    types.split(' ').map((type) => [type, { kind, advice }] as const),
  ),
)

/** Feature gates of the field; none changes anything here. */
export const FIELD_GATES: readonly string[] = [
  'flowControl',
  'haPopulateNonLeaderDatastore',
  'dataLayer',
  'prepareDataPlugins',
  'experimentalDatalayer',
  'enableLegacyMetrics',
]

/** Sections of the file that the field knows and that change nothing here, with what stands in for them. */
export const FIELD_SECTIONS: Readonly<Record<string, string>> = {
  dataLayer: DATA,
  data: DATA,
  flowControl: 'requests are not queued here',
  requestHandler: FORMATS,
  saturationDetector: 'requests are not queued here',
  parser: FORMATS,
}

const PRECISE = [
  'tokenProcessorConfig.blockSize',
  'tokenProcessorConfig.blockSizeTokens',
  'tokenProcessorConfig.hashSeed',
  'tokenProcessorConfig.hashAlgorithm',
  'tokenProcessorConfig.model',
  'indexerConfig.prefixStoreConfig',
  'indexerConfig.tokenProcessorConfig',
  'indexerConfig.kvBlockIndexConfig',
  'indexerConfig.kvBlockScorerConfig',
  'indexerConfig.kvCacheBackendConfigs',
  'indexerConfig.tokenizersPoolConfig',
  'indexerConfig.speculativeIndexing',
  'tokenizersPoolConfig',
  'kvEventsConfig.zmqEndpoint',
  'kvEventsConfig.topicFilter',
  'kvEventsConfig.concurrency',
  'kvEventsConfig.engineType',
  'kvEventsConfig.discoverPods',
  'kvEventsConfig.podDiscoveryConfig',
  'speculativeIndexing',
  'speculativeTTL',
]

/** Documented parameters by plugin type; a path stands for everything under it too. */
const FIELD_PARAMS: Readonly<Record<string, readonly string[]>> = {
  'precise-prefix-cache-scorer': [...PRECISE, 'prefixMatchInfoProducerName'],
  'prefix-cache-scorer': [
    ...PRECISE,
    'mode',
    'prefixMatchInfoProducerName',
    'matchLengthWeight',
    'matchLengthScaleTokens',
    'autoTune',
    'blockSize',
    'blockSizeTokens',
    'hashBlockSize',
    'maxPrefixBlocksToMatch',
    'maxPrefixTokensToMatch',
    'lruCapacityPerServer',
  ],
  'active-request-scorer': [
    'requestTimeout',
    'idleThreshold',
    'maxBusyScore',
    'inFlightLoadProducerName',
  ],
  'token-load-scorer': ['inFlightLoadProducerName'],
  'no-hit-lru-scorer': ['prefixMatchInfoProducerName', 'prefixPluginType', 'prefixPluginName'],
  'context-length-aware': ['reusableTokensProducerName'],
  'endpoint-attribute-scorer': ['producer'],
  'endpoint-attribute-filter': ['producer'],
  'metrics-data-source': ['caCertPath', 'clientCertPath', 'clientKeyPath'],
  'utilization-filter': ['inFlightLoadProducerName'],
  'prefix-cache-affinity-filter': ['prefixMatchInfoProducerName', 'inFlightLoadProducerName'],
  'token-producer': [
    'modelName',
    'vllm',
    'estimate',
    'udsTokenizerConfig',
    'tokenizersPoolConfig',
    'local',
    'hf',
    'uds',
  ],
}

/** True when the field documents this parameter of that type. @param path keys only, from the parameters down */
export function isFieldParam(type: string, path: readonly string[]): boolean {
  const text = path.join('.')
  return (FIELD_PARAMS[type] ?? []).some(
    (known) => text === known || text.startsWith(`${known}.`) || known.startsWith(`${text}.`),
  )
}

/** The documented parameters of a type as dotted paths; empty for a type without any. */
export function fieldParams(type: string): readonly string[] {
  return FIELD_PARAMS[type] ?? []
}
