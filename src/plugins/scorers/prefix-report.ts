import { type Endpoint, networkAddress } from '../../framework/endpoint.ts'
import type { ScorerReport } from '../../framework/plugin.ts'
import type { PrefixMatch } from '../../framework/services.ts'

/**
 * The `Got pod scores` line: whole matched blocks per IP address, or per address and port where endpoints share an
 * address; of ranks behind one port those of the rank that holds most. Null when nothing matched.
 */
export function podScores(
  endpoints: readonly Endpoint[],
  match: PrefixMatch | undefined,
): ScorerReport {
  let scores: Record<string, number> | null = null
  for (const [i, endpoint] of endpoints.entries()) {
    const blocks = match?.blocks[i] ?? 0
    if (blocks === 0) continue
    const shared = endpoints.some(
      (other) => other.address === endpoint.address && other.port !== endpoint.port,
    )
    scores ??= {}
    const key = shared ? networkAddress(endpoint.hostPort) : endpoint.address
    scores[key] = Math.max(scores[key] ?? 0, blocks)
  }
  return { message: 'Got pod scores', fields: { scores } }
}
