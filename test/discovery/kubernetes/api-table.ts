/** An object as the API server stores it. */
export interface StoredObject {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace: string
    readonly uid: string
    readonly resourceVersion: string
    readonly creationTimestamp: string
    readonly labels?: Readonly<Record<string, string>>
    readonly [field: string]: unknown
  }
  readonly [field: string]: unknown
}

/** One change of a collection. */
export interface TableEvent {
  readonly version: number
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly object: StoredObject
  /** As it was before. */
  readonly old: StoredObject | undefined
}

/** What a list or a watch wants to see. */
export interface Selection {
  readonly namespace: string | undefined
  matches(object: StoredObject): boolean
}

const MOST_EVENTS = 5000

/** One collection: its objects, and its history since the last compaction. */
export class ApiTable {
  readonly objects = new Map<string, StoredObject>()
  #events: TableEvent[] = []
  /** Watches from an older version than this get 410. */
  oldestVersion: number

  constructor(version: number) {
    this.oldestVersion = version
  }

  /** Records a change and gives it. */
  commit(type: TableEvent['type'], object: StoredObject, version: number): TableEvent {
    const key = keyOf(object.metadata.namespace, object.metadata.name)
    const event = { type, version, object, old: this.objects.get(key) }
    if (type === 'DELETED') this.objects.delete(key)
    else this.objects.set(key, object)
    this.#events.push(event)
    if (this.#events.length > MOST_EVENTS) {
      this.oldestVersion = this.#events.splice(0, MOST_EVENTS / 2).at(-1)!.version
    }
    return event
  }

  since(version: number): readonly TableEvent[] {
    return this.#events.filter((event) => event.version > version)
  }

  compact(version: number): void {
    this.#events = []
    this.oldestVersion = version
  }

  select(selection: Selection): readonly StoredObject[] {
    return [...this.objects.values()]
      .filter((object) => selection.matches(object))
      .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
  }
}

export function keyOf(namespace: string, name: string): string {
  return `${namespace}/${name}`
}

/** What a watch with that selection is told of a change: an object that leaves the selection is deleted for it. */
export function eventFor(
  selection: Selection,
  { type, object, old }: TableEvent,
): { readonly type: string; readonly object: StoredObject } | undefined {
  const was = old !== undefined && selection.matches(old)
  const is = type !== 'DELETED' && selection.matches(object)
  if (is) return { type: was ? 'MODIFIED' : 'ADDED', object }
  if (!was) return undefined
  if (type === 'DELETED') return { type, object }
  const { resourceVersion } = object.metadata
  return { type: 'DELETED', object: { ...old, metadata: { ...old.metadata, resourceVersion } } }
}

/** The selection that a query asks for. */
export function selectionOf(namespace: string | undefined, query: URLSearchParams): Selection {
  const labels = labelTests(query.get('labelSelector') ?? '')
  const fields = [
    ...(query.get('fieldSelector') ?? '').matchAll(/metadata\.(name|namespace)==?([^,]+)/g),
  ]
  return {
    namespace,
    matches: ({ metadata }) =>
      (namespace === undefined || metadata.namespace === namespace) &&
      labels.every((test) => test(metadata.labels ?? {})) &&
      fields.every(([, field, value]) => metadata[field!] === value),
  }
}

type LabelTest = (labels: Readonly<Record<string, string>>) => boolean

/** `k=v`, `k==v`, `k!=v`, `k in (a,b)`, `k notin (a,b)`, `k`, `!k`, joined by commas. */
function labelTests(selector: string): readonly LabelTest[] {
  return (selector.match(/(?:[^,(]|\([^)]*\))+/g) ?? []).map((part): LabelTest => {
    const set = /^\s*(\S+)\s+(in|notin)\s+\(([^)]*)\)\s*$/.exec(part)
    if (set) {
      const values = set[3]!.split(',').map((value) => value.trim())
      return (labels) => values.includes(labels[set[1]!] ?? '') === (set[2] === 'in')
    }
    const equal = /^\s*([^=!\s]+)\s*(!=|==?)\s*(\S*)\s*$/.exec(part)
    if (equal) return (labels) => (labels[equal[1]!] === equal[3]) === (equal[2] !== '!=')
    const key = part.trim().replace(/^!\s*/, '')
    return (labels) => key in labels === !part.trim().startsWith('!')
  })
}
