import { flagValue } from '../../../framework/engine-command/vllm-args.ts'
import { VLLM_FLAGS } from '../../../framework/engine-command/vllm-flags.ts'
import { checkEvents } from './check-events.ts'
import { checkExpectation, checkHashing } from './check-hashing.ts'
import { type Engine, enginesOf, engineTitle, placeOf, portsOf, whereIsWord } from './engine.ts'
import {
  Findings,
  type KubernetesObject,
  listAt,
  type Manifest,
  type ManifestProblem,
  objectOf,
  shown,
  titleOf,
  valueAt,
} from './manifest.ts'
import {
  checkPicker,
  dialPortOf,
  mounts,
  type Picker,
  type PickerFlags,
  pickersOf,
  serves,
} from './picker.ts'
import {
  checkRoutes,
  type PoolPlan,
  type ProfileSource,
  planOf,
  policiesOf,
  poolsOf,
} from './pool.ts'
import { labelText, selects, type Workload, workloadsOf } from './workload.ts'

/** What is checked together. */
export interface ManifestSet {
  readonly manifests: readonly Manifest[]
  readonly profiles: readonly ProfileSource[]
  /** Of objects that name none. */
  readonly namespace: string
}

/** What the checks are handed. */
export interface ManifestKnowledge {
  readonly pickerFlags: PickerFlags
  /** The known word that was probably meant; undefined when none is near. */
  readonly nearest: (word: string, known: Iterable<string>) => string | undefined
}

export interface ManifestReport {
  /** In no order. */
  readonly problems: readonly ManifestProblem[]
  readonly pools: readonly PoolPlan[]
  readonly engines: readonly Engine[]
}

/** Holds vLLM's command lines, pools, policies, profiles, Services and routes against each other. */
export function checkManifests(
  { manifests, profiles, namespace }: ManifestSet,
  { pickerFlags, nearest }: ManifestKnowledge,
): ManifestReport {
  const findings = new Findings()
  const objects = manifests.flatMap((manifest) => objectOf(manifest, namespace) ?? [])
  const ofKind = (kind: string) => objects.filter((object) => object.kind === kind)
  const workloads = objects.flatMap(workloadsOf)
  const configMaps = ofKind('ConfigMap')
  const engines = workloads.flatMap((workload) => enginesOf(workload, configMaps, findings))
  const pickers = workloads.flatMap(pickersOf)
  const pools = poolsOf(objects, findings)
  const poolObjects = pools.map(({ object }) => object)
  const near = (word: string, known: readonly string[]) => nearest(word, known)
  const policies = policiesOf(objects, poolObjects, near, findings)
  const plans = pools.map((pool) => planOf(pool, policies, profiles, pickers))

  const servers = workloads.filter((each) => !pickers.some(({ workload }) => workload === each))
  checkSelectors(plans, servers, engines, findings)
  checkRoutes(objects, poolObjects, near, findings)
  for (const picker of pickers) {
    checkPicker(picker, poolObjects, pickerFlags, bindsFor(picker, plans), findings)
  }
  for (const engine of engines) {
    const plan = plans.find((each) => isIn(each, engine.workload))
    checkEngine(engine, plan, ofKind('Service'), nearest, findings)
  }
  return { problems: findings.list(), pools: plans, engines }
}

/** True when engines connect to this picker with their events. */
function bindsFor(picker: Picker, plans: readonly PoolPlan[]): boolean {
  if (dialPortOf(picker) !== undefined) return false
  return plans.some(
    ({ object, precise, profiles, expectations }) =>
      precise &&
      (serves(picker, object) ?? true) &&
      !expectations.some(
        ({ manifest, dialPort }) =>
          dialPort !== undefined &&
          profiles.some((profile) => profile.manifest === manifest && mounts(picker, profile)),
      ),
  )
}

function isIn({ object, pool }: PoolPlan, { object: owner, labels }: Workload): boolean {
  return object.namespace === owner.namespace && selects(pool.selector, labels)
}

/** Pools without pods, and engines without a pool. A pair of them that differs in its labels is one problem. */
function checkSelectors(
  plans: readonly PoolPlan[],
  workloads: readonly Workload[],
  engines: readonly Engine[],
  findings: Findings,
): void {
  const explained = new Set<Workload>()
  const selected = (workload: Workload) => plans.some((plan) => isIn(plan, workload))
  for (const plan of plans) {
    if (workloads.length === 0 || workloads.some((workload) => isIn(plan, workload))) continue
    const { namespace, manifest } = plan.object
    const free = engines.map(({ workload }) => workload).filter((workload) => !selected(workload))
    const likely = free.find(({ object }) => object.namespace === namespace) ?? free[0]
    if (likely !== undefined) explained.add(likely)
    const wanted = labelText(plan.pool.selector)
    const instead =
      likely === undefined
        ? 'give the pods of its model servers these labels'
        : `${titleOf(likely.object)} in namespace "${likely.object.namespace}" has ${labelText(likely.labels) || 'no labels'}: write that here, or the other there`
    findings.error(
      manifest,
      ['spec', 'selector'],
      `no pods in namespace "${namespace}" have ${wanted}; ${instead}`,
    )
  }
  if (plans.length === 0) return
  for (const workload of new Set(engines.map((engine) => engine.workload))) {
    if (selected(workload) || explained.has(workload)) continue
    findings.warn(
      workload.object.manifest,
      workload.labelsPath,
      `no InferencePool selects these pods, so that no request is routed to them; ${plans
        .map((plan) => `${titleOf(plan.object)} selects ${labelText(plan.pool.selector)}`)
        .join(', ')}`,
    )
  }
}

function checkEngine(
  engine: Engine,
  plan: PoolPlan | undefined,
  services: readonly KubernetesObject[],
  nearest: ManifestKnowledge['nearest'],
  findings: Findings,
): void {
  const { manifest } = engine.workload.object
  for (const { known, word, name } of engine.args.flags) {
    const near = known ? undefined : nearest(name, VLLM_FLAGS.keys())
    if (near === undefined) continue
    const [path, index] = placeOf(engine, word)
    findings.warn(manifest, path, `vLLM has no flag --${name}; did you mean --${near}?`, index)
  }
  for (const [name, { path, wrongValue }] of engine.env) {
    if (wrongValue === undefined || wrongValue === null) continue
    findings.error(
      manifest,
      [...path, 'value'],
      `${name} is ${shown(wrongValue)}, and Kubernetes takes text here; write '${String(wrongValue)}'`,
    )
  }
  if (plan !== undefined) checkPorts(engine, plan, findings)
  for (const expectation of plan?.expectations ?? []) {
    checkExpectation(engine, expectation, findings)
  }
  checkHashing(engine, plan?.precise ?? false, findings)
  checkEvents(engine, plan, services, findings)
}

/** The pool's ports must be the engine's, or those of a container beside it that passes requests on. */
function checkPorts(engine: Engine, { object, pool }: PoolPlan, findings: Findings): void {
  const served = portsOf(engine)
  if (served === undefined) return
  const own = listAt(engine.container, ['ports']).map((port) => valueAt(port, ['containerPort']))
  const beside = listAt(engine.workload.object.manifest.value, [
    ...engine.workload.podSpecPath,
    'containers',
  ])
    .filter((container) => container !== engine.container)
    .flatMap((container) => listAt(container, ['ports']))
    .map((port) => valueAt(port, ['containerPort']))
  const word = flagValue(engine.args, 'port')
  const says =
    word === undefined
      ? `has no --port and listens at ${served[0]}`
      : `has --port ${served[0]} (${whereIsWord(engine, word)})`
  for (const [rank, port] of pool.targetPorts.entries()) {
    if (served.includes(port) || beside.includes(port)) continue
    const path = valueAt(object.manifest.value, ['spec', 'targetPorts'])
      ? ['spec', 'targetPorts', rank, 'number']
      : ['spec', 'targetPortNumber']
    findings.error(
      object.manifest,
      path,
      `is ${port}, but ${engineTitle(engine)} ${says}; write ${served[rank] ?? served[0]}, or --port ${port} there`,
    )
    return
  }
  if (own.length > 0 && !own.some((port) => served.includes(port as number))) {
    findings.warn(
      engine.workload.object.manifest,
      [...engine.path, 'ports', 0, 'containerPort'],
      `is ${own.join(', ')}, but ${engineTitle(engine)} ${says}; write ${served[0]}`,
    )
  }
}
