import { isDeepStrictEqual } from 'node:util'
import type { ProfileSpec } from '../framework/build.ts'
import { DEFAULT_PICKER } from './defaults.ts'
import type { Entries, Entry } from './entries.ts'
import { type LintEntry, shadowEntries } from './lint-input.ts'
import type { Path, ProblemList } from './problem.ts'
import type { Profile } from './profiles.ts'

const LENGTH_SCORER = 'context-length-aware'
const LENGTH_FILTER = 'context-length-aware-filter'

/** Turns profiles of a file, one after the other, into what is built. */
export class ProfileSpecs {
  readonly #entries: Entries
  readonly #problems: ProblemList
  readonly #shadowed: ReadonlySet<LintEntry>
  /** The filters that scorers are besides. */
  readonly #filters = new Map<Entry, Entry>()

  /** @param profiles all of the file */
  constructor(entries: Entries, profiles: readonly Profile[], problems: ProblemList) {
    this.#entries = entries
    this.#shadowed = shadowEntries(profiles)
    this.#problems = problems
  }

  /** The names of a profile's plugins by kind, with a picker where it has none. */
  specOf({ path, name, items, shadow }: Profile): ProfileSpec {
    const filters: string[] = []
    const scorers: { name: string; weight: number }[] = []
    let picker: Entry | undefined
    const seen: Entry[] = []
    for (const { path: at, weight, entry } of items) {
      if (this.#isRepeated(entry, seen, at)) continue
      seen.push(entry)
      const { plugin } = entry
      if (plugin === undefined) continue
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
    return {
      name,
      filters,
      scorers,
      picker: picker?.name ?? '',
      ...(shadow && { shadow: { timeBudgetMs: shadow.timeBudgetMs } }),
    }
  }

  #isRepeated(entry: Entry, seen: readonly Entry[], at: Path): boolean {
    const twin = seen.find((other) => other === entry || isTwin(other, entry))
    if (twin === undefined) return false
    this.#problems.error(at, `"${twin.name}" is listed twice in this profile; remove one`)
    return true
  }

  /** The filter that a scorer of prompt lengths is besides when it is told to filter: llm-d has both in one plugin. */
  #filterOf(entry: Entry): Entry | undefined {
    const made = this.#filters.get(entry)
    if (made !== undefined || entry.plugin?.type !== LENGTH_SCORER) return made
    const params = entry.params as { label: unknown; enableFiltering: unknown }
    if (params.enableFiltering !== true) return undefined
    const filter = this.#entries.standIn('filter', LENGTH_FILTER, { label: params.label })
    if (filter === undefined) return undefined
    params.enableFiltering = false
    this.#filters.set(entry, filter)
    return filter
  }

  /** The first picker of `plugins`, else the usual one. */
  #defaultPicker(): Entry | undefined {
    const configured = this.#entries.list.find(
      (entry) => entry.plugin?.kind === 'picker' && !this.#shadowed.has(entry),
    )
    const picker = configured ?? this.#entries.standIn('picker', DEFAULT_PICKER)
    if (picker !== undefined) picker.listed = true
    return picker
  }
}

/** Two inline entries that say the same. */
function isTwin(a: Entry, b: Entry): boolean {
  const unnamed = a.givenName === undefined && b.givenName === undefined
  return unnamed && a.type === b.type && isDeepStrictEqual(a.params, b.params)
}
