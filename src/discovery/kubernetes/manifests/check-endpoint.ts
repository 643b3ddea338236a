import type {
  KvEventsField,
  KvEventsFlag,
} from '../../../framework/engine-command/kv-events-flag.ts'
import type { Engine } from './engine.ts'
import { EVENT_FLAG, type ReportWord } from './event-flag.ts'
import {
  isPlaceholder,
  type KubernetesObject,
  listAt,
  shown,
  titleOf,
  valueAt,
} from './manifest.ts'
import type { PoolPlan } from './pool.ts'

/** Where ACK's gateway runs its pickers, and how it names their Services. */
const ACK_NAMESPACE = 'envoy-gateway-system'
const DEFAULT_PORT = 5557

/** Checks that the engine's event socket and the picker's meet. */
export function checkEndpoint(
  engine: Engine,
  flag: KvEventsFlag,
  field: KvEventsField | undefined,
  plan: PoolPlan | undefined,
  services: readonly KubernetesObject[],
  report: ReportWord,
): void {
  const value = field === undefined ? `tcp://*:${DEFAULT_PORT}` : field.value
  const word = field?.word ?? flag.word
  const unit = field?.index ?? 0
  if (typeof value !== 'string') {
    report(word, unit, `${EVENT_FLAG}: endpoint must be a text, got ${shown(value)}`)
    return
  }
  if (isPlaceholder(value)) return
  const match = /^tcp:\/\/(\[[^\]]*\]|[^:/[\]]*):(\d+|\{.*\}|\$.*)$/.exec(value)
  if (match === null) {
    report(word, unit, `${EVENT_FLAG}: endpoint must be tcp://HOST:PORT, got ${shown(value)}`)
    return
  }
  const [, host = '', portText = ''] = match
  const port = /^\d+$/.test(portText) ? Number(portText) : undefined
  // vLLM binds what holds `*` or `::`, and connects to anything else.
  const binds = value.includes('*') || value.includes('::')
  if (plan === undefined) return
  if (plan.dialPort !== undefined) {
    checkDialled(value, binds, port, plan.dialPort, (message) => report(word, unit, message))
  } else if (binds) {
    if (!plan.precise) return
    const is = field === undefined ? 'is missing, and the engine then binds' : 'binds'
    report(
      word,
      unit,
      `${EVENT_FLAG}: endpoint ${is} port ${portText}, and the picker binds too, so that neither connects; ` +
        `write "tcp://${serviceAddress(plan)}:${DEFAULT_PORT}", or have the picker dial with --kv-events-dial`,
    )
  } else {
    const message = serviceProblem(host, port, engine, plan, services)
    if (message !== undefined) report(word, unit, `${EVENT_FLAG}: endpoint ${message}`)
  }
}

function checkDialled(
  value: string,
  binds: boolean,
  port: number | undefined,
  dialPort: number,
  report: (message: string) => void,
): void {
  if (!binds) {
    report(
      `${EVENT_FLAG}: endpoint connects to ${shown(value)}, and the picker dials the engines, so that neither listens; write "tcp://*:${dialPort}"`,
    )
  } else if (port !== undefined && port !== dialPort) {
    report(
      `${EVENT_FLAG}: endpoint binds port ${port}, but the picker dials port ${dialPort}; write "tcp://*:${dialPort}"`,
    )
  }
}

/** What is wrong with the host and port to which an engine connects; undefined when they are a picker's. */
function serviceProblem(
  host: string,
  port: number | undefined,
  engine: Engine,
  plan: PoolPlan,
  services: readonly KubernetesObject[],
): string | undefined {
  if (/[{$]/.test(host) || /^\d+\.\d+\.\d+\.\d+$/.test(host) || host.startsWith('[')) {
    return portProblem(port, undefined)
  }
  const [name = '', namespace = engine.workload.object.namespace, svc] = host.split('.')
  const service = services.find((each) => each.name === name && each.namespace === namespace)
  const wanted = serviceAddress(plan)
  const [wantedName, wantedNamespace] = wanted.split('.')
  const named = plan.pool.pickerService
  const isPicker =
    service !== undefined
      ? isPickerService(service, plan)
      : name === wantedName
        ? namespace === wantedNamespace
        : named === undefined && name.endsWith('-epp')
  if (!isPicker) {
    return `connects to "${host}", but the picker of ${titleOf(plan.object)} is the Service ${wantedName} in namespace ${wantedNamespace}; write "tcp://${wanted}:${DEFAULT_PORT}"`
  }
  if (svc !== undefined && svc !== 'svc') {
    return `connects to "${host}", which is no name of a Service; write "tcp://${wanted}:${DEFAULT_PORT}"`
  }
  return portProblem(port, service)
}

function portProblem(
  port: number | undefined,
  service: KubernetesObject | undefined,
): string | undefined {
  if (port === undefined) return undefined
  if (service === undefined) {
    return port === DEFAULT_PORT
      ? undefined
      : `has port ${port}, but the picker takes events at port ${DEFAULT_PORT}; write ${DEFAULT_PORT}`
  }
  const ports = listAt(service.manifest.value, ['spec', 'ports']).map((each) =>
    valueAt(each, ['port']),
  )
  if (ports.includes(port)) return undefined
  const instead = ports.includes(DEFAULT_PORT)
    ? `write ${DEFAULT_PORT}`
    : `give it the port ${DEFAULT_PORT}`
  return `has port ${port}, which ${titleOf(service)} does not have (it has ${ports.join(', ')}); ${instead}`
}

/** The Service that the pool names, the one ACK names after it, or one named as llm-d's charts do. */
function isPickerService({ name, namespace }: KubernetesObject, plan: PoolPlan): boolean {
  if (plan.pool.pickerService !== undefined && namespace === plan.object.namespace) {
    return name === plan.pool.pickerService
  }
  return name === ackName(plan) || name.endsWith('-epp') || /endpoint-picker/.test(name)
}

function ackName({ object }: PoolPlan): string {
  return `epp-${object.namespace}-${object.name}`
}

/** The DNS name at which engines reach the pool's picker: of the Service that the pool names, else of ACK's. */
export function serviceAddress(plan: PoolPlan): string {
  const { pickerService } = plan.pool
  return pickerService === undefined
    ? `${ackName(plan)}.${ACK_NAMESPACE}.svc.cluster.local`
    : `${pickerService}.${plan.object.namespace}.svc.cluster.local`
}
