import { isDeepStrictEqual } from 'node:util'
import { check } from '../check.ts'
import type { Entries, Entry } from '../entries.ts'
import { isFields } from '../file-values.ts'
import type { ProblemList } from '../problem.ts'
import { APPROX_PRODUCER, PRECISE_PRODUCER, prefixProducerOf } from './references.ts'

const PREFIX_SCORER = 'prefix-cache-scorer'
const PRECISE_SCORER = 'precise-prefix-cache-scorer'

/**
 * Gives the plugins that share an index the parameters of the producer that describes it. There is one index of what was
 * sent where and one of what engines say; the first producer of each counts.
 */
export function sharePrefixIndexes(entries: Entries, problems: ProblemList): void {
  const ofType = (type: string) => entries.list.filter(({ plugin }) => plugin?.type === type)
  const isTracked = (scorer: Entry) =>
    prefixProducerOf(scorer, entries, PRECISE_PRODUCER) !== undefined
  const scorers = ofType(PREFIX_SCORER)
  for (const scorer of scorers.filter(isTracked)) setParam(scorer, 'source', 'tracked')
  const routed = scorers.filter(({ params }) => !isFields(params) || params.source !== 'tracked')
  share(ofType(APPROX_PRODUCER), routed, problems)
  share(ofType(PRECISE_PRODUCER), ofType(PRECISE_SCORER), problems)
}

/** Gives the others what the first producer says, and names those that say otherwise. */
function share(
  [first, ...producers]: readonly Entry[],
  scorers: readonly Entry[],
  problems: ProblemList,
): void {
  if (first?.plugin === undefined || !isFields(first.params)) return
  const names = Object.keys(first.plugin.params.properties)
  const why = `there is one index for all, and "${first.name}" (line ${problems.line(first.path)}) describes it`
  for (const producer of producers) {
    problems.warn(producer.path, `"${producer.name}" has no effect: ${why}`)
    for (const name of names) setParam(producer, name, first.params[name])
  }
  for (const scorer of scorers) {
    if (!isFields(scorer.params) || scorer.plugin === undefined) continue
    const defaults = check(scorer.plugin.params, {}).value
    for (const name of names) {
      const value = scorer.params[name]
      if (isDeepStrictEqual(value, first.params[name])) continue
      setParam(scorer, name, first.params[name])
      if (isFields(defaults) && isDeepStrictEqual(value, defaults[name])) continue
      problems.warn([...scorer.paramsPath, name], `has no effect: ${why}`, 'key')
    }
  }
}

/** Sets a parameter as if the file had written it. */
function setParam({ params, given }: Entry, name: string, value: unknown): void {
  for (const fields of [params, given]) {
    if (!isFields(fields)) continue
    const holder = fields as Record<string, unknown>
    if (value === undefined) delete holder[name]
    else holder[name] = structuredClone(value)
  }
}
