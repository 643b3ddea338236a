import type { PluginSpec } from '../framework/build.ts'
import { type OnError, onErrorProblem } from '../framework/on-error.ts'
import type { AnyPlugin } from '../framework/plugin.ts'
import type { Fields } from './file-values.ts'
import type { Path, ProblemList } from './problem.ts'

/** What is to happen when a plugin fails or takes long. */
export type EntryFaults = Pick<PluginSpec, 'onError' | 'timeBudgetMs'>

const VALUES: readonly unknown[] = ['neutral', 'skip', 'fail'] satisfies readonly OnError[]

/** Reads it from an entry; reports what a plugin of that kind cannot have. Other values the shape check has named. */
export function readFaults(
  { kind }: AnyPlugin,
  fields: Fields,
  path: Path,
  problems: ProblemList,
): EntryFaults {
  const onError = VALUES.includes(fields.onError) ? (fields.onError as OnError) : undefined
  const problem = onError && onErrorProblem(kind, onError)
  if (problem !== undefined) problems.error([...path, 'onError'], problem)
  const { timeBudgetMs } = fields
  return {
    ...(onError !== undefined && { onError }),
    ...(typeof timeBudgetMs === 'number' && { timeBudgetMs }),
  }
}
