import { parseAddress, parsePort } from '../../address.ts'
import { type Fault, type Field, readObject } from './field.ts'
import { type ObjectMeta, readMeta } from './object-meta.ts'

/** What matters of a pod. */
export interface Pod {
  readonly meta: ObjectMeta
  readonly labels: Readonly<Record<string, string>>
  /** Its IP address while it is ready and not being deleted; else undefined, and it gets no requests. */
  readonly address: string | undefined
  /** The ports to which an annotation restricts it; undefined when it has none. */
  readonly activePorts: readonly number[] | undefined
}

/** llm-d's name for it, then GIE's; the first that is there counts. */
const ACTIVE_PORTS = ['llm-d.ai/active-ports', 'inference.networking.k8s.io/active-ports']

/** Reads a pod, or says what is wrong with it. */
export function readPod(object: unknown): Pod | Fault {
  return readObject(object, (root) => {
    const meta = readMeta(root)
    // Before all else: a pod that goes must go whatever the rest of it looks like.
    if (root.get('metadata').get('deletionTimestamp').present || !isReady(root)) {
      return { meta, labels: {}, address: undefined, activePorts: undefined }
    }
    return {
      meta,
      labels: root.get('metadata').get('labels').texts(),
      address: readAddress(root.get('status')),
      activePorts: readActivePorts(root.get('metadata').get('annotations')),
    }
  })
}

function isReady(root: Field): boolean {
  return root
    .get('status')
    .get('conditions')
    .items()
    .some(
      (condition) =>
        condition.get('type').value === 'Ready' && condition.get('status').value === 'True',
    )
}

function readAddress(status: Field): string | undefined {
  const single = status.get('podIP')
  const field = single.value ? single : (status.get('podIPs').items()[0]?.get('ip') ?? single)
  if (!field.value) return undefined
  return parseAddress(field.text()) ?? field.fail(`is "${field.text()}", which is no IP address`)
}

function readActivePorts(annotations: Field): readonly number[] | undefined {
  const field = ACTIVE_PORTS.map((name) => annotations.get(name)).find(({ present }) => present)
  if (field === undefined) return undefined
  if (field.value === '') return []
  return field
    .text()
    .split(',')
    .filter((entry) => entry.trim() !== '')
    .map((entry) => parsePort(entry) ?? field.fail(`has "${entry.trim()}", which is no port`))
}
