import type { AnyPlugin } from '../framework/plugin.ts'
import type { Path } from './problem.ts'

/** Where a plugin of the checked configuration stands in the file. */
export interface Origin {
  /** Of its entry; empty for a plugin that the file does not write and that stands in for it. */
  readonly path: Path
  /** Its type as written; undefined when it is missing. */
  readonly type: string | undefined
  /** Of its parameters, which may be those of another entry; empty as `path` is. */
  readonly paramsPath: Path
  /** The raw parameters that stand there; undefined when there are none. */
  readonly given: unknown
}

/** One plugin of the file: an entry of `plugins`, or inline in a profile. */
export interface LintEntry extends Origin {
  /** Unique. */
  readonly name: string
  /** Undefined when the type is missing, unknown, or the field's alone. */
  readonly plugin: AnyPlugin | undefined
  /** Checked, with defaults; undefined without a plugin. */
  readonly params: unknown
  /** True when a profile lists it, or it stands in for something. */
  readonly listed: boolean
}

/** One line of a profile. */
export interface LintItem {
  readonly path: Path
  /** As written; undefined when absent. */
  readonly weight: number | undefined
  readonly entry: LintEntry
}

/** One profile as the file writes it; its path is empty when the file writes none and all plugins make one. */
export interface LintProfile {
  readonly path: Path
  readonly name: string
  readonly items: readonly LintItem[]
  /** Present where it is run beside the profiles that act. */
  readonly shadow?: {
    readonly timeBudgetMs: number
    /** True where the file says it. */
    readonly isGiven: boolean
  }
}

/** Entries that shadow profiles list and no other one does: they stand in for nothing. */
export function shadowEntries(profiles: readonly LintProfile[]): ReadonlySet<LintEntry> {
  const entriesOf = (some: readonly LintProfile[]) =>
    some.flatMap(({ items }) => items.map(({ entry }) => entry))
  const acting = new Set(entriesOf(profiles.filter(({ shadow }) => shadow === undefined)))
  const shadowed = entriesOf(profiles.filter(({ shadow }) => shadow !== undefined))
  return new Set(shadowed.filter((entry) => !acting.has(entry)))
}

/** What was read of a file, for the rules that look at its meaning. */
export interface LintInput {
  /** Those that stand in are among them, with an empty path. */
  readonly entries: readonly LintEntry[]
  readonly profiles: readonly LintProfile[]
  /** Undefined when there is none, which is an error then. */
  readonly handler: LintEntry | undefined
}
