import type { AnyPlugin } from '../../framework/plugin.ts'
import { type Fields, isFields } from '../file-values.ts'
import { type Path, type ProblemList, valueText } from '../problem.ts'

/** A plugin under another type than its own. */
export interface Form {
  readonly plugin: AnyPlugin
  readonly params: Fields
}

/**
 * The plugin that an entry means whose type alone does not tell; undefined where the type does.
 *
 * @param path of the entry
 */
export function formOf(
  type: string | undefined,
  given: unknown,
  path: Path,
  plugins: readonly AnyPlugin[],
  problems: ProblemList,
): Form | undefined {
  if (!isFields(given)) return undefined
  if (type === 'prefix-cache-scorer') return trackingForm(given, path, plugins, problems)
  return type === 'by-label' ? selectorForm(given, path, plugins, problems) : undefined
}

/** The precise scorer of llm-d's first versions. */
function trackingForm(
  { mode, ...params }: Fields,
  path: Path,
  plugins: readonly AnyPlugin[],
  problems: ProblemList,
): Form | undefined {
  const plugin = find('precise-prefix-cache-scorer', plugins)
  if (mode !== 'cache_tracking' || plugin === undefined) return undefined
  problems.warn(
    [...path, 'parameters', 'mode'],
    `"prefix-cache-scorer" in this mode is read as "${plugin.type}"; write that`,
  )
  return { plugin, params }
}

/** A list of values that a label selector can say as well; endpoints without the label besides, it cannot. */
function selectorForm(
  { label, validValues, allowsNoLabel = false, ...others }: Fields,
  path: Path,
  plugins: readonly AnyPlugin[],
  problems: ProblemList,
): Form | undefined {
  const plugin = find('label-selector-filter', plugins)
  const isSelector =
    typeof label === 'string' &&
    label !== '' &&
    Array.isArray(validValues) &&
    validValues.length > 0 &&
    validValues.every((value) => typeof value === 'string') &&
    allowsNoLabel === false &&
    Object.keys(others).length === 0
  if (plugin === undefined || !isSelector) return undefined
  const expression = `{ key: ${label}, operator: In, values: ${valueText(validValues)} }`
  problems.warn(
    [...path, 'type'],
    `"by-label" is an old name; write "${plugin.type}" with matchExpressions: [${expression}]`,
  )
  const matchExpressions = [{ key: label, operator: 'In', values: validValues }]
  return { plugin, params: { matchExpressions } }
}

function find(type: string, plugins: readonly AnyPlugin[]): AnyPlugin | undefined {
  return plugins.find((plugin) => plugin.type === type)
}
