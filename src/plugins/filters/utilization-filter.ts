import { type Static, Type } from 'typebox'
import type { Endpoint } from '../../framework/endpoint.ts'
import { definePlugin, type Remark } from '../../framework/plugin.ts'
import { IN_FLIGHT, type InFlight } from '../../framework/services.ts'

const Condition = Type.Object(
  {
    metric: Type.Union(
      [
        Type.Literal('active-requests'),
        Type.Literal('running-requests'),
        Type.Literal('waiting-queue'),
        Type.Literal('kv-cache-utilization'),
      ],
      {
        description:
          "What is limited: this picker's requests in flight, the engine's running or waiting requests, the share of its KV blocks in use.",
      },
    ),
    maxValue: Type.Number({
      minimum: 0,
      description: 'Highest value that passes; at most 1 for kv-cache-utilization.',
    }),
  },
  {
    if: { properties: { metric: { const: 'kv-cache-utilization' } } },
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
    then: { properties: { maxValue: { maximum: 1 } } },
  },
)

/**
 * Keeps endpoints that are within all limits.
 *
 * An endpoint without metrics does not pass a limit on what engines report, unless no candidate has any metrics: then
 * such a limit says nothing.
 */
export const utilizationFilter = definePlugin({
  kind: 'filter',
  type: 'utilization-filter',
  aliases: ['active-request-filter'],
  description: 'Keeps endpoints whose load is within limits.',
  params: Type.Object({
    conditions: Type.Array(Condition, {
      minItems: 1,
      description: 'Limits, all of which must hold.',
    }),
    fallbackOnEmpty: Type.Boolean({
      default: false,
      description: 'True keeps all endpoints when none is within the limits.',
    }),
  }),
  inject: { inFlight: IN_FLIGHT },
  watchesResponses: ({ conditions }) =>
    conditions.some(({ metric }) => metric === 'active-requests'),
  lint: ({ conditions }) =>
    conditions.flatMap(({ metric, maxValue }, i): Remark[] => {
      const path = ['conditions', i]
      const tighter = conditions.findIndex(
        (other, at) =>
          other.metric === metric &&
          (other.maxValue < maxValue || (other.maxValue === maxValue && at < i)),
      )
      if (tighter >= 0) {
        const { maxValue: least } = conditions[tighter]!
        const message = `conditions[${tighter}] limits ${metric} to ${least}, so that ${maxValue} has no effect; keep one`
        return [{ kind: 'warning', path, message }]
      }
      if (metric !== 'kv-cache-utilization' || maxValue < 1) return []
      const message =
        'no share of KV blocks in use is above 1, so that this excludes none but endpoints without metrics; write a lower maxValue'
      return [{ kind: 'warning', path: [...path, 'maxValue'], message }]
    }),
  create: ({ conditions, fallbackOnEmpty }, { inFlight }) => ({
    filter(_request, endpoints) {
      const unknown = endpoints.some(({ metrics }) => metrics)
        ? Number.POSITIVE_INFINITY
        : Number.NEGATIVE_INFINITY
      const left = endpoints.filter((endpoint) =>
        conditions.every(
          ({ metric, maxValue }) => (valueIn(metric, endpoint, inFlight) ?? unknown) <= maxValue,
        ),
      )
      return left.length === 0 && fallbackOnEmpty ? endpoints : left
    },
  }),
})

function valueIn(
  metric: Static<typeof Condition>['metric'],
  endpoint: Endpoint,
  inFlight: InFlight,
): number | undefined {
  switch (metric) {
    case 'active-requests':
      return inFlight.requests(endpoint)
    case 'running-requests':
      return endpoint.metrics?.running
    case 'waiting-queue':
      return endpoint.metrics?.waiting
    case 'kv-cache-utilization':
      return endpoint.metrics?.kvCacheUsage
  }
}
