import { DEFAULT_HANDLER } from './defaults.ts'
import type { Entries, Entry } from './entries.ts'
import { FIELD_TYPES } from './field/types.ts'
import { isFields, textOf } from './file-values.ts'
import type { ProblemList } from './problem.ts'
import type { Profile } from './profiles.ts'

const DEFAULT_DECODE_PROFILE = 'decode'

/** Which profiles are put to work, and who chooses between them. */
export interface HandlerChoice {
  readonly profiles: readonly Profile[]
  /** Undefined when the file has none: then one stands in, or an error says why none can. */
  readonly handler: Entry | undefined
}

/** The handler of a file. A handler of the field that is not here leaves one profile, which runs for every request. */
export function chooseHandler(
  profiles: readonly Profile[],
  entries: Entries,
  problems: ProblemList,
): HandlerChoice {
  const [handler, ...others] = entries.list.filter(({ plugin }) => plugin?.kind === 'handler')
  for (const other of others) {
    problems.error(other.path, `a second handler; "${handler?.name}" decides already: remove one`)
  }
  const absent = entries.list.filter(
    ({ plugin, type }) => plugin === undefined && FIELD_TYPES.get(type ?? '')?.kind === 'handler',
  )
  const [first] = absent
  const only =
    handler === undefined && first !== undefined ? onlyProfile(first, profiles) : undefined
  for (const entry of absent) warnOfAbsent(entry, only, profiles, problems)
  if (only !== undefined) return { profiles: [only], handler: undefined }
  if (handler === undefined && profiles.length > 1) {
    problems.error(
      ['schedulingProfiles'],
      `${profiles.length} profiles and no handler to choose between them; keep one profile, or add a handler`,
      'key',
    )
  }
  if (handler?.plugin?.type === DEFAULT_HANDLER && profiles.length > 1) {
    problems.error(
      handler.path,
      `"${DEFAULT_HANDLER}" runs one profile, and there are ${profiles.length}; keep one, or use another handler`,
    )
  }
  return { profiles, handler }
}

/** The profile that a handler of the field would run for every request, whatever else it runs. */
function onlyProfile({ given }: Entry, profiles: readonly Profile[]): Profile | undefined {
  if (profiles.length === 1) return profiles[0]
  const fields = isFields(given) ? given : {}
  const nested = isFields(fields.profiles) ? fields.profiles : {}
  const decode = textOf(nested.decode) ?? textOf(fields.decodeProfile) ?? DEFAULT_DECODE_PROFILE
  return profiles.find(({ name }) => name === decode)
}

function warnOfAbsent(
  { path, type = '' }: Entry,
  only: Profile | undefined,
  profiles: readonly Profile[],
  problems: ProblemList,
): void {
  const advice = FIELD_TYPES.get(type)?.advice ?? ''
  const instead =
    only !== undefined && profiles.length > 1
      ? `every request runs the profile "${only.name}" alone, and ${advice}`
      : advice
  problems.warn(
    [...path, 'type'],
    `"${type}" of llm-d is not available and has no effect: ${instead}`,
  )
}
