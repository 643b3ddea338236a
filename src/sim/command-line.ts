import { findEngine } from '../framework/engine-command/engine-command.ts'
import { kvEventsFlag } from '../framework/engine-command/kv-events-flag.ts'
import {
  parseVllmArgs,
  type VllmArgs,
  type VllmFlag,
  vllmCount,
} from '../framework/engine-command/vllm-args.ts'
import { VLLM_FLAGS } from '../framework/engine-command/vllm-flags.ts'
import { plainWord, type Word } from '../framework/engine-command/word.ts'
import { SchedulerError } from '../framework/errors.ts'
import { isLoopback, SIM_ENGINE_FLAGS } from './options.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** What the arguments of `epp sim-engine` say, for `simEngineOptions`. */
export interface SimCommandLine {
  /** Values by camel-case name. */
  readonly flags: Readonly<Record<string, string | readonly string[]>>
  /** With what the command line sets. */
  readonly environment: Environment
  /** vLLM's flags that a simulation has no use for, as they were written. */
  readonly ignored: readonly string[]
}

/** Our flags, besides those for people alone. */
const OWN = new Set([...SIM_ENGINE_FLAGS.map(({ flag }) => nameOf(flag)), 'log-format'])
/** Own flags that may be given more than once, or have several values. */
const LISTS = new Set(['resolve', 'lora-modules'])
/** Where vLLM's name is another one, or means something else than ours. */
const RENAMED: Readonly<Record<string, string>> = { 'num-gpu-blocks-override': 'num-gpu-blocks' }
const IGNORED = new Set(['seed', 'model'])
const COMMANDS = /^(?:vllm|serve|(?:.*\/)?(?:sh|bash|ash|dash|zsh|exec|env|vllm|python[\d.]*))$/
/** What a server binds that is to be reached from everywhere. */
const EVERYWHERE = new Set(['0.0.0.0', '::', '[::]'])

/**
 * Reads the arguments of `epp sim-engine`: its own flags, and behind them, or behind `--`, a command line that starts vLLM,
 * through a shell or not, in which variables stand for what the environment has. vLLM's flags are also taken directly.
 *
 * @param suggest the end of a message about an unknown name
 * @throws {SchedulerError} CONFIG_INVALID, naming everything that is wrong
 */
export function readSimCommandLine(
  argv: readonly string[],
  environment: Environment,
  suggest: (name: string, known: readonly string[]) => string,
): SimCommandLine {
  const problems: string[] = []
  const { own, command } = split(argv.map(plainWord))
  const engine = command.length === 0 ? undefined : engineOf(command, environment)
  const flags: Record<string, string | readonly string[]> = {}
  const ignored: string[] = []
  for (const [args, isEngine] of [
    [parseVllmArgs(own), false],
    [parseVllmArgs(engine?.args ?? []), true],
  ] as const) {
    for (const flag of args.flags) {
      const known = VLLM_FLAGS.has(flag.name) || OWN.has(flag.name)
      if (!known) {
        const names = [...OWN, ...VLLM_FLAGS.keys()]
        problems.push(`unknown flag ${flag.word.value}${suggest(flag.name, names)}`)
      } else if (!put(flags, flag, isEngine, problems)) ignored.push(writtenName(flag))
    }
    putModel(flags, args, problems)
    putEvents(flags, args)
  }
  const set = Object.fromEntries(
    [...(engine?.environment ?? [])].map(([name, { value }]) => [name, value]),
  )
  if (problems.length > 0) throw new SchedulerError('CONFIG_INVALID', problems.join('\n'))
  const inForce = { ...environment, ...set }
  return { flags: { ...flags, ...hostOf(flags, inForce) }, environment: inForce, ignored }
}

/** Our own words, and those of a command line behind them. */
function split(words: readonly Word[]): { own: readonly Word[]; command: readonly Word[] } {
  const dashes = words.findIndex(({ value }) => value === '--')
  if (dashes >= 0) return { own: words.slice(0, dashes), command: words.slice(dashes + 1) }
  const { model } = parseVllmArgs(words)
  if (model === undefined || !COMMANDS.test(model.value)) return { own: words, command: [] }
  const at = words.indexOf(model)
  return { own: words.slice(0, at), command: words.slice(at) }
}

/** @throws {SchedulerError} CONFIG_INVALID when the words start no vLLM, or cannot be known without running something */
function engineOf(command: readonly Word[], environment: Environment) {
  const [first] = command
  if (first!.value === 'serve') return { args: command.slice(1), environment: new Map() }
  const { engine, fault } = findEngine(command, (name) => ({
    value: environment[name] ?? '',
    known: true,
  }))
  if (engine === undefined) {
    throw new SchedulerError(
      'CONFIG_INVALID',
      fault === undefined
        ? `"${command.map(({ value }) => value).join(' ')}" starts no vLLM; give vllm serve MODEL and its flags`
        : `the shell command cannot be read at character ${fault.offset}: ${fault.message}`,
    )
  }
  const open = engine.args.find(({ unknown }) => unknown)
  if (open === undefined) return engine
  throw new SchedulerError(
    'CONFIG_INVALID',
    `"${open.value.replace(/\{(\$.*|`.*`)\}/, '$1')}" can only be known by running a command, which is not done here; write its value`,
  )
}

/** Takes a flag over; false when a simulation has no use for it. */
function put(
  flags: Record<string, string | readonly string[]>,
  { name, keys, on, word, values }: VllmFlag,
  isEngine: boolean,
  problems: string[],
): boolean {
  const own = RENAMED[name] ?? name
  if (own === 'kv-events-config' || name === 'model') return true
  if (!OWN.has(own) || keys.length > 0 || !on || (isEngine && IGNORED.has(name))) return false
  const [value] = values.map((each) => each.value)
  if (value === undefined) {
    problems.push(`${word.value} needs a value`)
    return true
  }
  if (LISTS.has(own)) {
    const before = flags[camelCase(own)] ?? []
    flags[camelCase(own)] = [...before, ...values.map((each) => each.value)]
    return true
  }
  const count = own === 'max-model-len' ? vllmCount(value) : undefined
  flags[camelCase(own)] = count === undefined ? value : String(count)
  return values.length === 1
}

/** Without a name of its own a model is served under the one by which it was given. */
function putModel(
  flags: Record<string, string | readonly string[]>,
  { model, flags: given, rest }: VllmArgs,
  problems: string[],
): void {
  for (const { value } of rest) problems.push(`"${value}" belongs to no flag; remove it`)
  const named = given.findLast(({ name }) => name === 'model')?.values[0] ?? model
  if (named !== undefined) flags.servedModelName ??= named.value
}

function putEvents(flags: Record<string, string | readonly string[]>, args: VllmArgs): void {
  const events = kvEventsFlag(args)
  if (events === undefined) return
  const fields = Object.fromEntries([...events.fields].map(([key, { value }]) => [key, value]))
  flags.kvEventsConfig = events.fault === undefined ? JSON.stringify(fields) : events.word.value
}

/** The pod's own address where that is one of this machine's, as a server that binds everywhere is reached there. */
function hostOf(
  { host }: Readonly<Record<string, string | readonly string[]>>,
  { POD_IP }: Environment,
): { readonly host?: string } {
  if (host !== undefined && !EVERYWHERE.has(String(host))) return {}
  if (POD_IP !== undefined && isLoopback(POD_IP)) return { host: POD_IP }
  return host === undefined ? {} : { host: '127.0.0.1' }
}

function writtenName({ word, values }: VllmFlag): string {
  const [name = ''] = word.value.split('=')
  return values.length > 1 ? `${name} (all but the first)` : name
}

/** `--block-size <tokens>` as `block-size`. */
function nameOf(flag: string): string {
  return flag.split(' ')[0]!.slice(2)
}

function camelCase(name: string): string {
  return name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
}
