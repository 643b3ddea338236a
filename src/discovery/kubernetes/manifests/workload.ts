import { isFields, type KubernetesObject, listAt, type Path, valueAt } from './manifest.ts'

/** Pods that an object makes, or the one that it is. */
export interface Workload {
  readonly object: KubernetesObject
  readonly labels: Readonly<Record<string, string>>
  /** Of the pods' labels. */
  readonly labelsPath: Path
  /** Of the pods' `spec`. */
  readonly podSpecPath: Path
  /** As stated; 1 when it is not. */
  readonly replicas: number
}

/** Where kinds of objects have their pods' metadata and spec. */
const POD_PATHS: Readonly<Record<string, readonly Path[]>> = {
  Deployment: [['spec', 'template']],
  StatefulSet: [['spec', 'template']],
  DaemonSet: [['spec', 'template']],
  ReplicaSet: [['spec', 'template']],
  Job: [['spec', 'template']],
  Pod: [[]],
  LeaderWorkerSet: [
    ['spec', 'leaderWorkerTemplate', 'leaderTemplate'],
    ['spec', 'leaderWorkerTemplate', 'workerTemplate'],
  ],
}

/** The pods of an object; none for a kind that makes none. */
export function workloadsOf(object: KubernetesObject): readonly Workload[] {
  const { value } = object.manifest
  return (POD_PATHS[object.kind] ?? []).flatMap((path) => {
    const podSpecPath = [...path, 'spec']
    if (!isFields(valueAt(value, podSpecPath))) return []
    const labelsPath = [...path, 'metadata', 'labels']
    const labels = valueAt(value, labelsPath)
    const replicas = valueAt(value, ['spec', 'replicas'])
    return {
      object,
      labels: isFields(labels)
        ? Object.fromEntries(Object.entries(labels).map(([key, label]) => [key, String(label)]))
        : {},
      labelsPath,
      podSpecPath,
      replicas: typeof replicas === 'number' ? replicas : 1,
    }
  })
}

/** The workload's containers with their paths. */
export function containersOf({
  object,
  podSpecPath,
}: Workload): readonly { readonly value: unknown; readonly path: Path }[] {
  const path = [...podSpecPath, 'containers']
  return listAt(object.manifest.value, path).map((value, index) => ({
    value,
    path: [...path, index],
  }))
}

/** True when pods with these labels are among those that a selector selects. */
export function selects(
  selector: Readonly<Record<string, string>>,
  labels: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(selector).every(([key, value]) => labels[key] === value)
}

/** Labels as people write them: `app=qwen3,tier=gold`. */
export function labelText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(',')
}
