import { Type } from 'typebox'
import { definePlugin } from '../../framework/plugin.ts'
import { PREFIX_INDEX, PREFIX_MATCHER } from '../../framework/services.ts'
import { configureTracked, TRACKED_PRODUCER_PARAMS } from './tracked-params.ts'
import { trackedRemarks } from './tracked-remarks.ts'

/**
 * Follows the engines' KV events for whatever asks what endpoints hold: a prefix-cache-scorer that names it, cost-scorer,
 * no-hit-lru-scorer, token-load-scorer, prefix-cache-affinity-filter.
 */
export const precisePrefixCacheProducer = definePlugin({
  kind: 'observer',
  type: 'precise-prefix-cache-producer',
  description: "Follows the engines' KV events, for the plugins that ask what endpoints hold.",
  params: Type.Object(TRACKED_PRODUCER_PARAMS),
  lint: trackedRemarks,
  inject: { index: PREFIX_INDEX, matcher: PREFIX_MATCHER },
  create: (params, services) => ({ activated: () => configureTracked(params, services) }),
})
