import { shown } from '../objects/field.ts'

/** Where a value stands in an object: keys and positions from its root. */
export type Path = readonly (string | number)[]

export type Fields = Readonly<Record<string, unknown>>

/** A position in a text; both count from 1. */
export interface Place {
  readonly line: number
  readonly column: number
}

/** An object as its author wrote it: the value, and where each part of it stands. */
export interface Manifest {
  /** As messages name the file. */
  readonly file: string
  /** What stands in front of every path, such as `items[3]` within a list; shown only. */
  readonly prefix: Path
  readonly value: Fields
  /** Where the value (or its key) stands; for a path that is not there, where the nearest thing around it is. */
  place(path: Path, part: 'key' | 'value'): Place
  /** Where a UTF-16 unit of the text value at `path` stands. */
  placeIn(path: Path, index: number): Place
}

/** Something wrong with, or suspicious in, a manifest. */
export interface ManifestProblem extends Place {
  readonly severity: 'error' | 'warning'
  readonly file: string
  readonly path: Path
  readonly message: string
}

/** Which part of a value is meant: its key, or the text from a UTF-16 unit on. */
export type Within = 'key' | 'value' | number

/** The problems found so far. */
export class Findings {
  readonly #problems: ManifestProblem[] = []

  error(manifest: Manifest, path: Path, message: string, within: Within = 'value'): void {
    this.#add('error', manifest, path, message, within)
  }

  warn(manifest: Manifest, path: Path, message: string, within: Within = 'value'): void {
    this.#add('warning', manifest, path, message, within)
  }

  /** A sentence that begins with a field's path, as readers of objects give it. */
  sentence(severity: 'error' | 'warning', manifest: Manifest, sentence: string): void {
    const [text = ''] =
      /^(?:apiVersion|metadata|spec)(?:\.[\w-]+|\[\d+\])*(?= )/.exec(sentence) ?? []
    const path = text
      .split(/[.[\]]+/)
      .filter(Boolean)
      .map((part) => (/^\d+$/.test(part) ? Number(part) : part))
    const message = text === '' ? sentence : sentence.slice(text.length + 1)
    this.#add(severity, manifest, path, message, severity === 'warning' ? 'key' : 'value')
  }

  list(): readonly ManifestProblem[] {
    return this.#problems
  }

  #add(
    severity: ManifestProblem['severity'],
    manifest: Manifest,
    path: Path,
    message: string,
    within: Within,
  ): void {
    const place =
      typeof within === 'number' ? manifest.placeIn(path, within) : manifest.place(path, within)
    const { file, prefix } = manifest
    this.#problems.push({ severity, file, ...place, path: [...prefix, ...path], message })
  }
}

/** One Kubernetes object among those that are checked together. */
export interface KubernetesObject {
  readonly manifest: Manifest
  readonly kind: string
  /** API group; empty for Kubernetes' own first objects. */
  readonly group: string
  readonly namespace: string
  readonly name: string
}

/**
 * What kind of object a manifest holds, and its name; undefined when it is none.
 *
 * @param namespace of an object that names none
 */
export function objectOf(manifest: Manifest, namespace: string): KubernetesObject | undefined {
  const { apiVersion, kind, metadata } = manifest.value
  if (typeof apiVersion !== 'string' || typeof kind !== 'string' || !isFields(metadata)) {
    return undefined
  }
  const slash = apiVersion.indexOf('/')
  return {
    manifest,
    kind,
    group: slash < 0 ? '' : apiVersion.slice(0, slash),
    namespace: textOf(metadata.namespace) ?? namespace,
    name: textOf(metadata.name) ?? '',
  }
}

/** `Deployment qwen3`, with the namespace where it is not the default one. */
export function titleOf({ kind, namespace, name }: KubernetesObject): string {
  return `${kind} ${namespace === 'default' ? '' : `${namespace}/`}${name}`
}

/** `file:line` of a value, for a message about another one. */
export function whereIs(manifest: Manifest, path: Path, index?: number): string {
  const { line } =
    index === undefined ? manifest.place(path, 'value') : manifest.placeIn(path, index)
  return `${manifest.file}:${line}`
}

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The value at a path; undefined when something on the way is missing. */
export function valueAt(value: unknown, path: Path): unknown {
  let at = value
  for (const step of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, step)) return undefined
    at = (at as Record<string | number, unknown>)[step]
  }
  return at
}

/** A list at a path; empty when there is none. */
export function listAt(value: unknown, path: Path): readonly unknown[] {
  const list = valueAt(value, path)
  return Array.isArray(list) ? list : []
}

export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** True for a text that its reader has to fill in, such as `<YOUR-BUCKET-NAME>`. */
export function isPlaceholder(text: string): boolean {
  return /<[^<>]+>/.test(text)
}

export { shown }
