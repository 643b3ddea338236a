import { Type } from 'typebox'
import { definePlugin } from '../../framework/plugin.ts'
import { ROUTED_PREFIX_INDEX } from '../../framework/services.ts'
import { configureRouted, ROUTED_PARAMS } from './routed-params.ts'

/** Describes the index of what was sent where, for the plugins that ask what endpoints hold and have no events to go by. */
export const approxPrefixCacheProducer = definePlugin({
  kind: 'observer',
  type: 'approx-prefix-cache-producer',
  description:
    'Remembers which prompts were sent where, for the plugins that ask what endpoints hold.',
  params: Type.Object(ROUTED_PARAMS),
  inject: { index: ROUTED_PREFIX_INDEX },
  create: (params, { index }) => ({ activated: () => configureRouted(params, index) }),
})
