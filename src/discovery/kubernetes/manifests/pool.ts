import { type Fault, isFault } from '../objects/field.ts'
import { type InferencePool, readInferencePool } from '../objects/inference-pool.ts'
import { readInferenceTrafficPolicy } from '../objects/inference-traffic-policy.ts'
import { GROUP } from '../objects/resources.ts'
import {
  type Findings,
  type KubernetesObject,
  type Manifest,
  type Path,
  titleOf,
  valueAt,
  whereIs,
} from './manifest.ts'
import { dialPortOf, mounts, type Picker, serves } from './picker.ts'
import { type Expectation, expectationOfProfile, saidOf } from './profile.ts'

/** An EndpointPickerConfig among what is checked together. */
export interface ProfileSource {
  readonly manifest: Manifest
  /** The ConfigMap that holds it; undefined for a file. */
  readonly configMap: { readonly namespace: string; readonly name: string } | undefined
}

/** A pool with everything that speaks of it. */
export interface PoolPlan {
  readonly object: KubernetesObject
  readonly pool: InferencePool
  /** The InferenceTrafficPolicy that names it; undefined when none does. */
  readonly policy: KubernetesObject | undefined
  /** Configurations that a picker of this pool is given; a policy has no effect beside them. */
  readonly profiles: readonly ProfileSource[]
  readonly expectations: readonly Expectation[]
  /** True when the picker follows the engines' KV events. */
  readonly precise: boolean
  /** Port at which the picker dials the engines; undefined when it binds and they connect. */
  readonly dialPort: number | undefined
}

/** The InferencePools among objects; reports those that cannot be read. */
export function poolsOf(
  objects: readonly KubernetesObject[],
  findings: Findings,
): readonly Pick<PoolPlan, 'object' | 'pool'>[] {
  return objects.filter(isPool).flatMap((object) => {
    const pool: InferencePool | Fault = readInferencePool(object.manifest.value)
    if (!isFault(pool)) return { object, pool }
    findings.sentence('error', object.manifest, pool.fault)
    return []
  })
}

function isPool({ kind, group }: KubernetesObject): boolean {
  return kind === 'InferencePool' && (group === GROUP.pools || group === GROUP.extension)
}

/** Puts together what policies, profiles and pickers say of a pool. */
export function planOf(
  { object, pool }: Pick<PoolPlan, 'object' | 'pool'>,
  policies: readonly { readonly poolName: string; readonly object: KubernetesObject }[],
  profiles: readonly ProfileSource[],
  pickers: readonly Picker[],
): PoolPlan {
  const ours = pickers.filter((picker) => serves(picker, object) ?? true)
  const policy = policies.find(
    (each) => each.poolName === pool.meta.name && sameNamespace(each.object, object),
  )?.object
  const given = profiles.filter(
    (profile) =>
      ours.some((picker) => mounts(picker, profile)) ||
      !pickers.some((picker) => mounts(picker, profile)),
  )
  const expectations = [
    ...(policy === undefined ? [] : [expectationOfPolicy(policy)]),
    ...given.map(({ manifest }) =>
      expectationOfProfile(manifest, `the profile in ${manifest.file}`),
    ),
  ]
  return {
    ...{ object, pool, policy, profiles: given },
    expectations,
    precise: expectations.some(({ precise }) => precise),
    dialPort: [...ours.map(dialPortOf), ...expectations.map(({ dialPort }) => dialPort)].find(
      (port) => port !== undefined,
    ),
  }
}

const TRACKING: Path = [
  ...['spec', 'profile', 'single', 'trafficPolicy', 'prefixCache', 'trackingConfig'],
]

function expectationOfPolicy(object: KubernetesObject): Expectation {
  const { manifest } = object
  // The same order in which the policy is read: the inner place wins.
  const processors = [
    [...TRACKING, 'indexerConfig', 'tokenProcessorConfig'],
    [...TRACKING, 'tokenProcessorConfig'],
  ]
  const said = (keys: readonly string[]) =>
    processors
      .flatMap((path) => keys.map((key) => [...path, key]))
      .map((path) => ({ value: valueAt(manifest.value, path), path }))
      .find(({ value }) => value !== undefined)
  const precise = valueAt(manifest.value, [...TRACKING.slice(0, -1), 'mode']) === 'tracking'
  return {
    ...{ manifest, precise, dialPort: undefined },
    title: titleOf(object),
    ...(precise ? saidOf(said) : { blockTokens: undefined, hashSeed: undefined, model: undefined }),
  }
}

/**
 * The InferenceTrafficPolicies among objects; reports those that cannot be read, that name no pool, or one that another
 * one names already.
 */
export function policiesOf(
  objects: readonly KubernetesObject[],
  pools: readonly KubernetesObject[],
  nearest: (word: string, known: readonly string[]) => string | undefined,
  findings: Findings,
): readonly { readonly poolName: string; readonly object: KubernetesObject }[] {
  const first = new Map<string, KubernetesObject>()
  const path = ['spec', 'poolRef', 'name']
  return objects
    .filter(({ kind, group }) => kind === 'InferenceTrafficPolicy' && group === GROUP.alibaba)
    .flatMap((object) => {
      const policy = readInferenceTrafficPolicy(object.manifest.value)
      if (isFault(policy)) {
        findings.sentence('error', object.manifest, policy.fault)
        return []
      }
      for (const warning of policy.warnings) findings.sentence('warning', object.manifest, warning)
      const { poolName } = policy
      const known = pools.filter((pool) => sameNamespace(pool, object)).map(({ name }) => name)
      const key = `${object.namespace}/${poolName}`
      const other = first.get(key)
      if (pools.length > 0 && !known.includes(poolName)) {
        findings.error(object.manifest, path, noPool(poolName, object.namespace, known, nearest))
      } else if (other !== undefined) {
        findings.error(
          object.manifest,
          path,
          `${titleOf(other)} names InferencePool ${poolName} already (${whereIs(other.manifest, path)}); remove one of them`,
        )
      } else first.set(key, object)
      return { poolName, object }
    })
}

/** Checks the InferencePools that HTTPRoutes send requests to. */
export function checkRoutes(
  objects: readonly KubernetesObject[],
  pools: readonly KubernetesObject[],
  nearest: (word: string, known: readonly string[]) => string | undefined,
  findings: Findings,
): void {
  if (pools.length === 0) return
  for (const object of objects.filter(({ kind }) => kind === 'HTTPRoute')) {
    for (const path of poolRefs(object)) {
      const ref = valueAt(object.manifest.value, path) as Record<string, unknown>
      const namespace = String(ref.namespace ?? object.namespace)
      const there = pools.filter((pool) => pool.namespace === namespace)
      const named = there.filter(({ name }) => name === ref.name)
      if (named.length === 0) {
        const names = there.map(({ name }) => name)
        const message = noPool(String(ref.name), namespace, names, nearest)
        findings.error(object.manifest, [...path, 'name'], message)
      } else if (!named.some(({ group }) => group === ref.group)) {
        const [pool] = named as [KubernetesObject]
        findings.error(
          object.manifest,
          [...path, 'group'],
          `"${String(ref.group ?? '')}" is not the group of ${titleOf(pool)} (${whereIs(pool.manifest, ['apiVersion'])}); write ${pool.group}`,
        )
      }
    }
  }
}

function poolRefs({ manifest }: KubernetesObject): readonly Path[] {
  const rules = valueAt(manifest.value, ['spec', 'rules'])
  if (!Array.isArray(rules)) return []
  return rules.flatMap((rule, i) => {
    const refs = valueAt(rule, ['backendRefs'])
    if (!Array.isArray(refs)) return []
    return refs.flatMap((ref, j) =>
      valueAt(ref, ['kind']) === 'InferencePool' ? [['spec', 'rules', i, 'backendRefs', j]] : [],
    )
  })
}

function noPool(
  name: string,
  namespace: string,
  known: readonly string[],
  nearest: (word: string, known: readonly string[]) => string | undefined,
): string {
  const near = nearest(name, known)
  const instead =
    near !== undefined
      ? `did you mean "${near}"?`
      : known.length === 0
        ? 'there is none'
        : `there is ${[...new Set(known)].join(', ')}`
  return `"${name}" names no InferencePool in namespace "${namespace}"; ${instead}`
}

function sameNamespace(a: KubernetesObject, b: KubernetesObject): boolean {
  return a.namespace === b.namespace
}
