import { type EndpointSpec, hostPort } from '../framework/endpoint.ts'
import { SchedulerError } from '../framework/errors.ts'
import { addressFault, parseAddress, parsePort } from './address.ts'

const NAMESPACE = 'default'

/**
 * The endpoints of `--endpoint` flags: `[name=][http://]ADDRESS:PORT`. The name is `ADDRESS:PORT` when absent; several
 * ports under one name and address are the ranks of one server, in the order given.
 *
 * @throws {SchedulerError} CONFIG_INVALID with one line per wrong flag
 */
export function parseEndpointFlags(flags: readonly string[]): readonly EndpointSpec[] {
  const specs: EndpointSpec[] = []
  const faults: string[] = []
  for (const flag of flags) {
    const parsed = parseFlag(flag)
    if (typeof parsed === 'string') {
      faults.push(`--endpoint "${flag}": ${parsed}`)
      continue
    }
    const { name, address, port } = parsed
    const at = hostPort(address, port)
    if (specs.some((spec) => hostPort(spec.address, spec.port) === at)) {
      faults.push(`--endpoint "${flag}": ${at} is given twice; remove one`)
      continue
    }
    const rank = specs.filter((spec) => spec.name === name && spec.address === address).length
    specs.push({ namespace: NAMESPACE, name, address, port, rank, labels: {} })
  }
  if (faults.length > 0) throw new SchedulerError('CONFIG_INVALID', faults.join('\n'))
  return specs
}

/** The parts of one flag, or what is wrong with it. */
function parseFlag(flag: string): { name: string; address: string; port: number } | string {
  const [, given, rest = ''] = /^(?:([^=[\]/]*)=)?(.*)$/s.exec(flag.trim()) ?? []
  if (given !== undefined && !/^[\w.:-]{1,253}$/.test(given)) {
    return `the name "${given}" must be letters, digits, ".", "_", ":" and "-"`
  }
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(rest)?.[1]
  if (scheme !== undefined && scheme.toLowerCase() !== 'http') {
    return `the scheme "${scheme}" is not supported; use http`
  }
  const authority = scheme === undefined ? rest : rest.slice(scheme.length + 3)
  const [, host = '', portText, path] =
    /^(\[[^\]]*\]|[^:/?#]*)(?::([^/?#]*))?(.*)$/s.exec(authority) ?? []
  if (path !== '' && path !== '/') return `"${path}" after the port; give only address and port`
  const address = parseAddress(host)
  if (address === undefined) return addressFault(host)
  if (portText === undefined) return `the port is missing; write ${hostPort(address, 8000)}`
  const port = parsePort(portText)
  if (port === undefined) return `the port "${portText}" must be from 1 to 65535`
  return { name: given ?? hostPort(address, port), address, port }
}
