import type { AnyPlugin } from '../framework/plugin.ts'
import { contextLengthAware } from './context-length/context-length-aware.ts'
import { contextLengthAwareFilter } from './context-length/context-length-aware-filter.ts'
import { approxPrefixCacheProducer } from './data/approx-prefix-cache-producer.ts'
import { coreMetricsExtractor } from './data/core-metrics-extractor.ts'
import { endpointNotificationSource } from './data/endpoint-notification-source.ts'
import { fileDiscovery } from './data/file-discovery.ts'
import { inflightLoadProducer } from './data/inflight-load-producer.ts'
import { metricsDataSource } from './data/metrics-data-source.ts'
import { openaiParser } from './data/openai-parser.ts'
import { precisePrefixCacheProducer } from './data/precise-prefix-cache-producer.ts'
import { endpointAttributeFilter } from './endpoint-attribute/endpoint-attribute-filter.ts'
import { endpointAttributeScorer } from './endpoint-attribute/endpoint-attribute-scorer.ts'
import { byLabel } from './filters/by-label.ts'
import { decodeFilter } from './filters/decode-filter.ts'
import { encodeFilter } from './filters/encode-filter.ts'
import { headerBasedTestingFilter } from './filters/header-based-testing-filter.ts'
import { labelSelectorFilter } from './filters/label-selector-filter.ts'
import { prefillFilter } from './filters/prefill-filter.ts'
import { prefixCacheAffinityFilter } from './filters/prefix-cache-affinity-filter.ts'
import { utilizationFilter } from './filters/utilization-filter.ts'
import { headerProfileHandler } from './handlers/header-profile-handler.ts'
import { singleProfileHandler } from './handlers/single-profile-handler.ts'
import { destinationEndpointServedVerifier } from './observers/destination-endpoint-served-verifier.ts'
import { maxScorePicker } from './pickers/max-score-picker.ts'
import { randomPicker } from './pickers/random-picker.ts'
import { weightedRandomPicker } from './pickers/weighted-random-picker.ts'
import { tokenProducer } from './producers/token-producer.ts'
import { activeRequestScorer } from './scorers/active-request-scorer.ts'
import { headerLabelAffinityScorer } from './scorers/affinity/header-label-affinity-scorer.ts'
import { loraAffinityScorer } from './scorers/affinity/lora-affinity-scorer.ts'
import { costScorer } from './scorers/cost-scorer.ts'
import { kvCacheUtilizationScorer } from './scorers/kv-cache-utilization-scorer.ts'
import { loadAwareScorer } from './scorers/load-aware-scorer.ts'
import { noHitLruScorer } from './scorers/no-hit-lru-scorer.ts'
import { precisePrefixCacheScorer } from './scorers/precise-prefix-cache-scorer.ts'
import { prefixCacheScorer } from './scorers/prefix-cache-scorer.ts'
import { queueScorer } from './scorers/queue-scorer.ts'
import { runningRequestsSizeScorer } from './scorers/running-requests-size-scorer.ts'
import { tokenLoadScorer } from './scorers/token-load-scorer.ts'
import { sessionAffinityFilter } from './session-affinity/session-affinity-filter.ts'
import { sessionAffinityScorer } from './session-affinity/session-affinity-scorer.ts'

/** The plugins that come with the picker. */
export const builtinPlugins: readonly AnyPlugin[] = [
  costScorer,
  precisePrefixCacheScorer,
  prefixCacheScorer,
  queueScorer,
  runningRequestsSizeScorer,
  kvCacheUtilizationScorer,
  loadAwareScorer,
  activeRequestScorer,
  tokenLoadScorer,
  noHitLruScorer,
  loraAffinityScorer,
  sessionAffinityScorer,
  headerLabelAffinityScorer,
  contextLengthAware,
  endpointAttributeScorer,
  labelSelectorFilter,
  byLabel,
  decodeFilter,
  prefillFilter,
  encodeFilter,
  utilizationFilter,
  endpointAttributeFilter,
  sessionAffinityFilter,
  prefixCacheAffinityFilter,
  contextLengthAwareFilter,
  headerBasedTestingFilter,
  maxScorePicker,
  randomPicker,
  weightedRandomPicker,
  singleProfileHandler,
  headerProfileHandler,
  tokenProducer,
  destinationEndpointServedVerifier,
  metricsDataSource,
  coreMetricsExtractor,
  precisePrefixCacheProducer,
  approxPrefixCacheProducer,
  inflightLoadProducer,
  endpointNotificationSource,
  fileDiscovery,
  openaiParser,
]
