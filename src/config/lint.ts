import type { AnyPlugin } from '../framework/plugin.ts'
import { type LintInput, shadowEntries } from './lint-input.ts'
import { lintProfile } from './lint-profile.ts'
import { lintRemarks } from './lint-remarks.ts'
import { lintUse } from './lint-use.ts'
import type { ProblemList } from './problem.ts'

/** What a file's plugins may be helped out with. */
export interface LintSurroundings {
  /** Plugins of which a producer stands in where the file lists none of the data that is needed. */
  readonly standIns: readonly AnyPlugin[]
  /** Plugins of the file's modules, which stand in for nothing. */
  readonly modules: readonly AnyPlugin[]
  /** True when the file maps models to tokenizers. */
  readonly hasTokenizers: boolean
}

/**
 * Names what is written as it should be and yet has no effect, as warnings, and what cannot work as errors. Goes on beside
 * other problems: of a plugin with an error in its entry only its place in profiles is looked at.
 */
export function lint(
  input: LintInput,
  surroundings: LintSurroundings,
  problems: ProblemList,
): void {
  const { profiles, entries } = input
  const shadowed = shadowEntries(profiles)
  const acting = entries.filter((entry) => !shadowed.has(entry))
  for (const profile of profiles) lintProfile(profile, acting, problems)
  lintUse(input, surroundings, problems)
  lintRemarks(input, problems)
}
