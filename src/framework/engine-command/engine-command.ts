import { parseShell } from './shell-words.ts'
import { type Variables, type Word, wordFrom } from './word.ts'

/** The vLLM server that a command line starts. */
export interface EngineCommand {
  /** What stands behind `vllm serve`. */
  readonly args: readonly Word[]
  /** Variables that the command line itself sets, the last one of a name. */
  readonly environment: ReadonlyMap<string, Word>
  /** True when a shell expanded the words. */
  readonly shell: boolean
}

/** What was found in a command line; neither when no vLLM is started. */
export interface EngineSearch {
  readonly engine?: EngineCommand
  /** What is wrong with a shell script, with its place; there is no engine then. */
  readonly fault?: { readonly source: number; readonly offset: number; readonly message: string }
}

/** Programs that start the one named behind their own flags. */
const WRAPPERS = new Set(
  'exec nohup time nice ionice env tini dumb-init numactl stdbuf setsid sudo command'.split(' '),
)
const VALUED_WRAPPER_FLAGS = new Set(['-n', '-c', '-u', '-i', '-o', '-e'])
const SHELLS = new Set(['sh', 'bash', 'ash', 'dash', 'zsh', 'ksh'])
/** Reserved words that may stand before a command. */
const RESERVED = new Set('if then else elif do while until ! { time'.split(' '))
const ASSIGNMENT = /^([A-Za-z_]\w*)=/
const SERVER_MODULE = /^vllm\.entrypoints\.(openai\.api_server|cli\.main)$/
const MAX_SHELLS = 4

/**
 * Finds the vLLM server in a command line: `vllm serve ...`, `python -m vllm.entrypoints.openai.api_server ...`, with
 * other programs in front, or inside of what a shell is given with `-c`.
 *
 * @param variables the environment in which it runs
 */
export function findEngine(words: readonly Word[], variables: Variables): EngineSearch {
  return search(words, variables, new Map(), 0)
}

function search(
  words: readonly Word[],
  variables: Variables,
  environment: ReadonlyMap<string, Word>,
  shells: number,
): EngineSearch {
  const set = new Map(environment)
  let at = 0
  for (; at < words.length; at++) {
    const { value } = words[at]!
    const [prefix, name] = ASSIGNMENT.exec(value) ?? []
    if (name !== undefined && prefix !== undefined) {
      set.set(name, wordFrom(words[at]!, prefix.length))
    } else if (value.startsWith('-')) {
      if (VALUED_WRAPPER_FLAGS.has(value)) at++
    } else if (!WRAPPERS.has(programOf(value)) && !RESERVED.has(value)) break
  }
  const program = programOf(words[at]?.value ?? '')
  const rest = words.slice(at + 1)
  const found = (args: readonly Word[]): EngineSearch => ({
    engine: { args, environment: set, shell: shells > 0 },
  })
  if (program === 'vllm') return rest[0]?.value === 'serve' ? found(rest.slice(1)) : {}
  if (/^python[\d.]*$/.test(program)) {
    const m = rest.findIndex(({ value }) => value === '-m')
    const module = rest[m + 1]?.value ?? ''
    if (m < 0 || !SERVER_MODULE.test(module)) return {}
    const args = rest.slice(m + 2)
    return found(module.endsWith('main') && args[0]?.value === 'serve' ? args.slice(1) : args)
  }
  if (!SHELLS.has(program) || shells >= MAX_SHELLS) return {}
  const script = scriptOf(rest)
  if (script === undefined) return {}
  const { commands, fault } = parseShell(script, variables)
  for (const command of commands) {
    for (const [name, value] of command.assignments) set.set(name, value)
    const inner = search(command.words, variables, set, shells + 1)
    if (inner.engine || inner.fault) return inner
  }
  return fault === undefined ? {} : { fault: { ...fault, source: script.source } }
}

/** The script in `-c script`, `-euo pipefail -c script`, `-lc script`. */
function scriptOf(words: readonly Word[]): Word | undefined {
  let isNext = false
  for (let i = 0; i < words.length; i++) {
    const { value } = words[i]!
    if (!value.startsWith('-')) return isNext ? words[i] : undefined
    if (value.startsWith('--')) continue
    isNext ||= value.includes('c')
    if (value.includes('o')) i++
  }
  return undefined
}

function programOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}
