import type { PluginSpec } from '../framework/build.ts'
import type { AnyPlugin, Kind } from '../framework/plugin.ts'
import { type EntryFaults, readFaults } from './entry-faults.ts'
import { checkParams } from './entry-params.ts'
import { resolveType } from './entry-type.ts'
import { formOf } from './field/forms.ts'
import type { Reference } from './field/references.ts'
import { type Fields, textOf } from './file-values.ts'
import type { LintEntry, Origin } from './lint-input.ts'
import type { Path, ProblemList } from './problem.ts'

/** One plugin as the file writes it; its name is known when all given names are. */
export interface Entry extends LintEntry {
  /** The name that the file gives it, if any. */
  readonly givenName: string | undefined
  readonly faults: EntryFaults
  /** What its parameters name of other entries. */
  readonly references: readonly Reference[]
  name: string
  listed: boolean
}

/** Kinds that act without being in a profile. */
const GLOBAL_KINDS: readonly Kind[] = ['handler', 'producer', 'observer']

/** The plugins of one file. */
export class Entries {
  readonly #plugins: readonly AnyPlugin[]
  readonly #problems: ProblemList
  readonly #list: Entry[] = []

  constructor(plugins: readonly AnyPlugin[], problems: ProblemList) {
    this.#plugins = plugins
    this.#problems = problems
  }

  /** In the order of the file, those that stand in last. */
  get list(): readonly Entry[] {
    return this.#list
  }

  /** The names that the file gives. */
  get givenNames(): readonly string[] {
    return this.#list.flatMap(({ givenName }) => givenName ?? [])
  }

  isType(type: string): boolean {
    return this.#plugins.some((plugin) => plugin.type === type)
  }

  /** The entry to which the file gives this name. */
  named(name: string): Entry | undefined {
    return this.#list.find(({ givenName }) => givenName === name)
  }

  /** Reads one entry; what is wrong with it becomes a problem. */
  read(fields: Fields, path: Path, inPlugins: boolean): Entry {
    const type = textOf(fields.type)
    const form = formOf(type, fields.parameters, path, this.#plugins, this.#problems)
    const plugin =
      form?.plugin ??
      (type === undefined ? undefined : resolveType(type, path, this.#plugins, this.#problems))
    const written = form?.params ?? fields.parameters
    const paramsPath = [...path, 'parameters']
    const entry: Entry = {
      path,
      type,
      plugin,
      paramsPath,
      ...(plugin === undefined
        ? { given: written, params: undefined, references: [] }
        : checkParams(plugin, written, paramsPath, this.#problems)),
      givenName: textOf(fields.name) ?? (inPlugins ? type : undefined),
      faults: plugin === undefined ? {} : readFaults(plugin, fields, path, this.#problems),
      name: '',
      listed: false,
    }
    this.#list.push(entry)
    return entry
  }

  /** Adds a plugin that the file does not write; undefined, and a problem, when there is none of that type. */
  standIn(
    kind: 'filter' | 'picker' | 'handler',
    type: string,
    parameters: Fields = {},
  ): Entry | undefined {
    const plugin = this.#plugins.find((candidate) => candidate.type === type)
    if (plugin?.kind !== kind) {
      this.#problems.error([], `no ${kind} is configured, and there is no "${type}" to stand in`)
      return undefined
    }
    const entry: Entry = {
      path: [],
      paramsPath: [],
      type,
      plugin,
      ...checkParams(plugin, parameters, [], this.#problems),
      given: undefined,
      givenName: undefined,
      faults: {},
      name: type,
      listed: true,
    }
    for (let n = 2; this.#list.some(({ name }) => name === entry.name); n++) {
      entry.name = `${type}#${n}`
    }
    this.#list.push(entry)
    return entry
  }

  /** Gives every entry its name: the given one, else its type, with a number where that is taken. */
  nameAll(): void {
    const taken = new Map<string, Entry>()
    for (const entry of this.#list) {
      if (entry.givenName === undefined) continue
      const first = taken.get(entry.givenName)
      if (first === undefined) taken.set(entry.givenName, entry)
      else {
        const line = this.#problems.line(first.path)
        this.#problems.error(
          entry.path,
          `two plugins are named "${entry.givenName}" (the other in line ${line}); give one another name`,
        )
      }
      entry.name = entry.givenName
    }
    for (const entry of this.#list) {
      if (entry.givenName !== undefined || entry.type === undefined) continue
      entry.name = entry.type
      for (let n = 2; taken.has(entry.name); n++) entry.name = `${entry.type}#${n}`
      taken.set(entry.name, entry)
    }
  }

  /** What is put to work. @param names of the plugins of the profiles that are */
  specs(names: ReadonlySet<string>): readonly PluginSpec[] {
    return this.#working(names).map(({ name, plugin, params, faults }) => ({
      name,
      plugin,
      params,
      ...faults,
    }))
  }

  /** Where each of `specs` stands in the file, by name. */
  origins(names: ReadonlySet<string>): ReadonlyMap<string, Origin> {
    return new Map(
      this.#working(names).map(({ name, path, type, paramsPath, given }) => [
        name,
        { path, type, paramsPath, given },
      ]),
    )
  }

  #working(names: ReadonlySet<string>): readonly (Entry & { readonly plugin: AnyPlugin })[] {
    return this.#list.filter(
      (entry): entry is Entry & { readonly plugin: AnyPlugin } =>
        entry.plugin !== undefined &&
        (names.has(entry.name) || GLOBAL_KINDS.includes(entry.plugin.kind)),
    )
  }
}
