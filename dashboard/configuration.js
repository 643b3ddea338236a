import { byId, element, setText } from './elements.js'
import { time } from './format.js'
import { ask } from './poll.js'

/** @typedef {import('../src/admin/sources.ts').ConfigPage} ConfigPage */

/** The running configuration; its text is asked for again when it has changed. */
export class Configuration {
  #facts = byId('config-facts', HTMLElement)
  #text = byId('config-text', HTMLElement)
  #pool = byId('config-pool', HTMLSelectElement)
  #poolLabel = byId('config-pool-label', HTMLElement)
  /** @type {readonly ConfigPage[]} */
  #pages = []
  #known = ''

  constructor() {
    this.#pool.addEventListener('input', () => this.#draw())
  }

  /** @param {import('../src/admin/overview.ts').Overview} overview */
  async show({ configurations }) {
    const known = JSON.stringify(configurations)
    if (known === this.#known) return
    this.#known = known
    try {
      /** @type {ConfigPage | readonly ConfigPage[]} */
      const page = await ask('/config')
      this.#pages = [page].flat()
    } catch {
      // The next overview asks again, and says itself when the picker is out of reach.
      this.#known = ''
      return
    }
    this.#poolLabel.hidden = this.#pages.length < 2
    const chosen = this.#pool.value
    this.#pool.replaceChildren(
      ...this.#pages.map(({ pool = 'the only one' }) => element('option', { value: pool }, pool)),
    )
    if (this.#pages.some(({ pool }) => pool === chosen)) this.#pool.value = chosen
    this.#draw()
  }

  #draw() {
    const page = this.#pages[Math.max(0, this.#pool.selectedIndex)]
    if (!page) return
    const { lastReload, warnings, needsRestart } = page
    /** @param {unknown} problem */
    const words = (problem) => {
      const { line, path, message } = /** @type {any} */ (problem) ?? {}
      return [line && `line ${line}`, path, message ?? JSON.stringify(problem)]
        .filter(Boolean)
        .join(': ')
    }
    /** @type {readonly (readonly [string, string, (string | undefined)?])[]} */
    const shown = [
      ['Generation', String(page.generation)],
      ['Source', page.source],
      lastReload === undefined
        ? ['Last reload', 'none since the start']
        : lastReload.result === 'ok'
          ? ['Last reload', `✓ taken over at ${time(Date.parse(lastReload.at))}`]
          : [
              'Last reload',
              `✕ refused at ${time(Date.parse(lastReload.at))}, generation ${page.generation} goes on: ${lastReload.result}`,
              'bad',
            ],
      [
        'Warnings',
        warnings.length === 0 ? 'none' : warnings.map(words).join('\n'),
        warnings.length > 0 ? 'warn' : undefined,
      ],
      [
        'Needs a restart',
        needsRestart.length === 0 ? 'nothing' : needsRestart.join('\n'),
        needsRestart.length > 0 ? 'warn' : undefined,
      ],
    ]
    this.#facts.replaceChildren(
      ...shown.map(([name, value, state]) =>
        element(
          'div',
          state === undefined ? {} : { 'data-state': state },
          element('dt', {}, name),
          element('dd', {}, value),
        ),
      ),
    )
    setText(this.#text, page.text)
  }
}
