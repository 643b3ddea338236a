import type { AnyPlugin, ConfiguredPlugin, PluginUse, Remark } from '../framework/plugin.ts'
import { type LintEntry, type LintInput, shadowEntries } from './lint-input.ts'
import { pickerOf } from './lint-profile.ts'
import { nearest } from './near.ts'
import type { Path, ProblemList } from './problem.ts'
import { isDefault } from './schema-default.ts'

type Known = LintEntry & { readonly plugin: AnyPlugin }

/** Passes on what plugins say of their own params. */
export function lintRemarks({ entries, profiles }: LintInput, problems: ProblemList): void {
  const known = entries.filter((entry): entry is Known => entry.plugin !== undefined)
  const shadowed = shadowEntries(profiles)
  const acting = entries.filter((entry) => !shadowed.has(entry))
  const isBroken = (path: Path) => path.length > 0 && problems.isBroken(path)
  const sound = known.filter(({ path, paramsPath }) => !isBroken(path) && !isBroken(paramsPath))
  const plugins = sound.map(configured)
  const names = profiles.filter(({ shadow }) => shadow === undefined).map(({ name }) => name)
  for (const entry of sound) {
    if (entry.plugin.lint === undefined) continue
    const said = new Set<string>()
    const around = profiles
      .map((profile) => {
        const members = profile.items.map((item) => item.entry)
        const picker = pickerOf(profile, acting)
        if (picker !== undefined && !members.includes(picker)) members.push(picker)
        return members
      })
      .filter((members) => members.includes(entry))
    for (const members of around.length > 0 ? around : [[]]) {
      const profile = sound.filter((each) => members.includes(each)).map(configured)
      const use = { name: entry.name, plugins, profile, profiles: names }
      for (const remark of remarksOf(entry, use, problems)) {
        const key = JSON.stringify([remark.path, remark.message])
        if (!said.has(key)) pass(remark, entry, problems)
        said.add(key)
      }
    }
  }
}

/** What a plugin says; a plugin that throws has said nothing. */
function remarksOf(
  { path, name, plugin, params }: Known,
  use: PluginUse,
  problems: ProblemList,
): readonly Remark[] {
  try {
    return plugin.lint?.(params, use) ?? []
  } catch (error) {
    problems.warn(path, `the lint of "${name}" failed: ${String(error)}; mend the plugin`)
    return []
  }
}

function pass(remark: Remark, entry: Known, problems: ProblemList): void {
  const { kind, path, message, known } = remark
  const value = valueAt(entry.params, path)
  const near = typeof value === 'string' && known ? nearest(value, known) : undefined
  const subject = path.length === 0 ? `"${entry.name}" ` : ''
  const text = `${subject}${message}${near === undefined ? '' : `; did you mean "${near}"?`}`
  const at = path.length === 0 ? entry.path : [...entry.paramsPath, ...path]
  if (kind === 'error') problems.error(at, text)
  else if (kind === 'warning') problems.warn(at, text)
  else if (
    valueAt(entry.given, path) !== undefined &&
    !isDefault(entry.plugin.params, entry.params, path)
  ) {
    problems.warn(at, text, typeof path.at(-1) === 'number' ? 'value' : 'key')
  }
}

function configured({ name, plugin, params }: Known): ConfiguredPlugin {
  return { name, kind: plugin.kind, type: plugin.type, params }
}

function valueAt(value: unknown, path: Path): unknown {
  let inner = value
  for (const step of path) {
    if (typeof inner !== 'object' || inner === null) return undefined
    inner = (inner as Record<string | number, unknown>)[step]
  }
  return inner
}
