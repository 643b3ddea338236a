import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import type { KubernetesOptions, LeaderElectionOptions } from '../app/kubernetes.ts'
import type { ServeOptions } from '../app.ts'
import type { MetricSelector } from '../datalayer/metric-selector.ts'
import { SchedulerError } from '../framework/errors.ts'
import type { LogLevel, PoolName } from './flag-values.ts'
import { inertAttributes, inertWarnings } from './inert-flags.ts'
import { type GivenLimits, limitsOf } from './limit-flags.ts'
import { serveFlags } from './serve-flags.ts'

/** What commander puts for the flags that are not handed on as they are. */
interface Given extends GivenLimits {
  readonly configFile?: string
  readonly configText?: string
  readonly endpoint?: readonly string[]
  readonly adminTokenFile?: string
  readonly verbosity: number
  readonly zapLogLevel?: LogLevel
  readonly logFormat?: 'text' | 'json'
  readonly zapEncoder?: 'console' | 'json'
  readonly poolName?: readonly PoolName[]
  readonly poolSelector?: string
  readonly poolNamespace?: string
  readonly poolGroup?: string
  readonly endpointSelector?: string
  readonly endpointTargetPorts?: readonly number[]
  readonly kubeconfig?: string
  readonly haEnableLeaderElection: boolean
  readonly haLeaseName?: string
  readonly haLeaseNamespace?: string
  readonly haLeaseDuration: number
  readonly metricsStalenessThreshold?: number
  readonly modelServerMetricsPort?: number
  readonly modelServerMetricsPath?: string
  readonly modelServerMetricsScheme: 'http' | 'https'
  readonly modelServerMetricsHttpsInsecureSkipVerify: boolean
  readonly totalQueuedRequestsMetric?: MetricSelector
  readonly totalRunningRequestsMetric?: MetricSelector
  readonly kvCacheUsagePercentageMetric?: MetricSelector
  readonly cacheInfoMetric?: MetricSelector
  readonly disableEndpointSubsetFilter: boolean
  readonly certPath?: string
  readonly enableCertReload: boolean
}

/** Gives a command the flags of `serve`. */
export function addServeOptions(command: Command): Command {
  for (const option of serveFlags()) command.addOption(option)
  return command
}

/**
 * What commander parsed, as the application takes it. An empty text is no value, as in Go.
 *
 * @param environment for `NAMESPACE`, the namespace of the picker's own pod
 * @throws {SchedulerError} CONFIG_INVALID when flags contradict each other, with one line for each contradiction;
 *   START_FAILED when the token cannot be read
 */
export function serveOptions(
  values: Readonly<Record<string, unknown>>,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): ServeOptions &
  Required<Pick<ServeOptions, 'modelServerMetrics' | 'subsetHints' | 'flagWarnings'>> {
  const given = Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== '' && value !== undefined),
  ) as unknown as Given
  refuseContradictions(given)
  const kubernetes = kubernetesOptions(given, environment)
  const { metricsStalenessThreshold } = given
  return {
    ...(handedOn(given) as Omit<ServeOptions, 'endpoints' | 'logLevel' | 'logFormat'>),
    endpoints: given.endpoint ?? [],
    limits: limitsOf(given),
    logLevel: given.zapLogLevel ?? (given.verbosity >= 4 ? 'debug' : 'info'),
    logFormat: given.logFormat ?? (given.zapEncoder === 'json' ? 'json' : 'text'),
    adminToken: given.adminTokenFile === undefined ? undefined : readToken(given.adminTokenFile),
    ...(kubernetes && { kubernetes }),
    modelServerMetrics: modelServerMetrics(given),
    ...(metricsStalenessThreshold !== undefined && {
      metricsStalenessMs: metricsStalenessThreshold,
    }),
    enableCertReload: given.enableCertReload,
    subsetHints: !given.disableEndpointSubsetFilter,
    flagWarnings: [...uselessFlags(given, kubernetes), ...inertWarnings(values)],
  }
}

/** Flags whose value is another option's, or none; the rest goes to the application under its own name. */
const OTHERWISE: ReadonlySet<string> = new Set<keyof Given>([
  ...(['endpoint', 'adminTokenFile', 'verbosity', 'zapLogLevel', 'logFormat'] as const),
  ...(['zapEncoder', 'poolName', 'poolSelector', 'poolNamespace', 'poolGroup'] as const),
  ...(['endpointSelector', 'endpointTargetPorts', 'kubeconfig'] as const),
  ...(['haEnableLeaderElection', 'haLeaseName', 'haLeaseNamespace', 'haLeaseDuration'] as const),
  ...(['metricsStalenessThreshold', 'modelServerMetricsPort', 'modelServerMetricsPath'] as const),
  ...(['modelServerMetricsScheme', 'modelServerMetricsHttpsInsecureSkipVerify'] as const),
  ...(['totalQueuedRequestsMetric', 'totalRunningRequestsMetric'] as const),
  ...(['kvCacheUsagePercentageMetric', 'cacheInfoMetric'] as const),
  ...(['disableEndpointSubsetFilter', 'enableCertReload'] as const),
  ...(['maxHeaderKib', 'maxRequests', 'maxConnections', 'maxJsonValues', 'maxJsonDepth'] as const),
  ...([
    'maxMessages',
    'maxPromptChars',
    'maxEventMib',
    'maxEventsPerSecond',
    'maxEndpoints',
  ] as const),
  ...(['maxLabelValues'] as const),
])

function handedOn(given: Given): unknown {
  const inert = inertAttributes()
  return Object.fromEntries(
    Object.entries(given).filter(([name]) => !OTHERWISE.has(name) && !inert.has(name)),
  )
}

function refuseContradictions(given: Given): void {
  const { poolName, poolSelector, endpointSelector, endpointTargetPorts } = given
  const both = (a: unknown, b: unknown, text: string) =>
    a !== undefined && b !== undefined ? [text] : []
  const problems = [
    ...both(
      given.configFile,
      given.configText,
      '--config-file and --config-text are both given; give one of them',
    ),
    ...both(
      poolName,
      poolSelector,
      '--pool-name and --pool-selector are both given; name the pools or select them by labels',
    ),
    ...both(
      poolName ?? poolSelector,
      endpointSelector,
      `${poolName ? '--pool-name' : '--pool-selector'} and --endpoint-selector are both given; serve pools, or pods without a pool`,
    ),
  ]
  if (endpointSelector !== undefined && endpointTargetPorts === undefined) {
    problems.push(
      `--endpoint-selector "${endpointSelector}" needs --endpoint-target-ports, such as 8000: the ports of the pods' model servers`,
    )
  }
  if (endpointSelector === undefined && endpointTargetPorts !== undefined) {
    problems.push(
      '--endpoint-target-ports needs --endpoint-selector; the ports of a pool are in the InferencePool',
    )
  }
  if (problems.length > 0) throw new SchedulerError('CONFIG_INVALID', problems.join('\n'))
}

function kubernetesOptions(
  given: Given,
  environment: Readonly<Record<string, string | undefined>>,
): KubernetesOptions | undefined {
  const { poolName, poolSelector, endpointSelector, endpointTargetPorts, kubeconfig } = given
  if (!poolName && !poolSelector && !endpointSelector) return undefined
  const namespace = given.poolNamespace ?? (environment.NAMESPACE || 'default')
  return {
    namespace,
    ...(poolName && { pools: namedPools(poolName, namespace) }),
    ...(poolSelector && { poolSelector }),
    ...(given.poolGroup && { group: given.poolGroup }),
    ...(endpointSelector && { endpointSelector }),
    ...(endpointTargetPorts && { endpointTargetPorts }),
    ...(kubeconfig && { kubeconfig }),
    ...(given.haEnableLeaderElection && { leaderElection: leaderElectionOptions(given) }),
  }
}

/** Each pool once, though it be named with its namespace and without. */
function namedPools(names: readonly PoolName[], namespace: string) {
  const pools = names.map((pool) => ({ namespace: pool.namespace ?? namespace, name: pool.name }))
  return [...new Map(pools.map((pool) => [`${pool.namespace}/${pool.name}`, pool])).values()]
}

function leaderElectionOptions(given: Given): LeaderElectionOptions {
  return {
    ...(given.haLeaseName && { leaseName: given.haLeaseName }),
    ...(given.haLeaseNamespace && { leaseNamespace: given.haLeaseNamespace }),
    leaseDurationMs: given.haLeaseDuration,
  }
}

function modelServerMetrics(given: Given): NonNullable<ServeOptions['modelServerMetrics']> {
  const waiting = given.totalQueuedRequestsMetric
  const running = given.totalRunningRequestsMetric
  const kvCacheUsage = given.kvCacheUsagePercentageMetric
  const cacheConfig = given.cacheInfoMetric
  return {
    // In Go's flags 0 stands for none.
    ...(given.modelServerMetricsPort && { port: given.modelServerMetricsPort }),
    path: given.modelServerMetricsPath ?? '/metrics',
    scheme: given.modelServerMetricsScheme,
    insecureSkipVerify: given.modelServerMetricsHttpsInsecureSkipVerify,
    names: {
      ...(waiting && { waiting }),
      ...(running && { running }),
      ...(kvCacheUsage && { kvCacheUsage }),
      ...(cacheConfig && { cacheConfig }),
    },
  }
}

/** Flags that other flags would have to give a meaning. */
function uselessFlags(given: Given, kubernetes: KubernetesOptions | undefined): readonly string[] {
  const warnings: string[] = []
  const only = (used: boolean, name: string, needs: string) => {
    if (used) warnings.push(`--${name} has no effect without ${needs}`)
  }
  if (!kubernetes) {
    const pools = '--pool-name, --pool-selector or --endpoint-selector'
    only(given.kubeconfig !== undefined, 'kubeconfig', pools)
    only(given.poolNamespace !== undefined, 'pool-namespace', pools)
    only(given.poolGroup !== undefined, 'pool-group', pools)
    only(given.haEnableLeaderElection, 'ha-enable-leader-election', pools)
  }
  only(given.enableCertReload && given.certPath === undefined, 'enable-cert-reload', '--cert-path')
  return warnings
}

/** @throws {SchedulerError} START_FAILED when it cannot be read or is empty */
function readToken(file: string): string {
  let token: string
  try {
    token = readFileSync(file, 'utf8').trim()
  } catch (cause) {
    const reason = (cause as Error).message
    throw new SchedulerError(
      'START_FAILED',
      `--admin-token-file ${file} cannot be read: ${reason}`,
      {
        cause,
      },
    )
  }
  if (token !== '') return token
  throw new SchedulerError(
    'START_FAILED',
    `--admin-token-file ${file} is empty; write a token of your choice into it`,
  )
}
