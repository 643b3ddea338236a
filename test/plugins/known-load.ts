import type { Endpoint } from '../../src/framework/endpoint.ts'
import { InFlightLedger } from '../../src/framework/routing/in-flight.ts'
import type { PrefixMatcher } from '../../src/framework/services.ts'

/** A ledger in which each endpoint has one request in flight with that many tokens to compute; none for 0. */
export function withTokens(
  endpoints: readonly Endpoint[],
  tokens: readonly number[],
): InFlightLedger {
  const ledger = new InFlightLedger()
  for (const [i, endpoint] of endpoints.entries()) {
    const promptTokens = tokens[i]!
    if (promptTokens > 0)
      ledger.reserve(endpoint, { promptTokens, cachedTokens: 0, answerTokens: 0 })
  }
  return ledger
}

/** A ledger in which each endpoint has that many requests in flight. */
export function withRequests(
  endpoints: readonly Endpoint[],
  requests: readonly number[],
): InFlightLedger {
  const ledger = new InFlightLedger()
  for (const [i, endpoint] of endpoints.entries()) {
    for (let n = 0; n < requests[i]!; n++) ledger.reserve(endpoint)
  }
  return ledger
}

/** Finds that many blocks of 16 tokens on each endpoint, of as many as could match; undefined finds nothing to say. */
export function withBlocks(blocks: readonly number[] | undefined, usable: number): PrefixMatcher {
  return {
    find: (_request, endpoints) =>
      blocks && {
        endpoints,
        match: {
          blocks: Int32Array.from(blocks),
          weighted: Float64Array.from(blocks),
          blockTokens: new Int32Array(blocks.length).fill(16),
          usableBlocks: new Int32Array(blocks.length).fill(usable),
        },
        source: 'tracked',
        tracked: endpoints.length,
      },
    configure() {},
  }
}
