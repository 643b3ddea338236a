import { decisionDetail } from './decision-detail.js'
import { byId, element, setText } from './elements.js'
import { endpointDetail } from './endpoint-detail.js'
import { ask, Refused } from './poll.js'

const KINDS = ['decision', 'endpoint']

/** The dialog with all there is to one decision or one endpoint; what it shows is in the page's address. */
export class Detail {
  #dialog = byId('detail', HTMLDialogElement)
  #title = byId('detail-title', HTMLElement)
  #body = byId('detail-body', HTMLElement)
  /** @type {(address: string) => string | undefined} */
  #nameOf
  /** Where the dialog was opened from. @type {HTMLElement | undefined} */
  #from

  /** @param {(address: string) => string | undefined} nameOf the endpoint of that `host:port` */
  constructor(nameOf) {
    this.#nameOf = nameOf
    byId('detail-close', HTMLElement).addEventListener('click', () => this.#dialog.close())
    this.#dialog.addEventListener('click', ({ target }) => {
      if (target === this.#dialog) this.#dialog.close()
    })
    this.#dialog.addEventListener('close', () => {
      if (address()) history.replaceState(null, '', location.pathname)
      this.#from?.focus()
      this.#from = undefined
    })
    addEventListener('hashchange', () => void this.follow())
  }

  /**
   * @param {'decision' | 'endpoint'} kind
   * @param {string} name
   */
  open(kind, name) {
    const hash = `#${kind}/${encodeURIComponent(name)}`
    if (location.hash === hash) void this.follow()
    else location.hash = hash
  }

  /** Opens what the page's address names, if it names something. */
  async follow() {
    const asked = address()
    if (!asked) return this.#dialog.open ? this.#dialog.close() : undefined
    const { kind, name } = asked
    if (!this.#dialog.open) {
      if (
        document.activeElement instanceof HTMLElement &&
        document.activeElement !== document.body
      ) {
        this.#from = document.activeElement
      }
      this.#dialog.showModal()
    }
    setText(this.#title, kind === 'decision' ? `Decision ${name}` : `Endpoint ${name}`)
    this.#body.replaceChildren(element('p', { class: 'muted' }, 'asking …'))
    const children = await contentOf(kind, name, this.#nameOf)
    if (address()?.name === name) this.#body.replaceChildren(...children)
  }
}

/** @returns {{ kind: string, name: string } | undefined} */
function address() {
  const [, kind = '', name = ''] = /^#(\w+)\/(.+)$/.exec(location.hash) ?? []
  if (!KINDS.includes(kind)) return undefined
  try {
    return { kind, name: decodeURIComponent(name) }
  } catch {
    return { kind, name }
  }
}

/**
 * @param {string} kind
 * @param {string} name
 * @param {(address: string) => string | undefined} nameOf
 * @returns {Promise<readonly HTMLElement[]>}
 */
async function contentOf(kind, name, nameOf) {
  try {
    if (kind === 'decision') {
      return decisionDetail(await ask(`/decisions/${encodeURIComponent(name)}`), nameOf)
    }
    const endpoints = await ask('/endpoints')
    const found = endpoints.filter((/** @type {any} */ each) => each.address === name)
    if (found.length > 0) return found.flatMap(endpointDetail)
    return [element('p', {}, `No endpoint has the address ${name} any more.`)]
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    const isGone = error instanceof Refused && error.status === 404
    return [element('p', { class: 'problem' }, isGone ? why : `The picker did not tell: ${why}`)]
  }
}
