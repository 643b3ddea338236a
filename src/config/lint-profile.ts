import { isDeepStrictEqual } from 'node:util'
import { isTied } from '../framework/routing/tie.ts'
import { FIELD_TYPES } from './field/types.ts'
import type { LintEntry, LintItem, LintProfile } from './lint-input.ts'
import type { ProblemList } from './problem.ts'

const MAX_SCORE_PICKER = 'max-score-picker'

/** What a picker does with endpoints that all score the same; a picker that is not here may mean it so. */
const WITHOUT_SCORERS: Readonly<Record<string, string>> = {
  [MAX_SCORE_PICKER]: 'every endpoint scores the same, load is not looked at',
  'weighted-random-picker': 'every endpoint scores the same, and one is picked at random',
}

/** The picker of a profile: its own, else the first of the file. */
export function pickerOf(
  { items }: LintProfile,
  entries: readonly LintEntry[],
): LintEntry | undefined {
  const isPicker = ({ plugin }: LintEntry) => plugin?.kind === 'picker'
  return items.map(({ entry }) => entry).find(isPicker) ?? entries.find(isPicker)
}

/** Names what in one profile cannot influence its choice, as far as the profile alone tells. */
export function lintProfile(
  profile: LintProfile,
  entries: readonly LintEntry[],
  problems: ProblemList,
): void {
  const pickerType = pickerOf(profile, entries)?.plugin?.type ?? ''
  lintWeights(profile.items, pickerType, problems)
  lintTwins(profile.items, problems)
  const isUnknown = ({ entry }: LintItem) =>
    entry.plugin === undefined && !FIELD_TYPES.has(entry.type ?? '')
  const effect = WITHOUT_SCORERS[pickerType]
  if (effect !== undefined && !profile.items.some((item) => isScorer(item) || isUnknown(item))) {
    problems.warn(profile.path, `no scorer: ${effect}`)
  }
}

function lintWeights(items: readonly LintItem[], pickerType: string, problems: ProblemList): void {
  const scorers = items.filter(isScorer)
  const isOff = scorers.length > 0 && scorers.every(({ weight }) => weight === 0)
  for (const { path, weight, entry } of items) {
    if (weight === undefined || entry.plugin === undefined) continue
    const at = [...path, 'weight']
    const { kind } = entry.plugin
    if (kind !== 'scorer') {
      problems.warn(at, `a weight has no effect on a ${kind}; remove it`, 'key')
    } else if (weight === 0 && !isOff) {
      problems.warn(at, `weight 0 switches "${entry.name}" off; give it a weight, or remove it`)
    } else if (weight > 0 && isTied(weight, 0) && pickerType === MAX_SCORE_PICKER) {
      problems.warn(
        at,
        `with weight ${weight} the scores of "${entry.name}" are less than a tie, so that it has no influence; give it more, or remove it`,
      )
    }
  }
}

/** Scorers and filters that do what another one of the profile does already. */
function lintTwins(items: readonly LintItem[], problems: ProblemList): void {
  for (const [index, { path, weight, entry }] of items.entries()) {
    const { plugin, params } = entry
    if (plugin?.kind !== 'scorer' && plugin?.kind !== 'filter') continue
    const twin = items
      .slice(0, index)
      .find(
        (other) => other.entry.plugin === plugin && isDeepStrictEqual(other.entry.params, params),
      )
    // One that is listed twice is an error of its own.
    if (twin === undefined || problems.isBroken(path) || problems.isBroken(entry.path)) continue
    const sum = (weight ?? 1) + (twin.weight ?? 1)
    problems.warn(
      path,
      plugin.kind === 'filter'
        ? `"${entry.name}" keeps what "${twin.entry.name}" keeps already; remove it`
        : `"${entry.name}" scores as "${twin.entry.name}" does; keep one of them, with weight ${sum}`,
    )
  }
}

function isScorer({ entry }: LintItem): boolean {
  return entry.plugin?.kind === 'scorer'
}
