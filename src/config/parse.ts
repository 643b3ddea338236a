import type { GenerationSpec } from '../framework/build.ts'
import type { AnyPlugin } from '../framework/plugin.ts'
import { check } from './check.ts'
import { checkConfig } from './config-check.ts'
import { readDocument } from './document.ts'
import { lint } from './lint.ts'
import type { LintProfile, Origin } from './lint-input.ts'
import { type Problem, ProblemList } from './problem.ts'

/** A checked configuration; frozen in depth, save for the plugins themselves. */
export interface CheckedConfig {
  readonly spec: GenerationSpec
  /** Served model name to its folder under the tokenizers directory. */
  readonly tokenizers: Readonly<Record<string, string>>
  /** Third-party modules as the file names them. */
  readonly modules: readonly string[]
  /** True when llm-d's metric names are wanted besides ours. */
  readonly metricsCompat: boolean
  /** Where each plugin of `spec` stands in the file, by its name. */
  readonly origins: ReadonlyMap<string, Origin>
  /** The profiles of `spec` as the file writes them. */
  readonly profiles: readonly LintProfile[]
  readonly warnings: readonly Problem[]
}

/** What is wrong with one entry of `modules`. */
export interface ModuleProblem {
  /** Position in the list. */
  readonly index: number
  readonly severity: 'error' | 'warning'
  readonly message: string
}

export interface ParseOptions {
  /** Turns warnings into errors. */
  readonly strict?: boolean
  /** What went wrong when the file's modules were loaded. */
  readonly moduleProblems?: readonly ModuleProblem[]
  /** The plugins of these modules. */
  readonly modulePlugins?: readonly AnyPlugin[]
}

/**
 * Checks the text of a configuration file (YAML or JSON, llm-d's and GIE's EndpointPickerConfig) against the plugins that
 * there are.
 *
 * @param file how messages name the file
 * @throws {SchedulerError} CONFIG_INVALID with one line per problem; `problemsOf` gives them as data
 */
export function parseConfig(
  text: string,
  file: string,
  plugins: readonly AnyPlugin[],
  options: ParseOptions = {},
): CheckedConfig {
  const document = readDocument(text)
  const problems = new ProblemList(file, document.place, options.strict ?? false)
  for (const { line, column, message } of document.faults) problems.fault({ line, column }, message)
  problems.throwIfAny()

  for (const { index, severity, message } of options.moduleProblems ?? []) {
    if (severity === 'error') problems.error(['modules', index], message)
    else problems.warn(['modules', index], message)
  }
  const modules = options.modulePlugins ?? []
  const { lint: read, ...content } = checkConfig(document.value, [...plugins, ...modules], problems)
  const hasTokenizers = Object.keys(content.tokenizers).length > 0
  lint(read, { standIns: plugins, modules, hasTokenizers }, problems)
  problems.throwIfAny()
  return freeze({ ...content, profiles: read.profiles, warnings: problems.list() })
}

/** The parameters of a plugin that is configured without any. */
export function defaultParams(plugin: AnyPlugin): unknown {
  return freeze(check(plugin.params, {}).value)
}

/** Freezes plain objects and arrays in depth; a plugin is its author's and stays as it is. */
function freeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value
  Object.freeze(value)
  for (const inner of Object.values(value)) freeze(inner)
  return value
}
