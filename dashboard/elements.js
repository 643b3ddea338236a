/**
 * What is put into an element: nothing, text, or elements. Never markup: names come from strangers.
 *
 * @typedef {Node | string | number | undefined} Child
 */

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Readonly<Record<string, string | undefined>>} [attributes] those that are undefined are left out
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined) made.setAttribute(name, value)
  }
  made.append(...children.filter((child) => child !== undefined).map(asNode))
  return made
}

/** @param {Node | string | number} child */
function asNode(child) {
  return typeof child === 'object' ? child : String(child)
}

/**
 * The element of that id in the page's own HTML.
 *
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
export function byId(id, kind) {
  const found = document.getElementById(id)
  if (!(found instanceof kind)) throw new TypeError(`the page has no ${kind.name} "${id}"`)
  return found
}

/**
 * Changes the text only where it differs: what is equal costs no layout.
 *
 * @param {Node} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text
}

/**
 * @param {Element} node
 * @param {string} name
 * @param {string | undefined} value undefined takes it away
 */
export function setAttribute(node, name, value) {
  if (value === undefined) node.removeAttribute(name)
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value)
}

/**
 * Elements that are made once and filled anew: what is not needed is hidden, nothing is moved.
 *
 * @template {HTMLElement | SVGElement} T
 */
export class Slots {
  /** @type {T[]} */
  #made = []
  /** @type {Element} */
  #parent
  /** @type {() => T} */
  #make

  /**
   * @param {Element} parent
   * @param {() => T} make
   */
  constructor(parent, make) {
    this.#parent = parent
    this.#make = make
  }

  /**
   * @param {number} count
   * @returns {readonly T[]} so many of them, shown
   */
  take(count) {
    while (this.#made.length < count) {
      const made = this.#make()
      this.#made.push(made)
      this.#parent.append(made)
    }
    for (const [i, each] of this.#made.entries()) each.toggleAttribute('hidden', i >= count)
    return this.#made.slice(0, count)
  }
}

/**
 * Makes the children of a group one stop of the Tab key, among which the arrow keys move.
 *
 * @param {HTMLElement} group
 * @param {string} selector of the children
 */
export function rove(group, selector) {
  const items = () =>
    /** @type {HTMLElement[]} */ ([...group.querySelectorAll(`${selector}:not([hidden])`)])
  /** @param {HTMLElement} chosen */
  const choose = (chosen) => {
    for (const item of group.querySelectorAll('[tabindex="0"]')) {
      if (item !== chosen && item.matches(selector)) item.setAttribute('tabindex', '-1')
    }
    chosen.tabIndex = 0
  }
  group.addEventListener('focusin', ({ target }) => {
    const item = target instanceof Element ? target.closest(selector) : null
    if (item instanceof HTMLElement) choose(item)
  })
  group.addEventListener('keydown', (event) => {
    const all = items()
    const at = all.indexOf(/** @type {HTMLElement} */ (document.activeElement))
    if (at < 0) return
    /** @type {Record<string, number>} */
    const moves = {
      ...{ ArrowDown: at + 1, ArrowRight: at + 1, ArrowUp: at - 1, ArrowLeft: at - 1 },
      ...{ Home: 0, End: all.length - 1 },
    }
    const next = moves[event.key]
    if (next === undefined) return
    event.preventDefault()
    all[Math.max(0, Math.min(all.length - 1, next))]?.focus()
  })
  return {
    /** Sees to it that one can be reached. */
    refresh() {
      const all = items()
      const [first] = all
      if (first && !all.some((item) => item.tabIndex === 0)) first.tabIndex = 0
    },
  }
}
