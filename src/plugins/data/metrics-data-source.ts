import { Type } from 'typebox'
import { durationMs } from '../../framework/duration.ts'
import { METRICS_SCRAPING } from '../../framework/metrics-scraping.ts'
import { definePlugin } from '../../framework/plugin.ts'
import { oneConfiguration } from '../one-configuration.ts'

/** Says where model servers have their metrics pages. */
export const metricsDataSource = definePlugin({
  kind: 'observer',
  type: 'metrics-data-source',
  description: 'Says where model servers have their metrics pages, and how often to ask.',
  params: Type.Object({
    scheme: Type.Union([Type.Literal('http'), Type.Literal('https')], {
      default: 'http',
      description: 'How the pages are asked for.',
    }),
    path: Type.String({ pattern: '^/', default: '/metrics', description: 'Path of the pages.' }),
    port: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 65_535,
        description:
          "Port of the pages, where discovery says none; the endpoint's own when absent.",
      }),
    ),
    interval: Type.Optional(
      Type.Union(
        [
          Type.String({ pattern: '^(\\d+(\\.\\d+)?(ns|us|µs|ms|s|m|h))+$' }),
          Type.Number({ exclusiveMinimum: 0 }),
        ],
        {
          description:
            "Time between two scrapes of one endpoint, such as 500ms, or nanoseconds; at least 10ms. The flag's when absent.",
        },
      ),
    ),
    insecureSkipVerify: Type.Boolean({
      default: true,
      description: "True takes any certificate, as pods' own can hardly be verified.",
    }),
  }),
  inject: { scraping: METRICS_SCRAPING },
  lint: (_params, use) => oneConfiguration('where metrics pages are', use),
  create: ({ scheme, path, port, interval, insecureSkipVerify }, { scraping }) => ({
    activated: () =>
      scraping.source({
        scheme,
        path,
        port,
        intervalMs: interval === undefined ? undefined : durationMs(interval),
        insecureSkipVerify,
      }),
  }),
})
