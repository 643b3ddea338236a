import { Type } from 'typebox'
import { definePlugin } from '../../framework/plugin.ts'

/** The score of an empty queue; the field's formula gives no more, so that the weight counts half. */
const HIGHEST = 0.5

/**
 * Prefers short queues on an absolute scale: 0.5 (1 - min(waiting, threshold) / threshold). An endpoint without metrics
 * scores 0, or 0.5 when none has any.
 */
export const loadAwareScorer = definePlugin({
  kind: 'scorer',
  type: 'load-aware-scorer',
  description: "Prefers endpoints whose engine's queue is short, on an absolute scale.",
  differsWhen: 'the metrics of engines show waiting requests',
  params: Type.Object({
    threshold: Type.Integer({
      minimum: 1,
      default: 128,
      description: 'Waiting requests from which on an endpoint scores 0.',
    }),
  }),
  create: ({ threshold }) => ({
    score(_request, endpoints) {
      const unknown = endpoints.some(({ metrics }) => metrics) ? 0 : HIGHEST
      return Float64Array.from(endpoints, ({ metrics }) =>
        metrics ? HIGHEST * (1 - Math.min(metrics.waiting, threshold) / threshold) : unknown,
      )
    },
  }),
})
