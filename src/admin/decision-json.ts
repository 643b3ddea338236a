import type { Decision, DecisionMatch, ProfileTrace } from '../framework/routing/decision.ts'

/** A decision as the admin page shows it: scores by endpoint instead of by position, NaN as null. */
export function decisionJson(decision: Decision): Readonly<Record<string, unknown>> {
  const { atMs, profiles, match, primary, shadows, ...rest } = decision
  return {
    ...rest,
    primary,
    at: new Date(atMs).toISOString(),
    profiles: profiles.map((trace) =>
      profileJson(trace, trace.profile === primary ? match : undefined),
    ),
    ...(shadows && {
      shadows: shadows.map(({ trace, ...said }) => ({
        ...said,
        ...(trace && profileJson(trace, undefined)),
      })),
    }),
  }
}

function profileJson(trace: ProfileTrace, match: DecisionMatch | undefined) {
  const { endpoints, scorers, totals, metricsAgeMs } = trace
  return {
    profile: trace.profile,
    filters: trace.filters,
    scorers: scorers.map(({ name, weight, error }) => ({
      name,
      weight,
      ...(error !== undefined && { error }),
    })),
    endpoints: endpoints.map((endpoint, i) => ({
      endpoint,
      scores: Object.fromEntries(
        scorers.map(({ name, weight, scores, terms }) => [
          name,
          {
            score: scores[i],
            weighted: scores[i]! * weight,
            ...(terms && {
              terms: Object.fromEntries(
                Object.entries(terms).map(([term, values]) => [term, values[i]]),
              ),
            }),
          },
        ]),
      ),
      total: totals[i],
      // -1 where the prefix scorer was not asked.
      ...(match &&
        match.blocks[i]! >= 0 && {
          matchedBlocks: match.blocks[i],
          matchedTokens: match.blocks[i]! * match.blockTokens[i]!,
        }),
      metricsAgeMs: Number.isNaN(metricsAgeMs[i]) ? null : Math.round(metricsAgeMs[i]!),
    })),
    ties: trace.ties,
    picked: trace.picked,
  }
}
