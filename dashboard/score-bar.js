import { setAttribute } from './elements.js'

const SVG = 'http://www.w3.org/2000/svg'
const COLOURS = 6

/** A bar of the shares of one sum; words stand beside it, so it is no more than a picture. */
export function makeScoreBar() {
  const bar = document.createElementNS(SVG, 'svg')
  bar.setAttribute('class', 'score-bar')
  bar.setAttribute('viewBox', '0 0 100 1')
  bar.setAttribute('preserveAspectRatio', 'none')
  bar.setAttribute('aria-hidden', 'true')
  return bar
}

/**
 * @param {SVGElement} bar
 * @param {readonly number[]} shares
 * @param {number} whole what the whole width stands for
 */
export function fillScoreBar(bar, shares, whole) {
  while (bar.childElementCount < shares.length) {
    bar.append(document.createElementNS(SVG, 'rect'))
  }
  let x = 0
  for (const [i, rect] of [...bar.children].entries()) {
    const width = whole > 0 ? (Math.max(0, shares[i] ?? 0) / whole) * 100 : 0
    setAttribute(rect, 'class', `share-${i % COLOURS}`)
    setAttribute(rect, 'x', x.toFixed(2))
    setAttribute(rect, 'width', Math.max(0, width - (width > 1 ? 0.6 : 0)).toFixed(2))
    setAttribute(rect, 'height', '1')
    x += width
  }
}
