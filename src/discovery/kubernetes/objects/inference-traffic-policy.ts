import { type Fault, type Field, readObject, shown } from './field.ts'
import { type ObjectMeta, readMeta, readPoolName } from './object-meta.ts'

/** How a policy wants prefix caches to be known; `none` when it does not say. */
export type PrefixCacheMode = 'tracking' | 'estimate' | 'none'

/** What a policy says of the engines' block hashing. */
export interface TokenProcessor {
  /** Tokens per block, at least 1. */
  readonly blockSize?: number
  /** The engines' PYTHONHASHSEED. */
  readonly hashSeed?: string
  /** The model whose tokenizer counts. */
  readonly model?: string
}

/** An InferenceTrafficPolicy (inferenceextension.alibabacloud.com/v1alpha1). */
export interface InferenceTrafficPolicy {
  readonly meta: ObjectMeta
  readonly poolName: string
  readonly mode: PrefixCacheMode
  /** Only with the mode `tracking`; undefined when the policy gives none. */
  readonly tokenProcessor: TokenProcessor | undefined
  /** What of the policy has no effect, each in one sentence with the field's path. */
  readonly warnings: readonly string[]
}

const MODES: readonly PrefixCacheMode[] = ['tracking', 'estimate']
const MOST_BLOCK_TOKENS = 2 ** 20
/** An object may have a million unknown fields. */
const MOST_WARNINGS = 20

/** The fields that have an effect, or whose value is looked at; anything else in the spec is named in a warning. */
const KNOWN_FIELDS = {
  poolRef: { name: {}, kind: {}, group: {} },
  profile: {
    single: {
      trafficPolicy: {
        prefixCache: {
          mode: {},
          trackingConfig: {
            indexerConfig: { tokenProcessorConfig: { blockSize: {}, hashSeed: {}, model: {} } },
            tokenProcessorConfig: { blockSize: {}, hashSeed: {}, model: {} },
          },
        },
      },
    },
  },
}
interface Known {
  readonly [field: string]: Known
}

/** Reads an InferenceTrafficPolicy, or says what is wrong with it. */
export function readInferenceTrafficPolicy(object: unknown): InferenceTrafficPolicy | Fault {
  return readObject(object, (root) => {
    const spec = root.get('spec')
    const prefixCache = spec.get('profile').get('single').get('trafficPolicy').get('prefixCache')
    const tracking = prefixCache.get('trackingConfig')
    const mode = readMode(prefixCache.get('mode'))
    const warnings = unknownFields(spec, KNOWN_FIELDS).slice(0, MOST_WARNINGS)
    const tokenProcessor = readTokenProcessors(tracking, warnings)
    if (tracking.present && mode !== 'tracking') {
      warnings.push(`${tracking.path} has no effect without mode: tracking`)
    }
    return {
      meta: readMeta(root),
      poolName: readPoolName(spec),
      mode,
      tokenProcessor: mode === 'tracking' ? tokenProcessor : undefined,
      warnings,
    }
  })
}

function readMode(field: Field): PrefixCacheMode {
  if (!field.present) return 'none'
  const found = MODES.find((mode) => mode === field.value)
  return found ?? field.fail(`is ${shown(field.value)}; use one of ${MODES.join(', ')}`)
}

/** The documents put it inside `indexerConfig` or beside it; the inner one wins where both say different things. */
function readTokenProcessors(tracking: Field, warnings: string[]): TokenProcessor | undefined {
  const inner = tracking.get('indexerConfig').get('tokenProcessorConfig')
  const outer = tracking.get('tokenProcessorConfig')
  if (!inner.present && !outer.present) return undefined
  const values = { ...readTokenProcessor(outer), ...readTokenProcessor(inner) }
  for (const key of ['blockSize', 'hashSeed', 'model']) {
    const [theirs, ours] = [outer.get(key), inner.get(key)]
    if (theirs.present && ours.present && String(theirs.value) !== String(ours.value)) {
      warnings.push(
        `${theirs.path} (${shown(theirs.value)}) has no effect: ${ours.path} says ${shown(ours.value)}; remove one`,
      )
    }
  }
  return values
}

function readTokenProcessor(config: Field): TokenProcessor {
  const [blockSize, hashSeed, model] = ['blockSize', 'hashSeed', 'model'].map((key) =>
    config.get(key),
  ) as [Field, Field, Field]
  return {
    ...(blockSize.present && { blockSize: blockSize.integer(1, MOST_BLOCK_TOKENS) }),
    ...(hashSeed.present && { hashSeed: readSeed(hashSeed) }),
    ...(model.present && { model: model.text() }),
  }
}

/** YAML takes `42` for a number; the engine's environment has it as a text. */
function readSeed(field: Field): string {
  return Number.isSafeInteger(field.value) ? String(field.value) : field.text()
}

function unknownFields(field: Field, known: Known): string[] {
  if (typeof field.value !== 'object' || Array.isArray(field.value)) return []
  return field.keys().flatMap((key) => {
    const inner = known[key]
    const member = field.get(key)
    if (inner !== undefined) return unknownFields(member, inner)
    return [`${member.path} is not known here and has no effect`]
  })
}
