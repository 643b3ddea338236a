import { element } from './elements.js'
import { facts } from './facts.js'
import { count, percent } from './format.js'

/**
 * All that is known of one endpoint.
 *
 * @param {any} page as `/endpoints` says it
 * @returns {readonly HTMLElement[]}
 */
export function endpointDetail(page) {
  const { labels = {}, publishers = [], cache, ...rest } = page
  /** @param {unknown} value */
  const words = (value) => (typeof value === 'object' ? JSON.stringify(value) : String(value))
  return [
    facts(Object.entries(rest).map(([name, value]) => [name, words(value)])),
    element('h3', {}, 'Answers of the last 15 minutes'),
    facts([
      ['answers', count(cache?.answers)],
      ['prompt tokens', count(cache?.promptTokens)],
      [
        'cached tokens',
        `${count(cache?.cachedTokens)}, ${percent(cache?.promptTokens ? cache.cachedTokens / cache.promptTokens : undefined)}`,
      ],
    ]),
    element('h3', {}, 'Labels'),
    Object.keys(labels).length === 0
      ? element('p', { class: 'muted' }, 'none')
      : facts(Object.entries(labels)),
    element('h3', {}, 'Event publishers'),
    ...(publishers.length === 0 ? [element('p', { class: 'muted' }, 'none has spoken')] : []),
    ...publishers.map((/** @type {any} */ each) =>
      facts(Object.entries(each).map(([name, value]) => [name, words(value)])),
    ),
  ]
}
