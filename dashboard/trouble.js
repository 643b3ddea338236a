/** @typedef {import('../src/admin/overview.ts').OverviewEndpoint} Endpoint */

/**
 * What is wrong with one endpoint, in words, the worst first.
 *
 * @param {Endpoint} endpoint
 * @param {readonly Endpoint[]} all
 * @returns {readonly string[]}
 */
export function troublesOf(endpoint, all) {
  const troubles = []
  const { ejected, state, coverage, trust, index } = endpoint
  if (ejected !== undefined && ejected !== false && ejected !== null) troubles.push('ejected')
  if (state !== undefined && state !== 'scraped') troubles.push(state)
  if (coverage === 'gap') troubles.push('gap in its events')
  if (coverage === 'replaying') troubles.push('events are replayed')
  if (trust !== undefined && trust.state !== 'trusted') {
    troubles.push(`events not believed${trust.reason === undefined ? '' : `: ${trust.reason}`}`)
  }
  const isOnlyOne = index !== 'tracked' && coverage === 'none'
  if (isOnlyOne && all.some((other) => other.index === 'tracked' && other.pool === endpoint.pool)) {
    troubles.push('no events yet')
  }
  return troubles
}

/** @param {Endpoint} endpoint requests that it works on or will */
export function loadOf({ waiting, running, inFlight }) {
  return waiting === undefined && running === undefined
    ? (inFlight ?? 0)
    : (waiting ?? 0) + (running ?? 0)
}
