import { createHash } from 'node:crypto'
import module from 'node:module'
import { extname, isAbsolute, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { type AnyPlugin, definePlugin } from '../framework/plugin.ts'
import { assertSchema } from './check.ts'
import { moduleDigest } from './module-files.ts'
import { suggestion } from './near.ts'
import type { ModuleProblem } from './parse.ts'
import { valueText } from './problem.ts'

/** What the modules of one configuration file gave. */
export interface LoadedModules {
  readonly plugins: readonly AnyPlugin[]
  readonly problems: readonly ModuleProblem[]
}

const KINDS = ['filter', 'scorer', 'picker', 'handler', 'producer', 'observer']
/** Marks an import that the hook is to resolve from another file than this one. */
const SCHEME = 'epp-module:'

/**
 * Resolution for third-party modules, run by Node around its own.
 *
 * `endpoint-picker/*` leads to the running installation, wherever the module lies, so that tokens and attribute keys are
 * the same objects. A `.ts` file is an ES module even without a package.json beside it. What a file takes in by a relative
 * path is of its version, the query of its address. It is source text because Node 20 runs hooks in a thread of their own,
 * where nothing loads TypeScript.
 */
const HOOK = `
let entries = {}
const ours = new Set()
const remember = (result) => {
  ours.add(result.url)
  return result
}
export function initialize(data) {
  entries = data
}
export function resolve(specifier, context, next) {
  const entry = entries[specifier]
  if (entry !== undefined) return { url: entry, format: 'module', shortCircuit: true }
  let parentURL = context.parentURL
  if (specifier.startsWith('${SCHEME}')) {
    [specifier, parentURL] = JSON.parse(decodeURIComponent(specifier.slice(${SCHEME.length})))
  } else if (!ours.has(parentURL)) {
    return next(specifier, context)
  }
  const version = /^\\.{1,2}\\//.test(specifier) ? new URL(parentURL).search : ''
  if (/^(\\.{0,2}\\/|file:).*\\.ts(\\?|$)/.test(specifier)) {
    const url = new URL(specifier, parentURL).href + version
    return remember({ url, format: 'module', shortCircuit: true })
  }
  const found = (result) => remember({ ...result, url: result.url + version })
  const result = next(specifier, { ...context, parentURL })
  return result instanceof Promise ? result.then(found) : found(result)
}
`

let hooked: Promise<void> | undefined

/** Installs the hook, once per process. */
function installHook(): Promise<void> {
  hooked ??= (async () => {
    const typescript = await import('tsx/esm/api')
    typescript.register()
    // In the sources the files end in .ts, in the build in .js: as this one.
    const extension = extname(fileURLToPath(import.meta.url))
    const entries = {
      'endpoint-picker/plugin': new URL(`../framework/index${extension}`, import.meta.url).href,
      'endpoint-picker/testing': new URL(`../framework/testing${extension}`, import.meta.url).href,
    }
    const source = `data:text/javascript,${encodeURIComponent(HOOK)}`
    // Node 22.15 and later run hooks in this thread; there they must come before tsx's, which are of that kind.
    const { registerHooks } = module as {
      registerHooks?: (hooks: { resolve: unknown }) => void
    }
    if (registerHooks === undefined) {
      module.register(source, { data: entries })
    } else {
      const hook = (await import(source)) as {
        initialize(data: object): void
        resolve: unknown
      }
      hook.initialize(entries)
      registerHooks({ resolve: hook.resolve })
    }
  })()
  return hooked
}

interface Loaded {
  readonly plugins: readonly AnyPlugin[]
  readonly faults: readonly string[]
  /** Of its code; undefined for a package. */
  readonly digest: string | undefined
  /** What of it was imported last; undefined when that failed. */
  readonly exported: unknown
  /** True when its code has changed and Node goes on with what it has: a CommonJS module. */
  readonly isStale: boolean
}

/** One entry of a file's `modules`. */
interface Wanted {
  readonly name: string
  /** Undefined for a package. */
  readonly path: string | undefined
  readonly key: string
  readonly digest: string | undefined
}

/**
 * Loads third-party plugins. A module is imported once, and again when its own code has changed: all modules of files then,
 * so that what they share stays shared. Node keeps the old code in memory. A package's code is read once in the life of
 * the process.
 */
export class ModuleLoader {
  readonly #builtins: readonly AnyPlugin[]
  readonly #loaded = new Map<string, Loaded & { readonly version: string }>()
  /** Query of the addresses under which files are imported. */
  #version = ''

  constructor(builtins: readonly AnyPlugin[]) {
    this.#builtins = builtins
  }

  /**
   * The plugins of the modules that a configuration file names. What is wrong with a module is among the problems.
   *
   * @param names paths relative to the file, or npm package names as seen from the file's folder
   */
  async load(names: readonly string[], file: string): Promise<LoadedModules> {
    const plugins: AnyPlugin[] = []
    const problems: ModuleProblem[] = []
    const wanted: { readonly index: number; readonly entry: Wanted }[] = []
    for (const [index, name] of names.entries()) {
      const message = nameProblem(name, names.indexOf(name) !== index)
      if (message !== undefined) problems.push({ index, severity: 'error', message })
      else wanted.push({ index, entry: await wantedOf(name, file) })
    }
    this.#renew(wanted.map(({ entry }) => entry))
    for (const { index, entry } of wanted) {
      const error = (message: string) => problems.push({ index, severity: 'error', message })
      const loaded = await this.#loadOnce(entry, file)
      for (const fault of loaded.faults) error(fault)
      if (loaded.isStale) {
        problems.push({
          index,
          severity: 'warning',
          message: `"${entry.name}" has changed since it was loaded, and is a CommonJS module; restart to run the new code, or make it an ES module`,
        })
      }
      for (const plugin of loaded.plugins) {
        const clash = clashOf(plugin, [...this.#builtins, ...plugins])
        if (clash === undefined) plugins.push(plugin)
        else error(`"${entry.name}": the type "${clash}" exists already; choose another name`)
      }
    }
    return { plugins, problems }
  }

  /** Another version when the code of one that is loaded has changed. */
  #renew(wanted: readonly Wanted[]): void {
    const hasChanged = wanted.some(({ key, digest }) => {
      const known = this.#loaded.get(key)
      return known !== undefined && known.digest !== digest
    })
    if (!hasChanged) return
    const digests = wanted.map(({ key, digest }) => `${key} ${digest}`).join('\n')
    this.#version = `?${createHash('sha256').update(digests).digest('hex').slice(0, 16)}`
  }

  async #loadOnce(wanted: Wanted, file: string): Promise<Loaded> {
    const { path, key, digest } = wanted
    const version = path === undefined ? '' : this.#version
    const known = this.#loaded.get(key)
    if (known !== undefined && known.version === version && known.digest === digest) return known
    const loaded = await importModule(wanted, file, version)
    const isStale =
      known?.exported !== undefined &&
      known.exported === loaded.exported &&
      (known.isStale || known.digest !== digest)
    this.#loaded.set(key, { ...loaded, isStale, version })
    return { ...loaded, isStale }
  }
}

/** Why a name cannot be one of a module. */
function nameProblem(name: string, isSecond: boolean): string | undefined {
  if (isSecond) return `"${name}" is listed twice; remove one`
  if (!/^(\.{0,2}\/|[@\w])/.test(name) || /^[a-z]+:/i.test(name)) {
    return `${valueText(name)} must be a path, such as "./my-scorer.ts", or a package name`
  }
  return undefined
}

async function wantedOf(name: string, file: string): Promise<Wanted> {
  const isFile = name.startsWith('.') || isAbsolute(name)
  if (!isFile) {
    return { name, path: undefined, key: `${resolve(file, '..')}\0${name}`, digest: undefined }
  }
  const path = resolve(file, '..', name)
  return { name, path, key: path, digest: await moduleDigest(path) }
}

/** @param version query of a file's address: Node remembers what an address gave, failures too */
async function importModule(
  { name, path, digest }: Wanted,
  file: string,
  version: string,
): Promise<Omit<Loaded, 'isStale'>> {
  const failed = (fault: string) => ({ plugins: [], faults: [fault], digest, exported: undefined })
  if (path !== undefined && digest === undefined) {
    return failed(`"${name}" cannot be read at ${path}`)
  }
  let exports: { default?: unknown }
  try {
    await installHook()
    const specifier = path === undefined ? name : `${pathToFileURL(path).href}${version}`
    const request = JSON.stringify([specifier, pathToFileURL(resolve(file)).href])
    exports = (await import(`${SCHEME}${encodeURIComponent(request)}`)) as { default?: unknown }
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error)
    const reason = said.split('\n').slice(0, 2).join(' ')
    const hint = path === undefined && /\.[cm]?[jt]s$/.test(name) ? `; a file is "./${name}"` : ''
    return failed(`"${name}" does not load: ${reason}${hint}`)
  }
  const exported = exports.default
  if (exported === undefined) {
    return failed(`"${name}" has no default export; write "export default definePlugin({ … })"`)
  }
  const plugins: AnyPlugin[] = []
  const faults: string[] = []
  for (const candidate of Array.isArray(exported) ? exported : [exported]) {
    const fault = faultOf(candidate)
    if (fault === undefined) plugins.push(complete(candidate))
    else faults.push(`"${name}": ${fault}`)
  }
  return { plugins: faults.length === 0 ? plugins : [], faults, digest, exported }
}

/** How a default export breaks the contract of a plugin; undefined when it keeps it. */
function faultOf(candidate: unknown): string | undefined {
  if (typeof candidate !== 'object' || candidate === null) {
    return `the default export must be a plugin or an array of plugins, got ${valueText(candidate)}`
  }
  const { kind, type, aliases, description, params, create } = candidate as Partial<AnyPlugin>
  if (typeof type !== 'string' || !/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(type)) {
    return `type must be lower-case words joined by hyphens, got ${valueText(type)}`
  }
  if (typeof kind !== 'string' || !KINDS.includes(kind)) {
    return `unknown kind ${valueText(kind)} of "${type}"${suggestion(String(kind), KINDS)}`
  }
  if (typeof description !== 'string' || description === '') {
    return `"${type}" has no description; write one sentence`
  }
  if (
    aliases !== undefined &&
    !(Array.isArray(aliases) && aliases.every((alias) => typeof alias === 'string'))
  ) {
    return `the aliases of "${type}" must be a list of strings`
  }
  if (typeof create !== 'function') {
    return `create of "${type}" must be a function, got ${valueText(create)}`
  }
  if (typeof params !== 'object' || params === null || params.type !== 'object') {
    return `params of "${type}" must be an object schema; write Type.Object({ … })`
  }
  try {
    assertSchema(params)
  } catch (error) {
    return `params of "${type}" are no valid JSON Schema: ${error instanceof Error ? error.message : error}`
  }
  return undefined
}

/** A plugin that was exported without definePlugin lacks what that fills in. */
function complete(candidate: object): AnyPlugin {
  const given = Object.entries(candidate).filter(([, value]) => value !== undefined)
  return definePlugin(Object.fromEntries(given) as unknown as AnyPlugin) as AnyPlugin
}

function clashOf(plugin: AnyPlugin, others: readonly AnyPlugin[]): string | undefined {
  const taken = new Set(others.flatMap(({ type, aliases }) => [type, ...aliases]))
  return [plugin.type, ...plugin.aliases].find((type) => taken.has(type))
}
