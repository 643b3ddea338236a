import type { AnyPlugin } from '../framework/plugin.ts'
import { FIELD_TYPES } from './field/types.ts'
import { suggestion } from './near.ts'
import { type Path, type ProblemList, valueText } from './problem.ts'

/**
 * The plugin that the type of an entry means; a type that is old, unknown or the field's alone becomes a problem, save for
 * a handler of the field, of which the choice of a handler speaks.
 *
 * @param path of the entry
 */
export function resolveType(
  type: string,
  path: Path,
  plugins: readonly AnyPlugin[],
  problems: ProblemList,
): AnyPlugin | undefined {
  const at = [...path, 'type']
  const plugin = plugins.find((candidate) => candidate.type === type)
  if (plugin !== undefined) return plugin
  const renamed = plugins.find(({ aliases }) => aliases.includes(type))
  if (renamed !== undefined) {
    problems.warn(at, `"${type}" is an old name; write "${renamed.type}"`)
    return renamed
  }
  const known = FIELD_TYPES.get(type)
  if (known === undefined) {
    const types = plugins.map((candidate) => candidate.type)
    const others = [...plugins.flatMap(({ aliases }) => aliases), ...FIELD_TYPES.keys()]
    problems.error(
      at,
      `unknown plugin type ${valueText(type)}` +
        (suggestion(type, types, others) || '; "epp plugins" lists those there are'),
    )
  } else if (known.kind === 'filter') {
    problems.error(
      at,
      `the filter "${type}" of llm-d is not available, so it would exclude nothing; remove it`,
    )
  } else if (known.kind === 'other') {
    const advice = known.advice === '' ? '' : `: ${known.advice}`
    problems.warn(at, `"${type}" of llm-d is not available and has no effect${advice}`)
  }
  return undefined
}
