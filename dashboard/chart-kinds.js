import { count, percent, rate, short, tick } from './format.js'
import { BIN_SECONDS } from './timeline.js'

/**
 * @typedef {ReturnType<import('./timeline.js').Timeline['bins']>} Bins
 * @typedef {{ label: string, values: readonly (number | null)[] }} Line
 * @typedef {{ title: string, unit: (value: number) => string, axis: (value: number) => string, most?: number,
 *   lines: (bins: Bins, names: ReadonlyMap<string, string>) => readonly Line[], says: (lines: readonly Line[]) => string }} Kind
 */

/** More endpoints than this are one line. */
const MAX_LINES = 6
/** Bins that a ratio is taken over, so that a quiet bin does not make it jump. */
const SMOOTHED_BINS = 6

/** The charts there are. @type {readonly Kind[]} */
export const KINDS = [
  {
    title: 'Requests per second',
    unit: (value) => `${rate(value)}/s`,
    axis: tick,
    lines({ bins, endpoints }, names) {
      const perSecond = (/** @type {number} */ requests) => requests / BIN_SECONDS
      if (endpoints.size === 0 || endpoints.size > MAX_LINES) {
        return [{ label: 'all endpoints', values: bins.map(({ requests }) => perSecond(requests)) }]
      }
      return [...endpoints]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([address, counts]) => ({
          label: names.get(address) ?? address,
          values: counts.map(perSecond),
        }))
    },
    says: (lines) => latest(lines, (value) => `${rate(value)} per second`),
  },
  {
    title: 'Cached tokens per second',
    unit: (value) => `${short(Math.round(value))}/s`,
    axis: tick,
    lines: ({ bins }) => [
      {
        label: 'predicted',
        values: bins.map(({ predictedTokens }) => predictedTokens / BIN_SECONDS),
      },
      {
        label: 'actual',
        values: bins.map(({ comparedCachedTokens }) => comparedCachedTokens / BIN_SECONDS),
      },
    ],
    says: (lines) => latest(lines, (value) => `${count(Math.round(value))} tokens per second`),
  },
  {
    title: 'Hit rate',
    unit: percent,
    axis: (value) => `${Math.round(value * 100)} %`,
    most: 1,
    lines: ({ bins }) => [
      { label: 'highest possible', values: ratios(bins, 'offeredTokens') },
      { label: 'hit rate', values: ratios(bins, 'comparedCachedTokens') },
    ],
    says: (lines) => latest(lines, percent),
  },
  {
    title: 'Tokens saved in this time',
    unit: (value) => short(Math.round(value)),
    axis: tick,
    lines({ bins }) {
      let sum = 0
      return [{ label: 'saved', values: bins.map(({ cachedTokens }) => (sum += cachedTokens)) }]
    },
    says: (lines) => latest(lines, (value) => `${count(value)} tokens`),
  },
]

/**
 * @param {Bins['bins']} bins
 * @param {'offeredTokens' | 'comparedCachedTokens'} part
 */
function ratios(bins, part) {
  return bins.map((_, i) => {
    const near = bins.slice(Math.max(0, i - SMOOTHED_BINS + 1), i + 1)
    const all = near.reduce((sum, bin) => sum + bin.comparedPromptTokens, 0)
    return all === 0 ? null : near.reduce((sum, bin) => sum + bin[part], 0) / all
  })
}

/**
 * @param {readonly Line[]} lines
 * @param {(value: number) => string} unit
 */
function latest(lines, unit) {
  return lines
    .map(({ label, values }) => {
      const known = values.filter((value) => value !== null)
      const last = known.at(-1)
      if (last === undefined) return `${label}: nothing known yet`
      return `${label}: now ${unit(last)}, at least ${unit(Math.min(...known))}, at most ${unit(Math.max(...known))}`
    })
    .join('; ')
}
