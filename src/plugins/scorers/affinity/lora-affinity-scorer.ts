import { Type } from 'typebox'
import { definePlugin } from '../../../framework/plugin.ts'

/**
 * Prefers endpoints that have the request's LoRA adapter: 1 where it runs, 0.8 where there is room for another, 0.6 where
 * it waits, else 0. An endpoint that says nothing of adapters scores 0.
 */
export const loraAffinityScorer = definePlugin({
  kind: 'scorer',
  type: 'lora-affinity-scorer',
  description: "Prefers endpoints that have the request's LoRA adapter, or room for it.",
  differsWhen: 'requests name a LoRA adapter that some engines have loaded',
  params: Type.Object({}),
  create: () => ({
    score: ({ targetModel }, endpoints) =>
      Float64Array.from(endpoints, ({ metrics }) => {
        const adapters = metrics?.adapters
        if (!adapters) return 0
        const { running, waiting, max } = adapters
        if (running.includes(targetModel)) return 1
        if (running.length + waiting.length < max) return 0.8
        return waiting.includes(targetModel) ? 0.6 : 0
      }),
  }),
})
