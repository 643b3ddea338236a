import type { Decision } from './decision.ts'
import { reasonFor } from './explanation.ts'

/** Response header that tells a client where its request went. */
export const DECISION_HEADER = 'x-epp-decision'

/**
 * `endpoint=10.0.0.5:8000; matched=448; prompt=470; reason="..."`: tokens that were expected in the endpoint's cache, of
 * those of the prompt; both are left out where they are not known.
 */
export function decisionText(decision: Decision): string {
  const { endpoints, predictedCachedTokens: matched, promptTokens } = decision
  const reason = reasonFor(decision, (hostPort) => hostPort)
  return [
    `endpoint=${endpoints[0]}`,
    ...(matched === undefined ? [] : [`matched=${matched}`]),
    ...(promptTokens === undefined ? [] : [`prompt=${promptTokens.count}`]),
    // The names of plugins are an operator's: whatever may not stand in a quoted string is left out.
    `reason="${reason.replace(/[^\x20-\x7e]|["\\]/g, '')}"`,
  ].join('; ')
}
