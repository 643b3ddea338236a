import { isDeepStrictEqual } from 'node:util'
import type { GenerationSpec, PluginSpec, ProfileSpec } from '../framework/build.ts'
import type { AnyPlugin } from '../framework/plugin.ts'
import { check } from './check.ts'
import { FIELD_GATES, FIELD_SECTIONS, FIELD_TYPES, isFieldParam } from './field-names.ts'
import { suggestion } from './near.ts'
import { type Path, type ProblemList, valueText } from './problem.ts'
import { FILE_SHAPE } from './shape.ts'

const DEFAULT_PROFILE = 'default'
const DEFAULT_PICKER = 'max-score-picker'
const DEFAULT_HANDLER = 'single-profile-handler'
const PRECISE_SCORER = 'precise-prefix-cache-scorer'
const PRECISE_PRODUCER = 'precise-prefix-cache-producer'
const LENGTH_SCORER = 'context-length-aware'
const LENGTH_FILTER = 'context-length-aware-filter'

type Fields = Readonly<Record<string, unknown>>

/** One plugin as the file writes it: in `plugins`, or inline in a profile. */
interface Entry {
  readonly path: Path
  /** As written; undefined when missing. */
  readonly type: string | undefined
  /** Undefined when the type is missing, unknown, or known and absent. */
  readonly plugin: AnyPlugin | undefined
  readonly params: unknown
  /** The name that the file gives it, if any. */
  readonly givenName: string | undefined
  /** Unique; assigned when all given names are known. */
  name: string
  /** True when a profile lists it. */
  listed: boolean
}

/** One line of a profile. */
interface Item {
  readonly path: Path
  readonly weight: number | undefined
  readonly entry: Entry
}

interface Profile {
  readonly path: Path
  readonly name: string
  readonly items: readonly Item[]
}

/** The checks of one file whose text is sound. Goes on after each problem, so that all are found at once. */
export class ConfigCheck {
  readonly #file: Fields
  readonly #plugins: readonly AnyPlugin[]
  readonly #problems: ProblemList
  readonly #entries: Entry[] = []
  /** The filters that scorers are besides. */
  readonly #filters = new Map<Entry, Entry>()

  constructor(value: unknown, plugins: readonly AnyPlugin[], problems: ProblemList) {
    this.#file = isFields(value) ? value : {}
    this.#plugins = plugins
    this.#problems = problems
    if (value === null) {
      problems.error([], 'the file is empty; begin with apiVersion, kind and plugins')
    } else {
      for (const { path, part, message } of check(FILE_SHAPE, value).issues) {
        problems.error(path, message, part)
      }
    }
    if (!isFields(value)) problems.throwIfAny()
  }

  /** What the file says; complete only when no problem is an error. */
  run(): {
    spec: GenerationSpec
    tokenizers: Record<string, string>
    modules: string[]
    metricsCompat: boolean
  } {
    for (const [fields, path] of items(this.#file.plugins, ['plugins'])) {
      this.#addEntry(fields, path, true)
    }
    const profiles = this.#readProfiles()
    this.#nameEntries()
    this.#checkSections()
    const profileSpecs = profiles.map((profile) => this.#profileSpec(profile))
    const handler = this.#handler(profiles)
    if (profiles.length > 0) this.#warnOfUnlisted()
    return {
      spec: { plugins: this.#pluginSpecs(), profiles: profileSpecs, handler },
      tokenizers: strings(this.#file.tokenizers),
      modules: this.#modules(),
      metricsCompat: isFields(this.#file.metrics) && this.#file.metrics.compat === true,
    }
  }

  #addEntry(fields: Fields, path: Path, inPlugins: boolean): Entry {
    const type = text(fields.type)
    const written = text(fields.name)
    const precise = type === 'prefix-cache-scorer' ? this.#preciseForm(fields, path) : undefined
    const plugin = precise?.plugin ?? (type === undefined ? undefined : this.#resolve(type, path))
    const parameters = precise === undefined ? fields.parameters : precise.parameters
    const from = precise === undefined ? path : precise.path
    const entry: Entry = {
      path,
      type,
      plugin,
      params: plugin === undefined ? undefined : this.#params(plugin, parameters, from),
      givenName: written ?? (inPlugins ? type : undefined),
      name: '',
      listed: false,
    }
    this.#entries.push(entry)
    return entry
  }

  /**
   * A `prefix-cache-scorer` that means the precise one: by the mode of llm-d's first versions, or by the name of the
   * producer that its later ones have. Gives the plugin, and the parameters with the entry that holds them.
   */
  #preciseForm(
    fields: Fields,
    path: Path,
  ): { plugin: AnyPlugin; parameters: unknown; path: Path } | undefined {
    const plugin = this.#plugins.find((candidate) => candidate.type === PRECISE_SCORER)
    if (plugin === undefined || !isFields(fields.parameters)) return undefined
    const { mode, ...parameters } = fields.parameters
    if (mode === 'cache_tracking') {
      this.#problems.warn(
        [...path, 'parameters', 'mode'],
        `"prefix-cache-scorer" in this mode is read as "${PRECISE_SCORER}"; write that`,
      )
      return { plugin, parameters, path }
    }
    const name = fields.parameters.prefixMatchInfoProducerName
    const producer = items(this.#file.plugins, ['plugins']).find(
      ([entry]) => entry.type === PRECISE_PRODUCER && (entry.name ?? entry.type) === name,
    )
    if (producer === undefined) return undefined
    this.#problems.warn(
      [...path, 'parameters', 'prefixMatchInfoProducerName'],
      `"prefix-cache-scorer" with this producer is read as "${PRECISE_SCORER}"; write that`,
    )
    return { plugin, parameters: producer[0].parameters, path: producer[1] }
  }

  /** The plugin of a type; reports a type that is old, absent or unknown. */
  #resolve(type: string, path: Path): AnyPlugin | undefined {
    const at = [...path, 'type']
    const plugin = this.#plugins.find((candidate) => candidate.type === type)
    if (plugin !== undefined) return plugin
    const renamed = this.#plugins.find(({ aliases }) => aliases.includes(type))
    if (renamed !== undefined) {
      this.#problems.warn(at, `"${type}" is an old name; write "${renamed.type}"`)
      return renamed
    }
    const known = FIELD_TYPES.get(type)
    if (known === undefined) {
      const types = this.#plugins.map((candidate) => candidate.type)
      const others = [...this.#plugins.flatMap(({ aliases }) => aliases), ...FIELD_TYPES.keys()]
      this.#problems.error(
        at,
        `unknown plugin type ${valueText(type)}` +
          (suggestion(type, types, others) || '; "epp plugins" lists those there are'),
      )
      return undefined
    }
    const advice = known.advice === '' ? '' : `: ${known.advice}`
    if (known.kind === 'filter') {
      this.#problems.error(
        at,
        `the filter "${type}" of llm-d is not available, so it would exclude nothing; remove it`,
      )
    } else {
      this.#problems.warn(at, `"${type}" of llm-d is not available and has no effect${advice}`)
    }
    return undefined
  }

  /** Checks parameters and fills in defaults; reports what does not fit. */
  #params(plugin: AnyPlugin, given: unknown, path: Path): unknown {
    const { value, issues } = check(plugin.params, isFields(given) ? given : {})
    for (const issue of issues) {
      const at = [...path, 'parameters', ...issue.path]
      const keys = issue.path.filter((part) => typeof part === 'string')
      const tolerated = issue.unknownKey !== undefined && isFieldParam(plugin.type, keys)
      if (!tolerated) {
        this.#problems.error(at, issue.message, issue.part)
      } else {
        this.#problems.warn(
          at,
          `"${issue.unknownKey}" of llm-d is not available and has no effect`,
          'key',
        )
        removeKey(value, issue.path)
      }
    }
    return value
  }

  #readProfiles(): readonly Profile[] {
    if (this.#file.schedulingProfiles === undefined) return [this.#wholeProfile()]
    const profiles: Profile[] = []
    const byName = new Map<string, Path>()
    // Entries of `plugins` and inline ones that have a name can be referred to from any profile.
    const inline = new Map<Fields, Entry>()
    const written = items(this.#file.schedulingProfiles, ['schedulingProfiles'])
    for (const [fields, path] of written) {
      for (const [item, at] of items(fields.plugins, [...path, 'plugins'])) {
        if (item.type !== undefined && item.pluginRef === undefined) {
          inline.set(item, this.#addEntry(item, at, false))
        }
      }
    }
    for (const [fields, path] of written) {
      const name = text(fields.name) ?? ''
      const first = byName.get(name)
      if (first !== undefined && name !== '') {
        this.#problems.error(
          [...path, 'name'],
          `two profiles are named "${name}" (the other in line ${this.#problems.line(first)}); rename one`,
        )
      } else byName.set(name, path)
      const lines = items(fields.plugins, [...path, 'plugins'])
      profiles.push({
        path,
        name,
        items: lines.flatMap(([item, at]) => this.#item(item, at, inline.get(item)) ?? []),
      })
    }
    return profiles
  }

  /** The profile of a file that has none: every filter, scorer and picker, in order. */
  #wholeProfile(): Profile {
    const kinds = ['filter', 'scorer', 'picker']
    const entries = this.#entries.filter(
      ({ plugin }) => plugin !== undefined && kinds.includes(plugin.kind),
    )
    for (const entry of entries) entry.listed = true
    return {
      path: [],
      name: DEFAULT_PROFILE,
      items: entries.map((entry) => ({ path: entry.path, weight: undefined, entry })),
    }
  }

  #item(fields: Fields, path: Path, inline: Entry | undefined): Item | undefined {
    const weight = typeof fields.weight === 'number' ? fields.weight : undefined
    const ref = text(fields.pluginRef)
    if (ref === undefined) {
      if (inline === undefined) {
        if (fields.type === undefined && fields.pluginRef === undefined) {
          this.#problems.error(
            path,
            '"pluginRef" (or "type", for a plugin written inline) is missing',
          )
        }
        return undefined
      }
      inline.listed = true
      return { path, weight, entry: inline }
    }
    for (const key of ['type', 'name', 'parameters']) {
      if (fields[key] === undefined) continue
      this.#problems.error(
        [...path, key],
        `"${key}" beside "pluginRef"; it belongs to the entry of "plugins" that "${ref}" names`,
        'key',
      )
    }
    const entry = this.#entries.find(({ givenName }) => givenName === ref)
    if (entry === undefined) {
      const names = this.#entries.flatMap(({ givenName }) => givenName ?? [])
      const isType = this.#plugins.some((plugin) => plugin.type === ref)
      const hint = isType ? `; add it there, or write type: ${ref}` : suggestion(ref, names)
      this.#problems.error([...path, 'pluginRef'], `"${ref}" names no entry of "plugins"${hint}`)
      return undefined
    }
    entry.listed = true
    return { path, weight, entry }
  }

  /** Gives every entry its name: the given one, else its type, with a number where that is taken. */
  #nameEntries(): void {
    const taken = new Map<string, Entry>()
    for (const entry of this.#entries) {
      if (entry.givenName === undefined) continue
      const first = taken.get(entry.givenName)
      if (first === undefined) taken.set(entry.givenName, entry)
      else {
        const line = this.#problems.line(first.path)
        this.#problems.error(
          entry.path,
          `two plugins are named "${entry.givenName}" (the other in line ${line}); give one another name`,
        )
      }
      entry.name = entry.givenName
    }
    for (const entry of this.#entries) {
      if (entry.givenName !== undefined || entry.type === undefined) continue
      entry.name = entry.type
      for (let n = 2; taken.has(entry.name); n++) entry.name = `${entry.type}#${n}`
      taken.set(entry.name, entry)
    }
  }

  #profileSpec({ path, name, items }: Profile): ProfileSpec {
    const filters: string[] = []
    const scorers: { name: string; weight: number }[] = []
    let picker: Entry | undefined
    const seen: Entry[] = []
    for (const { path: at, weight, entry } of items) {
      const { plugin } = entry
      const twin = seen.find((other) => other === entry || isTwin(other, entry))
      if (twin !== undefined) {
        this.#problems.error(at, `"${twin.name}" is listed twice in this profile; remove one`)
        continue
      }
      seen.push(entry)
      if (plugin === undefined) continue
      if (weight !== undefined && plugin.kind !== 'scorer') {
        this.#problems.warn(
          [...at, 'weight'],
          `a weight has no effect on a ${plugin.kind}; remove it`,
          'key',
        )
      }
      if (plugin.kind === 'filter') filters.push(entry.name)
      else if (plugin.kind === 'scorer') {
        scorers.push({ name: entry.name, weight: weight ?? 1 })
        const filter = this.#filterOf(entry)
        if (filter !== undefined) filters.push(filter.name)
      } else if (plugin.kind === 'picker') {
        if (picker === undefined) picker = entry
        else {
          this.#problems.error(
            at,
            `a second picker; the profile has "${picker.name}" already: remove one`,
          )
        }
      }
    }
    if (scorers.length > 0 && scorers.every((scorer) => scorer.weight === 0)) {
      this.#problems.error(
        path,
        'the weights add up to 0, so that nothing decides; make at least one positive',
      )
    }
    picker ??= this.#defaultPicker()
    const unknown = items.some(
      ({ entry }) => entry.plugin === undefined && !FIELD_TYPES.has(entry.type ?? ''),
    )
    if (scorers.length === 0 && picker?.plugin?.type === DEFAULT_PICKER && !unknown) {
      this.#problems.warn(path, 'no scorer: every endpoint scores the same, load is not looked at')
    }
    return { name, filters, scorers, picker: picker?.name ?? '' }
  }

  /** The filter that a scorer of prompt lengths is besides when it is told to filter: llm-d has both in one plugin. */
  #filterOf(entry: Entry): Entry | undefined {
    const made = this.#filters.get(entry)
    if (made !== undefined || entry.plugin?.type !== LENGTH_SCORER) return made
    const params = entry.params as { label: unknown; enableFiltering: unknown }
    if (params.enableFiltering !== true) return undefined
    const filter = this.#addEntryFor('filter', LENGTH_FILTER, { label: params.label })
    if (filter === undefined) return undefined
    params.enableFiltering = false
    this.#filters.set(entry, filter)
    return filter
  }

  /** The first picker of `plugins`, else the usual one. */
  #defaultPicker(): Entry | undefined {
    const configured = this.#entries.find(({ plugin }) => plugin?.kind === 'picker')
    const picker = configured ?? this.#addEntryFor('picker', DEFAULT_PICKER)
    if (picker !== undefined) picker.listed = true
    return picker
  }

  /** Adds a plugin that the file does not write. */
  #addEntryFor(
    kind: 'filter' | 'picker' | 'handler',
    type: string,
    parameters: Fields = {},
  ): Entry | undefined {
    const plugin = this.#plugins.find((candidate) => candidate.type === type)
    if (plugin?.kind !== kind) {
      this.#problems.error([], `no ${kind} is configured, and there is no "${type}" to stand in`)
      return undefined
    }
    const entry: Entry = {
      path: [],
      type,
      plugin,
      params: this.#params(plugin, parameters, []),
      givenName: undefined,
      name: type,
      listed: true,
    }
    for (let n = 2; this.#entries.some(({ name }) => name === entry.name); n++) {
      entry.name = `${type}#${n}`
    }
    this.#entries.push(entry)
    return entry
  }

  #handler(profiles: readonly Profile[]): string {
    if (profiles.length === 0) return ''
    const [handler, ...others] = this.#entries.filter(({ plugin }) => plugin?.kind === 'handler')
    for (const other of others) {
      this.#problems.error(
        other.path,
        `a second handler; "${handler?.name}" decides already: remove one`,
      )
    }
    if (handler === undefined) {
      if (profiles.length === 1) return this.#addEntryFor('handler', DEFAULT_HANDLER)?.name ?? ''
      this.#problems.error(
        ['schedulingProfiles'],
        `${profiles.length} profiles and no handler to choose between them; keep one profile, or add a handler`,
        'key',
      )
      return ''
    }
    if (handler.plugin?.type === DEFAULT_HANDLER && profiles.length > 1) {
      this.#problems.error(
        handler.path,
        `"${DEFAULT_HANDLER}" runs one profile, and there are ${profiles.length}; keep one, or use another handler`,
      )
    }
    return handler.name
  }

  #warnOfUnlisted(): void {
    for (const { plugin, listed, name, path } of this.#entries) {
      if (listed || plugin === undefined) continue
      if (plugin.kind === 'filter' || plugin.kind === 'scorer' || plugin.kind === 'picker') {
        this.#problems.warn(path, `"${name}" is in no profile and has no effect`)
      }
    }
  }

  #pluginSpecs(): PluginSpec[] {
    const global = ['handler', 'producer', 'observer']
    return this.#entries.flatMap(({ plugin, name, params, listed }) =>
      plugin !== undefined && (listed || global.includes(plugin.kind))
        ? { name, plugin, params }
        : [],
    )
  }

  /** The parts that other builds act on and this one does not. */
  #checkSections(): void {
    for (const [section, instead] of Object.entries(FIELD_SECTIONS)) {
      const value = this.#file[section]
      if (value === undefined) continue
      this.#problems.warn([section], `"${section}" of llm-d has no effect: ${instead}`, 'key')
      this.#checkRefs(value, [section])
    }
    const gates = Array.isArray(this.#file.featureGates) ? this.#file.featureGates : []
    for (const [index, gate] of gates.entries()) {
      const path = ['featureGates', index]
      if (typeof gate !== 'string') continue
      const [name = '', value = 'true'] = gate.split('=', 2)
      if (!FIELD_GATES.includes(name)) {
        this.#problems.error(path, `unknown feature gate "${name}"${suggestion(name, FIELD_GATES)}`)
      } else if (value !== 'true' && value !== 'false') {
        this.#problems.error(path, `"${name}" must be true or false, got "${value}"`)
      } else if (value === 'true') {
        this.#problems.warn(path, `the feature gate "${name}" of llm-d has no effect`)
      }
    }
  }

  /** References out of a section without effect must still lead somewhere, or a slip would stay unseen. */
  #checkRefs(value: unknown, path: Path): void {
    if (Array.isArray(value)) {
      for (const [index, item] of value.entries()) this.#checkRefs(item, [...path, index])
    } else if (isFields(value)) {
      for (const [key, inner] of Object.entries(value)) {
        const at = [...path, key]
        if (/^pluginRef$|PluginRef$|PolicyRef$/.test(key) && typeof inner === 'string') {
          const names = this.#entries.flatMap(({ givenName }) => givenName ?? [])
          if (names.includes(inner) || FIELD_TYPES.has(inner)) continue
          this.#problems.error(
            at,
            `"${inner}" names no entry of "plugins"${suggestion(inner, names)}`,
          )
        } else this.#checkRefs(inner, at)
      }
    }
  }

  #modules(): string[] {
    const modules = Array.isArray(this.#file.modules) ? this.#file.modules : []
    return modules.filter((module) => typeof module === 'string')
  }
}

/** Two inline entries that say the same. */
function isTwin(a: Entry, b: Entry): boolean {
  const unnamed = a.givenName === undefined && b.givenName === undefined
  return unnamed && a.type === b.type && isDeepStrictEqual(a.params, b.params)
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** The objects of a list with their paths; whatever else stands there the shape check has named. */
function items(value: unknown, path: Path): (readonly [Fields, Path])[] {
  if (!Array.isArray(value)) return []
  return value.flatMap((item, index) => (isFields(item) ? [[item, [...path, index]] as const] : []))
}

function strings(value: unknown): Record<string, string> {
  if (!isFields(value)) return {}
  return Object.fromEntries(
    Object.entries(value).filter((pair): pair is [string, string] => typeof pair[1] === 'string'),
  )
}

function removeKey(value: unknown, path: Path): void {
  let holder = value
  for (const part of path.slice(0, -1)) holder = (holder as Record<string | number, unknown>)[part]
  delete (holder as Record<string | number, unknown>)[path.at(-1)!]
}
