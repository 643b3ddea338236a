import { byId, element, setText } from './elements.js'
import { count, percent, rate, short, UNKNOWN } from './format.js'
import { troublesOf } from './trouble.js'

/** @typedef {import('../src/admin/overview.ts').Overview} Overview */

const RATE_SECONDS = 10

/** The numbers at the top: label, value, what to compare it with. */
export class Figures {
  #tiles = [
    'Requests per second',
    'In flight',
    'Hit rate',
    'Tokens saved',
    'Predicted cached tokens',
    'Endpoints',
  ].map((label) => {
    const value = element('dd', { class: 'value' }, UNKNOWN)
    const beside = element('dd', { class: 'beside' }, ' ')
    byId('figures', HTMLElement).append(element('div', {}, element('dt', {}, label), value, beside))
    return { value, beside }
  })

  /**
   * @param {Overview} overview
   * @param {import('./timeline.js').Timeline} timeline
   */
  show({ endpoints, total }, timeline) {
    const window = timeline.sums(timeline.keptSeconds)
    const lately = timeline.sums(RATE_SECONDS)
    /** @param {'inFlight' | 'inFlightTokens'} field */
    const sum = (field) => endpoints.reduce((all, endpoint) => all + (endpoint[field] ?? 0), 0)
    const inTrouble = endpoints.filter((endpoint) => troublesOf(endpoint, endpoints).length > 0)
    const offered = share(window.offeredTokens, window.comparedPromptTokens)
    /** @type {readonly [string, string][]} */
    const shown = [
      [rate(lately.requests / RATE_SECONDS), `${count(total.requests)} since the start`],
      [count(sum('inFlight')), `${short(sum('inFlightTokens'))} tokens to compute`],
      [
        percent(share(window.cachedTokens, window.promptTokens)),
        window.answers === 0 ? 'no answer has told it yet' : `highest possible ${percent(offered)}`,
      ],
      [short(total.cachedTokens), `${short(window.cachedTokens)} in the last 15 min`],
      [
        short(window.predictedTokens),
        window.comparedPromptTokens === 0
          ? 'nothing to compare with yet'
          : `${short(window.comparedCachedTokens)} were, in the last 15 min`,
      ],
      [
        count(endpoints.length),
        inTrouble.length === 0 ? 'none in trouble' : `! ${inTrouble.length} in trouble`,
      ],
    ]
    for (const [i, [value, beside]] of shown.entries()) {
      const tile = this.#tiles[i]
      if (!tile) continue
      setText(tile.value, value)
      setText(tile.beside, beside)
    }
  }
}

/**
 * @param {number} part
 * @param {number} all
 */
function share(part, all) {
  return all === 0 ? undefined : part / all
}
