import { readDocument, readDocuments, type YamlDocument } from '../config/document.ts'
import { loadConfig } from '../config/load.ts'
import { ModuleLoader } from '../config/module-loader.ts'
import type { CheckedConfig } from '../config/parse.ts'
import { type Path, type Place, type Problem, pathText, problemsOf } from '../config/problem.ts'
import type { Fields, Manifest } from '../discovery/kubernetes/manifests/manifest.ts'
import type { ProfileSource } from '../discovery/kubernetes/manifests/pool.ts'
import { builtinPlugins } from '../plugins/index.ts'
import { engineTableFaults } from './check-engine-tables.ts'
import type { InputText } from './check-inputs.ts'

/** A configuration that was found, with what it says when it is valid. */
export interface FoundConfig extends ProfileSource {
  readonly checked: CheckedConfig | undefined
}

/** How documents are looked at. */
export interface CheckOptions {
  /** Turns warnings into errors. */
  readonly strict: boolean
  /** Of objects that name none. */
  readonly namespace: string
}

/** What stands in the texts. */
export interface FoundDocuments {
  readonly manifests: readonly Manifest[]
  readonly configs: readonly FoundConfig[]
  readonly problems: readonly Problem[]
}

/** Sorts the documents of texts into Kubernetes objects and configurations, and checks the latter. */
export async function findDocuments(
  texts: readonly InputText[],
  options: CheckOptions,
): Promise<FoundDocuments> {
  const manifests: Manifest[] = []
  const configs: FoundConfig[] = []
  const problems: Problem[] = []
  for (const { file, text, named } of texts) {
    const documents = readDocuments(text)
    if (documents.length === 0 && named) {
      problems.push(problem('error', file, 'the file is empty; begin with apiVersion and kind'))
    }
    for (const [index, document] of documents.entries()) {
      for (const fault of document.faults)
        problems.push({ ...problem('error', file, ''), ...fault })
      if (document.faults.length > 0) continue
      const { value } = document
      const alone = documents.length === 1
      if (isConfig(value) || (alone && named && !isObject(value))) {
        const own = alone ? text : documentText(text, documents, index)
        const { checked, found } = await checkConfig(own, file, options.strict)
        problems.push(...found)
        configs.push({ manifest: manifestOf(file, document, []), configMap: undefined, checked })
      } else if (isObject(value)) {
        manifests.push(...unpack(manifestOf(file, document, [])))
      } else if (named && value !== null) {
        const { line, column } = document.place([], 'value')
        const message = 'is neither a Kubernetes object nor a configuration, and is not looked at'
        problems.push({ ...problem('warning', file, message), line, column })
      }
    }
  }
  const inside = await findConfigs(manifests, options)
  return {
    manifests,
    configs: [...configs, ...inside.configs],
    problems: [...problems, ...inside.problems],
  }
}

/** Checks the configurations that ConfigMaps hold. */
export async function findConfigs(
  manifests: readonly Manifest[],
  options: CheckOptions,
): Promise<Pick<FoundDocuments, 'configs' | 'problems'>> {
  const configs: FoundConfig[] = []
  const problems: Problem[] = []
  for (const { text, manifest, configMap, placed } of manifests.flatMap((manifest) =>
    configsIn(manifest, options.namespace),
  )) {
    const { checked, found } = await checkConfig(text, manifest.file, options.strict)
    problems.push(...found.map(placed))
    configs.push({ manifest, configMap, checked })
  }
  return { configs, problems }
}

async function checkConfig(text: string, file: string, strict: boolean) {
  try {
    const modules = new ModuleLoader(builtinPlugins)
    const checked = await loadConfig(text, file, builtinPlugins, modules, { strict })
    const faults = engineTableFaults(checked).map(({ path, message }) => ({
      ...problem('error', file, message),
      ...readDocument(text).place(path, 'value'),
      path: pathText(path),
    }))
    const found = [...checked.warnings, ...faults]
    return { checked: faults.length > 0 ? undefined : checked, found }
  } catch (error) {
    const found = problemsOf(error)
    if (found.length === 0) throw error
    return { checked: undefined, found }
  }
}

/** The text of one of several documents, with line ends in front so that its lines keep their numbers. */
function documentText(text: string, documents: readonly YamlDocument[], index: number): string {
  const lines = text.split('\n')
  const first = documents[index]!.place([], 'value').line - 1
  const next = documents[index + 1]?.place([], 'value').line
  const own = lines.slice(first, next === undefined ? undefined : next - 1)
  const end = own.findIndex((line, i) => i > 0 && /^(?:---|\.\.\.)(?:\s|$)/.test(line))
  return '\n'.repeat(first) + (end < 0 ? own : own.slice(0, end)).join('\n')
}

function isObject(value: unknown): boolean {
  const { apiVersion, kind } = fieldsOf(value)
  return typeof apiVersion === 'string' && typeof kind === 'string' && !isConfig(value)
}

/** An EndpointPickerConfig by its kind, or by the fields that only it has. */
function isConfig(value: unknown): boolean {
  const { kind, plugins, schedulingProfiles } = fieldsOf(value)
  if (kind !== undefined) return kind === 'EndpointPickerConfig'
  return Array.isArray(schedulingProfiles) || Array.isArray(plugins)
}

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {}
}

function manifestOf(file: string, document: YamlDocument, prefix: Path): Manifest {
  let value: unknown = document.value
  for (const step of prefix) value = (value as Record<string | number, unknown>)[step]
  return {
    ...{ file, prefix, value: fieldsOf(value) },
    place: (path, part) => document.place([...prefix, ...path], part),
    placeIn: (path, index) => document.placeIn([...prefix, ...path], index),
  }
}

/** The objects of a `List`, as `kubectl get -o yaml` writes it, or the object itself. */
function unpack(manifest: Manifest): readonly Manifest[] {
  const { kind, items } = manifest.value
  if (typeof kind !== 'string' || !kind.endsWith('List') || !Array.isArray(items)) return [manifest]
  return items.map((value, index) => ({
    ...{ file: manifest.file, prefix: ['items', index], value: fieldsOf(value) },
    place: (path, part) => manifest.place(['items', index, ...path], part),
    placeIn: (path, at) => manifest.placeIn(['items', index, ...path], at),
  }))
}

/** The configurations in a ConfigMap's data, with a way from places in them to places in the manifest. */
function configsIn(manifest: Manifest, otherwise: string) {
  const { kind, data, metadata } = manifest.value
  if (kind !== 'ConfigMap') return []
  const { name, namespace } = fieldsOf(metadata)
  return Object.entries(fieldsOf(data)).flatMap(([key, text]) => {
    if (typeof text !== 'string') return []
    const document = readDocument(text)
    const broken = document.faults.length > 0 && /^kind: *EndpointPickerConfig/m.test(text)
    if (!broken && !isConfig(document.value)) return []
    const path = ['data', key]
    const outside = (place: Place) => manifest.placeIn(path, offsetOf(text, place))
    return {
      text,
      placed: (found: Problem): Problem => ({ ...found, ...outside(found) }),
      configMap: { namespace: String(namespace ?? otherwise), name: String(name) },
      manifest: {
        ...{ file: manifest.file, prefix: [], value: fieldsOf(document.value) },
        place: (inner: Path, part: 'key' | 'value') => outside(document.place(inner, part)),
        placeIn: (inner: Path, index: number) => outside(document.placeIn(inner, index)),
      },
    }
  })
}

function offsetOf(text: string, { line, column }: Place): number {
  let offset = 0
  for (let i = 1; i < line; i++) offset = text.indexOf('\n', offset) + 1
  return offset + column - 1
}

function problem(severity: Problem['severity'], file: string, message: string): Problem {
  return { severity, file, line: 1, column: 1, path: '', message }
}
