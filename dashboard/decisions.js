import { byId, element, rove, Slots, setAttribute, setText } from './elements.js'
import { count, duration, score, shortNames, time, UNKNOWN } from './format.js'
import { fillScoreBar, makeScoreBar } from './score-bar.js'

/**
 * @typedef {import('../src/admin/decision-summary.ts').DecisionSummary} Decision
 * @typedef {import('../src/admin/decision-summary.ts').Standing} Standing
 */

/** The newest decisions. They stand still while somebody points at one. */
export class Decisions {
  #body = byId('decision-rows', HTMLElement)
  #shown = byId('decisions-shown', HTMLElement)
  #rows = new Slots(this.#body, makeRow)
  #rove = rove(this.#body, 'tr')
  /** @type {readonly Decision[]} */
  #held = []

  /** @param {(requestId: string) => void} open */
  constructor(open) {
    /** @param {Event} event */
    const opened = (event) => {
      const { target } = event
      const row = target instanceof Element ? target.closest('tr') : null
      const id = row?.getAttribute('data-request')
      if (!id) return
      event.preventDefault()
      open(id)
    }
    this.#body.addEventListener('click', opened)
    this.#body.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') opened(event)
    })
  }

  /** @param {import('../src/admin/overview.ts').Overview} overview */
  show({ decisions, endpoints }) {
    const names = new Map(
      endpoints.map((each) => [`${each.pool ?? ''} ${each.address}`, each.name]),
    )
    /** @param {string | undefined} pool @param {string} address */
    const name = (pool, address) => names.get(`${pool ?? ''} ${address}`) ?? address
    const isLooked =
      this.#body.matches(':hover, :focus-within') || document.querySelector('dialog[open]') !== null
    const fresh = new Map(decisions.map((decision) => [keyOf(decision), decision]))
    const [first] = this.#held
    if (isLooked && first) {
      const newer = decisions.findIndex((each) => keyOf(each) === keyOf(first))
      const words = newer < 0 ? `at least ${decisions.length}` : newer
      this.#held = this.#held.map((held) => fresh.get(keyOf(held)) ?? held)
      setText(this.#shown, newer === 0 ? newest(this.#held) : `held while you look, ${words} newer`)
    } else {
      this.#held = decisions
      setText(this.#shown, newest(decisions))
    }
    const rows = this.#rows.take(this.#held.length)
    for (const [i, decision] of this.#held.entries()) fillRow(rows[i], decision, name)
    this.#rove.refresh()
  }
}

/** @param {readonly Decision[]} decisions */
function newest(decisions) {
  if (decisions.length === 0) return 'no request yet'
  return [`the newest ${decisions.length}`, ...agreements(decisions)].join(', ')
}

/**
 * How often each shadow profile would have picked the same endpoint, in words.
 *
 * @param {readonly Decision[]} decisions
 * @returns {readonly string[]}
 */
function agreements(decisions) {
  /** @type {Map<string, { same: number, all: number }>} */
  const counts = new Map()
  for (const { shadows = {} } of decisions) {
    for (const [profile, { result }] of Object.entries(shadows)) {
      const { same, all } = counts.get(profile) ?? { same: 0, all: 0 }
      counts.set(profile, { same: same + Number(result === 'same'), all: all + 1 })
    }
  }
  return [...counts].map(
    ([profile, { same, all }]) => `shadow ${profile} agrees in ${same} of ${all}`,
  )
}

/** @param {Decision} decision */
function keyOf({ requestId, atMs }) {
  return `${requestId} ${atMs}`
}

function makeRow() {
  const standing = (/** @type {string} */ kind) =>
    element('div', { class: `standing ${kind}` }, makeScoreBar(), element('span'))
  const cells = Array.from({ length: 9 }, (_, i) =>
    element('td', [5, 6, 8].includes(i) ? { class: 'number' } : {}),
  )
  cells[1]?.append(element('a', { tabindex: '-1' }))
  cells[4]?.append(standing('won'), standing('lost'))
  return element('tr', { tabindex: '-1' }, ...cells)
}

/**
 * @param {HTMLElement | undefined} row
 * @param {Decision} decision
 * @param {(pool: string | undefined, address: string) => string} name
 */
function fillRow(row, decision, name) {
  if (!row) return
  const { requestId, winner, runnerUp, promptTokens, predictedCachedTokens: matched } = decision
  setAttribute(row, 'data-request', requestId)
  const cells = /** @type {HTMLElement[]} */ ([...row.children])
  /** @type {(i: number, text: string, title?: string) => void} */
  const put = (i, text, title) => {
    const cell = cells[i]
    if (!cell) return
    setText(cell, text)
    setAttribute(cell, 'title', title)
  }
  put(0, time(decision.atMs))
  const link = cells[1]?.firstElementChild
  if (link) {
    setText(link, requestId)
    setAttribute(link, 'href', `#decision/${encodeURIComponent(requestId)}`)
    setAttribute(link, 'title', requestId)
  }
  const renamed = decision.targetModel !== decision.model ? ` → ${decision.targetModel}` : ''
  put(2, decision.model + renamed, decision.model + renamed)
  put(3, name(decision.pool, decision.endpoint), decision.endpoint)
  const whole = Math.max(winner?.total ?? 0, runnerUp?.total ?? 0)
  const scorers = shortNames(decision.scorers)
  fillStanding(cells[4]?.children[0], winner, whole, scorers, '')
  const runner = runnerUp && name(decision.pool, runnerUp.endpoint)
  fillStanding(cells[4]?.children[1], runnerUp, whole, scorers, runner ?? 'no other endpoint')
  put(5, winner && runnerUp ? score(winner.total - runnerUp.total) : UNKNOWN, tieWords(decision))
  const estimate = promptTokens && !promptTokens.exact ? '≈' : ''
  put(
    6,
    promptTokens ? `${count(matched)} / ${estimate}${count(promptTokens.count)}` : UNKNOWN,
    estimate === '' ? undefined : 'the number of prompt tokens is an estimate',
  )
  put(7, statusOf(decision), decision.remark)
  put(8, duration(decision.firstByteMs))
}

/**
 * @param {Element | undefined} line
 * @param {Standing | undefined} standing
 * @param {number} whole
 * @param {readonly string[]} scorers
 * @param {string} name
 */
function fillStanding(line, standing, whole, scorers, name) {
  const [bar, words] = /** @type {[SVGElement, Element]} */ ([...(line?.children ?? [])])
  fillScoreBar(bar, standing?.weighted ?? [], whole)
  const shares = standing?.weighted.map((value, i) => `${scorers[i]} ${score(value)}`) ?? []
  const sum = standing ? `${score(standing.total)} = ${shares.join(' + ') || 'no scorer'}` : ''
  const text = [name, sum].filter((part) => part !== '').join(': ')
  setText(words, text)
  setAttribute(words, 'title', text)
}

/** @param {Decision} decision */
function tieWords({ ties }) {
  return ties > 1 ? `${ties} endpoints shared the highest score` : undefined
}

/** @param {Decision} decision what became of it, in a word or two */
export function statusOf({ status, ended }) {
  if (ended === 'not-watched') return 'not seen'
  if (ended === undefined) return status === undefined ? 'waiting' : `${status} …`
  return ended === 'completed' ? `${status ?? '✓'}` : `${status ?? ''} ${ended}`.trim()
}
