import { element } from './elements.js'

/**
 * A list of names and values.
 *
 * @param {readonly (readonly string[])[]} pairs
 */
export function facts(pairs) {
  return element(
    'dl',
    { class: 'facts' },
    ...pairs.map(([name = '', value = '']) =>
      element('div', {}, element('dt', {}, name), element('dd', {}, value)),
    ),
  )
}
