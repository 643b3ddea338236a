import { type Fault, type Field, readObject } from './field.ts'

/** A Lease of coordination.k8s.io/v1. */
export interface Lease {
  readonly resourceVersion: string
  /** Empty when nobody holds it. */
  readonly holder: string
  readonly durationMs: number
  /** Times as they are written; empty when absent. */
  readonly acquireTime: string
  readonly renewTime: string
  /** How often it has changed hands. */
  readonly transitions: number
  /** The metadata to send back with a change, so that others' labels and annotations stay; undefined for a new one. */
  readonly raw: Readonly<Record<string, unknown>> | undefined
}

const MOST_SECONDS = 24 * 3600

/** Reads a Lease, or says what is wrong with it. */
export function readLease(object: unknown): Lease | Fault {
  return readObject(object, (root) => {
    const metadata = root.get('metadata')
    const spec = root.get('spec')
    const count = (field: Field, most: number, absent: number) =>
      field.present ? field.integer(0, most) : absent
    return {
      resourceVersion: metadata.get('resourceVersion').text(),
      holder: spec.get('holderIdentity').value ? spec.get('holderIdentity').text() : '',
      durationMs: count(spec.get('leaseDurationSeconds'), MOST_SECONDS, 0) * 1000,
      acquireTime: spec.get('acquireTime').textOr(''),
      renewTime: spec.get('renewTime').textOr(''),
      transitions: count(spec.get('leaseTransitions'), 2 ** 31 - 1, 0),
      raw: metadata.value as Readonly<Record<string, unknown>>,
    }
  })
}

/** The object that says so. */
export function leaseObject(
  named: { readonly namespace: string; readonly name: string },
  lease: Lease,
): Readonly<Record<string, unknown>> {
  return {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: lease.raw ?? named,
    spec: {
      holderIdentity: lease.holder,
      leaseDurationSeconds: lease.durationMs / 1000,
      ...(lease.acquireTime !== '' && { acquireTime: lease.acquireTime }),
      renewTime: lease.renewTime,
      leaseTransitions: lease.transitions,
    },
  }
}
