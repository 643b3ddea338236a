import {
  type Findings,
  isFields,
  type KubernetesObject,
  listAt,
  type Path,
  textOf,
  titleOf,
  valueAt,
} from './manifest.ts'
import { containersOf, type Workload } from './workload.ts'

/** A container that runs an endpoint picker: ours, llm-d's or GIE's. */
export interface Picker {
  readonly workload: Workload
  readonly path: Path
  /** Values by the flags' names in kebab case without dashes; empty for a flag without one. */
  readonly flags: ReadonlyMap<string, { readonly value: string; readonly path: Path }>
  /** ConfigMaps that the pod mounts. */
  readonly configMaps: readonly string[]
}

/** What the checks are told of the picker's own command line. */
export interface PickerFlags {
  /** True for a flag that `epp serve` takes, in kebab case without dashes. */
  readonly isKnown: (name: string) => boolean
  /** The known flag that was probably meant. */
  readonly nearest: (name: string) => string | undefined
}

const IMAGE = /(?:endpoint-picker|inference-scheduler|(?:^|[/-])epp)(?:[:@]|$)/
const LEADER_ELECTION = 'ha-enable-leader-election'
const DEFAULT_EVENT_PORT = 5557

/** The pickers among a workload's containers. */
export function pickersOf(workload: Workload): readonly Picker[] {
  const { value } = workload.object.manifest
  const volumes = listAt(value, [...workload.podSpecPath, 'volumes'])
  return containersOf(workload).flatMap(({ value: container, path }) => {
    const flags = new Map<string, { value: string; path: Path }>()
    for (const key of ['command', 'args']) readFlags(container, key, path, flags)
    const image = textOf(valueAt(container, ['image'])) ?? ''
    if (!flags.has('pool-name') && !IMAGE.test(image)) return []
    return {
      ...{ workload, path, flags },
      configMaps: volumes.flatMap((volume) => textOf(valueAt(volume, ['configMap', 'name'])) ?? []),
    }
  })
}

function readFlags(
  container: unknown,
  key: string,
  containerPath: Path,
  flags: Map<string, { value: string; path: Path }>,
): void {
  const texts = listAt(container, [key]).map(String)
  for (const [index, text] of texts.entries()) {
    const [, name, , inline] = /^--?([A-Za-z][\w.-]*)(=([\s\S]*))?$/.exec(text) ?? []
    if (name === undefined) continue
    const next = texts[index + 1]
    const value = inline ?? (next === undefined || next.startsWith('-') ? '' : next)
    flags.set(kebabCase(name), { value, path: [...containerPath, key, index] })
  }
}

/** `poolName` and `pool_name` as `pool-name`. */
function kebabCase(name: string): string {
  return name
    .replaceAll('_', '-')
    .replace(/([a-z0-9])([A-Z])/g, '$1-$2')
    .toLowerCase()
}

/** True when the picker serves the pool; undefined when it does not say which one it serves. */
export function serves(picker: Picker, pool: KubernetesObject): boolean | undefined {
  const name = picker.flags.get('pool-name')?.value
  if (name === undefined || name.includes('$(')) return undefined
  const namespace = picker.flags.get('pool-namespace')?.value
  const sameNamespace = namespace === undefined || namespace.includes('$(')
  return name === pool.name && (sameNamespace || namespace === pool.namespace)
}

/** True when the picker is given the profile by a ConfigMap. */
export function mounts(
  { workload, configMaps }: Picker,
  {
    configMap,
  }: { readonly configMap: { readonly namespace: string; readonly name: string } | undefined },
): boolean {
  if (configMap === undefined) return false
  return workload.object.namespace === configMap.namespace && configMaps.includes(configMap.name)
}

/** Port at which the picker's flags have it dial the engines; undefined when they do not. */
export function dialPortOf({ flags }: Picker): number | undefined {
  const flag = flags.get('kv-events-dial')
  if (flag === undefined) return undefined
  return /^\d+$/.test(flag.value) ? Number(flag.value) : DEFAULT_EVENT_PORT
}

/** Checks a picker's flags, and whether its replicas can share what engines tell. */
export function checkPicker(
  picker: Picker,
  pools: readonly KubernetesObject[],
  known: PickerFlags,
  binds: boolean,
  findings: Findings,
): void {
  const { object, replicas } = picker.workload
  for (const [name, { path }] of picker.flags) {
    if (known.isKnown(name)) continue
    const near = known.nearest(name)
    findings.warn(
      object.manifest,
      path,
      `the picker has no flag --${name}${near === undefined ? '; remove it' : `; did you mean --${near}?`}`,
    )
  }
  const pool = picker.flags.get('pool-name')
  if (
    pool !== undefined &&
    pools.length > 0 &&
    !pools.some((each) => serves(picker, each) ?? true)
  ) {
    const titles = [...new Set(pools.map(titleOf))].join(', ')
    findings.error(
      object.manifest,
      pool.path,
      `--pool-name ${pool.value} names no InferencePool; there is ${titles}`,
    )
  }
  const election = picker.flags.get(LEADER_ELECTION)
  const elected = election !== undefined && election.value !== 'false'
  if (replicas > 1 && binds && !elected) {
    const path = isFields(valueAt(object.manifest.value, ['spec'])) ? ['spec', 'replicas'] : []
    findings.error(
      object.manifest,
      path,
      `${replicas} replicas bind the port of the KV events behind one Service, so that each gets a part of them; ` +
        `write 1, or add --${LEADER_ELECTION}, or have the picker dial the engines with --kv-events-dial`,
    )
  }
}
