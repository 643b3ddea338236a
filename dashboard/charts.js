import { KINDS } from './chart-kinds.js'
import { byId, element, setAttribute, setText } from './elements.js'
import { time } from './format.js'
import { BIN_SECONDS } from './timeline.js'
import uPlot from './uplot.js'

/**
 * @typedef {import('./chart-kinds.js').Bins} Bins
 * @typedef {import('./chart-kinds.js').Line} Line
 * @typedef {import('./chart-kinds.js').Kind} Kind
 */

const HEIGHT = 150
/** Told apart without colour. */
const DASHES = [[], [6, 3], [2, 2], [10, 3, 2, 3], [4, 4], [1, 3]]
/** Steps between times on the axis, in seconds. */
const MINUTES = [60, 120, 300, 600]

/** The charts, each with its words and its table. */
export class Charts {
  #charts = KINDS.map((kind) => new Chart(byId('charts', HTMLElement), kind))

  /**
   * @param {import('./timeline.js').Timeline} timeline
   * @param {import('../src/admin/overview.ts').Overview} overview
   */
  show(timeline, { endpoints }) {
    const bins = timeline.bins()
    const names = new Map(endpoints.map(({ address, name }) => [address, name]))
    for (const chart of this.#charts) chart.show(bins, names)
  }

  /** Draws anew, with the colours that the page has then. */
  redraw() {
    for (const chart of this.#charts) chart.redraw()
  }
}

class Chart {
  #kind
  #box = element('div', { class: 'plot', 'aria-hidden': 'true' })
  #legend = element('ul', { class: 'legend' })
  #words = element('p', { class: 'visually-hidden' })
  #table = element('div', {
    class: 'chart-table scroll',
    tabindex: '0',
    role: 'region',
    hidden: '',
  })
  #toggle
  /** @type {uPlot | undefined} */
  #plot
  #labels = ''
  /** @type {readonly number[]} */
  #times = []
  /** @type {readonly Line[]} */
  #lines = []

  /**
   * @param {HTMLElement} parent
   * @param {Kind} kind
   */
  constructor(parent, kind) {
    this.#kind = kind
    const title = `chart-${kind.title.toLowerCase().replaceAll(/[^a-z]+/g, '-')}`
    this.#toggle = element(
      'button',
      { type: 'button', 'aria-expanded': 'false', 'aria-label': `${kind.title} as a table` },
      'Table',
    )
    this.#table.setAttribute('aria-label', `${kind.title}, minute by minute`)
    this.#toggle.addEventListener('click', () => {
      this.#table.hidden = !this.#table.hidden
      this.#box.hidden = !this.#table.hidden
      setAttribute(this.#toggle, 'aria-expanded', String(!this.#table.hidden))
      setText(this.#toggle, this.#table.hidden ? 'Table' : 'Chart')
      this.#fillTable()
    })
    parent.append(
      element(
        'figure',
        { 'aria-labelledby': title },
        element('figcaption', {}, element('h3', { id: title }, kind.title), this.#toggle),
        this.#words,
        this.#box,
        this.#table,
        this.#legend,
      ),
    )
    new ResizeObserver(() => this.#resize()).observe(this.#box)
  }

  /**
   * @param {Bins} bins
   * @param {ReadonlyMap<string, string>} names
   */
  show(bins, names) {
    this.#times = bins.times
    this.#lines = this.#kind.lines(bins, names)
    this.#fillLegend()
    setText(this.#words, `${this.#kind.title}. ${this.#kind.says(this.#lines)}.`)
    const data = /** @type {uPlot.AlignedData} */ ([
      this.#times,
      ...this.#lines.map(({ values }) => values),
    ])
    const labels = this.#lines.map(({ label }) => label).join('\n')
    if (this.#plot === undefined || labels !== this.#labels) {
      this.#labels = labels
      this.#plot?.destroy()
      this.#plot = new uPlot(this.#options(), data, this.#box)
    } else this.#plot.setData(data)
    if (!this.#table.hidden) this.#fillTable()
  }

  redraw() {
    this.#plot?.redraw(false, true)
  }

  #resize() {
    const width = this.#box.clientWidth
    if (this.#plot && width > 0) this.#plot.setSize({ width, height: HEIGHT })
  }

  /** @returns {uPlot.Options} */
  #options() {
    const resolved = (/** @type {number} */ i) => () => {
      const swatch = this.#legend.querySelectorAll('svg')[i]
      return swatch ? getComputedStyle(swatch).color : '#888'
    }
    const muted = () => getComputedStyle(this.#box).color
    const grid = { stroke: () => getComputedStyle(this.#box).borderTopColor, width: 1 }
    const axis = { stroke: muted, grid, ticks: { show: false }, font: '11px system-ui, sans-serif' }
    const { most, axis: inWords } = this.#kind
    return {
      width: Math.max(120, this.#box.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      cursor: { drag: { setScale: false, x: false, y: false }, points: { show: false } },
      scales: {
        x: { time: true },
        y: { range: (_self, _least, greatest) => [0, most ?? Math.max(1, (greatest ?? 0) * 1.1)] },
      },
      axes: [
        {
          ...axis,
          size: 24,
          space: 60,
          incrs: MINUTES,
          values: (_self, at) => at.map((second) => time(second * 1000).slice(0, 5)),
        },
        { ...axis, size: 44, space: 32, values: (_self, at) => at.map(inWords) },
      ],
      series: [
        {},
        ...this.#lines.map(({ label }, i) => ({
          label,
          stroke: resolved(i),
          width: 1.75,
          dash: DASHES[i % DASHES.length] ?? [],
          points: { show: false },
        })),
      ],
    }
  }

  #fillLegend() {
    while (this.#legend.childElementCount > this.#lines.length)
      this.#legend.lastElementChild?.remove()
    for (const [i, { label, values }] of this.#lines.entries()) {
      const item = this.#legend.children[i] ?? this.#legend.appendChild(legendItem(i))
      const last = values.findLast((value) => value !== null)
      setText(/** @type {Element} */ (item.children[1]), label)
      setText(
        /** @type {Element} */ (item.children[2]),
        last === undefined || last === null ? '–' : this.#kind.unit(last),
      )
    }
  }

  #fillTable() {
    if (this.#table.hidden) return
    const perMinute = 60 / BIN_SECONDS
    const rows = this.#times
      .map((second, i) => ({ second, i }))
      .filter(({ i }) => (this.#times.length - 1 - i) % perMinute === 0)
      .reverse()
    this.#table.replaceChildren(
      element(
        'table',
        {},
        element(
          'thead',
          {},
          element(
            'tr',
            {},
            element('th', { scope: 'col' }, 'Time'),
            ...this.#lines.map(({ label }) =>
              element('th', { scope: 'col', class: 'number' }, label),
            ),
          ),
        ),
        element(
          'tbody',
          {},
          ...rows.map(({ second, i }) =>
            element(
              'tr',
              {},
              element('th', { scope: 'row' }, time(second * 1000)),
              ...this.#lines.map(({ values }) => {
                const value = values[i]
                return element(
                  'td',
                  { class: 'number' },
                  value === null || value === undefined ? '–' : this.#kind.unit(value),
                )
              }),
            ),
          ),
        ),
      ),
    )
  }
}

/** @param {number} i */
function legendItem(i) {
  const namespace = 'http://www.w3.org/2000/svg'
  const swatch = document.createElementNS(namespace, 'svg')
  for (const [name, value] of [
    ['viewBox', '0 0 22 6'],
    ['width', '22'],
    ['height', '6'],
    ['aria-hidden', 'true'],
    ['class', `line-${i}`],
  ]) {
    swatch.setAttribute(/** @type {string} */ (name), /** @type {string} */ (value))
  }
  const line = document.createElementNS(namespace, 'path')
  line.setAttribute('d', 'M0 3H22')
  line.setAttribute('stroke-dasharray', (DASHES[i % DASHES.length] ?? []).join(' '))
  swatch.append(line)
  return element('li', {}, swatch, element('span'), element('b'))
}
