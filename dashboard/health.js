import { byId, element, Slots, setAttribute, setText } from './elements.js'
import { age, time } from './format.js'

/** @typedef {import('../src/admin/overview.ts').Overview} Overview */

/** What is blind or stale, and whether the picker is ready. */
export class Health {
  #title = byId('health-title', HTMLElement)
  #section = byId('health', HTMLElement)
  #ready = byId('ready', HTMLElement)
  #notices = new Slots(byId('notices', HTMLElement), () =>
    element('li', {}, element('span'), element('small')),
  )
  #checks = new Slots(byId('checks', HTMLElement), () =>
    element('li', {}, element('b'), element('span')),
  )

  /**
   * Says that what is shown is not what is.
   *
   * @param {number | undefined} sinceMs when the picker answered last
   */
  lost(sinceMs) {
    const when = sinceMs === undefined ? '' : `: all below is from ${time(sinceMs)}`
    setAttribute(this.#section, 'data-state', 'blind')
    setText(this.#title, `! The picker is not reached${when}`)
    setAttribute(this.#ready, 'data-state', 'bad')
    setText(this.#ready, '? unknown')
  }

  /** @param {Overview} overview */
  show({ notices, checks, nowMs }) {
    const failed = checks.filter(({ ok }) => !ok)
    const isCalm = notices.length === 0
    setAttribute(this.#section, 'data-state', isCalm ? 'calm' : 'blind')
    setText(
      this.#title,
      isCalm
        ? '✓ Nothing is blind'
        : `! ${notices.length === 1 ? 'One thing is' : `${notices.length} things are`} blind or stale`,
    )
    const shown = isCalm
      ? [
          {
            key: '',
            text: 'Nothing is known to be missing, stale or without effect.',
            sinceEpochMs: Number.NaN,
          },
        ]
      : notices
    const items = this.#notices.take(shown.length)
    for (const [i, { key, text, sinceEpochMs }] of shown.entries()) {
      const [words, since] = /** @type {[Element, Element]} */ ([...(items[i]?.children ?? [])])
      setText(words, sentence(text))
      setText(since, key === '' ? '' : `${key}, for ${age(Math.max(0, nowMs - sinceEpochMs))}`)
    }
    setText(this.#ready, failed.length === 0 ? '✓ ready' : '✕ not ready')
    setAttribute(this.#ready, 'data-state', failed.length === 0 ? 'good' : 'bad')
    const conditions = this.#checks.take(checks.length)
    for (const [i, { name, ok, detail }] of checks.entries()) {
      const item = conditions[i]
      const [title, words] = /** @type {[Element, Element]} */ ([...(item?.children ?? [])])
      if (item) setAttribute(item, 'data-state', ok ? 'good' : 'bad')
      setText(title, `${ok ? '✓' : '✕'} ${name}`)
      setText(words, detail)
    }
  }
}

/** @param {string} text */
function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1)
}
