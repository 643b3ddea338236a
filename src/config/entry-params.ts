import type { AnyPlugin } from '../framework/plugin.ts'
import { check } from './check.ts'
import { attributeNames } from './field/attribute-names.ts'
import { oldParams, renewParams } from './field/old-params.ts'
import { fieldParam, fieldParamsWithin } from './field/params.ts'
import { type Reference, takeReferences } from './field/references.ts'
import { type Fields, isFields } from './file-values.ts'
import { suggestion } from './near.ts'
import { type Path, type ProblemList, valueText } from './problem.ts'

/** The parameters of one entry. */
export interface EntryParams {
  /** As the file has them, under the names of this build; names of other entries are left out. */
  readonly given: Fields | undefined
  /** Checked, with defaults; complete only when no problem is an error. */
  readonly params: unknown
  /** The parameters that name other entries, to be checked when all are known. */
  readonly references: readonly Reference[]
}

/**
 * Checks the `parameters` of an entry and fills in defaults; what does not fit becomes a problem.
 *
 * @param path of the parameters
 */
export function checkParams(
  plugin: AnyPlugin,
  written: unknown,
  path: Path,
  problems: ProblemList,
): EntryParams {
  const fields = isFields(written) ? written : {}
  const given = renewParams(plugin.type, fields, path, problems)
  attributeNames(plugin.type, given, path, problems)
  const references = takeReferences(plugin.type, given, path)
  const { value, issues } = check(plugin.params, given)
  for (const issue of issues) {
    const at = [...path, ...issue.path]
    const inner = valueIn(given, issue.path)
    if (
      issue.unknownKey === undefined ||
      !isTolerated(plugin.type, issue.path, inner, at, problems)
    ) {
      problems.error(at, issue.message, issue.part)
    } else removeKey(value, issue.path)
  }
  return { given: isFields(written) ? given : undefined, params: value, references }
}

/** True for a parameter that the field knows; whether it has an effect becomes a warning. */
function isTolerated(
  type: string,
  path: Path,
  value: unknown,
  at: Path,
  problems: ProblemList,
): boolean {
  const keys = path.filter((part) => typeof part === 'string')
  const known = fieldParam(type, keys)
  if (known !== undefined) {
    if (known.values !== undefined && !known.values.includes(value)) {
      const values = known.values.map(valueText).join(', ')
      problems.error(at, `must be one of ${values}, got ${valueText(value)}`)
    } else if (known.isDone?.(value) !== true) {
      const instead = known.instead === undefined ? '' : `: ${known.instead}`
      problems.warn(
        at,
        `"${keys.at(-1)}" of llm-d is not available and has no effect${instead}`,
        'key',
      )
    }
    return true
  }
  const within = fieldParamsWithin(type, keys)
  if (within.length === 0 || !isFields(value)) return false
  for (const [key, inner] of Object.entries(value)) {
    if (isTolerated(type, [...path, key], inner, [...at, key], problems)) continue
    const names = [...oldParams(type), ...within.map((param) => param.path)]
      .filter((name) => name.startsWith(`${keys.join('.')}.`))
      .map((name) => name.split('.')[keys.length]!)
    problems.error(
      [...at, key],
      `unknown field "${key}"${suggestion(key, [...new Set(names)])}`,
      'key',
    )
  }
  return true
}

function valueIn(value: unknown, path: Path): unknown {
  return path.reduce(
    (holder, part) => (holder as Record<string | number, unknown> | undefined)?.[part],
    value,
  )
}

function removeKey(value: unknown, path: Path): void {
  const holder = valueIn(value, path.slice(0, -1))
  delete (holder as Record<string | number, unknown>)[path.at(-1)!]
}
