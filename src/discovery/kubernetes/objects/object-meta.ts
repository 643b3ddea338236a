import type { Field } from './field.ts'

/** What every object says of itself. */
export interface ObjectMeta {
  readonly namespace: string
  readonly name: string
  /** Empty in a manifest that was never applied. */
  readonly uid: string
  /** `creationTimestamp` in epoch milliseconds; 0 in a manifest that was never applied. */
  readonly createdAtMs: number
}

/** Reads `metadata`; an absent namespace is `default`, as for kubectl. */
export function readMeta(root: Field): ObjectMeta {
  const meta = root.get('metadata')
  const created = meta.get('creationTimestamp')
  const createdAtMs = created.present ? Date.parse(created.text()) : 0
  if (Number.isNaN(createdAtMs)) created.fail('must be a time such as 2026-01-31T00:00:00Z')
  return {
    namespace: meta.get('namespace').textOr('default'),
    name: meta.get('name').text(),
    uid: meta.get('uid').textOr(''),
    createdAtMs,
  }
}

/** The API group of the object; empty for Kubernetes' own first objects. */
export function readGroup(root: Field): string {
  const [group, version] = root.get('apiVersion').text().split('/')
  return version === undefined ? '' : group!
}

/** Orders the oldest first; objects of the same second by name. */
export function byAge(a: { readonly meta: ObjectMeta }, b: { readonly meta: ObjectMeta }): number {
  return a.meta.createdAtMs - b.meta.createdAtMs || (a.meta.name < b.meta.name ? -1 : 1)
}

/** The name in `spec.poolRef`, which must be one of an InferencePool. */
export function readPoolName(spec: Field): string {
  const ref = spec.get('poolRef')
  const kind = ref.get('kind')
  if (kind.textOr('InferencePool') !== 'InferencePool') {
    kind.fail(`is "${kind.text()}"; only InferencePool is known`)
  }
  return ref.get('name').text()
}
