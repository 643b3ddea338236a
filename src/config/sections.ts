import type { Entries } from './entries.ts'
import { checkGates } from './field/gates.ts'
import { FIELD_TYPES } from './field/types.ts'
import { type Fields, isFields, itemsOf } from './file-values.ts'
import { suggestion } from './near.ts'
import type { Path, ProblemList } from './problem.ts'

const QUEUE = 'requests are not queued here'
const ALONE = 'each picker works for itself'

/** Which types a section may name without a warning, since what they ask for is done. */
const SOURCES = ['metrics-data-source', 'endpoint-notification-source']
const EXTRACTORS = [
  'core-metrics-extractor',
  'precise-prefix-cache-producer',
  'precise-prefix-cache-scorer',
]
const DISCOVERIES = ['file-discovery']
const PARSERS = ['openai-parser']
/** Named without an entry, the field adds them by itself. */
const DEFAULT_TYPES = ['metrics-data-source', 'core-metrics-extractor', 'openai-parser']

/** Checks the parts of a file that are the field's: what they ask for is done anyway, or said to be without effect. */
export function checkSections(file: Fields, entries: Entries, problems: ProblemList): void {
  const sections = new Sections(entries, problems)
  sections.dataLayer(file.dataLayer, ['dataLayer'])
  if (file.data !== undefined) sections.old('data', 'dataLayer')
  sections.dataLayer(file.data, ['data'])
  sections.parsers(isFields(file.requestHandler) ? file.requestHandler.parsers : undefined)
  if (file.parser !== undefined) sections.old('parser', 'requestHandler.parsers')
  sections.reference(file.parser, ['parser'], PARSERS)
  sections.inert(file.flowControl, ['flowControl'], QUEUE)
  sections.inert(file.saturationDetector, ['saturationDetector'], QUEUE)
  checkGates(file.featureGates, problems)
}

class Sections {
  readonly #entries: Entries
  readonly #problems: ProblemList

  constructor(entries: Entries, problems: ProblemList) {
    this.#entries = entries
    this.#problems = problems
  }

  old(section: string, instead: string): void {
    this.#problems.warn([section], `"${section}" is an old name; write ${instead}`, 'key')
  }

  dataLayer(section: unknown, path: Path): void {
    if (!isFields(section)) return
    if (section.injectDefaults === false) {
      this.#problems.warn(
        [...path, 'injectDefaults'],
        'has no effect: metrics of endpoints are always scraped',
      )
    }
    for (const [source, at] of itemsOf(section.sources, [...path, 'sources'])) {
      this.reference(source, at, SOURCES)
      for (const [extractor, inner] of itemsOf(source.extractors, [...at, 'extractors'])) {
        this.reference(extractor, inner, EXTRACTORS)
      }
    }
    this.reference(section.discovery, [...path, 'discovery'], DISCOVERIES)
    for (const key of [
      'peerDiscovery',
      'crossReplicaSyncerPluginRef',
      'crossReplicaSyncInterval',
    ]) {
      this.inert(section[key], [...path, key], ALONE)
    }
  }

  parsers(parsers: unknown): void {
    for (const [parser, path] of itemsOf(parsers, ['requestHandler', 'parsers'])) {
      this.reference(parser, path, PARSERS)
    }
  }

  /** A `pluginRef` to something that does what it says; what does not has been named at its entry. */
  reference(value: unknown, path: Path, types: readonly string[]): void {
    if (!isFields(value) || typeof value.pluginRef !== 'string') return
    const name = value.pluginRef
    const at = [...path, 'pluginRef']
    const entry = this.#entries.named(name)
    if (entry === undefined) {
      if (DEFAULT_TYPES.includes(name) && types.includes(name)) return
      if (FIELD_TYPES.has(name)) {
        const advice = FIELD_TYPES.get(name)?.advice
        this.#problems.warn(
          at,
          `"${name}" of llm-d is not available and has no effect${advice ? `: ${advice}` : ''}`,
        )
      } else this.#unknown(name, at)
      return
    }
    const type = entry.plugin?.type ?? entry.type ?? ''
    if (entry.plugin === undefined || types.includes(type)) return
    this.#problems.error(at, `"${name}" is a ${type}; name one of: ${types.join(', ')}`)
  }

  /** A part that changes nothing. Its references must still lead somewhere, or a slip would stay unseen. */
  inert(value: unknown, path: Path, instead: string): void {
    if (value === undefined) return
    this.#problems.warn(path, `"${path.at(-1)}" of llm-d has no effect: ${instead}`, 'key')
    this.#checkRefs(value, path)
  }

  #checkRefs(value: unknown, path: Path): void {
    if (Array.isArray(value)) {
      for (const [index, item] of value.entries()) this.#checkRefs(item, [...path, index])
    } else if (isFields(value)) {
      for (const [key, inner] of Object.entries(value)) {
        const at = [...path, key]
        if (/^pluginRef$|PluginRef$|PolicyRef$/.test(key) && typeof inner === 'string') {
          if (this.#entries.named(inner) === undefined && !FIELD_TYPES.has(inner)) {
            this.#unknown(inner, at)
          }
        } else this.#checkRefs(inner, at)
      }
    }
  }

  #unknown(name: string, at: Path): void {
    const names = this.#entries.givenNames
    this.#problems.error(at, `"${name}" names no entry of "plugins"${suggestion(name, names)}`)
  }
}
