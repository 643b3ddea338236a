import type { IncomingMessage } from 'node:http'
import { SchedulerError } from '../framework/errors.ts'
import { errorAnswer } from '../framework/routing/error-answer.ts'
import { bodyTooLarge } from '../framework/routing/held-body.ts'
import { type Answer, type Asked, json, type Route } from './route.ts'
import type { AdminSources } from './sources.ts'

/** Explanations that may be made at once. */
const MAX_AT_ONCE = 10
const TIMEOUT_MS = 10_000

/** Headers of the call itself, not of the request that it asks about. */
const OWN_HEADERS: ReadonlySet<string> = new Set([
  ...['host', 'connection', 'content-length', 'content-type', 'transfer-encoding', 'origin'],
  ...['authorization', 'accept', 'accept-encoding', 'user-agent', 'expect'],
])

/** `POST /explain`: where a request would go. */
export function explainRoute({ explain, maxBodyBytes }: AdminSources): Route {
  let running = 0
  return {
    ...{ method: 'POST', path: '/explain', access: 'reader' },
    shown: 'POST /explain (a request body)',
    async answer(asked) {
      const refusal = refusalOf(asked.request)
      if (refusal) return refusal
      if (running >= MAX_AT_ONCE) {
        const error = `${MAX_AT_ONCE} explanations are being made, as many as may be; try again`
        return { ...json(429, { error }), headers: { 'retry-after': '1' } }
      }
      running++
      try {
        return await explained(asked, explain, maxBodyBytes)
      } catch (error) {
        if (!(error instanceof SchedulerError)) throw error
        const { status, body } = errorAnswer(error)
        return json(status, JSON.parse(body))
      } finally {
        running--
      }
    },
  }
}

async function explained(
  { request, url }: Asked,
  explain: AdminSources['explain'],
  maxBodyBytes: number,
): Promise<Answer> {
  const headers = new Map<string, string>()
  for (const [name, value] of Object.entries(request.headers)) {
    if (!OWN_HEADERS.has(name) && value !== undefined) headers.set(name, String(value))
  }
  const path = url.searchParams.get('path')
  const pool = url.searchParams.get('pool')
  const asked = {
    headers,
    body: await bodyOf(request, maxBodyBytes),
    ...(path !== null && { path }),
    ...(pool !== null && { pool }),
  }
  return json(200, await explain(asked, AbortSignal.timeout(TIMEOUT_MS)))
}

/** A page of another site may send neither this type nor this origin without being asked first. */
function refusalOf({ headers }: IncomingMessage): Answer | undefined {
  const [type = ''] = (headers['content-type'] ?? '').split(';', 1)
  if (type.trim().toLowerCase() !== 'application/json') {
    return json(415, { error: 'send the request body with "content-type: application/json"' })
  }
  const { origin, host } = headers
  if (origin === undefined || (host !== undefined && origin.replace(/^https?:\/\//, '') === host)) {
    return undefined
  }
  return json(403, { error: `a page of ${origin} may not ask here` })
}

/** @throws {SchedulerError} BODY_TOO_LARGE */
async function bodyOf(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const pieces: Buffer[] = []
  let bytes = 0
  for await (const piece of request as AsyncIterable<Buffer>) {
    bytes += piece.length
    if (bytes > maxBytes) throw bodyTooLarge(maxBytes)
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}
