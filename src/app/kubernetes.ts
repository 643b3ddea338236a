import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { readDocument } from '../config/document.ts'
import { KubeClient } from '../discovery/kubernetes/client.ts'
import { KubernetesDiscovery, type Wanted } from '../discovery/kubernetes/discovery.ts'
import { LeaderElection } from '../discovery/kubernetes/lease.ts'
import type { PoolRef } from '../discovery/kubernetes/pool-host.ts'
import type { Readiness } from '../framework/readiness.ts'
import type { Clock, Logger, Notices, Random } from '../framework/services.ts'
import type { PrometheusMetrics } from '../telemetry/metrics.ts'
import type { EventSockets } from './event-sockets.ts'
import type { Pools } from './pools.ts'

/** Which pools of a cluster are served; exactly one of `pools`, `poolSelector` and `endpointSelector` is given. */
export interface KubernetesOptions {
  readonly pools?: readonly PoolRef[]
  /** Label selector of InferencePools. */
  readonly poolSelector?: string
  /** Where the pools, or the pods of `endpointSelector`, are. */
  readonly namespace: string
  /** API group of the pools; both known ones when absent. */
  readonly group?: string
  /** Label selector of pods, in a cluster without InferencePools. */
  readonly endpointSelector?: string
  readonly endpointTargetPorts?: readonly number[]
  /** File; the cluster's own service account when absent. */
  readonly kubeconfig?: string
  readonly leaderElection?: LeaderElectionOptions
}

export interface LeaderElectionOptions {
  /** `epp-<namespace>-<pool>` when absent. */
  readonly leaseName?: string
  /** The picker's own namespace when absent. */
  readonly leaseNamespace?: string
  readonly leaseDurationMs: number
}

interface Parts {
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly metrics: PrometheusMetrics
  readonly notices: Notices
  readonly readiness: Readiness
  readonly pools: Pools
  readonly sockets: EventSockets
}

/** What is to be done first at shutdown, before open streams are waited for. */
export interface RunningKubernetes {
  stepDown(): Promise<void>
}

/**
 * Follows a cluster: its pools, and who leads where replicas take turns.
 *
 * @param onClose takes what must be done at the end, the last first
 * @throws {SchedulerError} START_FAILED when there is no way to the cluster
 */
export async function startKubernetes(
  options: KubernetesOptions,
  parts: Parts,
  onClose: (step: () => unknown) => void,
): Promise<RunningKubernetes> {
  const client = await KubeClient.open({ kubeconfig: options.kubeconfig, readDocument })
  onClose(() => client.close())
  const discovery = new KubernetesDiscovery(
    { ...parts, client, host: parts.pools },
    wanted(options),
  )
  discovery.start()
  onClose(() => discovery.stop())
  if (options.leaderElection === undefined) return { stepDown: async () => {} }
  return startElection(options, options.leaderElection, client, parts)
}

function wanted(options: KubernetesOptions): Wanted {
  const { namespace, group, pools, poolSelector, endpointSelector } = options
  if (endpointSelector !== undefined) {
    return {
      kind: 'endpoints',
      pool: { namespace, name: pools?.[0]?.name ?? 'standalone' },
      selector: endpointSelector,
      targetPorts: options.endpointTargetPorts ?? [],
    }
  }
  const ofGroup = group === undefined ? {} : { group }
  if (poolSelector !== undefined) {
    return { kind: 'pool-selector', namespace, selector: poolSelector, ...ofGroup }
  }
  return { kind: 'pools', pools: pools ?? [], ...ofGroup }
}

function startElection(
  { namespace, pools, poolSelector }: KubernetesOptions,
  { leaseName, leaseNamespace, leaseDurationMs }: LeaderElectionOptions,
  client: KubeClient,
  parts: Parts,
): RunningKubernetes {
  const { readiness, sockets } = parts
  const logger = parts.logger.named('leader')
  const served = pools?.[0]?.name ?? (poolSelector === undefined ? 'standalone' : 'pools')
  const lease = {
    namespace: leaseNamespace ?? client.namespace ?? namespace,
    name: leaseName ?? `epp-${pools?.[0]?.namespace ?? namespace}-${served}`,
  }
  const identity = `${hostname()}_${randomUUID()}`
  const election = new LeaderElection({ ...parts, client }, { ...lease, identity, leaseDurationMs })
  const say = () => {
    const where = `${lease.namespace}/${lease.name}`
    readiness.set(
      'leader',
      election.leading,
      election.leading ? `holds the lease ${where}` : `another replica holds the lease ${where}`,
    )
    if (!election.leading || sockets.boundAddress === undefined) return
    const cold = parts.pools.list().filter(({ isCold }) => isCold)
    if (cold.length === 0) return
    logger.warn(
      'Leading with a cold index: engines send their KV events to the leader only, so what they hold is learned from now on; with --kv-events-dial a standby stays warm',
      { pools: cold.map(({ name }) => name) },
    )
  }
  say()
  election.listen(say)
  election.start()
  return { stepDown: () => election.stop() }
}
