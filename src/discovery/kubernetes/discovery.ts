import type { Readiness } from '../../framework/readiness.ts'
import type { Clock, Logger, Metrics, Notices, Random } from '../../framework/services.ts'
import type { KubeClient } from './client.ts'
import { NamespaceWatch } from './namespace-watch.ts'
import type { PoolHost, PoolRef } from './pool-host.ts'
import { PoolWatch } from './pool-watch.ts'
import type { ReflectorServices } from './reflector.ts'
import { DEFAULT_TIMES, type ReflectorTimes } from './reflector-times.ts'
import { KubernetesRules } from './rules.ts'
import { WatchReport } from './watch-report.ts'

/** Which pools are served. */
export type Wanted =
  | {
      readonly kind: 'pools'
      readonly pools: readonly PoolRef[]
      /** The API group that wins where two hold a pool of one name; `inference.networking.k8s.io` when absent. */
      readonly group?: string
    }
  | {
      readonly kind: 'pool-selector'
      readonly namespace: string
      /** Label selector of InferencePools. */
      readonly selector: string
      readonly group?: string
    }
  | {
      /** One pool without an InferencePool: nothing but pods is watched. */
      readonly kind: 'endpoints'
      readonly pool: PoolRef
      /** Label selector of pods. */
      readonly selector: string
      readonly targetPorts: readonly number[]
    }

export interface KubernetesDiscoveryServices {
  readonly client: KubeClient
  readonly host: PoolHost
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly metrics: Metrics
  readonly notices: Notices
  readonly readiness: Readiness
}

const CONDITION = 'kubernetes'

/**
 * Finds pools, their endpoints, rules and policies in a cluster, and follows them.
 *
 * A change is told in the step in which its event arrives. While the API server cannot be reached the last known state stays,
 * and the log, the metrics, a notice and the detail of the condition `kubernetes` say so.
 */
export class KubernetesDiscovery {
  readonly #services: KubernetesDiscoveryServices
  readonly #wanted: Wanted
  readonly #reflectors: ReflectorServices
  readonly #report: WatchReport
  readonly #logger: Logger
  readonly #namespaces = new Map<string, NamespaceWatch>()
  /** By `namespace/name`. */
  readonly #pools = new Map<string, PoolWatch>()
  readonly #stopping = new Set<Promise<void>>()
  /** By `namespace/name`, as they were last said. */
  readonly #poolNotices = new Map<string, string>()
  #ready = false
  #stopped = false

  constructor(
    services: KubernetesDiscoveryServices,
    wanted: Wanted,
    times: Partial<ReflectorTimes> = {},
  ) {
    this.#services = services
    this.#wanted = wanted
    this.#logger = services.logger.named('kubernetes')
    const { client, clock, random } = services
    this.#reflectors = { client, clock, random, times: { ...DEFAULT_TIMES, ...times } }
    this.#report = new WatchReport(services, {
      consequence: () =>
        this.#ready ? 'serving with the last known state' : 'not ready until it can be',
      changed: () => this.#sayReadiness(),
    })
  }

  /** Begins to watch; the condition `kubernetes` is false until everything wanted has been seen once. */
  start(): void {
    const { client } = this.#services
    this.#logger.info('Watching Kubernetes', {
      server: client.connection.server,
      from: client.connection.source,
    })
    if (this.#wanted.kind === 'endpoints') this.#startStandalone(this.#wanted)
    else this.#startNamespaces(this.#wanted)
    this.#sayReadiness()
  }

  /** Ends every watch; the sinks are not called again. */
  async stop(): Promise<void> {
    this.#stopped = true
    const watches = [...this.#namespaces.values(), ...this.#pools.values()]
    await Promise.all([...watches.map((watch) => watch.stop()), ...this.#stopping])
  }

  #startStandalone({ pool, selector, targetPorts }: Extract<Wanted, { kind: 'endpoints' }>): void {
    const sink = this.#services.host.open(pool)
    sink.rules(new KubernetesRules({ objectives: [], rewrites: [], models: [] }))
    sink.policy(undefined)
    sink.pickerService(undefined)
    const watch = this.#watch(pool, sink)
    watch.follow({ selector, ports: [...new Set(targetPorts)] })
  }

  #startNamespaces(wanted: Exclude<Wanted, { kind: 'endpoints' }>): void {
    const group = wanted.group === undefined ? {} : { group: wanted.group }
    const spaces =
      wanted.kind === 'pools'
        ? [...new Set(wanted.pools.map(({ namespace }) => namespace))].map((namespace) => ({
            namespace,
          }))
        : [{ namespace: wanted.namespace, poolSelector: wanted.selector }]
    for (const space of spaces) {
      const watch: NamespaceWatch = new NamespaceWatch(
        { ...this.#reflectors, report: this.#report, notices: this.#services.notices },
        { ...space, ...group },
        () => this.#update(watch),
      )
      this.#namespaces.set(space.namespace, watch)
    }
    if (wanted.kind === 'pools') for (const pool of wanted.pools) this.#open(pool)
    for (const watch of this.#namespaces.values()) watch.start()
  }

  /** Takes over what is new in a namespace. */
  #update(namespace: NamespaceWatch): void {
    if (this.#stopped) return
    if (this.#wanted.kind === 'pool-selector') this.#openSelected(namespace)
    namespace.noticeIgnored()
    for (const watch of this.#pools.values()) {
      if (watch.pool.namespace !== namespace.namespace) continue
      const { name } = watch.pool
      const pool = namespace.pool(name)
      if (pool === 'unknown') continue
      this.#noticePool(namespace, name)
      if (namespace.answered) {
        watch.describe(namespace, pool === 'absent' ? undefined : pool.pickerService)
      }
      watch.follow(
        pool === 'absent'
          ? undefined
          : { selector: selectorText(pool.selector), ports: pool.targetPorts },
      )
    }
    this.#sayReadiness()
  }

  /** Opens the pools that the selector finds and closes those that it does not find any more. */
  #openSelected(namespace: NamespaceWatch): void {
    const names = new Set(namespace.poolNames())
    for (const [key, watch] of [...this.#pools]) {
      if (names.has(watch.pool.name) || namespace.pool(watch.pool.name) !== 'absent') continue
      this.#pools.delete(key)
      const stopping = watch.stop().finally(() => this.#stopping.delete(stopping))
      this.#stopping.add(stopping)
      this.#services.notices.set(`kubernetes:pool:${key}`, undefined)
      this.#poolNotices.delete(key)
      this.#services.host.close(watch.pool)
    }
    for (const name of names) {
      if (namespace.pool(name) === 'unknown') continue
      if (!this.#pools.has(`${namespace.namespace}/${name}`)) {
        this.#open({ namespace: namespace.namespace, name })
      }
    }
  }

  #open(pool: PoolRef): void {
    const key = `${pool.namespace}/${pool.name}`
    if (!this.#pools.has(key)) this.#watch(pool, this.#services.host.open(pool))
  }

  #watch(pool: PoolRef, sink: ReturnType<PoolHost['open']>): PoolWatch {
    const watch = new PoolWatch(
      { ...this.#reflectors, report: this.#report, logger: this.#logger },
      pool,
      sink,
      () => this.#sayReadiness(),
    )
    this.#pools.set(`${pool.namespace}/${pool.name}`, watch)
    return watch
  }

  #noticePool(namespace: NamespaceWatch, name: string): void {
    const pool = namespace.pool(name)
    const key = `${namespace.namespace}/${name}`
    const wantedGroup = this.#wanted.kind === 'endpoints' ? undefined : this.#wanted.group
    let text: string | undefined
    if (pool === 'absent') {
      text = `there is no InferencePool ${key}, so it has no endpoints${namespace.servesPools ? '' : ': the cluster serves no InferencePools; install their CRD, or select pods by label'}`
    } else if (pool !== 'unknown' && wantedGroup !== undefined && pool.group !== wantedGroup) {
      text = `InferencePool ${key} is not in the API group ${wantedGroup}; the one in ${pool.group} is used`
    }
    if (text === this.#poolNotices.get(key)) return
    this.#services.notices.set(`kubernetes:pool:${key}`, text)
    if (text === undefined) {
      this.#poolNotices.delete(key)
      this.#logger.info('InferencePool is found', { pool: key })
    } else {
      this.#poolNotices.set(key, text)
      this.#logger.warn(text)
    }
  }

  #sayReadiness(): void {
    if (this.#stopped) return
    const { readiness } = this.#services
    const waiting = this.#ready ? undefined : this.#waitingFor()
    if (waiting === undefined) this.#ready = true
    const trouble = this.#report.trouble()
    const endpoints = [...this.#pools.values()].reduce((sum, watch) => sum + watch.endpointCount, 0)
    const detail =
      waiting === undefined
        ? `${this.#pools.size} pools, ${endpoints} endpoints`
        : `waiting for ${waiting}`
    readiness.set(CONDITION, this.#ready, trouble ?? detail)
  }

  /** What has not been seen yet; undefined when everything has. */
  #waitingFor(): string | undefined {
    for (const namespace of this.#namespaces.values()) {
      if (!namespace.answered || !namespace.knowsPools)
        return `the first lists in ${namespace.namespace}`
    }
    for (const { pool, synced } of this.#pools.values()) {
      if (!synced) return `the pods of pool ${pool.namespace}/${pool.name}`
    }
    return undefined
  }
}

/** The labels as a selector, in a fixed order. */
function selectorText(labels: Readonly<Record<string, string>>): string {
  return Object.keys(labels)
    .sort()
    .map((key) => `${key}=${labels[key]}`)
    .join(',')
}
