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
  const order: Candidate[] = []
  for (const { endpoint, score } of scored) {
    order.push({ endpoint, score, lastPick: inFlight.lastPick(endpoint), lot: random.next() })
  }
  if (count === 1 && order.length > 0) return [order.reduce(better).endpoint]
  order.sort(byRank)
  return order.slice(0, count).map(({ endpoint }) => endpoint)
}

interface Candidate extends Scored {
  readonly lastPick: number
  readonly lot: number
}

function byRank(a: Candidate, b: Candidate): number {
  return isTied(a.score, b.score) ? a.lastPick - b.lastPick || a.lot - b.lot : b.score - a.score
}

function better(a: Candidate, b: Candidate): Candidate {
  return byRank(b, a) < 0 ? b : a
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
