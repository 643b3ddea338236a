import type { Fields } from '../file-values.ts'
import { type Path, type ProblemList, valueText } from '../problem.ts'
import { memoryMiB, memoryMiBOfBlocks } from './memory-size.ts'
import { type MutableFields, removeAt, setAt, valueAt } from './value-at.ts'

/** A parameter that has another name or another measure here. */
interface OldParam {
  /** Dotted, from the parameters down. */
  readonly from: string
  readonly to: string
  /** What is the matter with the name; undefined for one that is as good as the other, so that nothing is said. */
  readonly matter?: string
  /** The value under the new name; undefined for one that cannot be taken over. The same value when absent. */
  convert?(value: unknown, params: Fields): unknown
}

/** Tokens per block where nothing says: what the routed index takes then. */
const DEFAULT_BLOCK_TOKENS = 64

const OLD = 'is an old name'

const BLOCKS: readonly OldParam[] = [
  { from: 'blockSize', to: 'blockSizeTokens', matter: OLD },
  {
    from: 'maxPrefixBlocksToMatch',
    to: 'maxPrefixTokensToMatch',
    matter: OLD,
    convert: (blocks, { blockSizeTokens: tokens = DEFAULT_BLOCK_TOKENS }) =>
      typeof blocks === 'number' && typeof tokens === 'number' ? blocks * tokens : undefined,
  },
]
const SESSION: readonly OldParam[] = [
  { from: 'headerName', to: 'encodedEndpointHeaderConfig.header', matter: OLD },
]
const INDEX = 'indexerConfig.kvBlockIndexConfig'
const PRECISE: readonly OldParam[] = [
  // The first that is there counts, as in llm-d.
  {
    from: `${INDEX}.costAwareMemoryConfig.size`,
    to: `${INDEX}.maxMemoryMiB`,
    convert: memoryMiB,
  },
  {
    from: `${INDEX}.inMemoryConfig.size`,
    to: `${INDEX}.maxMemoryMiB`,
    matter: 'counts blocks',
    convert: memoryMiBOfBlocks,
  },
  { from: 'indexerConfig.speculativeIndexing', to: 'speculativeIndexing', matter: OLD },
]

const OLD_PARAMS: Readonly<Record<string, readonly OldParam[]>> = {
  'prefix-cache-scorer': BLOCKS,
  'approx-prefix-cache-producer': BLOCKS,
  'session-affinity-scorer': SESSION,
  'session-affinity-filter': SESSION,
  'precise-prefix-cache-scorer': PRECISE,
  'precise-prefix-cache-producer': PRECISE,
}

/** Dotted paths of the parameters of that type that have another name here. */
export function oldParams(type: string): readonly string[] {
  return (OLD_PARAMS[type] ?? []).map(({ from }) => from)
}

/**
 * The parameters with old names replaced by those of this build; what is old is named with what to write.
 *
 * @param path of the parameters
 */
export function renewParams(
  type: string,
  given: Fields,
  path: Path,
  problems: ProblemList,
): MutableFields {
  const params: MutableFields = structuredClone(given)
  for (const { from, to, matter, convert } of OLD_PARAMS[type] ?? []) {
    const old = from.split('.')
    const keys = to.split('.')
    const value = valueAt(params, old)
    if (value === undefined) continue
    const at = [...path, ...old]
    const converted = convert === undefined ? value : convert(value, params)
    removeAt(params, old)
    if (converted === undefined) {
      problems.error(at, `${valueText(value)} cannot be read; write "${to}"`)
    } else if (valueAt(params, keys) !== undefined) {
      problems.warn(at, `"${old.at(-1)}" has no effect, since "${to}" is there; remove it`, 'key')
    } else {
      setAt(params, keys, converted)
      if (matter === undefined) continue
      problems.warn(at, `"${old.at(-1)}" ${matter}; write ${to}: ${valueText(converted)}`, 'key')
    }
  }
  return params
}
