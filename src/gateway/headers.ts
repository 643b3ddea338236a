import { bodyTooLarge } from '../framework/routing/held-body.ts'
import type { ClientRequest } from './answer.ts'

/** What belongs to one hop and is not passed on (RFC 9110, 7.6.1). */
const HOP_BY_HOP = new Set([
  'connection',
  'http2-settings',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])
/** What this hop says of its own to the engine. */
const OWN = new Set([...HOP_BY_HOP, 'content-length', 'expect', 'x-request-id'])
/** Tokens of `connection` that name no header. */
const CONNECTION_OPTIONS = new Set(['close', 'keep-alive', 'upgrade'])

/** The headers of a request, read once. */
export interface RequestHeaders {
  /** Names in lower case, pseudo headers included; values of a repeated name are joined. */
  readonly all: Map<string, string>
  /** Names and values in turn, as they came, of those that the engine is sent. */
  readonly forwarded: string[]
  /** Bytes of names and values. */
  readonly bytes: number
}

/**
 * @param raw names and values in turn, as Node gives them
 * @param dropped names in lower case that the engine is not sent either
 */
export function readRequestHeaders(
  raw: readonly string[],
  dropped: ReadonlySet<string>,
): RequestHeaders {
  const all = new Map<string, string>()
  const forwarded: string[] = []
  let bytes = 0
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase()
    const value = raw[i + 1]!
    bytes += name.length + value.length
    const before = all.get(name)
    all.set(
      name,
      before === undefined ? value : `${before}${name === 'cookie' ? '; ' : ', '}${value}`,
    )
    if (OWN.has(name) || dropped.has(name) || name.startsWith(':')) continue
    forwarded.push(raw[i]!, value)
  }
  // HTTP/2 has no host: what stands for it is a pseudo header.
  const authority = all.get(':authority')
  if (authority !== undefined && !all.has('host')) {
    all.set('host', authority)
    forwarded.push('host', authority)
  }
  const named = namedByConnection(all.get('connection'))
  return {
    all,
    forwarded: named === undefined ? forwarded : without(forwarded, named),
    bytes,
  }
}

/** True where a body follows. */
export function hasBody(request: ClientRequest, headers: ReadonlyMap<string, string>): boolean {
  if ('stream' in request) return !request.stream.endAfterHeaders
  return headers.has('transfer-encoding') || Number(headers.get('content-length')) > 0
}

/** @throws {SchedulerError} BODY_TOO_LARGE for a length that is told and too large */
export function checkBodyLength(headers: ReadonlyMap<string, string>, maxBodyBytes: number): void {
  if (Number(headers.get('content-length')) > maxBodyBytes) throw bodyTooLarge(maxBodyBytes)
}

/** The list without the headers of these names, which are in lower case. */
export function without(headers: readonly string[], names: ReadonlySet<string>): string[] {
  const left: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    if (!names.has(headers[i]!.toLowerCase())) left.push(headers[i]!, headers[i + 1]!)
  }
  return left
}

/** Headers as undici gives them: names in lower case, a list where a name has several values. */
export type GivenHeaders = Readonly<Record<string, string | string[] | undefined>>

/** The headers of an engine's response that the client is sent: names in lower case and values in turn. */
export function responseHeaders(given: GivenHeaders): string[] {
  const { connection } = given
  const named = namedByConnection(Array.isArray(connection) ? connection.join(', ') : connection)
  const kept: string[] = []
  for (const name in given) {
    if (HOP_BY_HOP.has(name) || named?.has(name)) continue
    const value = given[name]!
    if (typeof value === 'string') kept.push(name, value)
    else for (const one of value) kept.push(name, one)
  }
  return kept
}

/** The same for plugins to read: one value for each name. */
export function headerMap(status: number, headers: readonly string[]): Map<string, string> {
  const map = new Map([[':status', String(status)]])
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!
    const before = map.get(name)
    map.set(name, before === undefined ? headers[i + 1]! : `${before}, ${headers[i + 1]!}`)
  }
  return map
}

/** The same by name, a list where a name has several values. */
export function headerRecord(headers: readonly string[]): Record<string, string | string[]> {
  const record: Record<string, string | string[]> = Object.create(null)
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!
    const value = headers[i + 1]!
    const before = record[name]
    record[name] =
      before === undefined ? value : Array.isArray(before) ? [...before, value] : [before, value]
  }
  return record
}

/** Sets a header, whatever values it has. */
export function setHeader(headers: string[], name: string, value: string): void {
  for (let i = headers.length - 2; i >= 0; i -= 2) {
    if (headers[i] === name) headers.splice(i, 2)
  }
  headers.push(name, value)
}

/** The headers that `connection` says are for this hop; undefined for none. */
function namedByConnection(connection: string | undefined): ReadonlySet<string> | undefined {
  if (connection === undefined) return undefined
  const options = connection.toLowerCase()
  if (CONNECTION_OPTIONS.has(options)) return undefined
  return new Set(options.split(',').map((option) => option.trim()))
}
