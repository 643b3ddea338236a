import type { IncomingMessage, ServerResponse } from 'node:http'
import { constants, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2'
import type { Duplex, Writable } from 'node:stream'
import { errorAnswer } from '../framework/routing/error-answer.ts'

/** A request and its response, by either version of HTTP. */
export type ClientRequest = IncomingMessage | Http2ServerRequest
export type ClientResponse = ServerResponse | Http2ServerResponse

/** A client that still sends may read its refusal first; a closed connection would take it away. */
const LINGER_MS = 2000

/** True where streams share a connection, and no header says what becomes of it. */
export function isHttp2(response: ClientResponse): response is Http2ServerResponse {
  return 'stream' in response
}

/**
 * Writes an answer of our own, whole, without ending the response.
 *
 * @param id the request's, which the client is told
 * @param closes true where the connection is not used again
 */
export function writeAnswer(
  response: ClientResponse,
  status: number,
  headers: Iterable<readonly [string, string]>,
  id: string,
  body: string,
  closes: boolean,
): void {
  const all: Record<string, string> = Object.fromEntries(headers)
  all['x-request-id'] = id
  all['content-length'] = String(Buffer.byteLength(body))
  if (closes && !isHttp2(response)) all.connection = 'close'
  if (isHttp2(response)) response.writeHead(status, all)
  else response.writeHead(status, all)
  const sink: Writable = response
  if (response.req.method !== 'HEAD') sink.write(body)
}

/** Ends a response when the request has come whole, or the client has had time to read it. */
export function linger(request: ClientRequest, response: ClientResponse): void {
  const timer = setTimeout(() => {
    response.end()
    if (isHttp2(response)) stopSending(response)
  }, LINGER_MS)
  request.once('end', () => {
    clearTimeout(timer)
    response.end()
  })
  response.once('close', () => clearTimeout(timer))
  request.resume()
}

/** Tells a client that still sends that nobody reads: RFC 9113, section 8.1. Before the response has left, Node 22 would abort. */
function stopSending({ stream }: Http2ServerResponse): void {
  stream.once('finish', () => setImmediate(() => stream.close(constants.NGHTTP2_NO_ERROR)))
}

/** Breaks a response that has begun, so that no client takes what it has for the whole. */
export function breakResponse(response: ClientResponse, http2ErrorCode: number): void {
  if (isHttp2(response)) response.stream.close(http2ErrorCode)
  // Before HTTP/1.1 a body may end with its connection: only a reset tells.
  else if (response.req.httpVersionMinor === 0) response.socket?.resetAndDestroy()
  else response.destroy()
}

/** Tells of an error on a connection whose request was not understood, and closes it. */
export function endRawly(socket: Duplex, error: unknown): void {
  const { status, headers, body } = errorAnswer(error)
  const lines = [...headers].map(([name, value]) => `${name}: ${value}\r\n`).join('')
  socket.end(
    `HTTP/1.1 ${status} ${REASONS[status] ?? 'Error'}\r\n${lines}content-length: ${Buffer.byteLength(body)}\r\n` +
      `connection: close\r\n\r\n${body}`,
  )
  // Closed at once, what the client still sends would have its system drop the answer.
  const timer = setTimeout(() => socket.destroy(), LINGER_MS)
  socket.once('close', () => clearTimeout(timer))
}

const REASONS: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
}
