import { type EngineSearch, findEngine } from '../../../framework/engine-command/engine-command.ts'
import {
  flagValue,
  lastFlag,
  parseVllmArgs,
  type VllmArgs,
  vllmCount,
} from '../../../framework/engine-command/vllm-args.ts'
import { MAX_WORD_CHARACTERS, type Word } from '../../../framework/engine-command/word.ts'
import {
  type EnvVariable,
  readEnvironment,
  resolveReferences,
  shellVariables,
} from './environment.ts'
import {
  type Findings,
  isPlaceholder,
  type KubernetesObject,
  listAt,
  type Path,
  shown,
  textOf,
  titleOf,
  valueAt,
  whereIs,
} from './manifest.ts'
import { containersOf, type Workload } from './workload.ts'

/** Tokens per block when a vLLM on CUDA is told none. */
export const DEFAULT_BLOCK_TOKENS = 16
/** Where `vllm serve` listens when it is told none. */
const DEFAULT_PORT = 8000

/** Beyond this length of `command` and `args` together references to variables are left as they are. */
const MAX_CHARACTERS = 4 * 1024 * 1024
const NO_VARIABLES: ReadonlyMap<string, EnvVariable> = new Map()

/** A container that runs vLLM, with what its command line says. */
export interface Engine {
  readonly workload: Workload
  readonly container: unknown
  readonly path: Path
  readonly args: VllmArgs
  /** True when a shell expanded the words. */
  readonly shell: boolean
  readonly env: ReadonlyMap<string, EnvVariable>
  /** Variables that the command line sets. */
  readonly assigned: ReadonlyMap<string, Word>
  /** Path of each text of `command` and `args`; a word's `source` is a position in this list. */
  readonly textPaths: readonly Path[]
  readonly texts: readonly string[]
  /** Release of vLLM as the image's tag says it; undefined when it says none. */
  readonly version: readonly [major: number, minor: number, patch: number] | undefined
}

/** The engines among a workload's containers; reports a command line that cannot be read. */
export function enginesOf(
  workload: Workload,
  configMaps: readonly KubernetesObject[],
  findings: Findings,
): readonly Engine[] {
  const { manifest, namespace } = workload.object
  return containersOf(workload).flatMap(({ value: container, path }) => {
    const env = readEnvironment(container, path, configMaps, namespace)
    const texts: string[] = []
    const textPaths: Path[] = []
    for (const key of ['command', 'args']) {
      for (const [index, text] of listAt(container, [key]).entries()) {
        const whole = typeof text === 'string' ? text : shown(text)
        const tooLong = whole.length > MAX_WORD_CHARACTERS
        if (tooLong) {
          findings.error(
            manifest,
            [...path, key, index],
            `has ${whole.length} characters, and Linux takes at most ${MAX_WORD_CHARACTERS} in one argument; put it into a file`,
          )
        }
        texts.push(tooLong ? '' : whole)
        textPaths.push([...path, key, index])
      }
    }
    let characters = 0
    const words = texts.map((text, source) => {
      const word = resolveReferences(text, source, characters > MAX_CHARACTERS ? NO_VARIABLES : env)
      characters += word.value.length
      return word
    })
    const { engine, fault } = searchContainer(container, words, env)
    if (fault !== undefined && texts[fault.source]?.includes('vllm')) {
      findings.error(manifest, textPaths[fault.source]!, fault.message, fault.offset)
    }
    if (engine === undefined) return []
    return {
      ...{ workload, container, path, env, texts, textPaths },
      args: parseVllmArgs(engine.args),
      shell: engine.shell,
      assigned: engine.environment,
      version: versionOf(container),
    }
  })
}

function searchContainer(
  container: unknown,
  words: readonly Word[],
  env: ReadonlyMap<string, EnvVariable>,
): EngineSearch {
  const image = textOf(valueAt(container, ['image'])) ?? ''
  const program = /([^/:@]+)(?:[:@].*)?$/.exec(image)?.[1] ?? ''
  // The entry point of vLLM's own images is the server.
  if (listAt(container, ['command']).length === 0 && /^vllm(-|$)/.test(program)) {
    const args = words[0]?.value === 'serve' ? words.slice(1) : words
    return { engine: { args, environment: new Map(), shell: false } }
  }
  return findEngine(words, shellVariables(env))
}

function versionOf(container: unknown): Engine['version'] {
  const image = textOf(valueAt(container, ['image'])) ?? ''
  const match = /(?:^|\/)vllm[^/:@]*:v?(\d+)\.(\d+)\.(\d+)/.exec(image)
  return match === null ? undefined : [Number(match[1]), Number(match[2]), Number(match[3])]
}

/** True when the version is known and older than the one given. */
export function isOlder(engine: Engine, major: number, minor: number, patch: number): boolean {
  if (engine.version === undefined) return false
  const [a, b, c] = engine.version
  return (a - major || b - minor || c - patch) < 0
}

/** True when the version is known and at least the one given. */
export function isAtLeast(engine: Engine, major: number, minor: number, patch: number): boolean {
  return engine.version !== undefined && !isOlder(engine, major, minor, patch)
}

/** `container "vllm" of Deployment qwen3`. */
export function engineTitle({ container, workload }: Engine): string {
  return `container "${textOf(valueAt(container, ['name'])) ?? ''}" of ${titleOf(workload.object)}`
}

/** Where a word stands, for `Findings`: the path of its text, and the unit in it. */
export function placeOf(engine: Engine, word: Word, unit = 0): readonly [Path, number] {
  return [engine.textPaths[word.source]!, word.at[unit] ?? word.start]
}

/** `file:line` of a word. */
export function whereIsWord(engine: Engine, word: Word, unit = 0): string {
  return whereIs(engine.workload.object.manifest, ...placeOf(engine, word, unit))
}

/** True when what the word says cannot be told from the manifest. */
export function isOpen(word: Word): boolean {
  return word.unknown || isPlaceholder(word.value)
}

/** A flag's value as a count of tokens; undefined when it is not given, open or none. */
export function countFlag(engine: Engine, name: string): number | undefined {
  const word = flagValue(engine.args, name)
  return word === undefined || isOpen(word) ? undefined : vllmCount(word.value)
}

/** The names under which the engine serves its model, the first one first; empty when they cannot be told. */
export function servedNames({ args }: Engine): readonly string[] {
  const words = lastFlag(args, 'served-model-name')?.values ?? modelWords(args)
  return words.some(isOpen) ? [] : words.map(({ value }) => value)
}

/** What names the model itself: a path or a name in a hub. */
export function modelWords(args: VllmArgs): readonly Word[] {
  const word = flagValue(args, 'model') ?? args.model
  return word === undefined ? [] : [word]
}

/** The ports on which the engine's ranks listen; undefined when they cannot be told. */
export function portsOf(engine: Engine): readonly number[] | undefined {
  const word = flagValue(engine.args, 'port')
  if (word !== undefined && (isOpen(word) || !/^\d+$/.test(word.value))) return undefined
  const first = word === undefined ? DEFAULT_PORT : Number(word.value)
  const ranks = countFlag(engine, 'data-parallel-size') ?? 1
  return Array.from({ length: Math.min(Math.max(1, ranks), 64) }, (_, rank) => first + rank)
}
