import type { Endpoint, EndpointMetrics } from '../../framework/endpoint.ts'

/**
 * Scores by a number of which less is better: 1 for the lowest among the candidates, 0 for the highest, linear in
 * between; 1 for all when they are equal. An endpoint without metrics counts as the highest, unless none has any.
 */
export function fewestFirst(
  endpoints: readonly Endpoint[],
  numberOf: (metrics: EndpointMetrics) => number,
): Float64Array {
  let lowest = Number.POSITIVE_INFINITY
  let highest = Number.NEGATIVE_INFINITY
  for (const { metrics } of endpoints) {
    if (!metrics) continue
    lowest = Math.min(lowest, numberOf(metrics))
    highest = Math.max(highest, numberOf(metrics))
  }
  const unknown = lowest > highest ? 1 : 0
  return Float64Array.from(endpoints, ({ metrics }) => {
    if (!metrics) return unknown
    return highest === lowest ? 1 : (highest - numberOf(metrics)) / (highest - lowest)
  })
}
