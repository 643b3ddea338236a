import type { Dispatcher } from 'undici'
import { SchedulerError } from '../framework/errors.ts'
import type { Routed } from '../framework/services.ts'
import type { ClientRequest } from './answer.ts'
import type { EngineFault } from './engine-pools.ts'
import { type RequestHeaders, without } from './headers.ts'

/** Bodies in pieces are joined up to this size: one write is cheaper than several. */
const JOINED_BYTES = 64 * 1024

/**
 * A client's request as its engine is sent it.
 *
 * @param id what the engine is told as `x-request-id` where the router does not set it
 */
export function engineRequest(
  { method, url }: ClientRequest,
  { forwarded }: RequestHeaders,
  routed: Routed,
  id: string,
): Dispatcher.DispatchOptions {
  const { removeHeaders, setHeaders } = routed
  let headers: string[]
  if (removeHeaders.length > 0 || setHeaders.size > 0) {
    headers = without(forwarded, new Set([...removeHeaders, ...setHeaders.keys()]))
    for (const [name, value] of setHeaders) headers.push(name, value)
  } else headers = forwarded.slice()
  if (!setHeaders.has('x-request-id')) headers.push('x-request-id', id)
  const joined = joinedBody(routed.takeBody())
  if (Array.isArray(joined)) headers.push('content-length', String(bytesOf(joined)))
  return {
    path: originForm(url!),
    method: method as Dispatcher.HttpMethod,
    headers,
    body: joined as Buffer,
  }
}

/** What a client is told of an engine that did not begin to answer. */
export function unanswered(endpoint: string, fault: EngineFault, detail: string): SchedulerError {
  if (fault === 'invalid') return new SchedulerError('BAD_REQUEST', detail)
  if (fault === 'timeout') {
    const text = `the model server ${endpoint} did not begin to answer in time`
    return new SchedulerError('ENDPOINT_TIMEOUT', text)
  }
  const what =
    fault === 'refused' ? 'refused the connection' : 'broke the connection before it answered'
  return new SchedulerError('ENDPOINT_FAILED', `the model server ${endpoint} ${what}; try again`)
}

/** What a client is told of an engine whose headers no client could read. */
export function unreadable(endpoint: string, { message }: Error): SchedulerError {
  const text = `the model server ${endpoint} answered with headers that cannot be passed on: ${message}`
  return new SchedulerError('ENDPOINT_FAILED', text)
}

/** Undefined for no body; pieces where joining them would copy much. */
function joinedBody(pieces: readonly Uint8Array[]): Uint8Array | readonly Uint8Array[] | undefined {
  if (pieces.length <= 1) return pieces[0]
  const bytes = bytesOf(pieces)
  return bytes <= JOINED_BYTES ? Buffer.concat(pieces, bytes) : pieces
}

function bytesOf(pieces: readonly Uint8Array[]): number {
  let bytes = 0
  for (const { length } of pieces) bytes += length
  return bytes
}

/** Clients of a proxy may send the whole URL (RFC 9112, 3.2.2). */
function originForm(url: string): string {
  return url.startsWith('/') ? url : url.replace(/^https?:\/\/[^/?#]*/i, '') || '/'
}
