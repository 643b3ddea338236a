import type { Notices } from '../../framework/services.ts'
import type { Fault } from './objects/field.ts'
import { type InferenceModel, readInferenceModel } from './objects/inference-model.ts'
import {
  type InferenceModelRewrite,
  readInferenceModelRewrite,
} from './objects/inference-model-rewrite.ts'
import { type InferenceObjective, readInferenceObjective } from './objects/inference-objective.ts'
import { type InferencePool, readInferencePool } from './objects/inference-pool.ts'
import {
  type InferenceTrafficPolicy,
  readInferenceTrafficPolicy,
} from './objects/inference-traffic-policy.ts'
import { byAge } from './objects/object-meta.ts'
import { GROUP, RESOURCE, type Resource } from './objects/resources.ts'
import { trafficPolicyOf } from './policy.ts'
import type { TrafficPolicy } from './pool-host.ts'
import { Reflector, type ReflectorServices } from './reflector.ts'
import { KubernetesRules, type RuleObjects } from './rules.ts'
import type { WatchReport } from './watch-report.ts'

/** What a namespace's watches need. */
export interface NamespaceServices extends ReflectorServices {
  readonly report: WatchReport
  readonly notices: Notices
}

/** A pool as it is known: `unknown` until every API that could hold it has answered. */
export type KnownPool = InferencePool | 'absent' | 'unknown'

/** One kind of object that two API groups may serve: where the newer one is served, only its objects count. */
class TwoGroups<T> {
  readonly newer: Reflector<T>
  readonly older: Reflector<T>

  constructor(newer: Reflector<T>, older: Reflector<T>) {
    this.newer = newer
    this.older = older
  }

  get current(): Reflector<T> {
    return this.newer.state === 'synced' ? this.newer : this.older
  }

  /** Objects of the older group that do not count. */
  get ignored(): number {
    return this.newer.state === 'synced' ? this.older.objects.values().length : 0
  }
}

/** The watches of one namespace that its pools share: pools, objectives, rewrites, models, policies. */
export class NamespaceWatch {
  readonly namespace: string
  readonly #services: NamespaceServices
  readonly #changed: () => void
  /** The first one's objects win. */
  readonly #pools: readonly Reflector<InferencePool>[]
  readonly #objectives: TwoGroups<InferenceObjective>
  readonly #rewrites: TwoGroups<InferenceModelRewrite>
  readonly #models: Reflector<InferenceModel>
  readonly #policies: Reflector<InferenceTrafficPolicy>
  readonly #all: Reflector<unknown>[] = []
  /** Names of the pools that are or were there. */
  readonly #seen = new Set<string>()

  constructor(
    services: NamespaceServices,
    wanted: {
      readonly namespace: string
      /** Label selector of the pools; all when absent. */
      readonly poolSelector?: string
      /** The API group whose pools win; `inference.networking.k8s.io` when absent. */
      readonly group?: string
    },
    changed: () => void,
  ) {
    this.namespace = wanted.namespace
    this.#services = services
    this.#changed = changed
    const current = this.#open(RESOURCE.pools, readInferencePool, wanted.poolSelector)
    const alpha = this.#open(RESOURCE.poolsAlpha, readInferencePool, wanted.poolSelector)
    this.#pools = wanted.group === GROUP.extension ? [alpha, current] : [current, alpha]
    this.#objectives = new TwoGroups(
      this.#open(RESOURCE.objectives, readInferenceObjective),
      this.#open(RESOURCE.objectivesExtension, readInferenceObjective),
    )
    this.#rewrites = new TwoGroups(
      this.#open(RESOURCE.rewrites, readInferenceModelRewrite),
      this.#open(RESOURCE.rewritesExtension, readInferenceModelRewrite),
    )
    this.#models = this.#open(RESOURCE.models, readInferenceModel)
    this.#policies = this.#open(RESOURCE.policies, readInferenceTrafficPolicy)
  }

  start(): void {
    for (const reflector of this.#all) reflector.start()
  }

  async stop(): Promise<void> {
    await Promise.all(this.#all.map((reflector) => reflector.stop()))
  }

  /** True when every API has answered, if only with a refusal. */
  get answered(): boolean {
    return this.#all.every((reflector) => reflector.answered)
  }

  /** Changes with every change of an objective, a rewrite or a model. */
  get rulesVersion(): string {
    return [this.#objectives.current, this.#rewrites.current, this.#models]
      .map((reflector) => `${this.#all.indexOf(reflector)}.${reflector.objects.version}`)
      .join(' ')
  }

  /** Names of all pools. */
  poolNames(): readonly string[] {
    return [
      ...new Set(
        this.#pools.flatMap(({ objects }) => objects.values().map(({ meta }) => meta.name)),
      ),
    ]
  }

  pool(name: string): KnownPool {
    for (const { objects, answered } of this.#pools) {
      const pool = objects.get(name)
      if (pool) {
        this.#seen.add(name)
        return pool
      }
      // The next group's pool must not be taken for what an answer is about to replace.
      if (!answered) return 'unknown'
    }
    // What was seen and is not there any more is gone, whatever an API that never answered well may hold.
    const known = this.#pools.every(({ state }) => state !== 'starting') || this.#seen.has(name)
    if (known) this.#seen.delete(name)
    return known ? 'absent' : 'unknown'
  }

  /** True when it is known which pools there are, in one API at least. */
  get knowsPools(): boolean {
    return this.servesPools || this.#pools.every(({ state }) => state === 'unserved')
  }

  /** True when some API that holds pools is served. */
  get servesPools(): boolean {
    return this.#pools.some(({ state }) => state === 'synced')
  }

  rules(poolName: string): KubernetesRules {
    const of = <T extends { readonly poolName: string }>({ objects }: Reflector<T>) =>
      objects.values().filter((object) => object.poolName === poolName)
    const objects: RuleObjects = {
      objectives: of(this.#objectives.current),
      rewrites: of(this.#rewrites.current),
      models: of(this.#models),
    }
    return new KubernetesRules(objects)
  }

  /** The oldest policy that names the pool; a notice names those that have no effect beside it. */
  policy(poolName: string): TrafficPolicy | undefined {
    const [first, ...rest] = this.#policies.objects
      .values()
      .filter((policy) => policy.poolName === poolName)
      .toSorted(byAge)
    const source = first && trafficPolicyOf(first)
    this.#services.notices.set(
      `kubernetes:policy:${this.namespace}/${poolName}`,
      rest.length === 0
        ? undefined
        : `InferenceTrafficPolicy ${rest.map(({ meta }) => meta.name).join(', ')} has no effect: ${source!.source} for the same pool is older`,
    )
    return source
  }

  /** Names the objects that do not count since a newer API group is served. */
  noticeIgnored(): void {
    for (const [kind, { ignored }] of [
      ['inferenceobjectives', this.#objectives],
      ['inferencemodelrewrites', this.#rewrites],
    ] as const) {
      this.#services.notices.set(
        `kubernetes:${kind}:${this.namespace}`,
        ignored === 0
          ? undefined
          : `${ignored} ${kind}.${GROUP.extension} in ${this.namespace} have no effect: ${GROUP.llmD} is served, and only its objects count`,
      )
    }
  }

  #open<T>(
    resource: Resource,
    read: (object: unknown) => T | Fault,
    labelSelector?: string,
  ): Reflector<T> {
    const reflector = new Reflector<T>(
      this.#services,
      {
        resource,
        namespace: this.namespace,
        read,
        changed: this.#changed,
        ...(labelSelector !== undefined && { labelSelector }),
      },
      this.#services.report.open(resource, this.namespace),
    )
    this.#all.push(reflector as Reflector<unknown>)
    return reflector
  }
}
