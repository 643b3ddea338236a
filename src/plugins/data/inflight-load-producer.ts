import { Type } from 'typebox'
import { definePlugin } from '../../framework/plugin.ts'

const UNUSED =
  'has no effect: only the tokens of prompts are counted here, and cost-scorer expects answers as long as those before; remove it'

/** Stands for the counts of requests and tokens in flight, which are always kept. */
export const inflightLoadProducer = definePlugin({
  kind: 'observer',
  type: 'inflight-load-producer',
  description: 'Counts requests and tokens in flight, as is done without it.',
  params: Type.Object({
    addEstimatedOutputTokens: Type.Boolean({
      default: false,
      description: 'True is without effect: only the tokens of prompts are counted.',
    }),
    outputRatio: Type.Optional(
      Type.Number({ minimum: 0, description: 'Without effect, as the one above.' }),
    ),
    maxEstimatedOutputTokens: Type.Optional(
      Type.Integer({ minimum: 0, description: 'Without effect, as the one above.' }),
    ),
  }),
  lint: ({ addEstimatedOutputTokens }) => [
    ...(addEstimatedOutputTokens
      ? [{ kind: 'warning', path: ['addEstimatedOutputTokens'], message: UNUSED } as const]
      : []),
    { kind: 'unused', path: ['outputRatio'], message: UNUSED },
    { kind: 'unused', path: ['maxEstimatedOutputTokens'], message: UNUSED },
  ],
  create: () => ({}),
})
