import type { Endpoint } from '../../framework/endpoint.ts'
import type { ScorerReport } from '../../framework/plugin.ts'
import type { PrefixMatch } from '../../framework/services.ts'

/**
 * The `Got pod scores` line: whole matched blocks per IP address, or per address and port where endpoints share an
 * address; null when nothing matched.
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
    scores[shared ? endpoint.hostPort : endpoint.address] = blocks
  }
  return { message: 'Got pod scores', fields: { scores } }
}
