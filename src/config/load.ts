import type { AnyPlugin } from '../framework/plugin.ts'
import { readDocument } from './document.ts'
import type { ModuleLoader } from './module-loader.ts'
import { type CheckedConfig, parseConfig } from './parse.ts'

/**
 * Checks a configuration file together with the third-party modules that it names.
 *
 * @param file its path: messages show it, and modules are found from its folder
 * @throws {SchedulerError} CONFIG_INVALID with every problem of the file and of its modules
 */
export async function loadConfig(
  text: string,
  file: string,
  builtins: readonly AnyPlugin[],
  modules: ModuleLoader,
  options: { readonly strict?: boolean } = {},
): Promise<CheckedConfig> {
  const { plugins, problems } = await modules.load(moduleNames(text), file)
  return parseConfig(text, file, builtins, {
    ...options,
    moduleProblems: problems,
    modulePlugins: plugins,
  })
}

/** The file's `modules`; empty when the text is not sound, which parsing then says. */
function moduleNames(text: string): readonly string[] {
  const value = readDocument(text).value as { readonly modules?: unknown } | undefined
  const names = value?.modules
  return Array.isArray(names) && names.every((name) => typeof name === 'string') ? names : []
}
