import { readDocument } from '../../../src/config/document.ts'
import { KubeClient, type KubeClientLimits } from '../../../src/discovery/kubernetes/client.ts'
import { KubernetesDiscovery, type Wanted } from '../../../src/discovery/kubernetes/discovery.ts'
import type {
  PoolHost,
  PoolRef,
  PoolSink,
  TrafficPolicy,
} from '../../../src/discovery/kubernetes/pool-host.ts'
import type { ReflectorTimes } from '../../../src/discovery/kubernetes/reflector-times.ts'
import type { EndpointSpec } from '../../../src/framework/endpoint.ts'
import { seededRandom } from '../../../src/framework/random.ts'
import { Readiness } from '../../../src/framework/readiness.ts'
import type { RequestRules } from '../../../src/framework/services.ts'
import { telemetry } from '../../datalayer/telemetry.ts'
import type { ApiServer } from './api-server.ts'
import type { AppliedObject } from './api-store.ts'

/** The usual times made short: what takes seconds in a cluster takes a tenth here. */
export const SHORT: ReflectorTimes = {
  backoffMs: 10,
  maxBackoffMs: 100,
  maxRetryAfterMs: 100,
  minWatchSeconds: 1,
  maxWatchSeconds: 1,
  idleMarginMs: 200,
  settleMs: 100,
  unservedPollMs: 100,
  unservedGraceMs: 300,
}

export const clock = { nowMs: () => performance.now(), epochMs: () => Date.now() }

/** What was said of one pool. */
export class RecordedPool implements PoolSink {
  specs: readonly EndpointSpec[] | undefined
  said = 0
  currentRules: RequestRules | undefined
  currentPolicy: TrafficPolicy | undefined
  policies = 0
  picker: string | undefined
  isOpen = true

  endpoints(specs: readonly EndpointSpec[]): void {
    this.specs = specs
    this.said++
  }
  rules(rules: RequestRules): void {
    this.currentRules = rules
  }
  policy(policy: TrafficPolicy | undefined): void {
    this.currentPolicy = policy
    this.policies++
  }
  pickerService(name: string | undefined): void {
    this.picker = name
  }
  /** `name address:port rank` of each endpoint, sorted. */
  get text(): readonly string[] | undefined {
    return this.specs
      ?.map(({ name, address, port, rank }) => `${name} ${address}:${port} ${rank}`)
      .sort()
  }
}

/** Keeps what discovery says. */
export class RecordedHost implements PoolHost {
  readonly pools = new Map<string, RecordedPool>()

  open({ namespace, name }: PoolRef): PoolSink {
    const pool = new RecordedPool()
    this.pools.set(`${namespace}/${name}`, pool)
    return pool
  }
  close({ namespace, name }: PoolRef): void {
    this.pools.get(`${namespace}/${name}`)!.isOpen = false
  }
  pool(name: string, namespace = 'default'): RecordedPool {
    return this.pools.get(`${namespace}/${name}`)!
  }
}

export function clientOf(server: ApiServer, limits: KubeClientLimits = {}): KubeClient {
  return KubeClient.open({ kubeconfig: server.kubeconfigFile(), readDocument }, limits)
}

/** A running discovery against a server, with the real telemetry. */
export function discover(
  server: ApiServer,
  wanted: Wanted = { kind: 'pools', pools: [{ namespace: 'default', name: 'pool' }] },
  times: Partial<ReflectorTimes> = SHORT,
  client = clientOf(server, { answerMs: 1000 }),
) {
  const services = { ...telemetry(), readiness: new Readiness(), random: seededRandom(1), clock }
  const host = new RecordedHost()
  const discovery = new KubernetesDiscovery({ ...services, client, host }, wanted, times)
  discovery.start()
  return {
    ...services,
    host,
    client,
    discovery,
    detail: () => services.readiness.list().find(({ name }) => name === 'kubernetes')!.detail,
    notice: (key: string) => services.notices.list().find((each) => each.key === key)?.text,
    async stop() {
      await discovery.stop()
      client.close()
    },
  }
}

export const POOL_V1 = 'inference.networking.k8s.io/v1'
export const POOL_ALPHA = 'inference.networking.x-k8s.io/v1alpha2'
export const LLM_D = 'llm-d.ai/v1alpha2'
export const ALIBABA = 'inferenceextension.alibabacloud.com/v1alpha1'

type Fields = Readonly<Record<string, unknown>>

/** An InferencePool for pods with the label `app`. */
export function poolObject(
  name = 'pool',
  { app = name, ports = [8000], alpha = false, ...spec }: Fields & { ports?: number[] } = {},
): AppliedObject {
  return alpha
    ? {
        ...{ apiVersion: POOL_ALPHA, kind: 'InferencePool', metadata: { name } },
        spec: { selector: { app }, targetPortNumber: ports[0], ...spec },
      }
    : {
        ...{ apiVersion: POOL_V1, kind: 'InferencePool', metadata: { name } },
        spec: {
          selector: { matchLabels: { app } },
          targetPorts: ports.map((number) => ({ number })),
          ...spec,
        },
      }
}

/** A ready pod with the label `app`. */
export function podObject(
  name: string,
  podIP: string,
  { app = 'pool', ready = true, ...metadata }: Fields = {},
): AppliedObject {
  return {
    ...{ apiVersion: 'v1', kind: 'Pod' },
    metadata: { name, labels: { app: app as string }, ...metadata },
    status: { podIP, conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }] },
  }
}

/** An object of another kind that names the pool `pool`. */
export function poolPart(
  apiVersion: string,
  kind: string,
  name: string,
  spec: Fields,
  metadata: Fields = {},
): AppliedObject {
  return {
    ...{ apiVersion, kind, metadata: { name, ...metadata } },
    spec: { poolRef: { name: 'pool' }, ...spec },
  }
}

/** An InferenceTrafficPolicy for the pool `pool`. */
export function policyObject(name: string, prefixCache: Fields, metadata: Fields = {}) {
  const profile = { single: { trafficPolicy: { prefixCache } } }
  return poolPart(ALIBABA, 'InferenceTrafficPolicy', name, { profile }, metadata)
}
