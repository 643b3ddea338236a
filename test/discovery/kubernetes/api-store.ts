import { RESOURCE } from '../../../src/discovery/kubernetes/objects/resources.ts'
import { ApiTable, keyOf, type StoredObject, type TableEvent } from './api-table.ts'
import { ApiWatches } from './api-watches.ts'

/** An object as it is applied: what is absent in its metadata the server adds. */
export interface AppliedObject {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace?: string
    readonly labels?: Readonly<Record<string, string>>
    readonly [field: string]: unknown
  }
  readonly [field: string]: unknown
}

/** The kinds that are served from the beginning; others are from the first object on. */
export const KINDS = [
  ...Object.values(RESOURCE),
  { group: 'coordination.k8s.io', version: 'v1', plural: 'leases' },
]

/** The objects of an API server under one growing version, and who watches them. */
export class ApiStore {
  readonly watches: ApiWatches
  readonly #tables = new Map<string, ApiTable>()
  /** `apiVersion/plural` of what is not a 404. */
  readonly #served = new Set<string>()
  #version = 50_000_000
  #uids = 0

  constructor(bookmarkMs: number) {
    this.watches = new ApiWatches(bookmarkMs, () => this.#version)
    for (const { group, version, plural } of KINDS) {
      this.#served.add(`${group === '' ? version : `${group}/${version}`}/${plural}`)
    }
  }

  get version(): number {
    return this.#version
  }

  /** Creates or replaces objects; a status that is not given stays. */
  apply(...objects: readonly AppliedObject[]): readonly StoredObject[] {
    return objects.map((object) => {
      const namespace = object.metadata.namespace ?? 'default'
      this.serve(object.apiVersion, object.kind)
      return this.put(`${object.apiVersion}/${pluralOf(object.kind)}`, namespace, object)
    })
  }

  /** Deletes an object. */
  remove(apiVersion: string, kind: string, name: string, namespace = 'default'): void {
    const resource = `${apiVersion}/${pluralOf(kind)}`
    const old = this.table(resource).objects.get(keyOf(namespace, name))
    if (!old) throw new Error(`there is no ${kind} ${namespace}/${name}`)
    this.#commit(resource, 'DELETED', old)
  }

  /** The objects of a kind. */
  list(apiVersion: string, kind: string): readonly StoredObject[] {
    return [...this.table(`${apiVersion}/${pluralOf(kind)}`).objects.values()]
  }

  /** Installs a CRD. */
  serve(apiVersion: string, kind: string): void {
    this.#served.add(`${apiVersion}/${pluralOf(kind)}`)
  }

  serves(apiVersion: string, kind: string): boolean {
    return this.#served.has(`${apiVersion}/${pluralOf(kind)}`)
  }

  /** Takes a CRD away: its objects are deleted, its watches end, its path is not found. */
  unserve(apiVersion: string, kind: string): void {
    for (const { metadata } of this.list(apiVersion, kind)) {
      this.remove(apiVersion, kind, metadata.name, metadata.namespace)
    }
    const resource = `${apiVersion}/${pluralOf(kind)}`
    this.#served.delete(resource)
    this.#tables.delete(resource)
    this.watches.end(resource)
  }

  /** Forgets the history: a watch from before gets 410. */
  compact(): void {
    this.#version++
    for (const table of this.#tables.values()) table.compact(this.#version)
  }

  /** Sets the version back, as a restored backup does. */
  rewind(by: number): void {
    this.#version -= by
    for (const table of this.#tables.values()) table.compact(0)
  }

  protected isServed(resource: string): boolean {
    return this.#served.has(resource)
  }

  /** Plurals of what an API version serves. */
  protected servedBy(apiVersion: string): readonly string[] {
    return [...this.#served]
      .filter((resource) => resource.startsWith(`${apiVersion}/`))
      .map((resource) => resource.slice(apiVersion.length + 1))
  }

  protected table(resource: string): ApiTable {
    const table = this.#tables.get(resource) ?? new ApiTable(this.#version)
    this.#tables.set(resource, table)
    return table
  }

  /** Stores an object in place of the one under its name. */
  protected put(resource: string, namespace: string, object: AppliedObject): StoredObject {
    const old = this.table(resource).objects.get(keyOf(namespace, object.metadata.name))
    const status = object.status ?? old?.status
    return this.#commit(resource, old ? 'MODIFIED' : 'ADDED', {
      ...object,
      ...(status !== undefined && { status }),
      metadata: {
        creationTimestamp: new Date().toISOString().replace(/\.\d+/, ''),
        ...object.metadata,
        ...(old && { creationTimestamp: old.metadata.creationTimestamp }),
        namespace,
        uid: old?.metadata.uid ?? `uid-${++this.#uids}`,
        resourceVersion: '',
      },
    })
  }

  #commit(resource: string, type: TableEvent['type'], given: StoredObject): StoredObject {
    const version = ++this.#version
    const object = { ...given, metadata: { ...given.metadata, resourceVersion: String(version) } }
    this.watches.tell(resource, this.table(resource).commit(type, object, version))
    return object
  }
}

function pluralOf(kind: string): string {
  const word = kind.toLowerCase()
  return word.endsWith('y') ? `${word.slice(0, -1)}ies` : `${word}s`
}
