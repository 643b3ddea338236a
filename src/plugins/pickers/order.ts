import type { Endpoint } from '../../framework/endpoint.ts'
import type { Scored } from '../../framework/plugin.ts'
import { isTied } from '../../framework/routing/tie.ts'
import type { InFlight, Random } from '../../framework/services.ts'

/** Param of every picker. */
export const MAX_ENDPOINTS = {
  minimum: 1,
  default: 1,
  description:
    'Endpoints to name: the target and, after it, fallbacks for gateways that can retry.',
} as const

/** The best `count` endpoints: by score, ties by least recent pick, remaining ties at random. */
export function bestFirst(
  scored: readonly Scored[],
  count: number,
  inFlight: InFlight,
  random: Random,
): readonly Endpoint[] {
  const order = scored.map(({ endpoint, score }) => ({
    endpoint,
    score,
    lastPick: inFlight.lastPick(endpoint),
    lot: random.next(),
  }))
  order.sort((a, b) =>
    isTied(a.score, b.score) ? a.lastPick - b.lastPick || a.lot - b.lot : b.score - a.score,
  )
  return order.slice(0, count).map(({ endpoint }) => endpoint)
}

/** `count` endpoints in random order. */
export function shuffled(
  scored: readonly Scored[],
  count: number,
  random: Random,
): readonly Endpoint[] {
  const endpoints = scored.map(({ endpoint }) => endpoint)
  for (let i = endpoints.length - 1; i > 0; i--) {
    const j = Math.floor(random.next() * (i + 1))
    const swapped = endpoints[i]!
    endpoints[i] = endpoints[j]!
    endpoints[j] = swapped
  }
  return endpoints.slice(0, count)
}
