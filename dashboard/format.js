const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 })
const clock = new Intl.DateTimeFormat('en-GB', {
  ...{ hour: '2-digit', minute: '2-digit', second: '2-digit' },
})

/** What stands where nothing is known. */
export const UNKNOWN = '–'

/** @param {number | undefined} value */
export function count(value) {
  return value === undefined ? UNKNOWN : whole.format(value)
}

/** @param {number | undefined} value large ones shortened */
export function short(value) {
  if (value === undefined) return UNKNOWN
  return value < 10_000 ? whole.format(value) : compact.format(value)
}

/** @param {number} value on an axis, where there is little room */
export function tick(value) {
  return compact.format(value)
}

/** @param {number | undefined} share in [0, 1] */
export function percent(share) {
  return share === undefined || Number.isNaN(share) ? UNKNOWN : `${(share * 100).toFixed(1)} %`
}

/** @param {number | undefined} value a score or a sum of scores */
export function score(value) {
  return value === undefined ? UNKNOWN : value.toFixed(2)
}

/** @param {number} perSecond */
export function rate(perSecond) {
  return perSecond < 100 ? perSecond.toFixed(1) : whole.format(perSecond)
}

/** @param {number | undefined} ms */
export function age(ms) {
  if (ms === undefined) return UNKNOWN
  if (ms < 9950) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  if (seconds < 120) return `${seconds} s`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`
  return `${Math.round(seconds / 86_400)} d`
}

/** @param {number | undefined | null} ms */
export function duration(ms) {
  if (ms === undefined || ms === null) return UNKNOWN
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`
  return `${(ms / 1000).toFixed(2)} s`
}

/** @param {number} epochMs */
export function time(epochMs) {
  return clock.format(epochMs)
}

/**
 * Names of scorers as short as they can be told apart.
 *
 * @param {readonly string[]} names
 * @returns {readonly string[]}
 */
export function shortNames(names) {
  const words = names.map((name) => name.replace(/-scorer$/, '').split('-'))
  return words.map((own, i) => {
    for (let length = 1; length < own.length; length++) {
      const prefix = own.slice(0, length).join('-')
      const isOwn = words.every((w, j) => j === i || w.slice(0, length).join('-') !== prefix)
      if (isOwn) return prefix
    }
    return own.join('-')
  })
}
