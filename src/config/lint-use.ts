import type { AttributeKey } from '../framework/attributes.ts'
import { PROMPT_TOKENS } from '../framework/attributes.ts'
import type { AnyPlugin } from '../framework/plugin.ts'
import type { LintSurroundings } from './lint.ts'
import type { LintEntry, LintInput } from './lint-input.ts'
import type { ProblemList } from './problem.ts'

/** Kinds that do nothing outside of a profile. */
const PROFILE_KINDS: readonly string[] = ['filter', 'scorer', 'picker']

/** An entry whose type is known. */
type Known = LintEntry & { readonly plugin: AnyPlugin }

/** Names what is there and used by nothing, and data that is needed and made by nothing. */
export function lintUse(
  { entries, profiles, handler }: LintInput,
  surroundings: LintSurroundings,
  problems: ProblemList,
): void {
  if (profiles.length === 0) return
  const known = entries.filter((entry): entry is Known => entry.plugin !== undefined)
  const isIdle = ({ plugin, listed }: Known) => !listed && PROFILE_KINDS.includes(plugin.kind)
  for (const { path, name } of known.filter(isIdle)) {
    problems.warn(path, `"${name}" is in no profile and has no effect`)
  }
  const working = known.filter((entry) => !isIdle(entry))
  lintNeeds(working, surroundings, problems)
  lintProfilesOf(handler, { entries, profiles, handler }, problems)
  // A plugin with an error may be the one that needs the data.
  if (problems.hasErrors) return
  lintProducers(working, surroundings, problems)
}

function lintNeeds(
  working: readonly Known[],
  { standIns, modules }: LintSurroundings,
  problems: ProblemList,
): void {
  for (const { path, name, plugin } of working) {
    for (const need of plugin.needs) {
      const makes = ({ produces }: AnyPlugin) => produces === need
      if (working.some((each) => makes(each.plugin)) || standIns.some(makes)) continue
      const maker = modules.find(makes)?.type ?? 'a producer of it'
      problems.error(
        path,
        `"${name}" needs ${need.name}, which nothing makes; add ${maker} to "plugins"`,
      )
    }
  }
}

function lintProfilesOf(
  handler: LintEntry | undefined,
  { profiles }: LintInput,
  problems: ProblemList,
): void {
  if (handler?.plugin?.selects === undefined || problems.isBroken(handler.path)) return
  const acting = profiles.filter(({ shadow }) => shadow === undefined)
  const names = acting.map(({ name }) => name)
  let selected: readonly string[]
  try {
    selected = handler.plugin.selects(handler.params, names)
  } catch (error) {
    problems.warn(
      handler.path,
      `"${handler.name}" failed to say which profiles it runs: ${String(error)}; mend the plugin`,
    )
    return
  }
  for (const { path, name } of acting) {
    if (selected.includes(name)) continue
    problems.warn(path, `"${handler.name}" never runs this profile; remove or rename it`)
  }
}

/** Producers whose data nobody needs or another one makes, and the tokenizers that come with them. */
function lintProducers(
  working: readonly Known[],
  { standIns, hasTokenizers }: LintSurroundings,
  problems: ProblemList,
): void {
  const needed = neededBy(working, standIns)
  const makers = new Map<unknown, Known>()
  for (const entry of working) {
    const { path, name, plugin } = entry
    if (plugin.produces === undefined) continue
    const first = makers.get(plugin.produces)
    if (first !== undefined) {
      problems.warn(
        path,
        `"${name}" has no effect, since "${first.name}" makes ${plugin.produces.name} already; remove one`,
      )
    } else if (!needed.has(plugin.produces)) {
      problems.warn(
        path,
        `"${name}" has no effect, since no plugin needs ${plugin.produces.name}; remove it`,
      )
    }
    makers.set(plugin.produces, first ?? entry)
  }
  if (hasTokenizers && !needed.has(PROMPT_TOKENS)) {
    problems.warn(['tokenizers'], 'no plugin needs token ids, so that this has no effect', 'key')
  }
}

/** The data that plugins need, and that whoever makes it needs in turn. */
function neededBy(
  working: readonly Known[],
  standIns: readonly AnyPlugin[],
): ReadonlySet<AttributeKey<unknown>> {
  const plugins = working.map(({ plugin }) => plugin)
  const needed = new Set<AttributeKey<unknown>>()
  const add = ({ needs }: AnyPlugin) => {
    for (const need of needs) {
      if (needed.has(need)) continue
      needed.add(need)
      const maker = [...plugins, ...standIns].find(({ produces }) => produces === need)
      if (maker !== undefined) add(maker)
    }
  }
  for (const plugin of plugins) if (plugin.kind !== 'producer') add(plugin)
  return needed
}
