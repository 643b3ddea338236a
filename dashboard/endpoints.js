import { byId, element, rove, Slots, setAttribute, setText } from './elements.js'
import { age, count, percent, short } from './format.js'
import { loadOf, troublesOf } from './trouble.js'

/**
 * @typedef {import('../src/admin/overview.ts').OverviewEndpoint} Endpoint
 * @typedef {{ endpoint: Endpoint, troubles: readonly string[], load: number, hits: number | undefined }} Line
 */

/** From so many on every endpoint has a cell besides its row. */
const MANY = 25
/** Rows out of sight that are written all the same. */
const MARGIN_ROWS = 4
/** How often rows may change places. */
const ORDER_MS = 5000

/** @type {Readonly<Record<string, (a: Line, b: Line) => number>>} */
const ORDERS = {
  trouble: (a, b) => b.troubles.length - a.troubles.length || b.load - a.load,
  load: (a, b) => b.load - a.load,
  kv: (a, b) => (b.endpoint.kvCacheUsage ?? 0) - (a.endpoint.kvCacheUsage ?? 0),
  hits: (a, b) => (b.hits ?? -1) - (a.hits ?? -1),
  name: () => 0,
}

/** The model servers: a row for each, and where there are many a cell for each besides. */
export class Endpoints {
  #filter = byId('endpoint-filter', HTMLInputElement)
  #order = byId('endpoint-order', HTMLSelectElement)
  #shown = byId('endpoints-shown', HTMLElement)
  #body = byId('endpoint-rows', HTMLElement)
  #cellBox = byId('endpoint-cells', HTMLElement)
  #scroll = byId('endpoint-scroll', HTMLElement)
  #rows = new Slots(this.#body, makeRow)
  #cells = new Slots(this.#cellBox, makeCell)
  #roveRows = rove(this.#body, 'tr')
  #roveCells = rove(this.#cellBox, 'button')
  /** @type {readonly Endpoint[]} */
  #endpoints = []
  /** Addresses in the order of the rows. @type {string[]} */
  #places = []
  #orderedMs = Number.NEGATIVE_INFINITY
  /** The places with which every row was written. */
  #written = ''

  /** @param {(address: string) => void} open */
  constructor(open) {
    for (const control of [this.#filter, this.#order]) {
      control.addEventListener('input', () => {
        this.#orderedMs = Number.NEGATIVE_INFINITY
        this.#draw()
      })
    }
    /** @param {Event} event */
    const opened = ({ target }) => {
      const row = target instanceof Element ? target.closest('[data-address]') : null
      const address = row?.getAttribute('data-address')
      if (address) open(address)
    }
    for (const box of [this.#body, this.#cellBox]) box.addEventListener('click', opened)
    this.#scroll.addEventListener('scroll', () => this.#draw())
    this.#body.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') opened(event)
    })
  }

  /** @param {readonly Endpoint[]} endpoints */
  show(endpoints) {
    this.#endpoints = endpoints
    this.#draw()
  }

  #draw() {
    const lines = this.#endpoints.map((endpoint) => lineOf(endpoint, this.#endpoints))
    const shown = this.#placed(
      lines.filter(({ endpoint, troubles }) => this.#fits(endpoint, troubles)),
    )
    setText(
      this.#shown,
      shown.length === lines.length ? `${lines.length}` : `${shown.length} of ${lines.length}`,
    )
    const rows = this.#rows.take(shown.length)
    // What is scrolled out of sight is written when places change, and when it comes into sight.
    const places = `${this.#orderedMs} ${shown.map(({ endpoint }) => keyOf(endpoint)).join('\n')}`
    const isSame = places === this.#written
    this.#written = places
    const { clientHeight, scrollTop } = this.#scroll
    const height = rows[0]?.offsetHeight || 1
    const first = isSame ? Math.floor(scrollTop / height) - MARGIN_ROWS : 0
    const end = isSame ? Math.ceil((scrollTop + clientHeight) / height) + MARGIN_ROWS : shown.length
    for (const [i, line] of shown.entries()) if (i >= first && i < end) fillRow(rows[i], line)
    this.#roveRows.refresh()
    const isMany = lines.length >= MANY
    this.#cellBox.hidden = !isMany
    if (!isMany) return
    const byName = lines.toSorted((a, b) => compareNames(a.endpoint, b.endpoint))
    const cells = this.#cells.take(byName.length)
    for (const [i, line] of byName.entries()) fillCell(cells[i], line, shown.includes(line))
    this.#roveCells.refresh()
  }

  /**
   * @param {Endpoint} endpoint
   * @param {readonly string[]} troubles
   */
  #fits({ name, address, version, pool, index }, troubles) {
    const text = [name, address, version, pool, index, ...troubles].join(' ').toLowerCase()
    return this.#filter.value
      .toLowerCase()
      .split(/\s+/)
      .every((word) => text.includes(word))
  }

  /**
   * In order. Rows change places only now and then, and not while somebody points at one.
   *
   * @param {readonly Line[]} lines
   */
  #placed(lines) {
    const isDue = performance.now() - this.#orderedMs >= ORDER_MS
    const isWanted = this.#orderedMs === Number.NEGATIVE_INFINITY
    if (isWanted || (isDue && !this.#body.matches(':hover, :focus-within'))) {
      const order = ORDERS[this.#order.value] ?? ORDERS.name
      this.#orderedMs = performance.now()
      this.#places = lines
        .toSorted((a, b) => order?.(a, b) || compareNames(a.endpoint, b.endpoint))
        .map(({ endpoint }) => keyOf(endpoint))
    }
    const places = new Map(this.#places.map((key, i) => [key, i]))
    const placeOf = (/** @type {Line} */ { endpoint }) => places.get(keyOf(endpoint)) ?? places.size
    return lines.toSorted((a, b) => placeOf(a) - placeOf(b))
  }
}

/** @param {Endpoint} endpoint */
function keyOf({ pool = '', name, address }) {
  return `${pool} ${name} ${address}`
}

/**
 * @param {Endpoint} a
 * @param {Endpoint} b
 */
function compareNames(a, b) {
  return names.compare(a.name, b.name) || names.compare(a.address, b.address)
}
const names = new Intl.Collator('en', { numeric: true })

/**
 * @param {Endpoint} endpoint
 * @param {readonly Endpoint[]} all
 * @returns {Line}
 */
function lineOf(endpoint, all) {
  const { promptTokens = 0, cachedTokens = 0 } = endpoint.cache ?? {}
  return {
    endpoint,
    troubles: troublesOf(endpoint, all),
    load: loadOf(endpoint),
    hits: promptTokens === 0 ? undefined : cachedTokens / promptTokens,
  }
}

function makeRow() {
  const cells = Array.from({ length: 12 }, (_, i) => {
    const isNumber = [2, 3, 5, 6, 9, 10].includes(i)
    const cell = element('td', isNumber ? { class: 'number' } : {})
    if (i === 0) return element('th', { scope: 'row' }, element('b'), element('small'))
    if (i === 4 || i === 7) {
      cell.append(element('span', { class: 'meter' }, element('i')), element('span'))
    }
    if (i === 8) cell.append(element('span'), element('small'))
    return cell
  })
  return element('tr', { tabindex: '-1' }, ...cells)
}

/**
 * @param {HTMLElement | undefined} row
 * @param {Line} line
 */
function fillRow(row, { endpoint, troubles, hits }) {
  if (!row) return
  setAttribute(row, 'data-address', endpoint.address)
  setAttribute(row, 'data-state', troubles.length === 0 ? 'good' : 'bad')
  const cells = /** @type {Element[]} */ ([...row.children])
  /** @type {(i: number, text: string) => void} */
  const put = (i, text) => {
    const cell = cells[i]
    if (cell) setText(cell, text)
  }
  pair(cells[0], endpoint.name, endpoint.address)
  setAttribute(/** @type {Element} */ (cells[0]), 'title', `${endpoint.name} ${endpoint.address}`)
  put(1, troubles.length === 0 ? '✓ fine' : `! ${troubles.join('; ')}`)
  setAttribute(/** @type {Element} */ (cells[1]), 'title', troubles.join('; '))
  put(2, count(endpoint.waiting))
  put(3, count(endpoint.running))
  meter(cells[4], endpoint.kvCacheUsage)
  put(5, count(endpoint.inFlight))
  put(6, short(endpoint.inFlightTokens))
  meter(cells[7], hits)
  pair(cells[8], endpoint.index ?? '–', endpoint.blocks ? `${short(endpoint.blocks)} blocks` : '')
  put(9, age(endpoint.lastEventAgeMs))
  put(10, age(endpoint.scrapeAgeMs))
  put(11, endpoint.version ?? '–')
}

/**
 * @param {Element | undefined} cell
 * @param {string} first
 * @param {string} second
 */
function pair(cell, first, second) {
  const [a, b] = /** @type {[Element, Element]} */ ([...(cell?.children ?? [])])
  setText(a, first)
  setText(b, second)
}

/**
 * @param {Element | undefined} cell
 * @param {number | undefined} share
 */
function meter(cell, share) {
  const [bar, text] = /** @type {[Element, Element]} */ ([...(cell?.children ?? [])])
  fill(bar.firstElementChild, share ?? 0)
  setText(text, percent(share))
}

/**
 * @param {Element | null} bar
 * @param {number} share of its width
 */
function fill(bar, share) {
  if (!(bar instanceof HTMLElement)) return
  const transform = `scaleX(${Math.max(0, Math.min(1, share)).toFixed(3)})`
  if (bar.style.transform !== transform) bar.style.transform = transform
}

function makeCell() {
  return element('button', { type: 'button', tabindex: '-1' }, element('i'), element('span'))
}

/**
 * @param {HTMLElement | undefined} cell
 * @param {Line} line
 * @param {boolean} isShown false where the filter leaves it out
 */
function fillCell(cell, { endpoint, troubles, load }, isShown) {
  if (!cell) return
  const [bar, text] = /** @type {[Element, Element]} */ ([...cell.children])
  setAttribute(cell, 'data-address', endpoint.address)
  setAttribute(cell, 'data-state', troubles.length === 0 ? 'good' : 'bad')
  setAttribute(cell, 'data-out', isShown ? undefined : '')
  fill(bar, endpoint.kvCacheUsage ?? 0)
  const shown = `${troubles.length === 0 ? '' : '!'}${short(load)}`
  setText(text, shown)
  const words = `${shown} at ${endpoint.name}: ${count(endpoint.running)} running, ${count(endpoint.waiting)} waiting, KV ${percent(endpoint.kvCacheUsage)}${troubles.length === 0 ? '' : `, ${troubles.join(', ')}`}`
  setAttribute(cell, 'aria-label', words)
  setAttribute(cell, 'title', words)
}
