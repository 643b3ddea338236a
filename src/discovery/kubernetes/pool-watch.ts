import { isDeepStrictEqual } from 'node:util'
import type { EndpointSpec } from '../../framework/endpoint.ts'
import type { Logger } from '../../framework/services.ts'
import type { NamespaceWatch } from './namespace-watch.ts'
import { type Pod, readPod } from './objects/pod.ts'
import { RESOURCE } from './objects/resources.ts'
import type { PoolRef, PoolSink, TrafficPolicy } from './pool-host.ts'
import { messageOf } from './problem.ts'
import { Reflector, type ReflectorServices } from './reflector.ts'
import type { WatchReport } from './watch-report.ts'

/** Which pods a pool has, and at which ports they serve. */
export interface PodTarget {
  /** Label selector. */
  readonly selector: string
  /** The position is the rank. */
  readonly ports: readonly number[]
}

export interface PoolWatchServices extends ReflectorServices {
  readonly report: WatchReport
  readonly logger: Logger
}

interface Pods {
  readonly selector: string
  readonly reflector: Reflector<Pod>
}

/** One pool: follows its pods and says to its sink what is new, in the step in which it is known. */
export class PoolWatch {
  readonly pool: PoolRef
  readonly #services: PoolWatchServices
  readonly #sink: PoolSink
  readonly #changed: () => void
  #target: PodTarget | undefined
  #pods: Pods | undefined
  /** The pods by a changed selector, until they are listed; the old ones serve meanwhile. */
  #next: Pods | undefined
  readonly #stopping = new Set<Promise<void>>()
  #endpoints: readonly EndpointSpec[] | undefined
  #picker: { readonly name: string | undefined } | undefined
  #policy: { readonly policy: TrafficPolicy | undefined } | undefined
  #rulesVersion: string | undefined

  /** @param changed called when the pods have been listed, or cannot be */
  constructor(services: PoolWatchServices, pool: PoolRef, sink: PoolSink, changed: () => void) {
    this.#services = services
    this.pool = pool
    this.#sink = sink
    this.#changed = changed
  }

  /** True when the pods of the current target are listed, or there is no target. */
  get synced(): boolean {
    return this.#endpoints !== undefined
  }

  get endpointCount(): number {
    return this.#endpoints?.length ?? 0
  }

  /** States which pods the pool has; undefined when there is no such pool. */
  follow(target: PodTarget | undefined): void {
    if (this.#endpoints !== undefined && isDeepStrictEqual(target, this.#target)) return
    this.#target = target
    if (target === undefined) {
      this.#drop(this.#pods)
      this.#drop(this.#next)
      this.#pods = this.#next = undefined
    } else if (this.#pods?.selector === target.selector) {
      this.#drop(this.#next)
      this.#next = undefined
    } else if (this.#pods === undefined) this.#pods = this.#open(target.selector)
    else if (this.#next?.selector !== target.selector) {
      this.#drop(this.#next)
      this.#next = this.#open(target.selector)
    }
    this.#say()
  }

  /** Says what the objects of the pool's namespace say of it. */
  describe(objects: NamespaceWatch, pickerService: string | undefined): void {
    const { name } = this.pool
    const { rulesVersion } = objects
    if (rulesVersion !== this.#rulesVersion) {
      this.#rulesVersion = rulesVersion
      this.#tell((sink) => sink.rules(objects.rules(name)))
    }
    const policy = objects.policy(name)
    if (!this.#policy || !isDeepStrictEqual(policy, this.#policy.policy)) {
      this.#policy = { policy }
      this.#tell((sink) => sink.policy(policy))
    }
    if (!this.#picker || pickerService !== this.#picker.name) {
      this.#picker = { name: pickerService }
      this.#tell((sink) => sink.pickerService(pickerService))
    }
  }

  async stop(): Promise<void> {
    this.#drop(this.#pods)
    this.#drop(this.#next)
    await Promise.all(this.#stopping)
  }

  #open(selector: string): Pods {
    const { namespace } = this.pool
    const reflector: Reflector<Pod> = new Reflector(
      this.#services,
      {
        resource: RESOURCE.pods,
        namespace,
        labelSelector: selector,
        read: readPod,
        changed: () => this.#podsChanged(),
      },
      this.#services.report.open(RESOURCE.pods, namespace),
    )
    reflector.start()
    return { selector, reflector }
  }

  #drop(pods: Pods | undefined): void {
    if (!pods) return
    const stopping = pods.reflector.stop().finally(() => this.#stopping.delete(stopping))
    this.#stopping.add(stopping)
  }

  #podsChanged(): void {
    if (this.#next?.reflector.state === 'synced') {
      this.#drop(this.#pods)
      this.#pods = this.#next
      this.#next = undefined
    }
    this.#say()
    this.#changed()
  }

  #say(): void {
    if (this.#target && this.#pods?.reflector.state !== 'synced') return
    const specs = this.#target ? endpointsOf(this.#pods!.reflector, this.#target.ports) : []
    if (this.#endpoints && isDeepStrictEqual(specs, this.#endpoints)) return
    this.#endpoints = specs
    this.#tell((sink) => sink.endpoints(specs))
  }

  /** A fault of the sink must not end the watch that it is told from. */
  #tell(call: (sink: PoolSink) => void): void {
    try {
      call(this.#sink)
    } catch (error) {
      const { namespace, name } = this.pool
      this.#services.logger.error('A change was not taken over', {
        pool: `${namespace}/${name}`,
        problem: messageOf(error),
      })
    }
  }
}

/** One endpoint for each port of each pod that is ready and not being deleted. */
function endpointsOf(pods: Reflector<Pod>, ports: readonly number[]): readonly EndpointSpec[] {
  const specs: EndpointSpec[] = []
  for (const { meta, labels, address, activePorts } of pods.objects.values()) {
    if (address === undefined) continue
    const { namespace, name, uid } = meta
    for (const [rank, port] of ports.entries()) {
      if (activePorts && !activePorts.includes(port)) continue
      specs.push({ namespace, name, address, port, rank, labels, uid })
    }
  }
  return specs
}
