import { element } from './elements.js'
import { facts } from './facts.js'
import { age, count, duration, score, shortNames, time, UNKNOWN } from './format.js'
import { fillScoreBar, makeScoreBar } from './score-bar.js'

/**
 * The whole reason for one pick, and what became of it.
 *
 * @param {any} page as `/decisions/<id>` says it
 * @param {(address: string) => string | undefined} nameOf
 * @returns {readonly HTMLElement[]}
 */
export function decisionDetail(page, nameOf) {
  const { promptTokens, usage, indexCoverage, phasesUs } = page
  const predicted = page.predictedCachedTokens
  /** @type {HTMLElement[]} */
  const parts = [
    facts([
      ['Time', time(Date.parse(page.at))],
      [
        'Model',
        page.model === page.targetModel
          ? page.model
          : `${page.model} → ${page.targetModel}, by ${page.modelRule ?? 'a rule'}`,
      ],
      ['Picked', page.endpoints.join(', then ')],
      [
        'Pool',
        `${page.pool ?? 'the only one'}: ${page.poolSize} endpoints, ${page.candidates} of them candidates`,
      ],
      ['Criticality', `${page.criticality}, priority ${page.priority}`],
      ['Profile', `${page.primary}, configuration ${page.generation}`],
      [
        'Prompt',
        promptTokens
          ? `${count(promptTokens.count)} tokens, ${promptTokens.exact ? 'exact' : `an estimate${promptTokens.reason ? `: ${promptTokens.reason}` : ''}`}`
          : 'tokens not known',
      ],
      ['Cached tokens', cachedWords(predicted, usage)],
      [
        'Index',
        indexCoverage
          ? `${indexCoverage.source}: events cover ${indexCoverage.tracked} of ${indexCoverage.endpoints} endpoints`
          : 'no prefix scorer ran',
      ],
      [
        'Answer',
        `${page.status ?? 'no status'}, ${page.ended ?? 'under way'}, first byte ${duration(page.firstByteMs)}, whole ${duration(page.durationMs)}, ${count(usage?.completionTokens)} tokens written`,
      ],
      [
        'Time to decide',
        Object.entries(phasesUs)
          .map(([phase, us]) => `${phase} ${us} µs`)
          .join(' · '),
      ],
      ...(page.remark ? [['Missing', page.remark]] : []),
      ...(page.shadows ?? []).map((/** @type {any} */ shadow) => [
        `Shadow ${shadow.profile}`,
        shadowWords(shadow, nameOf),
      ]),
    ]),
  ]
  if (page.explanation) parts.push(...why(page.explanation))
  for (const trace of page.profiles) parts.push(...profile(trace, page.profiles.length > 1, nameOf))
  return parts
}

/**
 * What a shadow profile would have picked.
 *
 * @param {any} shadow
 * @param {(address: string) => string | undefined} nameOf
 */
function shadowWords({ result, picked, error }, nameOf) {
  if (result === 'failed') return `failed: ${error}`
  if (result === 'skipped') return 'left out: its time was spent'
  const [address] = picked
  return result === 'same' ? 'would pick the same' : `would pick ${nameOf(address) ?? address}`
}

/**
 * The reason in a sentence, and the weights with which it would have gone otherwise.
 *
 * @param {import('../src/framework/routing/explanation.ts').Explanation} explanation
 * @returns {readonly HTMLElement[]}
 */
function why({ reason, wouldChange }) {
  const changes = wouldChange.map(({ scorer, from, to, winner }) =>
    element('li', {}, `with ${scorer} at weight ${to} instead of ${from}: ${winner}`),
  )
  return [
    element('p', { class: 'reason' }, reason),
    ...(changes.length > 0 ? [element('ul', { class: 'changes' }, ...changes)] : []),
  ]
}

/**
 * @param {number | undefined} predicted
 * @param {any} usage
 */
function cachedWords(predicted, usage) {
  const actual = usage?.cachedTokens
  const expected =
    predicted === undefined ? 'nothing was predicted' : `${count(predicted)} predicted`
  if (actual === undefined) return `${expected}, the engine has not told`
  const verdict =
    predicted === undefined
      ? ''
      : predicted === actual
        ? ': exact'
        : `: ${count(Math.abs(actual - predicted))} ${actual > predicted ? 'more' : 'fewer'}`
  return `${expected}, ${count(actual)} cached${verdict}, of ${count(usage.promptTokens)} as the engine counts`
}

/**
 * @param {any} trace
 * @param {boolean} named whether the profile's name is told
 * @param {(address: string) => string | undefined} nameOf
 * @returns {readonly HTMLElement[]}
 */
function profile(trace, named, nameOf) {
  /** @type {readonly { name: string, weight: number, error?: string }[]} */
  const scorers = trace.scorers
  const short = shortNames(scorers.map(({ name }) => name))
  const picked = new Map(
    trace.picked.map((/** @type {string} */ each, /** @type {number} */ i) => [each, i]),
  )
  const placeOf = (/** @type {any} */ each) => picked.get(each.endpoint) ?? picked.size
  const ranked = trace.endpoints.toSorted(
    (/** @type {any} */ a, /** @type {any} */ b) => b.total - a.total || placeOf(a) - placeOf(b),
  )
  const whole = ranked[0]?.total ?? 0
  const hasMatch = ranked.some((/** @type {any} */ each) => each.matchedTokens !== undefined)
  const head = element(
    'tr',
    {},
    column('Rank', 'number'),
    column('Endpoint'),
    column('Total', 'number'),
    column('Shares', 'bar-column'),
    ...scorers.map(({ name, weight }, i) =>
      element(
        'th',
        { scope: 'col', class: 'number', title: name },
        `${short[i]} `,
        element('small', {}, `× ${weight}`),
      ),
    ),
    ...(hasMatch ? [column('Matched tokens', 'number')] : []),
    column('Metrics age', 'number'),
  )
  const rows = ranked.map((/** @type {any} */ each, /** @type {number} */ i) => {
    const place = picked.get(each.endpoint)
    const weighted = scorers.map(({ name }) => each.scores[name].weighted)
    const bar = makeScoreBar()
    fillScoreBar(bar, weighted, whole)
    return element(
      'tr',
      place === 0 ? { class: 'picked' } : {},
      element('td', { class: 'number' }, String(i + 1)),
      element(
        'th',
        { scope: 'row' },
        nameOf(each.endpoint) ?? each.endpoint,
        element(
          'small',
          {},
          `${each.endpoint}${place === undefined ? '' : place === 0 ? ', picked' : `, fallback ${place}`}`,
        ),
      ),
      element('td', { class: 'number' }, score(each.total)),
      element('td', {}, bar),
      ...scorers.map(({ name }) => scoreCell(each.scores[name])),
      ...(hasMatch ? [element('td', { class: 'number' }, count(each.matchedTokens))] : []),
      element(
        'td',
        { class: 'number' },
        each.metricsAgeMs === null ? UNKNOWN : age(each.metricsAgeMs),
      ),
    )
  })
  const heading = `${named ? `Profile ${trace.profile}: ` : ''}${ranked.length} endpoints scored${marginWords(ranked, placeOf, trace.ties)}`
  const faults = scorers.filter(({ error }) => error !== undefined)
  return [
    element('h3', {}, heading),
    filters(trace.filters),
    ...faults.map(({ name, error }) =>
      element('p', { class: 'problem' }, `${name} failed, every score is 0.5: ${error}`),
    ),
    element(
      'div',
      { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': heading },
      element(
        'table',
        { class: 'scores' },
        element(
          'caption',
          { class: 'visually-hidden' },
          'Score times weight, the raw score below it, then what it is made of',
        ),
        element('thead', {}, head),
        element('tbody', {}, ...rows),
      ),
    ),
  ]
}

/**
 * @param {readonly any[]} ranked
 * @param {(each: any) => number} placeOf
 * @param {number} ties
 */
function marginWords(ranked, placeOf, ties) {
  if (ties > 1) return `, ${ties} of them tied for the highest score`
  const won = ranked.find((each) => placeOf(each) === 0)
  const best = ranked.find((each) => each !== won)
  if (!won || !best) return ''
  const margin = won.total - best.total
  return margin < 0
    ? `, the picked one ${score(-margin)} behind the highest`
    : `, the picked one ${score(margin)} ahead of the next`
}

/** @param {any} given */
function scoreCell({ score: raw, weighted, terms }) {
  const words = Object.entries(terms ?? {}).map(
    ([term, value]) => `${term} ${Number(/** @type {number} */ (value).toPrecision(3))}`,
  )
  return element(
    'td',
    { class: 'number' },
    score(weighted),
    element('small', {}, `raw ${Number(raw.toFixed(4))}`),
    ...(words.length > 0 ? [element('small', {}, words.join(', '))] : []),
  )
}

/** @param {readonly { name: string, dropped: readonly string[], error?: string }[]} traces */
function filters(traces) {
  const dropping = traces.filter(({ dropped, error }) => dropped.length > 0 || error !== undefined)
  if (dropping.length === 0) {
    return element(
      'p',
      { class: 'muted' },
      traces.length === 0
        ? 'No filter is configured.'
        : `No endpoint was dropped by ${traces.map(({ name }) => name).join(', ')}.`,
    )
  }
  return element(
    'ul',
    { class: 'drops' },
    ...dropping.map(({ name, dropped, error }) =>
      element(
        'li',
        {},
        element('b', {}, name),
        error === undefined
          ? ` dropped ${dropped.length}: ${dropped.join(', ')}`
          : ` failed and dropped none: ${error}`,
      ),
    ),
  )
}

/**
 * @param {string} title
 * @param {string} [kind]
 */
function column(title, kind) {
  return element('th', { scope: 'col', class: kind }, title)
}
