import { InvalidArgumentError } from 'commander'
import { type MetricSelector, parseMetricSelector } from '../datalayer/metric-selector.ts'
import { addressFault, parseAddress } from '../discovery/address.ts'
import { durationMs } from '../framework/duration.ts'
import type { RequestLogMode } from '../framework/routing/request-log.ts'
import { type ResponsesMode, responsesMode } from '../framework/routing/request-policy.ts'

/** What flags say, from text to values. Each throws commander's `InvalidArgumentError` for a text that it cannot read. */

export function port(text: string): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && value <= 65535) return value
  throw new InvalidArgumentError(
    `"${text}" is not a port; give a number from 0 (any free one) to 65535.`,
  )
}

/** `HOST:PORT` or `PORT`; the host as an IP address, IPv6 in brackets. */
export function listenAddress(text: string): {
  readonly host: string | undefined
  readonly port: number
} {
  const [, host, portText] = /^(?:(.*):)?([^:]*)$/.exec(text) ?? []
  const address = host === undefined ? undefined : parseAddress(host)
  if (host !== undefined && address === undefined) {
    throw new InvalidArgumentError(`"${text}": ${addressFault(host)}, and a port after it.`)
  }
  return { host: address, port: port(portText ?? '') }
}

export function positive(text: string): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && value > 0 && Number.isSafeInteger(value)) return value
  throw new InvalidArgumentError(`"${text}" is not a positive whole number.`)
}

/** A whole number, 0 among them. */
export function count(text: string): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value
  throw new InvalidArgumentError(`"${text}" is not a whole number.`)
}

export function verbosity(text: string): number {
  if (/^\d{1,3}$/.test(text)) return Number(text)
  throw new InvalidArgumentError(`"${text}" is not a verbosity; give a whole number such as 4.`)
}

/** Go's spellings of true and false (https://pkg.go.dev/strconv#ParseBool). */
export const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ...['1', 't', 'T', 'true', 'TRUE', 'True'].map((text) => [text, true] as const),
  ...['0', 'f', 'F', 'false', 'FALSE', 'False'].map((text) => [text, false] as const),
])

export function bool(text: string): boolean {
  const value = BOOLEANS.get(text)
  if (value !== undefined) return value
  throw new InvalidArgumentError(`"${text}" is neither true nor false.`)
}

/** Milliseconds of a duration in Go's form: `50ms`, `1m30s`, `1.5h`, `0`. */
export function duration(text: string): number {
  try {
    return durationMs(text)
  } catch (error) {
    throw new InvalidArgumentError(`${(error as Error).message}.`)
  }
}

export function requestLog(text: string): RequestLogMode {
  if (text === 'on' || text === 'off') return text
  const [, every] = /^sampled=([1-9]\d*)$/.exec(text) ?? []
  if (every !== undefined) return { sampled: Number(every) }
  throw new InvalidArgumentError(`"${text}" is none of on, off, sampled=N.`)
}

export function responses(text: string): ResponsesMode {
  const mode = responsesMode(text)
  if (mode !== undefined) return mode
  throw new InvalidArgumentError(`"${text}" is none of auto, full, sampled=N, none.`)
}

/** A pool by name, in the namespace of all pools when it names none. */
export interface PoolName {
  readonly namespace: string | undefined
  readonly name: string
}

/** A DNS subdomain, as Kubernetes names its objects. */
const OBJECT_NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/

/** Adds to the pools of earlier flags; one text may name several with commas between them. */
export function poolNames(text: string, before: readonly PoolName[] = []): readonly PoolName[] {
  const found = text.split(',').map((entry) => {
    const [name, namespace, ...more] = entry.trim().split('/').reverse()
    if ([name, namespace ?? 'default'].every((each) => OBJECT_NAME.test(each!)) && !more.length) {
      return { namespace, name: name! }
    }
    throw new InvalidArgumentError(
      `"${entry}" does not name an InferencePool; write NAME or NAMESPACE/NAME.`,
    )
  })
  const same = (a: PoolName, b: PoolName) => a.name === b.name && a.namespace === b.namespace
  return [...before, ...found].filter(
    (pool, i, all) => all.findIndex((other) => same(other, pool)) === i,
  )
}

const MAX_TARGET_PORTS = 8

/** Adds to the ports of earlier flags; one text may list several with commas between them. */
export function targetPorts(text: string, before: readonly number[] = []): readonly number[] {
  const ports = text.split(',').map((entry) => {
    const value = Number(entry)
    if (/^\s*\d+\s*$/.test(entry) && value >= 1 && value <= 65535) return value
    throw new InvalidArgumentError(`"${entry}" is not a port; give numbers from 1 to 65535.`)
  })
  const all = [...new Set([...before, ...ports])]
  if (all.length <= MAX_TARGET_PORTS) return all
  throw new InvalidArgumentError(
    `${all.length} ports are more than the ${MAX_TARGET_PORTS} that one model server may have.`,
  )
}

/** The API groups in which InferencePools have been defined. */
const POOL_GROUPS = ['inference.networking.k8s.io', 'inference.networking.x-k8s.io']

export function poolGroup(text: string): string {
  if (text === '' || POOL_GROUPS.includes(text)) return text
  throw new InvalidArgumentError(
    `"${text}" is no API group of InferencePool; give ${POOL_GROUPS.join(' or ')}.`,
  )
}

export function urlPath(text: string): string {
  if (text === '' || (text.startsWith('/') && !/\s/.test(text))) return text
  throw new InvalidArgumentError(`"${text}" is not a path; it must begin with a slash.`)
}

/** Undefined for an empty text. */
export function metric(text: string): MetricSelector | undefined {
  if (text === '') return undefined
  try {
    return parseMetricSelector(text)
  } catch (error) {
    throw new InvalidArgumentError(`${(error as Error).message}.`)
  }
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** A level by name, or zap's number for one: from 4 on it is what `-v` calls debug. */
export function zapLevel(text: string): LogLevel {
  if (text === 'debug' || text === 'info' || text === 'error') return text
  if (text === 'panic') return 'error'
  if (/^[1-9]\d{0,2}$/.test(text)) return Number(text) >= 4 ? 'debug' : 'info'
  throw new InvalidArgumentError(`"${text}" is none of debug, info, error, panic or a number.`)
}
