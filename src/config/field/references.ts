import type { Entries, Entry } from '../entries.ts'
import { suggestion } from '../near.ts'
import { type Path, type ProblemList, valueText } from '../problem.ts'
import { FIELD_TYPES } from './types.ts'

export const APPROX_PRODUCER = 'approx-prefix-cache-producer'
export const PRECISE_PRODUCER = 'precise-prefix-cache-producer'
const LOAD_PRODUCER = 'inflight-load-producer'
const EXTRACTOR = 'core-metrics-extractor'

/** A parameter that names an entry of `plugins`. */
interface ReferenceParam {
  readonly param: string
  /** Types that it may name. */
  readonly types: readonly string[]
}

/** What a file has written as such a parameter. */
export interface Reference extends ReferenceParam {
  readonly value: unknown
  readonly path: Path
}

const PREFIXES: ReferenceParam = {
  param: 'prefixMatchInfoProducerName',
  types: [
    APPROX_PRODUCER,
    PRECISE_PRODUCER,
    'burst-prefix-cache-producer',
    'multicluster-approx-prefix-cache-producer',
  ],
}
const LOAD: ReferenceParam = { param: 'inFlightLoadProducerName', types: [LOAD_PRODUCER] }
const ATTRIBUTE: ReferenceParam = { param: 'producer', types: [EXTRACTOR] }

const REFERENCES: Readonly<Record<string, readonly ReferenceParam[]>> = {
  'prefix-cache-scorer': [PREFIXES],
  'precise-prefix-cache-scorer': [PREFIXES],
  'no-hit-lru-scorer': [PREFIXES],
  'prefix-cache-affinity-filter': [PREFIXES, LOAD],
  'inflight-load-producer': [PREFIXES],
  'active-request-scorer': [LOAD],
  'token-load-scorer': [LOAD],
  'utilization-filter': [LOAD],
  'endpoint-attribute-scorer': [ATTRIBUTE],
  'endpoint-attribute-filter': [ATTRIBUTE],
}

/** The parameters of that type that name other entries. */
export function referenceParams(type: string): readonly ReferenceParam[] {
  return REFERENCES[type] ?? []
}

/** Takes the names of other entries out of parameters. @param path of the parameters */
export function takeReferences(
  type: string,
  params: Record<string, unknown>,
  path: Path,
): readonly Reference[] {
  return referenceParams(type).flatMap((reference) => {
    const value = params[reference.param]
    delete params[reference.param]
    return value === undefined ? [] : { ...reference, value, path: [...path, reference.param] }
  })
}

/** Checks that names of other entries lead to what they may name. */
export function checkReferences(entries: Entries, problems: ProblemList): void {
  for (const { references } of entries.list) {
    for (const reference of references) checkReference(reference, entries, problems)
  }
}

function checkReference(
  { param, types, value, path }: Reference,
  entries: Entries,
  problems: ProblemList,
): void {
  if (typeof value !== 'string') {
    problems.error(path, `must be a string, got ${valueText(value)}`)
    return
  }
  // Empty: whatever there is. A type: the entry that the field adds by itself.
  if (value === '' || types.includes(value)) return
  const named = entries.named(value)
  const type = named === undefined ? value : (named.plugin?.type ?? named.type ?? '')
  if (types.includes(type)) return
  if (param === ATTRIBUTE.param && FIELD_TYPES.has(type)) {
    problems.warn(path, `attributes of "${value}" are not available; those of ${EXTRACTOR} are`)
  } else if (named === undefined) {
    const names = entries.list
      .filter((entry) => types.includes(entry.type ?? ''))
      .flatMap(({ givenName }) => givenName ?? [])
    problems.error(
      path,
      `"${value}" names no entry of "plugins"${suggestion(value, [...new Set([...names, types[0]!])])}`,
    )
  } else {
    problems.error(path, `"${value}" is of type ${type}; name one of type ${types[0]}`)
  }
}

/** The entry of that type that an entry names as the source of its prefixes; undefined when it names another or none. */
export function prefixProducerOf(entry: Entry, entries: Entries, type: string): Entry | undefined {
  const value = entry.references.find(({ param }) => param === PREFIXES.param)?.value
  if (typeof value !== 'string') return undefined
  const named = entries.named(value)
  return named?.plugin?.type === type ? named : undefined
}
