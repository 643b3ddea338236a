import type { AnyPlugin } from '../framework/plugin.ts'
import { labelSelectorFilter } from './filters/label-selector-filter.ts'
import { singleProfileHandler } from './handlers/single-profile-handler.ts'
import { maxScorePicker } from './pickers/max-score-picker.ts'
import { randomPicker } from './pickers/random-picker.ts'
import { tokenProducer } from './producers/token-producer.ts'
import { activeRequestScorer } from './scorers/active-request-scorer.ts'
import { kvCacheUtilizationScorer } from './scorers/kv-cache-utilization-scorer.ts'
import { precisePrefixCacheScorer } from './scorers/precise-prefix-cache-scorer.ts'
import { prefixCacheScorer } from './scorers/prefix-cache-scorer.ts'
import { queueScorer } from './scorers/queue-scorer.ts'

/** The plugins that come with the picker. */
export const builtinPlugins: readonly AnyPlugin[] = [
  precisePrefixCacheScorer,
  prefixCacheScorer,
  queueScorer,
  kvCacheUtilizationScorer,
  activeRequestScorer,
  labelSelectorFilter,
  maxScorePicker,
  randomPicker,
  singleProfileHandler,
  tokenProducer,
]
