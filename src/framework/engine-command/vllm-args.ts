import { VLLM_FLAGS, VLLM_SHORT_FLAGS } from './vllm-flags.ts'
import { type Word, wordFrom } from './word.ts'

/** One flag of a vLLM command line. */
export interface VllmFlag {
  /** As vLLM's own help names it, without dashes in front and `no-`. */
  readonly name: string
  /** What stands behind the first dot: `--kv-events-config.topic` has `topic`. */
  readonly keys: readonly string[]
  /** False for `--no-enable-prefix-caching`. */
  readonly on: boolean
  readonly known: boolean
  /** The word that names the flag. */
  readonly word: Word
  /** Without the flag's own part in `--flag=value`. */
  readonly values: readonly Word[]
}

/** What stands behind `vllm serve`. */
export interface VllmArgs {
  /** Model by its position. */
  readonly model: Word | undefined
  /** In the order of the command line. */
  readonly flags: readonly VllmFlag[]
  /** Words that belong to no flag, but for the model. */
  readonly rest: readonly Word[]
}

/**
 * Tells flags, values and model apart as vLLM's argument parser does: `--flag value` and `--flag=value`, underscores for
 * dashes, short names, `--no-` before switches, and `--config-flag.key value` for a part of a JSON value.
 */
export function parseVllmArgs(words: readonly Word[]): VllmArgs {
  const flags: VllmFlag[] = []
  const free: Word[] = []
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!
    if (!isFlag(word.value)) {
      free.push(word)
      continue
    }
    const { name, keys, on, known, arity, inline } = readName(word)
    const values = inline === undefined ? [] : [inline]
    const wanted = inline !== undefined || arity === 'none' ? 0 : arity === 'one' ? 1 : Infinity
    while (values.length < wanted && i + 1 < words.length && !isFlag(words[i + 1]!.value)) {
      values.push(words[++i]!)
    }
    flags.push({ name, keys, on, known, word, values })
  }
  const [model, ...rest] = free
  return { model, flags, rest }
}

/** The last use of a flag, which is the one that counts; undefined when it is not given or only in parts. */
export function lastFlag(args: VllmArgs, name: string): VllmFlag | undefined {
  return args.flags.findLast((flag) => flag.name === name && flag.keys.length === 0)
}

/** The value of a flag's last use; undefined when there is none. */
export function flagValue(args: VllmArgs, name: string): Word | undefined {
  return lastFlag(args, name)?.values[0]
}

/**
 * A count as vLLM reads it: `8192`, `8k` for 8000, `8K` for 8192, and so on for m, g and t.
 *
 * @returns undefined when it is none
 */
export function vllmCount(text: string): number | undefined {
  const [, digits, fraction = '', unit = ''] =
    /^(\d+)(\.\d+)?([kKmMgGtT]?)$/.exec(text.trim()) ?? []
  if (digits === undefined || (fraction !== '' && !/[kmgt]/.test(unit))) return undefined
  const power = 'kmgt'.indexOf(unit.toLowerCase()) + 1
  const base = unit === '' || /[kmgt]/.test(unit) ? 1000 : 1024
  return Math.floor(Number(digits + fraction) * (unit === '' ? 1 : base ** power))
}

/** A dash and a letter: a negative number is a value. */
function isFlag(text: string): boolean {
  return /^--?[A-Za-z]/.test(text)
}

function readName(word: Word) {
  const equals = word.value.indexOf('=')
  const written = equals < 0 ? word.value : word.value.slice(0, equals)
  const inline = equals < 0 ? undefined : wordFrom(word, equals + 1)
  const [first = '', ...keys] = written.replace(/^--?/, '').split('.')
  if (!written.startsWith('--')) return { ...readShort(first, word, inline), keys }
  const plain = first.replaceAll('_', '-')
  const off = plain.startsWith('no-') && VLLM_FLAGS.get(plain.slice(3)) === 'none'
  const name = off ? plain.slice(3) : plain
  const arity = VLLM_FLAGS.get(name)
  return { name, keys, on: !off, known: arity !== undefined, arity: arity ?? 'one', inline }
}

/** `-tp 2`, `-tp=2`, and `-O3` for `-O 3`. */
function readShort(first: string, word: Word, inline: Word | undefined) {
  const level = /^O./.test(first) && !VLLM_SHORT_FLAGS.has(first)
  const name = VLLM_SHORT_FLAGS.get(level ? 'O' : first)
  return {
    name: name ?? first,
    on: true,
    known: name !== undefined,
    arity: VLLM_FLAGS.get(name ?? '') ?? ('one' as const),
    inline: inline ?? (level ? wordFrom(word, 2) : undefined),
  }
}
