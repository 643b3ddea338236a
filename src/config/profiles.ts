import { SHADOW_BUDGET_MS } from '../framework/routing/shadow.ts'
import { DEFAULT_PROFILE } from './defaults.ts'
import type { Entries, Entry } from './entries.ts'
import { FIELD_FILTERS } from './field/types.ts'
import { type Fields, itemsOf, textOf } from './file-values.ts'
import type { LintItem, LintProfile } from './lint-input.ts'
import { suggestion } from './near.ts'
import type { Path, ProblemList } from './problem.ts'

/** One line of a profile. */
export interface Item extends LintItem {
  readonly entry: Entry
}

/** One profile as the file writes it. */
export interface Profile extends LintProfile {
  readonly items: readonly Item[]
}

/** Reads the profiles of a file whose `plugins` are read; plugins written inline are added to those. */
export function readProfiles(
  file: Fields,
  entries: Entries,
  problems: ProblemList,
): readonly Profile[] {
  if (file.schedulingProfiles === undefined) return [wholeProfile(entries)]
  const profiles: Profile[] = []
  const byName = new Map<string, Path>()
  // Entries of `plugins` and inline ones that have a name can be referred to from any profile.
  const inline = new Map<Fields, Entry>()
  const written = itemsOf(file.schedulingProfiles, ['schedulingProfiles'])
  for (const [fields, path] of written) {
    for (const [item, at] of itemsOf(fields.plugins, [...path, 'plugins'])) {
      if (item.type !== undefined && item.pluginRef === undefined) {
        inline.set(item, entries.read(item, at, false))
      }
    }
  }
  for (const [fields, path] of written) {
    const name = textOf(fields.name) ?? ''
    const first = byName.get(name)
    if (first !== undefined && name !== '') {
      problems.error(
        [...path, 'name'],
        `two profiles are named "${name}" (the other in line ${problems.line(first)}); rename one`,
      )
    } else byName.set(name, path)
    const lines = itemsOf(fields.plugins, [...path, 'plugins'])
    const shadow = shadowOf(fields, path, problems)
    profiles.push({
      path,
      name,
      ...(shadow && { shadow }),
      items: lines.flatMap(
        ([item, at]) => readItem(item, at, inline.get(item), entries, problems) ?? [],
      ),
    })
  }
  return profiles
}

/** How a profile that does not act is run; undefined for one that acts. */
function shadowOf(
  { shadow, timeBudgetMs }: Fields,
  path: Path,
  problems: ProblemList,
): Profile['shadow'] {
  if (shadow === true) {
    return typeof timeBudgetMs === 'number'
      ? { timeBudgetMs, isGiven: true }
      : { timeBudgetMs: SHADOW_BUDGET_MS, isGiven: false }
  }
  if (timeBudgetMs !== undefined) {
    const message =
      '"timeBudgetMs" of a profile has an effect beside shadow: true only; remove it, or give it to a plugin'
    problems.error([...path, 'timeBudgetMs'], message, 'key')
  }
  return undefined
}

/** The profile of a file that has none: every filter, scorer and picker, in order. */
function wholeProfile(entries: Entries): Profile {
  const kinds = ['filter', 'scorer', 'picker']
  const members = entries.list.filter(
    ({ plugin }) => plugin !== undefined && kinds.includes(plugin.kind),
  )
  for (const entry of members) entry.listed = true
  return {
    path: [],
    name: DEFAULT_PROFILE,
    items: members.map((entry) => ({ path: entry.path, weight: undefined, entry })),
  }
}

function readItem(
  fields: Fields,
  path: Path,
  inline: Entry | undefined,
  entries: Entries,
  problems: ProblemList,
): Item | undefined {
  const weight = typeof fields.weight === 'number' ? fields.weight : undefined
  const ref = textOf(fields.pluginRef)
  if (ref === undefined) {
    if (inline === undefined) {
      if (fields.type === undefined && fields.pluginRef === undefined) {
        problems.error(path, '"pluginRef" (or "type", for a plugin written inline) is missing')
      }
      return undefined
    }
    refuseFilter(inline, [...path, 'type'], problems)
    inline.listed = true
    return { path, weight, entry: inline }
  }
  for (const key of ['type', 'name', 'parameters', 'onError', 'timeBudgetMs']) {
    if (fields[key] === undefined) continue
    problems.error(
      [...path, key],
      `"${key}" beside "pluginRef"; it belongs to the entry of "plugins" that "${ref}" names`,
      'key',
    )
  }
  const entry = entries.named(ref)
  if (entry === undefined) {
    const hint = entries.isType(ref)
      ? `; add it there, or write type: ${ref}`
      : suggestion(ref, entries.givenNames)
    problems.error([...path, 'pluginRef'], `"${ref}" names no entry of "plugins"${hint}`)
    return undefined
  }
  refuseFilter(entry, [...path, 'pluginRef'], problems)
  entry.listed = true
  return { path, weight, entry }
}

/** A filter of the field that is not here would change who may serve. */
function refuseFilter({ type, givenName }: Entry, path: Path, problems: ProblemList): void {
  if (!FIELD_FILTERS.includes(type ?? '')) return
  problems.error(
    path,
    `"${givenName ?? type}" of llm-d is not available as a filter, so it would exclude nothing; remove it here, or use utilization-filter`,
  )
}
