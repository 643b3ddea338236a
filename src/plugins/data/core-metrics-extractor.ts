import { Type } from 'typebox'
import { METRICS_SCRAPING } from '../../framework/metrics-scraping.ts'
import { definePlugin } from '../../framework/plugin.ts'
import { oneConfiguration } from '../one-configuration.ts'

const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*'
const LABEL = '\\s*[a-zA-Z_][a-zA-Z0-9_]*\\s*=\\s*("[^",{}]*"|[^",{}]*)'
const METRIC = `\\s*${NAME}(\\{\\s*(${LABEL}(,${LABEL})*)?\\s*\\})?\\s*`

const metric = (description: string) =>
  Type.Optional(Type.String({ pattern: `^(${METRIC})?$`, description }))
const label = (description: string) => Type.Optional(Type.String({ description }))

/** Says under which names model servers tell their load, engine by engine; the engine is a label of the endpoint. */
export const coreMetricsExtractor = definePlugin({
  kind: 'observer',
  type: 'core-metrics-extractor',
  description: 'Says under which names the metrics pages of which engines tell their load.',
  params: Type.Object({
    defaultEngine: Type.String({
      default: 'vllm',
      description: 'The engine of endpoints without the label.',
    }),
    engineLabelKey: Type.String({
      minLength: 1,
      default: 'llm-d.ai/engine-type',
      description:
        'Label of an endpoint that names its engine; `inference.networking.k8s.io/engine-type` counts where it is not there.',
    }),
    engineConfigs: Type.Array(
      Type.Object({
        name: Type.String({
          minLength: 1,
          description:
            'The engine: vllm, sglang, trtllm-serve, triton-tensorrt-llm, triton, of which what is said here changes the known metrics, or a new one.',
        }),
        queuedRequestsSpec: metric(
          'Gauge of waiting requests, as NAME or NAME{LABEL=VALUE,...}; empty for none.',
        ),
        runningRequestsSpec: metric('Gauge of running requests.'),
        kvUsageSpec: metric('Gauge of the share of the KV cache in use, from 0 to 1.'),
        loraSpec: metric("Series of LoRA adapters, with labels named as vLLM's."),
        cacheInfoSpec: metric('Series whose labels tell the block size and the number of blocks.'),
        cacheBlockSizeLabelName: label('Label of `cacheInfoSpec` with the tokens per block.'),
        cacheNumBlocksLabelName: label('Label of `cacheInfoSpec` with the number of blocks.'),
        cacheBlockSizeSpec: metric('Gauge of the tokens per block.'),
        cacheNumBlocksSpec: metric('Gauge of the number of blocks.'),
        customMetrics: Type.Optional(
          Type.Array(
            Type.Object({
              attributeKey: Type.String({
                minLength: 1,
                description: 'The name by which plugins ask for it.',
              }),
              metricSpec: Type.String({
                pattern: `^${METRIC}$`,
                description: 'Gauge or counter; of several series the newest counts.',
              }),
            }),
            { description: 'Further metrics, for the endpoint-attribute plugins.' },
          ),
        ),
      }),
      { default: [], description: 'Engines, besides those that are known.' },
    ),
  }),
  inject: { scraping: METRICS_SCRAPING },
  lint: (_params, use) => oneConfiguration('the names of metrics', use),
  create: (params, { scraping }) => ({ activated: scraping.engines(params) }),
})
