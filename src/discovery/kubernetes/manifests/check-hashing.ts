import { flagValue, lastFlag, vllmCount } from '../../../framework/engine-command/vllm-args.ts'
import {
  countFlag,
  DEFAULT_BLOCK_TOKENS,
  type Engine,
  engineTitle,
  isAtLeast,
  isOlder,
  isOpen,
  modelWords,
  placeOf,
  servedNames,
  whereIsWord,
} from './engine.ts'
import { type Findings, isPlaceholder, shown, whereIs } from './manifest.ts'
import type { Expectation } from './profile.ts'

const SEED = 'PYTHONHASHSEED'
const ALGORITHM = 'prefix-caching-hash-algo'
/** What block hashes are verified with. */
const VERIFIABLE = ['sha256', 'sha256_cbor', 'sha256_cbor_64bit', 'xxhash', 'xxhash_cbor']
/** Everything that any release of vLLM knows. */
const ALGORITHMS = [...VERIFIABLE, 'builtin']

/** Compares an engine's blocks and hashes with what a policy or profile says of them. */
export function checkExpectation(
  engine: Engine,
  expectation: Expectation,
  findings: Findings,
): void {
  checkBlockTokens(engine, expectation, findings)
  checkSeed(engine, expectation, findings)
  checkModel(engine, expectation, findings)
}

function checkBlockTokens(
  engine: Engine,
  { blockTokens, manifest }: Expectation,
  findings: Findings,
): void {
  if (blockTokens === undefined) return
  const word = flagValue(engine.args, 'block-size')
  const actual = word === undefined ? DEFAULT_BLOCK_TOKENS : countFlag(engine, 'block-size')
  if (actual === undefined || actual === blockTokens.value) return
  const instead =
    word === undefined
      ? `${engineTitle(engine)} has no --block-size, which makes it ${actual} on GPUs; add --block-size ${blockTokens.value} there`
      : `${engineTitle(engine)} has --block-size ${actual} (${whereIsWord(engine, word)}); write ${actual} here, or --block-size ${blockTokens.value} there`
  findings.error(manifest, blockTokens.path, `is ${blockTokens.value}, but ${instead}`)
}

function checkSeed(engine: Engine, expectation: Expectation, findings: Findings): void {
  const { hashSeed, manifest, title } = expectation
  const own = engine.workload.object.manifest
  const word = engine.assigned.get(SEED)
  const variable = engine.env.get(SEED)
  const path = variable && [...variable.path, 'value']
  if (word === undefined && variable === undefined) {
    if (hashSeed === undefined && !isOlder(engine, 0, 30, 0)) return
    const value = hashSeed?.value ?? '42'
    const because =
      hashSeed === undefined
        ? 'so that each replica hashes blocks with a seed of its own'
        : `but hashSeed of ${title} is ${value} (${whereIs(manifest, hashSeed.path)})`
    const message = `${SEED} is missing, ${because}; add it with the value '${value}'`
    if (hashSeed === undefined) findings.warn(own, [...engine.path, 'env'], message, 'key')
    else findings.error(own, [...engine.path, 'env'], message, 'key')
    return
  }
  const open = word === undefined ? variable?.expansion.known !== true : isOpen(word)
  if (open) return
  const actual = word?.value ?? variable!.expansion.value
  const wanted = hashSeed?.value
  const at = (message: string) => {
    if (word !== undefined) findings.error(own, ...withUnit(placeOf(engine, word), message))
    else findings.error(own, path!, message)
  }
  if (actual === '0' || actual === '') {
    at(`${SEED} is "${actual}", and must be a text other than 0; write '${wanted ?? '42'}'`)
  } else if (wanted !== undefined && wanted !== actual) {
    at(
      `${SEED} is "${actual}", but hashSeed of ${title} is ${wanted} (${whereIs(manifest, hashSeed!.path)}); write '${wanted}' here, or ${actual} there`,
    )
  }
}

/** Arguments of `Findings` for a place in a word. */
function withUnit(
  [path, unit]: readonly [readonly (string | number)[], number],
  message: string,
): [readonly (string | number)[], string, number] {
  return [path, message, unit]
}

/** A policy's model names the tokenizer; another model than the engine's is suspicious, a hub's prefix is not. */
function checkModel(engine: Engine, { model, manifest }: Expectation, findings: Findings): void {
  if (model === undefined || isPlaceholder(model.value)) return
  const names = [
    ...servedNames(engine),
    ...modelWords(engine.args)
      .filter((word) => !isOpen(word))
      .map(({ value }) => value),
  ]
  const base = (name: string) => name.replace(/\/+$/, '').split('/').at(-1)!.toLowerCase()
  if (names.length === 0 || names.some((name) => base(name) === base(model.value))) return
  findings.warn(
    manifest,
    model.path,
    `is ${shown(model.value)}, but ${engineTitle(engine)} serves ${[...new Set(names)].map(shown).join(' from ')}; write the model whose tokenizer that one has`,
  )
}

/** Checks what an engine says of its own blocks and hashes, for a picker that follows its events. */
export function checkHashing(engine: Engine, precise: boolean, findings: Findings): void {
  const { manifest } = engine.workload.object
  for (const name of ['block-size', 'max-model-len']) {
    const word = flagValue(engine.args, name)
    if (word === undefined || isOpen(word) || vllmCount(word.value) !== undefined) continue
    if (name === 'max-model-len' && /^(-1|auto)$/.test(word.value)) continue
    findings.error(
      manifest,
      ...withUnit(
        placeOf(engine, word),
        `--${name} must be a whole number of tokens, got ${shown(word.value)}`,
      ),
    )
  }
  const blockTokens = countFlag(engine, 'block-size') ?? DEFAULT_BLOCK_TOKENS
  const length = countFlag(engine, 'max-model-len')
  if (length !== undefined && length < blockTokens) {
    const word = flagValue(engine.args, 'max-model-len')!
    findings.error(
      manifest,
      ...withUnit(
        placeOf(engine, word),
        `--max-model-len ${length} is less than one block of ${blockTokens} tokens, so that no prompt is ever cached; write at least ${2 * blockTokens}`,
      ),
    )
  }
  if (!precise) return
  checkAlgorithm(engine, findings)
  const caching = lastFlag(engine.args, 'enable-prefix-caching')
  if (caching !== undefined && !caching.on) {
    findings.error(
      manifest,
      ...withUnit(
        placeOf(engine, caching.word),
        'without prefix caching the engine keeps no blocks and tells of none; remove --no-enable-prefix-caching',
      ),
    )
  }
}

function checkAlgorithm(engine: Engine, findings: Findings): void {
  const { manifest } = engine.workload.object
  const word = flagValue(engine.args, ALGORITHM)
  const old = isOlder(engine, 0, 10, 2)
  const advice = old ? 'sha256_cbor_64bit' : 'sha256_cbor'
  if (word === undefined) {
    if (!old) return
    findings.error(
      manifest,
      [...engine.path, 'command'],
      `--${ALGORITHM} is missing, and vLLM ${engine.version!.join('.')} then uses "builtin", whose hashes nobody else can compute; add --${ALGORITHM} ${advice}`,
      'key',
    )
    return
  }
  if (isOpen(word)) return
  const { value } = word
  const known = engine.version?.join('.')
  const message =
    value === 'builtin'
      ? `"builtin" hashes as one process of Python does, which nobody else can compute; write ${advice}`
      : !ALGORITHMS.includes(value)
        ? `${shown(value)} is no hash algorithm of vLLM; write ${advice}`
        : value === 'sha256_cbor_64bit' && isAtLeast(engine, 0, 10, 2)
          ? `vLLM ${known} does not know "${value}"; write ${advice}`
          : value !== 'sha256_cbor_64bit' && value !== 'sha256' && old
            ? `vLLM ${known} does not know "${value}"; write ${advice}`
            : undefined
  if (message !== undefined) findings.error(manifest, ...withUnit(placeOf(engine, word), message))
  else if (!VERIFIABLE.includes(value)) {
    findings.warn(
      manifest,
      ...withUnit(
        placeOf(engine, word),
        `blocks hashed with "${value}" are matched, but their hashes cannot be verified; write ${advice}`,
      ),
    )
  }
}
