import type { Option } from 'commander'
import { BOOLEANS } from './flag-values.ts'
import { serveFlags } from './serve-flags.ts'

/** First arguments that ask the program itself, whatever the command. */
const PROGRAM_FLAGS: ReadonlyMap<string, string> = new Map([
  ['-h', '-h'],
  ['-help', '--help'],
  ['--help', '--help'],
  ['-V', '-V'],
  ['-version', '--version'],
  ['--version', '--version'],
])

/**
 * The arguments of `serve` in this program's spelling, with the command in front; those of other commands as they are.
 *
 * Go's flag package (https://pkg.go.dev/flag#hdr-Command_line_flag_syntax), with which GIE's and llm-d's charts write their
 * arguments, takes `-name` for `--name`, `-name=value` and `-name value`, and a boolean without a value; its names are
 * camelCase in older releases. A value may begin with a dash, and nothing after `--` is a flag.
 */
export function goFlags(argv: readonly string[]): string[] {
  const [first, ...rest] = argv
  if (first === undefined) return []
  const program = PROGRAM_FLAGS.get(first)
  if (program !== undefined) return [program, ...rest]
  if (first === 'serve') return ['serve', ...ownSpelling(rest)]
  return first.startsWith('-') ? ['serve', ...ownSpelling(argv)] : [...argv]
}

function ownSpelling(args: readonly string[]): string[] {
  const known = new Map(serveFlags().map((option) => [option.long!, option]))
  const spelled: string[] = []
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!
    if (arg === '--') return [...spelled, ...args.slice(i)]
    const flag = longFlag(arg)
    if (flag === undefined) {
      spelled.push(arg)
      continue
    }
    const { name, value } = flag
    const option = known.get(name)
    if (value !== undefined) spelled.push(`${name}=${value}`)
    else if (option !== undefined && takesNext(option, args[i + 1])) {
      spelled.push(`${name}=${args[++i]}`)
    } else spelled.push(name)
  }
  return spelled
}

/** A flag with one or two dashes in our spelling; undefined for what is none and for short flags. */
function longFlag(
  arg: string,
): { readonly name: string; readonly value: string | undefined } | undefined {
  const [, dashes, word, value] = /^(--?)([a-zA-Z][\w.-]*)(?:=([\s\S]*))?$/.exec(arg) ?? []
  if (word === undefined) return undefined
  if (word === 'v') return { name: '--verbosity', value }
  if (dashes === '-' && (word.length === 1 || /^v\d+$/.test(word))) return undefined
  const name = word.replaceAll(/([a-z0-9])([A-Z])/g, '$1-$2').toLowerCase()
  return { name: `--${name}`, value }
}

/** Whether the next argument is the flag's value. What is optional or a list is left to the parser. */
function takesNext(option: Option, next: string | undefined): boolean {
  if (next === undefined || option.variadic) return false
  return option.required || (option.flags.endsWith('[bool]') && BOOLEANS.has(next))
}
